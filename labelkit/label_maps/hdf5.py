"""The one place that lays out an HDF5 file of label maps."""

from __future__ import annotations

import os
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h5py
import msgspec
import numpy as np

from labelkit.label_maps.layout import (
    LARGEST_CLASSES,
    LIBVER,
    ROW,
    ContentDigest,
    Header,
    encode_strings,
    encode_unreadable,
)
from labelkit.label_maps.patient_file import PatientFile

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path

    from labelkit.hierarchy import ClassList

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Rows:
    """The rows of a file to be written.

    Attributes:
        stream: (key, record as it stands in the file, CRC-32 of key and plain record), the keys
            ascending.
        count: how many come.
        key_bytes: bytes of all their keys.
        record_bytes: bytes of all their records.
    """

    stream: Iterable[tuple[bytes, bytes, int]]
    count: int
    key_bytes: int
    record_bytes: int


def write_file(
    path: Path, header: Header, classes: ClassList, rows: Rows, unreadable: dict[str, str]
) -> None:
    """Write a whole file in one go, in memory that does not grow with the number of rows.

    Args:
        path: a file that does not exist.
        header: what the file says of itself; the digest of its content is filled in.
        classes: the class list.
        rows: the rows.
        unreadable: images without a map, key -> reason.

    Raises:
        ValueError: other rows came than were announced.
        OSError: the disk is full or refuses; the error names the reason.
    """
    with _new_file(path) as (file, output):
        names = encode_strings([text.encode() for text in classes])
        # A reader takes more than that only as it is stored.
        packed = {"compression": "gzip"} if names.nbytes <= LARGEST_CLASSES else {}
        file.create_dataset("classes", data=names, track_times=False, **packed)
        told = encode_unreadable(unreadable)
        file.create_dataset("unreadable", data=np.frombuffer(told, "u1"), track_times=False)
        digest = _write_rows(file, rows, output)
        header = msgspec.structs.replace(header, content=digest.hexdigest(told))
        encoded = msgspec.json.encode(header)
        file.attrs["header"] = np.bytes_(encoded)
        file.attrs["header_crc32"] = np.uint32(zlib.crc32(encoded))


def _write_rows(file: h5py.File, rows: Rows, output: PatientFile) -> ContentDigest:
    """Write the three columns of the rows, block by block."""
    table = _Column(file, "rows", rows.count, ROW)
    keys = _Column(file, "keys", rows.key_bytes, np.dtype("u1"))
    records = _Column(file, "records", rows.record_bytes, np.dtype("u1"))
    digest = ContentDigest()
    waiting: list[tuple[int, int, int]] = []
    some_keys, some_records = bytearray(), bytearray()

    def write() -> None:
        block = np.array(waiting, ROW)
        digest.update(bytes(some_keys), block)
        table.append(block)
        keys.append(np.frombuffer(some_keys, "u1"))
        records.append(np.frombuffer(some_records, "u1"))

    for key, record, checksum in rows.stream:
        some_keys += key
        some_records += record
        waiting.append((keys.end + len(some_keys), records.end + len(some_records), checksum))
        if len(some_records) + len(some_keys) + len(waiting) * ROW.itemsize >= _BLOCK:
            write()
            if output.error is not None:
                raise output.error
            waiting, some_keys, some_records = [], bytearray(), bytearray()
    write()
    for column in (table, keys, records):
        column.require_full()
    return digest


class _Column:
    """A dataset in one piece, written from its beginning to its end."""

    def __init__(self, file: h5py.File, name: str, size: int, dtype: np.dtype) -> None:
        self._dataset = file.create_dataset(name, (size,), dtype, track_times=False)
        self.end = 0

    def append(self, block: np.ndarray) -> None:
        start, self.end = self.end, self.end + len(block)
        if self.end > len(self._dataset):
            self.require_full()
        if len(block):
            self._dataset[start : self.end] = block

    def require_full(self) -> None:
        if self.end != len(self._dataset):
            raise ValueError(
                f"{self._dataset.name}: {self.end} items instead of the {len(self._dataset)} that "
                "were announced"
            )


@contextmanager
def _new_file(path: Path) -> Generator[tuple[h5py.File, PatientFile]]:
    """A new HDF5 file, and what it is written to; raises what the disk refused."""
    output = PatientFile(path)
    try:
        with h5py.File(output, "w", libver=LIBVER) as file:
            yield file, output
    finally:
        output.close()
        if output.error is not None:
            number = output.error.errno
            raise OSError(os.strerror(number) if number else str(output.error)) from output.error
