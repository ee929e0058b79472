"""Turn a packed file, which is small, into a raw one, which is read at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from labelkit.errors import LabelMapError
from labelkit.label_maps.byte_coding import from_byte_planes
from labelkit.label_maps.hdf5 import Rows
from labelkit.label_maps.layout import row_crc32
from labelkit.label_maps.record import RecordCodec
from labelkit.label_maps.whole_file import publish_whole, require_free, write_checked

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from labelkit.label_maps.codec import MapCodec
    from labelkit.label_maps.reader import LabelMapFile

_STRIDE = 256


def write_raw(
    file: LabelMapFile,
    output: str | os.PathLike[str],
    on_progress: Callable[[int, int], None] | None = None,
) -> LabelMapFile:
    """Write the raw form of a packed file: the same maps bit for bit, more bytes, quicker to read.

    Steps and ranges are copied, never made anew. Each row is checked before and after. The raw
    file has the digest of the packed one. Memory stays flat.

    Args:
        file: a packed file.
        output: the file to make.
        on_progress: called with (rows done, rows in all) every now and then.

    Raises:
        LabelMapError: ``file`` is raw already, or a row of it is damaged. No file is made then.
        FileExistsError: ``output`` exists.
        OSError: the disk is full or refuses.
    """
    output = Path(output).absolute()
    require_free(output)
    if file.raw:
        raise LabelMapError(f"{file.path} is raw already: copy it")
    header = msgspec.structs.replace(
        file.header, coding="raw", content="", packed_content=file.header.content
    )
    size = RecordCodec.of_header(header, len(file.classes)).nbytes
    rows = Rows(_transcoded(file, on_progress), len(file), file.key_bytes, len(file) * size)
    return publish_whole(
        output, lambda path: write_checked(path, header, file.classes, rows, file.unreadable)
    )


def raw_part(codec: MapCodec, records: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The raw records of maps of one form, from packed ones; both decode to the same, bit for bit.

    Args:
        codec: the packed records'.
        records: packed, plain (N, R).

    Raises:
        ValueError: a record is damaged.
    """
    form, places, classes = codec.form, codec.places, codec.classes
    start, _ = places["scores"]
    parts: list[NDArray[np.generic]] = [records[:, :start]]
    if codec.float_type:
        for name in ("scores", "lse"):
            begin, size = places[name]
            count = size // np.dtype(codec.float_type).itemsize
            parts.append(from_byte_planes(records, begin, count, codec.float_type))
    behind, _ = places["background classes"]
    parts += [codec.planes(records), records[:, sum(places["patterns"]) : behind]]
    if form.background:
        parts.append(classes.ascending(records, behind, form.background))
    start, _ = places["classes"]
    own = form.selection == "cell"
    parts.append(
        classes.of_cells(records, start) if own else classes.ascending(records, start, form.top_k)
    )
    return np.concatenate([_bytes(part) for part in parts], axis=1)


def _bytes(part: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Values of N records (N, ...) as bytes (N, ...)."""
    return np.ascontiguousarray(part).reshape(len(part), -1).view(np.uint8)


def _transcoded(
    file: LabelMapFile, on_progress: Callable[[int, int], None] | None
) -> Iterator[tuple[bytes, bytes, int]]:
    """The rows of a packed file as a raw one holds them."""
    report = on_progress or (lambda _done, _total: None)
    codec = RecordCodec.of_header(file.header, len(file.classes))
    for done, row in enumerate(file.checked_rows()):
        records = np.frombuffer(row.plain, np.uint8)[None]
        record = b"".join(raw_part(*part).tobytes() for part in codec.split(records))
        yield row.key, record, row_crc32(row.key, record)
        if not done % _STRIDE:
            report(done, len(file))
    report(len(file), len(file))
