"""The first rows of a shard that is not finished: what an interruption leaves of it.

``000003.begun.h5`` is a complete label-map file, which replaces the one of a minute ago. It serves
the next run of the same plan, which continues the shard, and a run over changed images, which keeps
its rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from labelkit.errors import LabelMapError
from labelkit.label_maps.file.hdf5_writer import FileContent, RowStream, publish
from labelkit.label_maps.file.layout import check_key, identity
from labelkit.label_maps.file.reader import LabelMapFile, stored_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labelkit.hierarchy import ClassList
    from labelkit.label_maps.file.layout import Header

BEGUN = ".begun.h5"
Row = tuple[bytes, bytes, int, bytes]
"""A row to write: its key, its stored record, the CRC-32 of the key and the plain record, and the
digest of the image's content, zeros if that is not known."""


@dataclass(frozen=True)
class BegunShard:
    """The first images of a shard.

    Attributes:
        rows: of those with a map, ascending.
        unreadable: the others, key -> reason.
    """

    rows: list[Row]
    unreadable: dict[str, str]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.rows) + len(self.unreadable)


def content_of(
    header: Header, classes: ClassList, rows: Sequence[Row], unreadable: dict[str, str]
) -> FileContent:
    """A file of these rows."""
    key_bytes = sum(len(key) for key, _, _, _ in rows)
    record_bytes = sum(len(record) for _, record, _, _ in rows)
    return FileContent(
        header, classes, RowStream(rows, len(rows), key_bytes, record_bytes), unreadable
    )


def write_begun(
    path: Path, plan: str, header: Header, classes: ClassList, begun: BegunShard
) -> None:
    """Replace what there is of a shard.

    Args:
        path: ``<shard>.begun.h5``.
        plan: what distinguishes the shard from one of another plan.
        header: of the file to be.
        classes: its class list.
        begun: the images that are done.

    Raises:
        OSError: the disk is full or refuses.
    """
    header = msgspec.structs.replace(header, made_with={"plan": plan})
    publish(path, content_of(header, classes, begun.rows, begun.unreadable), overwrite=True)


def read_begun(
    path: Path, plan: str, header: Header, classes: ClassList, keys: Sequence[str]
) -> BegunShard:
    """What there is of a shard; nothing if it is damaged or of another plan.

    Args:
        path: as in ``write_begun``, and so on.
        plan: the shard's.
        header: of the file to be.
        classes: its class list.
        keys: of the whole shard; those of a shard that is begun are the first of them.
    """
    nothing = BegunShard([], {})
    try:
        with LabelMapFile.open(path) as file:
            file.check_rows()
            begun = BegunShard(list(stored_rows(file).unchecked()), file.unreadable)
            found = sorted([*file, *file.unreadable], key=check_key)
            same = file.made_with == {"plan": plan} and file.classes == classes
            if not same or identity(file.header) != identity(header):
                return nothing
    except (FileNotFoundError, LabelMapError):
        return nothing
    return begun if len(found) < len(keys) and found == [*keys[: len(found)]] else nothing
