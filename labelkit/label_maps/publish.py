"""Make a file appear whole or not at all, and never over another one."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def publish(target: Path, write: Callable[[Path], object]) -> bool:
    """Write under a unique temporary name, flush to disk, then hard-link to ``target``.

    Args:
        target: the name that the file is to have.
        write: writes the whole file to the path that it is given.

    Returns:
        False where ``target`` existed already: it is left as it is, the first writer wins.

    Raises:
        OSError: the disk is full, or the folder cannot be written to; ``target`` is untouched.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        try:
            os.link(temporary, target)
        except FileExistsError:
            return False
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
