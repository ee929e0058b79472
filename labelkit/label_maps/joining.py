"""Join label-map files that were made in parts into one, without encoding a row anew."""

from __future__ import annotations

import heapq
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from labelkit.errors import LabelMapError
from labelkit.label_maps.hdf5 import Rows
from labelkit.label_maps.identity import difference, identity
from labelkit.label_maps.whole_file import publish_whole, require_free, write_checked

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from labelkit.label_maps.layout import Header
    from labelkit.label_maps.reader import LabelMapFile
    from labelkit.label_maps.row_table import StoredRow

_STRIDE = 256
_KEY = itemgetter(0)


def merge(
    files: Sequence[LabelMapFile],
    output: str | os.PathLike[str],
    on_progress: Callable[[int, int], None] | None = None,
    *,
    overwrite: bool = False,
) -> LabelMapFile:
    """Join the rows of several files of one source into one file.

    Rows are copied as they stand, after a look at each one's checksum and content. The file is the
    same, byte for byte, whatever the order of ``files``. Memory stays flat. An image that one file
    could not read has a row if another file has one; of two reasons the first by alphabet stays.

    Args:
        files: at least one.
        output: the file to make.
        on_progress: called with (rows read, rows in all) every now and then.
        overwrite: replace an existing ``output`` once the new file is complete.

    Raises:
        ValueError: no files.
        LabelMapError: files that differ in classes, forms or source; imports of folders of
            other names; different rows of one key; a damaged row. No file is made then.
        FileExistsError: ``output`` exists and ``overwrite`` is false.
        OSError: the disk is full or refuses.
    """
    output = Path(output).absolute()
    require_free(output, overwrite=overwrite)
    for file in files:
        _require_alike(files[0], file)
    _require_one_folder(files)
    header = _common_header([file.header for file in files])
    unreadable = _unreadable(files)
    count, key_bytes, record_bytes = _measure(files)
    rows = Rows(_copied(files, on_progress), count, key_bytes, record_bytes)
    return publish_whole(
        output,
        lambda path: write_checked(path, header, files[0].classes, rows, unreadable),
        overwrite=overwrite,
    )


def _require_alike(first: LabelMapFile, second: LabelMapFile) -> None:
    """Raise unless rows of both files can stand in one."""
    if first.classes != second.classes:
        raise LabelMapError(
            f"{first.path} and {second.path} are of different class lists: {first.classes} and "
            f"{second.classes}. Make both over one list"
        )
    found = difference(identity(first.header), identity(second.header))
    if found is None:
        return
    if found.name.startswith("source."):
        advice = (
            "Only files of one source can be merged; to average several teachers, pass several "
            "--teacher to labelkit relabel"
        )
    else:
        advice = "Make both in the same form"
    raise LabelMapError(
        f"{first.path} and {second.path} differ in {found.name.removeprefix('source.')}: "
        f"{found.first!r} and {found.second!r}. {advice}"
    )


def _require_one_folder(files: Sequence[LabelMapFile]) -> None:
    """Raise where files were imported from folders of other names: nothing else tells teachers."""
    imported = [
        file for file in files if "imported from" in file.attrs and "folder" in file.made_with
    ]
    for file in imported[1:]:
        names = [each.made_with["folder"] for each in (imported[0], file)]
        if names[0] != names[1]:
            raise LabelMapError(
                f"{imported[0].path} and {file.path} were imported from folders of other names, "
                f"{names[0]!r} and {names[1]!r}: they may be of two teachers. If they are of one, "
                "give the folders one name and convert them again"
            )


def _common_header(headers: Sequence[Header]) -> Header:
    """What all files say; where wording is free, the same whatever the order of the files."""
    named = sorted({header.classes_name for header in headers} - {""})
    made_with = {
        name: value
        for name, value in sorted(headers[0].made_with.items())
        if all(name in each.made_with and each.made_with[name] == value for each in headers)
    }
    return msgspec.structs.replace(
        min(headers, key=_spelling),
        classes_name=named[0] if named else "",
        made_with=made_with,
        content="",
    )


def _spelling(header: Header) -> bytes:
    """How a header writes what identifies it; equal values may be written in two ways."""
    return msgspec.json.encode(identity(header))


def _unreadable(files: Sequence[LabelMapFile]) -> dict[str, str]:
    """Images that no file has a row of, with the reason."""
    told: dict[str, str] = {}
    for file in files:
        for key, reason in file.unreadable.items():
            if not any(key in other for other in files):
                told[key] = min(told.get(key, reason), reason)
    return told


def _measure(files: Sequence[LabelMapFile]) -> tuple[int, int, int]:
    """How many rows there will be, and the bytes of their keys and of their records.

    Raises:
        LabelMapError: two files have different rows of one key.
    """

    def entries(number: int, file: LabelMapFile) -> Iterator[tuple[bytes, int, int, int]]:
        for key, size, crc32 in file.entries():
            yield key, number, size, crc32

    count, key_bytes, record_bytes = 0, 0, 0
    streams = [entries(number, file) for number, file in enumerate(files)]
    for key, group in groupby(heapq.merge(*streams, key=_KEY), key=_KEY):
        (_, first, size, crc32), *others = group
        for _, number, other_size, other_crc32 in others:
            if other_crc32 != crc32:
                raise _contradiction(files[first], files[number], key)
            size = min(size, other_size)
        count, key_bytes, record_bytes = count + 1, key_bytes + len(key), record_bytes + size
    return count, key_bytes, record_bytes


def _contradiction(first: LabelMapFile, second: LabelMapFile, key: bytes) -> LabelMapError:
    return LabelMapError(
        f"{first.path} and {second.path} have different maps of "
        f"{key.decode(errors='replace')!r}: they cannot both be right. "
        "labelkit verify --sample tells which one is of your image"
    )


def _copied(
    files: Sequence[LabelMapFile], on_progress: Callable[[int, int], None] | None
) -> Iterator[tuple[bytes, bytes, int]]:
    """The rows of all files in the order of their keys, each key once, as they stand.

    One map may be compressed in two ways: the shorter one counts, of equally long ones the first
    by its bytes.

    Raises:
        LabelMapError: a damaged row, or two files with different rows of one key and checksum.
    """

    def numbered(number: int, file: LabelMapFile) -> Iterator[tuple[bytes, int, StoredRow]]:
        for row in file.checked_rows():
            yield row.key, number, row

    report = on_progress or (lambda _done, _total: None)
    total, done = sum(map(len, files)), 0
    streams = [numbered(number, file) for number, file in enumerate(files)]
    for key, group in groupby(heapq.merge(*streams, key=_KEY), key=_KEY):
        (_, first, one), *others = group
        for _, number, other in others:
            if other.plain != one.plain:
                raise _contradiction(files[first], files[number], key)
        rows = [one, *(other for _, _, other in others)]
        best = min(rows, key=lambda row: (len(row.stored), row.stored))
        yield key, best.stored, best.crc32
        if done // _STRIDE != (done + len(rows)) // _STRIDE:
            report(done + len(rows), total)
        done += len(rows)
    report(total, total)
