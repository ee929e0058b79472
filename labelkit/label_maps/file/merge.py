"""Merge label-map files that were made in parts, without encoding any row again."""

from __future__ import annotations

import heapq
import shlex
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from labelkit.errors import LabelMapError
from labelkit.label_maps.calibration import average_calibrations
from labelkit.label_maps.file.hdf5_writer import FileContent, RowStream, publish, require_available
from labelkit.label_maps.file.layout import first_difference, identity
from labelkit.label_maps.file.reader import LabelMapFile, stored_rows

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from labelkit.label_maps.calibration import Calibration
    from labelkit.label_maps.file.begun import Row
    from labelkit.label_maps.file.layout import Header
    from labelkit.label_maps.file.rows import StoredRow

_STRIDE = 256
_KEY = itemgetter(0)


def merge(
    files: Sequence[LabelMapFile],
    output: str | os.PathLike[str],
    on_progress: Callable[[int, int], None] | None = None,
    *,
    overwrite: bool = False,
) -> LabelMapFile:
    """Merge the rows of several files of one source into one file.

    Rows are copied unchanged after a check of their checksum and content, in constant memory. The
    result is the same, byte for byte, whatever the order of ``files``. An image that one file could
    not read gets the row of a file that could; if none could, the alphabetically first reason is
    kept. Different calibrations are averaged, weighted by their files' rows.

    Args:
        files: at least one.
        output: the file to write.
        on_progress: called regularly with (rows read, rows in total).
        overwrite: replace an existing ``output`` once the new file is complete.

    Raises:
        ValueError: no files.
        LabelMapError: the files differ in classes, forms or source; some are calibrated and others
            are not; they were imported from folders
            of different names; two have different rows for one key; or a row is damaged. No file is
            written then.
        FileExistsError: ``output`` exists and ``overwrite`` is false.
        OSError: the disk is full or refuses.
    """
    if not files:
        raise ValueError("no files to merge")
    output = Path(output).absolute()
    require_available(output, overwrite=overwrite)
    for file in files:
        _require_same_source(files[0], file)
    _require_one_folder(files)
    header = _common_header([file.header for file in files])
    content = FileContent(
        header=msgspec.structs.replace(header, calibration=_common_calibration(files)),
        classes=files[0].classes,
        rows=RowStream(_merged_rows(files, on_progress), *_measure(files)),
        unreadable=_unreadable(files),
    )
    try:
        published = publish(output, content, overwrite=overwrite)
    except OSError as error:
        raise OSError(f"cannot write to {output.parent}: {error.strerror or error}") from error
    if not published:
        require_available(output)
    return LabelMapFile.open(output)


def _require_same_source(first: LabelMapFile, second: LabelMapFile) -> None:
    """Raise unless rows of both files may be stored in one."""
    if first.classes != second.classes:
        raise LabelMapError(
            f"{first.path} and {second.path} have different class lists, {first.classes} and "
            f"{second.classes}: make both over one list"
        )
    found = first_difference(identity(first.header), identity(second.header))
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
    """Raise if files were imported from folders of different names: only those show the teacher."""
    imported = [
        file for file in files if "imported from" in file.attrs and "folder" in file.made_with
    ]
    for file in imported[1:]:
        names = [each.made_with["folder"] for each in (imported[0], file)]
        if names[0] != names[1]:
            raise LabelMapError(
                f"{imported[0].path} and {file.path} were imported from folders of different "
                f"names, {names[0]!r} and {names[1]!r}, so they may come from two teachers. If one "
                "teacher made both, give the folders one name and convert them again"
            )


def _common_header(headers: Sequence[Header]) -> Header:
    """The header of the merged file; it does not depend on the order of the files."""
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


def _common_calibration(files: Sequence[LabelMapFile]) -> Calibration | None:
    """The calibration of the merged file; it does not depend on the order of the files.

    Raises:
        LabelMapError: some of the files with rows have one, others do not.
    """
    filled = [file for file in files if len(file)]
    found = [(file.calibration, len(file)) for file in filled if file.calibration]
    if not found:
        return None
    if len(found) < len(filled):
        with_one = next(file for file in filled if file.calibration)
        without = next(file for file in filled if not file.calibration)
        raise LabelMapError(
            f"{with_one.path} is calibrated and {without.path} is not. Calibrate the second one, "
            "which makes no map again, with the settings that it was made with: labelkit relabel "
            f"IMAGES --teacher TEACHER -o calibrated.h5 --reuse {shlex.quote(str(without.path))}"
        )
    return average_calibrations(*zip(*found, strict=True))


def _spelling(header: Header) -> bytes:
    """The exact JSON of a header's identity; equal values may have two spellings."""
    return msgspec.json.encode(identity(header))


def _unreadable(files: Sequence[LabelMapFile]) -> dict[str, str]:
    """Images that no file has a row for, key -> reason."""
    reasons: dict[str, str] = {}
    for file in files:
        for key, reason in file.unreadable.items():
            if not any(key in other for other in files):
                reasons[key] = min(reasons.get(key, reason), reason)
    return reasons


def _measure(files: Sequence[LabelMapFile]) -> tuple[int, int, int]:
    """The number of merged rows, and the bytes of their keys and of their records.

    Raises:
        LabelMapError: two files have different rows for one key.
    """

    def entries(number: int, file: LabelMapFile) -> Iterator[tuple[bytes, int, int, int]]:
        for key, size, crc32 in stored_rows(file).entries():
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
        f"{key.decode(errors='replace')!r}, so one of them is wrong. "
        "Find out which with labelkit verify --sample"
    )


def _merged_rows(
    files: Sequence[LabelMapFile], on_progress: Callable[[int, int], None] | None
) -> Iterator[Row]:
    """The rows of all files in the order of their keys, unchanged, each key once.

    One record may have been compressed in two ways: the shorter one is taken, of equally long ones
    the first by its bytes. A digest of an image that only some files know is kept.

    Raises:
        LabelMapError: a damaged row, or different rows for one key with the same checksum.
    """

    def numbered(number: int, file: LabelMapFile) -> Iterator[tuple[bytes, int, StoredRow]]:
        for row in stored_rows(file).checked():
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
        yield key, best.stored, best.crc32, max(row.image for row in rows)
        if done // _STRIDE != (done + len(rows)) // _STRIDE:
            report(done + len(rows), total)
        done += len(rows)
    report(total, total)
