"""Make a whole label-map file appear beside others, checked, and never over one of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from labelkit.files import publish_file, replace_file
from labelkit.label_maps.hdf5 import write_file
from labelkit.label_maps.reader import LabelMapFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from labelkit.hierarchy import ClassList
    from labelkit.label_maps.hdf5 import Rows
    from labelkit.label_maps.layout import Header


def require_free(output: Path, *, overwrite: bool = False) -> None:
    """Raise unless a new file can have this name.

    Raises:
        FileExistsError: something has it.
        FileNotFoundError: there is no such folder.
    """
    if os.path.lexists(output) and not overwrite:
        raise FileExistsError(f"{output} exists: choose another name or remove it")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"no folder {output.parent}: make it, or choose another")


def write_checked(
    path: Path, header: Header, classes: ClassList, rows: Rows, unreadable: dict[str, str]
) -> None:
    """Write a file as ``write_file`` does, then open it and read every row.

    Raises:
        LabelMapError: what came back is not what was written.
        OSError: the disk is full or refuses; the error names the reason.
    """
    write_file(path, header, classes, rows, unreadable)
    with LabelMapFile.open(path) as written:
        written.check_rows()


def publish_whole(
    output: Path, write: Callable[[Path], object], *, overwrite: bool = False
) -> LabelMapFile:
    """Write a file beside its final name and give it that name when it is whole.

    After ``kill -9`` a hidden ``.<hexadecimal>.tmp`` may stay in the folder, nothing else.

    Args:
        output: the name that the file is to have.
        write: writes the whole file to the path that it is given.
        overwrite: replace an existing file, which stays readable until the new one is complete.

    Raises:
        FileExistsError: something has the name by now; it is left as it is.
        OSError: the disk is full or refuses.
    """
    made = True
    try:
        if overwrite:
            replace_file(output, write)
        else:
            made = publish_file(output, write)
    except OSError as error:
        raise OSError(f"{output.parent} cannot be written to: {error}") from error
    if not made:
        require_free(output)
    return LabelMapFile.open(output)
