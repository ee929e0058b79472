"""Write one complete label-map file with HDF5, check it, and publish it atomically."""

from __future__ import annotations

import os
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h5py
import msgspec
import numpy as np

from labelkit.files import publish_file, replace_file
from labelkit.label_maps.file.layout import (
    DIGEST_BYTES,
    DIGESTS,
    LARGEST_CLASSES,
    LIBVER,
    ROW,
    ContentDigest,
    Header,
    encode_strings,
    encode_unreadable,
)
from labelkit.label_maps.file.reader import LabelMapFile

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path

    from labelkit.hierarchy import ClassList

_BLOCK = 1 << 20


@dataclass(frozen=True)
class RowStream:
    """The rows of a file to write.

    Attributes:
        rows: (key, stored record, CRC-32 of key and plain record, digest of the image's content),
            with ascending keys.
        count: the number of rows.
        key_bytes: bytes of all their keys.
        record_bytes: bytes of all their records.
    """

    rows: Iterable[tuple[bytes, bytes, int, bytes]]
    count: int
    key_bytes: int
    record_bytes: int


@dataclass(frozen=True)
class FileContent:
    """Everything that a label-map file holds.

    Attributes:
        header: the header; the digest of the content is filled in when it is written.
        classes: the class list.
        rows: the rows.
        unreadable: images without a label map, key -> reason.
    """

    header: Header
    classes: ClassList
    rows: RowStream
    unreadable: dict[str, str]


def require_available(output: Path, *, overwrite: bool = False) -> None:
    """Raise unless a file can be published under this name.

    Raises:
        FileExistsError: the name is taken and ``overwrite`` is false.
        FileNotFoundError: there is no such folder.
    """
    if not overwrite and os.path.lexists(output):
        raise FileExistsError(f"{output} exists: choose another name, or overwrite it")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {output.parent}")


def publish(
    output: Path, content: FileContent, *, scratch: Path | None = None, overwrite: bool = False
) -> bool:
    """Write a file next to its final name, read it back, and rename it once it is complete.

    After ``kill -9`` a hidden ``.<name>.<hexadecimal>.tmp`` may remain in the folder.

    Args:
        output: the final name.
        content: what to write.
        scratch: a folder on the same disk for the temporary file; the output's folder if None.
        overwrite: replace an existing file, which stays readable until the new one is complete.

    Returns:
        False if the name is taken; the existing file is unchanged.

    Raises:
        LabelMapError: what was read back is not what was written.
        ValueError: the rows are not those that were announced.
        OSError: the disk is full or refuses.
    """
    if overwrite:
        replace_file(output, lambda path: _write_checked(path, content), scratch)
        return True
    return publish_file(output, lambda path: _write_checked(path, content), scratch)


def _write_checked(path: Path, content: FileContent) -> None:
    write_file(path, content)
    with LabelMapFile.open(path) as written:
        written.check_rows()


def write_file(path: Path, content: FileContent) -> None:
    """Write a complete file in one pass, in memory that does not grow with the number of rows.

    Args:
        path: a file that does not exist.
        content: what to write.

    Raises:
        ValueError: the rows are not those that were announced.
        OSError: the disk is full or refuses; the error names the reason.
    """
    with _new_file(path) as (file, output):
        names = encode_strings([class_id.encode() for class_id in content.classes])
        # A reader accepts more than that only uncompressed.
        compression = {"compression": "gzip"} if names.nbytes <= LARGEST_CLASSES else {}
        file.create_dataset("classes", data=names, track_times=False, **compression)
        unreadable = encode_unreadable(content.unreadable)
        file.create_dataset("unreadable", data=np.frombuffer(unreadable, "u1"), track_times=False)
        digest = _write_rows(file, content.rows, output)
        header = msgspec.structs.replace(content.header, content=digest.hexdigest(unreadable))
        encoded = msgspec.json.encode(header)
        file.attrs["header"] = np.bytes_(encoded)
        file.attrs["header_crc32"] = np.uint32(zlib.crc32(encoded))


def _write_rows(file: h5py.File, stream: RowStream, output: _DeferringFile) -> ContentDigest:
    """Write the three columns of the rows, block by block."""
    table = _Column(file, "rows", stream.count, ROW)
    keys = _Column(file, "keys", stream.key_bytes, np.dtype("u1"))
    records = _Column(file, "records", stream.record_bytes, np.dtype("u1"))
    digest = ContentDigest()
    waiting: list[tuple[int, int, int]] = []
    some_keys, some_records, images = bytearray(), bytearray(), bytearray()

    def write() -> None:
        block = np.array(waiting, ROW)
        digest.update(bytes(some_keys), block)
        table.append(block)
        keys.append(np.frombuffer(some_keys, "u1"))
        records.append(np.frombuffer(some_records, "u1"))

    for key, record, checksum, image in stream.rows:
        images += image
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
    if any(images):
        file.attrs[DIGESTS] = np.frombuffer(images, "u1").reshape(-1, DIGEST_BYTES)
    return digest


class _Column:
    """A contiguous dataset that is written from beginning to end."""

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
                f"{self._dataset.name}: {self.end} items, expected {len(self._dataset)}"
            )


@contextmanager
def _new_file(path: Path) -> Generator[tuple[h5py.File, _DeferringFile]]:
    """A new HDF5 file, and the file object under it; raises the disk's first error at the end."""
    output = _DeferringFile(path)
    try:
        with h5py.File(output, "w", libver=LIBVER) as file:
            yield file, output
    finally:
        output.close()
        if output.error is not None:
            number = output.error.errno
            raise OSError(number, os.strerror(number) if number else str(output.error))


class _DeferringFile:
    """A file object for HDF5, which crashes the process if a write fails: errors are kept instead.

    Args:
        path: a file that does not exist.

    Attributes:
        error: the first error of the disk; nothing is written after it.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("x+b", buffering=0)
        self._position = 0
        self.error: OSError | None = None

    def write(self, content: memoryview) -> int:
        """Write at the position, in as many pieces as the disk takes."""
        done = 0
        while done < len(content) and self.error is None:
            try:
                done += os.pwrite(self._file.fileno(), content[done:], self._position + done)
            except OSError as error:
                self.error = error
        self._position += len(content)
        return len(content)

    def read(self, size: int) -> bytes:
        """Read at the position; zeros where nothing was written."""
        found = os.pread(self._file.fileno(), size, self._position)
        self._position += size
        return found.ljust(size, b"\0")

    def readinto(self, buffer: memoryview) -> int:
        """Read at the position into a buffer."""
        buffer[:] = self.read(len(buffer))
        return len(buffer)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position."""
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size()}
        self._position = starts[whence] + offset
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def truncate(self, size: int) -> int:
        """Set the file's size."""
        if self.error is None:
            try:
                os.ftruncate(self._file.fileno(), size)
            except OSError as error:
                self.error = error
        return size

    def flush(self) -> None:
        """Do nothing: no content is buffered."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _size(self) -> int:
        return os.fstat(self._file.fileno()).st_size
