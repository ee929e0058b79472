"""Give rows of a label-map file other keys, after their images were renamed or moved."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from labelkit.errors import LabelMapError
from labelkit.label_maps.file.hdf5_writer import FileContent, RowStream, publish, require_available
from labelkit.label_maps.file.layout import check_key, row_crc32
from labelkit.label_maps.file.reader import LabelMapFile, stored_rows
from labelkit.wording import summary

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from labelkit.label_maps.file.begun import Row

_STRIDE = 256


def rename(
    file: LabelMapFile,
    new_keys: Mapping[str, str],
    output: str | os.PathLike[str],
    on_progress: Callable[[int, int], None] | None = None,
    *,
    overwrite: bool = False,
) -> LabelMapFile:
    """Copy a file with other keys for some images.

    Maps are copied unchanged after a check of their checksum and content. Images that could not be
    read are renamed too.

    Args:
        file: the file, which stays as it is.
        new_keys: old key -> new key; others stay.
        output: the file to write.
        on_progress: called regularly with (rows written, rows in total).
        overwrite: replace an existing ``output`` once the new file is complete.

    Raises:
        LabelMapError: the file has no such key; a new key is not allowed, or two images would have
            it; or a row is damaged. No file is written then.
        FileExistsError: ``output`` exists and ``overwrite`` is false.
        OSError: the disk is full or refuses.
    """
    output = Path(output).absolute()
    require_available(output, overwrite=overwrite)
    unknown = [key for key in new_keys if key not in file and key not in file.unreadable]
    if unknown:
        raise LabelMapError(
            f"{file.path} has no image {summary(unknown)}: pass the renames of this file"
        )
    keys = [check_key(new_keys.get(key, key)) for key in file]
    unreadable = {new_keys.get(key, key): reason for key, reason in file.unreadable.items()}
    _require_distinct(file, [*keys, *map(check_key, unreadable)])
    rows = RowStream(
        _renamed(file, keys, on_progress or (lambda _done, _total: None)),
        len(keys),
        sum(map(len, keys)),
        stored_rows(file).record_bytes,
    )
    publish(output, FileContent(file.header, file.classes, rows, unreadable), overwrite=overwrite)
    return LabelMapFile.open(output)


def _require_distinct(file: LabelMapFile, keys: Sequence[bytes]) -> None:
    for key, following in pairwise(sorted(keys)):
        if key == following:
            raise LabelMapError(
                f"two images of {file.path} would have the key {key.decode()!r}: rename both, or "
                "neither"
            )
    images = len(file) + len(file.unreadable)
    if len(keys) != images:
        raise LabelMapError(f"two unreadable images of {file.path} would have the same key")


def _renamed(
    file: LabelMapFile, keys: Sequence[bytes], on_progress: Callable[[int, int], None]
) -> Iterator[Row]:
    """The rows in the order of their new keys."""
    rows = stored_rows(file)
    order = sorted(range(len(keys)), key=keys.__getitem__)
    for done, position in enumerate(order, 1):
        (row,), _ = rows.read([position])
        crc32 = row_crc32(keys[position], row.plain)
        yield keys[position], row.stored, crc32, rows.digest(position)
        if done % _STRIDE == 0 or done == len(order):
            on_progress(done, len(order))
