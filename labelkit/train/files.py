"""Paths as messages show them; files that are replaced whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def without_detours(path: str) -> str:
    """The same place, named without ``..``: links on the way there are followed."""
    return str(Path(path).resolve()) if ".." in Path(path).parts else path


def replace_file(target: Path, write: Callable[[Path], object]) -> None:
    """Write beside ``target``, flush to disk, then take its name: readers see the old or the new.

    Args:
        target: the file to make or to replace.
        write: writes the whole file to the path that it is given.

    Raises:
        OSError: the disk is full, or the folder cannot be written to; ``target`` is untouched.
    """
    # One fixed name, so that a killed run leaves at most one stray file, which the next one takes.
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
