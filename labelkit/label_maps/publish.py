"""Make a file appear whole or not at all, and never over another one."""

from __future__ import annotations

import errno
import hashlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def publish(target: Path, write: Callable[[Path], object], scratch: Path) -> bool:
    """Write under a unique temporary name, flush to disk, then hard-link to ``target``.

    Args:
        target: the name that the file is to have.
        write: writes the whole file to the path that it is given.
        scratch: a folder on the same disk for the temporary file; after ``kill -9`` it stays there.

    Returns:
        False where ``target`` existed already: it is left as it is, the first writer wins.

    Raises:
        OSError: the disk is full, or the folder cannot be written to; ``target`` is untouched.
    """
    temporary = scratch / f".{os.urandom(8).hex()}.tmp"
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        try:
            os.link(temporary, target)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}:
                raise
            raise OSError(
                f"the disk of {target.parent} has no hard links, which keep a half-written file "
                "from ever being seen: write to another disk, then copy"
            ) from error
        _sync_folder(target.parent)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
