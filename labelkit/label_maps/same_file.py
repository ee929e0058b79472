"""A file that stays open for reading, and is never mistaken for another one at its path."""

from __future__ import annotations

import os
import stat
import weakref
from typing import TYPE_CHECKING, Self

from labelkit.errors import LabelMapError

if TYPE_CHECKING:
    from pathlib import Path


class SameFile:
    """An open file, read by any thread at any place; opened again where it was closed.

    Args:
        path: a plain file.

    Raises:
        FileNotFoundError: no such file.
        LabelMapError: not a plain file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._closing: weakref.finalize[..., Self] | None = None
        self._signature: tuple[int, ...] | None = None
        self._open()

    @property
    def descriptor(self) -> int:
        """The number to read from.

        Raises:
            LabelMapError: it was closed, and the path holds another file by now.
        """
        if self._closing is None:
            self._open()
        return self._descriptor

    @property
    def unchanged(self) -> int:
        """The descriptor, once it is clear that nobody has written to the file since.

        Raises:
            LabelMapError: somebody has.
        """
        descriptor = self.descriptor
        if _signature(os.fstat(descriptor)) != self._signature:
            raise self._changed()
        return descriptor

    def is_at_its_path(self) -> bool:
        """Whether the path still leads to this very file, as it was."""
        return _signature(self._path.stat()) == self._signature

    def close(self) -> None:
        """Close it in this process."""
        if self._closing is not None:
            self._closing()
        self._closing = None

    def _open(self) -> None:
        """Open the file; other threads see the descriptor once it is known to be the same file."""
        try:
            # Without O_NONBLOCK a named pipe would be waited for.
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise FileNotFoundError(f"no such file: {self._path}") from None
        status = os.fstat(descriptor)
        signature = _signature(status)
        if not stat.S_ISREG(status.st_mode) or self._signature not in {None, signature}:
            os.close(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise LabelMapError(f"{self._path} is no plain file")
            raise self._changed()
        self._signature, self._descriptor = signature, descriptor
        self._closing = weakref.finalize(self, os.close, descriptor)

    def _changed(self) -> LabelMapError:
        return LabelMapError(f"{self._path} has changed since it was opened: open it anew")


def _signature(status: os.stat_result) -> tuple[int, ...]:
    """What changes when a file is written to or replaced."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
