"""Read parts of a few large files, such as the members of tars, from any process or thread."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

_MOST_OPEN = 64


class _Descriptor:
    """An open file, closed with its last reference: a thread may still read what is replaced."""

    def __init__(self, path: str) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


class ByteRanges:
    """Files that are opened on the first read in a process, a limited number of them at a time.

    Args:
        paths: the files, as they are now: one that has changed later is not read.
    """

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths
        self._states = [_state(Path(path).stat()) for path in paths]
        self._open: dict[int, _Descriptor] = {}

    def read(self, file: int, offset: int, size: int) -> bytes:
        """``size`` bytes of a file.

        Raises:
            OSError: the file is gone, has changed since it was listed, or its disk fails.
        """
        content = bytearray()
        descriptor = self._descriptor(file)
        while len(content) < size:
            # Linux reads at most 2 GiB at once.
            part = os.pread(descriptor.number, size - len(content), offset + len(content))
            if not part:
                raise OSError(errno.EIO, "the file ends too early", self.paths[file])
            content += part
        self._require_unchanged(descriptor, file)  # an open file may be rewritten in place
        return bytes(content)

    def state(self, file: int) -> str:
        """The size and the time of a file when it was listed."""
        size, time = self._states[file]
        return f"{size} {time}"

    def _descriptor(self, file: int) -> _Descriptor:
        found = self._open.get(file)
        if found is None:
            found = _Descriptor(self.paths[file])
            self._require_unchanged(found, file)
            for oldest in list(self._open)[: len(self._open) + 1 - _MOST_OPEN]:
                self._open.pop(oldest, None)
            self._open[file] = found
        return found

    def _require_unchanged(self, descriptor: _Descriptor, file: int) -> None:
        if _state(os.fstat(descriptor.number)) != self._states[file]:
            raise OSError(
                errno.ESTALE, "the file has changed since its images were listed", self.paths[file]
            )

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_open": {}}


def _state(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns
