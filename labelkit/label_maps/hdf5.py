"""The one place that lays out an HDF5 file of label maps."""

from __future__ import annotations

import os
import zlib
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import h5py
import msgspec
import numpy as np

from labelkit.errors import first_line
from labelkit.label_maps.layout import (
    LIBVER,
    Header,
    check_key,
    content_digest,
    encode_strings,
    is_foreign,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence
    from pathlib import Path

    from labelkit.hierarchy import ClassList

_COMPRESSION_LEVEL = 6
_MEMORY_LEVEL = 9


def write_file(  # noqa: PLR0913 -- each is a separate part of the file
    path: Path,
    header: Header,
    classes: ClassList,
    *,
    rows: Iterable[tuple[bytes, bytes, int]],
    count: int,
    unreadable: dict[str, str],
) -> None:
    """Write a whole file in one go; compressed records go in as they are.

    Args:
        path: a file that does not exist.
        header: what the file says of itself.
        classes: the class list.
        rows: (key, gzip-compressed record, CRC-32 of key and plain record), keys ascending.
        count: how many rows come.
        unreadable: images without a map, key -> reason.

    Raises:
        ValueError: another number of rows came.
        OSError: the disk is full or refuses; the error names the reason.
    """
    with _disk_errors():
        nbytes = header.record_layout(len(classes)).nbytes
        keys: list[bytes] = []
        checksums = np.zeros(count, "<u4")
        with h5py.File(path, "x", libver=LIBVER) as file:
            chunked = {"chunks": (1, nbytes), "compression": "gzip"} if count else {}
            records = file.create_dataset(
                "records", (count, nbytes), "u1", track_times=False, **chunked
            )
            for position, (key, record, checksum) in enumerate(rows):
                if position >= count:
                    raise ValueError(f"more than the {count} rows that were announced")
                records.id.write_direct_chunk((position, 0), record)
                checksums[position] = checksum
                keys.append(key)
            if len(keys) != count:
                raise ValueError(f"{len(keys)} rows instead of the {count} that were announced")
            _write_column(file, "crc32", checksums)
            _write_column(file, "keys", encode_strings(keys))
            _write_column(file, "classes", encode_strings([text.encode() for text in classes]))
            pairs = sorted((check_key(key), text.encode()) for key, text in unreadable.items())
            digest = content_digest(keys, checksums.tobytes(), pairs)
            encoded = msgspec.json.encode(msgspec.structs.replace(header, content=digest))
            file.attrs["header"] = np.bytes_(encoded)
            file.attrs["header_crc32"] = np.uint32(zlib.crc32(encoded))
            _write_column(file, "unreadable_keys", encode_strings([key for key, _ in pairs]))
            _write_column(file, "unreadable_reasons", encode_strings([text for _, text in pairs]))


@contextmanager
def _disk_errors() -> Generator[None]:
    """Turn what HDF5 raises over a disk that is full or fails into an OSError of one line."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # HDF5 that cannot flush raises once more from its close, as a RuntimeError of many lines.
        if is_foreign(error):
            raise
        first = error.__context__ if isinstance(error.__context__, OSError) else error
        number = getattr(first, "errno", None)
        reason = os.strerror(number) if number else first_line(first)
        raise OSError(reason) from error


def compress(record: bytes, breaks: Sequence[int]) -> bytes:
    """A record as HDF5's gzip filter stores it: one zlib stream.

    Args:
        record: the plain bytes.
        breaks: where bytes of another kind begin; each part gets a Huffman code of its own.
    """
    stream = zlib.compressobj(_COMPRESSION_LEVEL, memLevel=_MEMORY_LEVEL)
    ends = [0, *breaks, len(record)]
    parts: list[bytes] = []
    for start, end in pairwise(ends):
        parts.append(stream.compress(record[start:end]))
        parts.append(stream.flush(zlib.Z_FINISH if end == len(record) else zlib.Z_BLOCK))
    return b"".join(parts)


def _write_column(file: h5py.File, name: str, column: np.ndarray) -> None:
    compression = {"compression": "gzip"} if len(column) else {}
    file.create_dataset(name, data=column, track_times=False, **compression)
