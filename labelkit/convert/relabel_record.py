"""What a folder of loose label maps cannot say of itself, kept beside them in ``labelkit.json``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from labelkit.convert.plain_file import require_plain_file
from labelkit.convert.relabel_file import Axes  # noqa: TC001 -- msgspec reads the annotations
from labelkit.errors import LabelMapError

if TYPE_CHECKING:
    from pathlib import Path

RECORD = "labelkit.json"
LARGEST = 1 << 28


class FolderRecord(msgspec.Struct, frozen=True):
    """Facts of a whole folder.

    Attributes:
        axes: which of a tensor's last two axes runs down the image.
        top_k: classes in each cell.
        maps: the digest of the label-map file that they were made from.
        classes_name: of the class list.
        classes: the class ids.
    """

    axes: Axes
    top_k: int
    maps: str
    classes_name: str
    classes: list[str]


def folder_record(folder: Path) -> FolderRecord | None:
    """The record of a folder that labelkit wrote; None for one that others did.

    Raises:
        LabelMapError: it is damaged.
        OSError: it cannot be read.
    """
    try:
        require_plain_file(folder / RECORD, LabelMapError)
        with (folder / RECORD).open("rb") as file:
            content = file.read(LARGEST)
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(content, type=FolderRecord)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LabelMapError(
            f"{folder / RECORD} is damaged ({error}): write the folder anew, or remove that file "
            "and say --axes and --classes yourself"
        ) from error
