"""Open a label-map file and refuse whatever is not exactly one."""

from __future__ import annotations

import os
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h5py
import msgspec
import numpy as np

from labelkit.errors import ClassListError, LabelMapError, first_line
from labelkit.hierarchy import ClassList
from labelkit.label_maps.layout import (
    DATASETS,
    FORMAT,
    LARGEST_CLASSES,
    LARGEST_HEADER,
    LARGEST_PLAIN_CLASSES,
    LARGEST_UNREADABLE,
    ROW,
    VERSION,
    Header,
    Kind,
    check_key,
    is_foreign,
)

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

# How far the class list may expand; a hostile one would fill the memory.
_EXPANSION = 256
_SMALL = 1 << 20
_STRING_LIMIT = 1 << 13
_TYPES = {"keys": np.dtype("u1"), "records": np.dtype("u1"), "rows": ROW}


@dataclass(frozen=True)
class Column:
    """A dataset that lies in the file in one piece.

    Attributes:
        offset: where it begins, in bytes.
        size: bytes.
    """

    offset: int
    size: int


@dataclass(frozen=True)
class Parts:
    """What HDF5 is needed for: all but the rows themselves.

    Attributes:
        header: what the file says of itself.
        classes: the class list.
        unreadable: the dataset of that name, as it is.
        columns: where keys, records and rows lie.
    """

    header: Header
    classes: ClassList
    unreadable: bytes
    columns: dict[str, Column]


@contextmanager
def damage_explained(path: Path) -> Generator[None]:
    """Turn what HDF5, numpy and Unicode raise over a damaged file into one line with a way out."""
    try:
        yield
    except (LabelMapError, FileNotFoundError):
        raise
    except (KeyError, OSError, RuntimeError, ValueError, MemoryError, OverflowError) as error:
        if is_foreign(error) and not isinstance(error, RecursionError):
            raise
        reason = first_line(error).strip("'\"")
        raise LabelMapError(
            f"{path} is damaged ({reason}): copy it again, or remove it and make it anew"
        ) from error


