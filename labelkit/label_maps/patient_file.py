"""A file to give to HDF5, which crashes the process where a write fails: this one tells later."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class PatientFile:
    """A new file that takes every write, and keeps the first error of the disk for its owner.

    Args:
        path: a file that does not exist.

    Attributes:
        error: what the disk refused first; nothing is written from then on.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("x+b", buffering=0)
        self._position = 0
        self.error: OSError | None = None

    def write(self, content: memoryview) -> int:
        """Write at the position, in as many pieces as the disk takes."""
        done = 0
        while done < len(content) and self.error is None:
            try:
                done += os.pwrite(self._file.fileno(), content[done:], self._position + done)
            except OSError as error:
                self.error = error
        self._position += len(content)
        return len(content)

    def read(self, size: int) -> bytes:
        """Read at the position; zeros where nothing was written."""
        found = os.pread(self._file.fileno(), size, self._position)
        self._position += size
        return found.ljust(size, b"\0")

    def readinto(self, buffer: memoryview) -> int:
        """Read at the position into a buffer."""
        buffer[:] = self.read(len(buffer))
        return len(buffer)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position."""
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size()}
        self._position = starts[whence] + offset
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def truncate(self, size: int) -> int:
        """Give the file a size."""
        if self.error is None:
            try:
                os.ftruncate(self._file.fileno(), size)
            except OSError as error:
                self.error = error
        return size

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _size(self) -> int:
        return os.fstat(self._file.fileno()).st_size
