"""Find rows and keys in an open file, with a small sample of the keys in memory.

Legend: N rows.
"""

from __future__ import annotations

import os
import stat
import struct
import weakref
from bisect import bisect_left, bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from labelkit.errors import LabelMapError
from labelkit.image_folders import MAX_KEY_BYTES
from labelkit.label_maps.file.layout import NO_DIGEST, ROW, ContentDigest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from labelkit.label_maps.file.validation import Column

_BLOCK = 4096
_SAMPLES = 1 << 16
_PAIR = struct.Struct("<QQIQQI")
_FIRST = struct.Struct("<QQI")


class Descriptor:
    """The number of an open file. It is closed when the last reader lets go of it.

    A thread that reads holds it, so that another one that calls ``OpenFile.close`` neither ends the
    read nor lets the system give the number to another file meanwhile.

    Args:
        number: the file descriptor.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        weakref.finalize(self, os.close, number)

    def status(self) -> os.stat_result:
        """The file's size, time and identity."""
        return os.fstat(self.number)

    def read(self, size: int, offset: int) -> bytes:
        """At most ``size`` bytes, without a shared position."""
        return os.pread(self.number, size, offset)


class OpenFile:
    """A file that stays open for reading, and is never mistaken for another one at its path.

    Any thread can read it at any offset. It is reopened on demand after ``close``.

    Args:
        path: a regular file.

    Attributes:
        has_expected_content: whether an open file still holds what was read at first. It is asked
            if nothing but the file's time has changed, as after ``touch``; None refuses any change.

    Raises:
        FileNotFoundError: no such file.
        LabelMapError: not a regular file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.has_expected_content: Callable[[Descriptor], bool] | None = None
        self._descriptor: Descriptor | None = None
        self._descriptor = self._open(None)
        self._opened = self._signature = _signature(self._descriptor.status())

    @property
    def descriptor(self) -> Descriptor:
        """The file descriptor.

        Raises:
            LabelMapError: the file was closed, and its path leads to another file now.
        """
        descriptor = self._descriptor
        if descriptor is None:
            # Other threads see the descriptor only after it is known to be right.
            descriptor = self._descriptor = self._open(self._signature)
        return descriptor

    @property
    def unchanged(self) -> Descriptor:
        """The file descriptor, after a check that nobody has changed the file.

        Raises:
            LabelMapError: somebody has.
        """
        descriptor = self.descriptor
        self._require_same(descriptor, self._signature)
        return descriptor

    @property
    def time_has_changed(self) -> bool:
        """Whether somebody has written to the file since it was opened, or set its time."""
        return _signature(self.descriptor.status()) != self._opened

    def is_at_its_path(self) -> bool:
        """Whether the path still leads to this very file, whatever its time."""
        return _but_time(_signature(self._path.stat())) == _but_time(self._signature)

    def close(self) -> None:
        """Close the file in this process, once the reads of other threads have finished."""
        self._descriptor = None

    def _open(self, expected: tuple[int, ...] | None) -> Descriptor:
        try:
            # Without O_NONBLOCK, opening a named pipe would block.
            number = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise FileNotFoundError(f"no such file: {self._path}") from None
        descriptor = Descriptor(number)
        if not stat.S_ISREG(descriptor.status().st_mode):
            raise LabelMapError(f"{self._path} is not a regular file")
        if expected is not None:
            self._require_same(descriptor, expected)
        return descriptor

    def _require_same(self, descriptor: Descriptor, expected: tuple[int, ...]) -> None:
        """Raise unless the file is the expected one, perhaps with another time."""
        found = _signature(descriptor.status())
        if found == expected:
            return
        if (
            self.has_expected_content is None
            or _but_time(found) != _but_time(expected)
            or not self.has_expected_content(descriptor)
            or _signature(descriptor.status()) != found
        ):
            raise file_changed(self._path)
        self._signature = found


def file_changed(path: Path) -> LabelMapError:
    """The error for a file that was replaced or written to while it was open."""
    return LabelMapError(f"{path} has changed since it was opened: open it again")


def _signature(status: os.stat_result) -> tuple[int, ...]:
    """What changes when a file is written to or replaced; the time of its content comes last."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _but_time(signature: tuple[int, ...]) -> tuple[int, ...]:
    return signature[:-1]