def open_parts(path: Path) -> Parts:
    """Read a file's header and class list, checked against each other, and find its columns.

    Raises:
        FileNotFoundError: no such file.
        LabelMapError: not HDF5, torn, being written, of an unknown version, or with content that is
            not ours.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise LabelMapError(f"{path} {_unopened(error)}") from error
    try:
        with damage_explained(path), file:
            datasets = _plain_datasets(file, path)
            header = _read_header(file, path)
            size = path.stat().st_size
            return Parts(
                header,
                _read_classes(datasets["classes"], header),
                bytes(datasets["unreadable"][()]),
                {name: _find(datasets[name], size) for name in _TYPES},
            )
    except BaseException:
        file.close()
        raise


def _unopened(error: OSError) -> str:
    """Why HDF5 does not open a file: a good one that is in use must not be taken for a torn one."""
    reason = str(error)
    if "already open for write" in reason:
        return (
            "is open for writing in another program: wait for it, or close it. If none has it "
            "open, its writer was killed: copy it again, or make it anew"
        )
    if "locking flag" in reason:
        return "is open in this program already, as an h5py.File: close that first"
    return f"is not a whole HDF5 file: {reason}"


def read_unreadable(encoded: bytes) -> dict[str, str]:
    """Images without a row, key -> reason.

    Raises:
        ValueError: not such a list.
    """
    return msgspec.json.decode(encoded, type=dict[str, str])


def decode_key(encoded: bytes, path: Path) -> str:
    """The key of a row of a file, as text.

    Raises:
        LabelMapError: it is no text, or leaves the data set's folder.
    """
    try:
        key = encoded.decode()
    except UnicodeDecodeError as error:
        raise LabelMapError(f"{path} has the key {encoded!r}, which is no text") from error
    check_key(key)
    return key


def _read_header(file: h5py.File, path: Path) -> Header:
    raw = file.attrs.get("header")
    if not isinstance(raw, np.bytes_) or len(raw) > LARGEST_HEADER:
        raise LabelMapError(f"{path} is an HDF5 file, but not one of label maps (no header)")
    try:
        kind = msgspec.json.decode(raw, type=Kind)
        if (kind.format, kind.version) != (FORMAT, VERSION):
            raise LabelMapError(
                f"{path} is {kind.format} version {kind.version}; this labelkit reads {FORMAT} "
                f"version {VERSION}. Install the labelkit that wrote it, or make the maps again"
            )
        summed = file.attrs.get("header_crc32")
        if not isinstance(summed, np.integer) or int(summed) != zlib.crc32(raw):
            raise ValueError("the header's checksum differs")
        return msgspec.json.decode(raw, type=Header)
    except msgspec.DecodeError as error:
        raise ValueError(f"header: {error}") from error


def _plain_datasets(file: h5py.File, path: Path) -> dict[str, h5py.Dataset]:
    """The five datasets; refuses links and external or virtual storage, unknown names and types."""
    if "header" not in file.attrs:
        raise LabelMapError(f"{path} is an HDF5 file, but not one of label maps (no header)")
    if sorted(file) != sorted(DATASETS):
        raise LabelMapError(f"{path} holds {sorted(file)}, expected {sorted(DATASETS)}")
    datasets: dict[str, h5py.Dataset] = {}
    for name in DATASETS:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise LabelMapError(f"{path}: {name} is a link to elsewhere: refused")
        dataset = file[name]
        if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
            raise LabelMapError(f"{path}: {name} is not stored in the file itself: refused")
        text = dataset.dtype.kind == "S" and dataset.dtype.itemsize <= _STRING_LIMIT
        expected = text if name == "classes" else dataset.dtype == _TYPES.get(name, "u1")
        if not expected or dataset.ndim != 1:
            raise LabelMapError(
                f"{path}: {name} has type {dataset.dtype}, {dataset.ndim} dimensions: refused"
            )
        _check_storage(dataset, name, path)
        datasets[name] = dataset
    return datasets


def _check_storage(dataset: h5py.Dataset, name: str, path: Path) -> None:
    """Refuse filters, but gzip for the class list, and more content than is stored."""
    stored = dataset.id.get_storage_size()
    if name != "classes":
        if dataset.chunks is not None or stored != dataset.nbytes:
            raise LabelMapError(f"{path}: {name} is not stored in one piece, as it is: refused")
        if name == "unreadable" and stored > LARGEST_UNREADABLE:
            raise LabelMapError(f"{path}: {name} declares {stored:,} bytes: refused")
        return
    if dataset.compression not in {None, "gzip"} or dataset.shuffle or dataset.scaleoffset:
        raise LabelMapError(f"{path}: {name} uses filters other than gzip: refused")
    if dataset.shape[0] and not stored:
        raise LabelMapError(f"{path}: {name} has no content: refused")
    most = min(max(stored * _EXPANSION, _SMALL), LARGEST_CLASSES)
    if dataset.compression is None:
        most = LARGEST_PLAIN_CLASSES
    if dataset.nbytes > most:
        raise LabelMapError(f"{path}: {name} declares {dataset.nbytes:,} bytes: refused")


def _find(dataset: h5py.Dataset, file_size: int) -> Column:
    if not dataset.nbytes:
        return Column(0, 0)
    offset = dataset.id.get_offset()
    if offset is None or offset + dataset.nbytes > file_size:
        raise ValueError(f"{dataset.name} reaches beyond the end of the file")
    return Column(offset, dataset.nbytes)


def _read_classes(column: h5py.Dataset, header: Header) -> ClassList:
    try:
        ids = tuple(class_id.decode() for class_id in column[()])
        classes = ClassList(ids, header.classes_name)
    except ClassListError as error:
        raise ValueError(f"class list: {error}") from error
    if classes.digest != header.classes_digest:
        raise ValueError(
            f"the class list has digest {classes.digest[:6]}, the header says "
            f"{header.classes_digest[:6]}"
        )
    return classes


def read_exactly(descriptor: int, size: int, offset: int) -> bytes:
    """Bytes of an open file, from any thread or process.

    Raises:
        ValueError: the file ends before.
        OSError: the disk fails.
    """
    content = os.pread(descriptor, size, offset)
    if len(content) == size:
        return content
    parts = [content]  # a read of more than 2 GiB comes in pieces
    while parts[-1]:
        done = sum(map(len, parts))
        parts.append(os.pread(descriptor, size - done, offset + done))
        if done + len(parts[-1]) == size:
            return b"".join(parts)
    raise ValueError("the file ends too early")