class StoredRow(NamedTuple):
    """A row as bytes: its key, its record as stored and plain, and its CRC-32.

    ``image`` is the digest of its image's content, where rows are copied.
    """

    key: bytes
    stored: bytes
    plain: bytes
    crc32: int
    image: bytes = NO_DIGEST


class RowTable:
    """The rows of an open file: their keys, and the positions of their records.

    Args:
        columns: the positions of keys, records and rows.

    Attributes:
        count: rows, N.
    """

    def __init__(self, columns: dict[str, Column]) -> None:
        self._rows, self._keys = columns["rows"], columns["keys"]
        self._records = columns["records"]
        self.count = self._rows.size // ROW.itemsize
        self._stride = max(16, -(-self.count // _SAMPLES))
        self._samples: list[bytes] = []

    @property
    def key_bytes(self) -> int:
        """Bytes of all keys."""
        return self._keys.size

    @property
    def record_bytes(self) -> int:
        """Bytes of all records, as stored."""
        return self._records.size

    def check(self, descriptor: Descriptor, unreadable: bytes) -> str:
        """Read all keys once; a sample of them stays in memory.

        Returns:
            The digest of the file's content.

        Raises:
            ValueError: the keys do not ascend, or the rows do not fill their columns.
        """
        digest = ContentDigest()
        samples: list[bytes] = []
        last, key_end, record_end = b"", 0, 0
        for start, rows, blob in self._blocks(descriptor, key_end):
            _require_ascending(rows["record_end"], record_end, "records")
            keys = _split(blob, rows["key_end"], key_end)
            if keys[0] <= last or not _ascend(blob, rows["key_end"], key_end):
                raise ValueError("its keys are not in ascending order")
            samples += keys[-start % self._stride :: self._stride]
            digest.update(blob, rows)
            last = keys[-1]
            key_end, record_end = int(rows["key_end"][-1]), int(rows["record_end"][-1])
        if (key_end, record_end) != (self._keys.size, self._records.size):
            raise ValueError("its rows do not fill the columns of keys and records")
        self._samples = samples
        return digest.hexdigest(unreadable)

    def position(self, descriptor: Descriptor, key: bytes) -> int | None:
        """The row number of a key; None if there is none."""
        place = bisect_right(self._samples, key) - 1
        if place < 0:
            return None
        start = place * self._stride
        stop = min(start + self._stride, self.count)
        begin, rows = self._read_rows(descriptor, start, stop)
        blob = self._read_keys(descriptor, begin, rows)
        ends = (rows["key_end"] - np.uint64(begin)).tolist()

        def key_at(offset: int) -> bytes:
            return blob[ends[offset - 1] if offset else 0 : ends[offset]]

        offset = bisect_left(range(len(ends)), key, key=key_at)
        return start + offset if offset < len(ends) and key_at(offset) == key else None

    def keys(self, descriptor: Descriptor, start: int, stop: int) -> list[bytes]:
        """The keys of rows ``start`` to ``stop`` - 1."""
        begin, rows = self._read_rows(descriptor, start, stop)
        blob = self._read_keys(descriptor, begin, rows)
        return _split(blob, rows["key_end"], begin)

    def stream(self, descriptor: Descriptor) -> Iterator[bytes]:
        """The keys of all rows, read block by block."""
        for start in range(0, self.count, _BLOCK):
            yield from self.keys(descriptor, start, min(start + _BLOCK, self.count))

    def entries(self, descriptor: Descriptor) -> Iterator[tuple[bytes, int, int]]:
        """Each row's key, the size of its stored record, and its CRC-32."""
        key_end = record_end = 0
        for _, rows, blob in self._blocks(descriptor, 0):
            keys = _split(blob, rows["key_end"], key_end)
            ends = rows["record_end"].astype(np.int64)
            sizes = np.diff(ends, prepend=record_end).tolist()
            yield from zip(keys, sizes, rows["crc32"].tolist(), strict=True)
            key_end, record_end = int(rows["key_end"][-1]), int(ends[-1])

    def row(self, descriptor: Descriptor, position: int, longest: int) -> tuple[bytes, bytes, int]:
        """A row's key, its stored record, and its CRC-32.

        Raises:
            ValueError: a record of more than ``longest`` bytes, or a row outside its columns.
        """
        if position:
            content = read_exactly(
                descriptor, _PAIR.size, self._rows.offset + (position - 1) * _FIRST.size
            )
            key_start, record_start, _, key_end, record_end, crc32 = _PAIR.unpack(content)
        else:
            content = read_exactly(descriptor, _FIRST.size, self._rows.offset)
            key_start = record_start = 0
            key_end, record_end, crc32 = _FIRST.unpack(content)
        if not (
            0 < key_end - key_start <= MAX_KEY_BYTES
            and key_end <= self._keys.size
            and 0 < record_end - record_start <= longest
            and record_end <= self._records.size
        ):
            raise ValueError("its record has an impossible position or size")
        key = read_exactly(descriptor, key_end - key_start, self._keys.offset + key_start)
        record = read_exactly(
            descriptor, record_end - record_start, self._records.offset + record_start
        )
        return key, record, crc32

    def _blocks(
        self, descriptor: Descriptor, key_end: int
    ) -> Iterator[tuple[int, NDArray[np.void], bytes]]:
        for start in range(0, self.count, _BLOCK):
            _, rows = self._read_rows(descriptor, start, min(start + _BLOCK, self.count))
            yield start, rows, self._read_keys(descriptor, key_end, rows)
            key_end = int(rows["key_end"][-1])

    def _read_rows(
        self, descriptor: Descriptor, start: int, stop: int
    ) -> tuple[int, NDArray[np.void]]:
        """Rows ``start`` to ``stop`` - 1, and the offset at which their keys begin."""
        first = max(start - 1, 0)
        content = read_exactly(
            descriptor, (stop - first) * ROW.itemsize, self._rows.offset + first * ROW.itemsize
        )
        rows = np.frombuffer(content, ROW)
        return (int(rows["key_end"][0]), rows[1:]) if start else (0, rows)

    def _read_keys(self, descriptor: Descriptor, begin: int, rows: NDArray[np.void]) -> bytes:
        ends = rows["key_end"]
        _require_ascending(ends, begin, "keys")
        end = int(ends[-1])
        if end > self._keys.size or end - begin > len(rows) * MAX_KEY_BYTES:
            raise ValueError("its keys have impossible positions or sizes")
        return read_exactly(descriptor, end - begin, self._keys.offset + begin)


def read_exactly(descriptor: Descriptor, size: int, offset: int) -> bytes:
    """Bytes of an open file, from any thread or process.

    Raises:
        ValueError: the file ends earlier.
        OSError: the disk fails.
    """
    content = descriptor.read(size, offset)
    if len(content) == size:
        return content
    parts = [content]  # a read of more than 2 GiB comes in pieces
    while parts[-1]:
        done = sum(map(len, parts))
        parts.append(descriptor.read(size - done, offset + done))
        if done + len(parts[-1]) == size:
            return b"".join(parts)
    raise ValueError("the file ends too early")


def _require_ascending(ends: NDArray[np.unsignedinteger], begin: int, name: str) -> None:
    if int(ends[0]) <= begin or (ends[1:] <= ends[:-1]).any():
        raise ValueError(f"the ends of its {name} do not ascend")


def _split(blob: bytes, ends: NDArray[np.unsignedinteger], begin: int) -> list[bytes]:
    cuts = [0, *(ends - np.uint64(begin)).tolist()]
    return [blob[start:end] for start, end in pairwise(cuts)]


def _ascend(blob: bytes, ends: NDArray[np.unsignedinteger], begin: int) -> bool:
    """Whether the keys are in ascending order and none contains NUL."""
    content = np.frombuffer(blob, np.uint8)
    lengths = np.diff(ends.astype(np.int64), prepend=begin)
    if not content.all() or lengths.max() > MAX_KEY_BYTES:
        return False
    width = int(lengths.max())
    padded = np.zeros((len(lengths), width), np.uint8)
    padded[np.arange(width) < lengths[:, None]] = content
    keys = padded.view(f"S{width}").ravel()
    return bool((keys[1:] > keys[:-1]).all())
