"""Open a label-map file with HDF5 and refuse anything that is not exactly one."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h5py
import msgspec
import numpy as np

from labelkit.errors import ClassListError, LabelMapError, first_line
from labelkit.file_kinds import BEGINNING, is_hdf5, known_kind
from labelkit.hierarchy import ClassList
from labelkit.label_maps.file.layout import (
    DATASETS,
    DIGEST_BYTES,
    DIGESTS,
    FORMAT,
    LARGEST_CLASSES,
    LARGEST_HEADER,
    LARGEST_PLAIN_CLASSES,
    LARGEST_UNREADABLE,
    ROW,
    VERSION,
    FormatVersion,
    Header,
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
    """A dataset that is contiguous in the file.

    Attributes:
        offset: its first byte.
        size: its length in bytes.
    """

    offset: int
    size: int


@dataclass(frozen=True)
class Parts:
    """What needs HDF5: everything but the rows themselves.

    Attributes:
        header: the header.
        classes: the class list.
        unreadable: the dataset of that name, undecoded.
        columns: the positions of keys, records and rows.
    """

    header: Header
    classes: ClassList
    unreadable: bytes
    columns: dict[str, Column]


@contextmanager
def damage_explained(path: Path) -> Generator[None]:
    """Turn what HDF5, numpy and Unicode raise for a damaged file into one line with a remedy."""
    try:
        yield
    except (LabelMapError, FileNotFoundError):
        raise
    except (KeyError, OSError, RuntimeError, ValueError, MemoryError, OverflowError) as error:
        if is_foreign(error) and not isinstance(error, RecursionError):
            raise
        reason = first_line(error).strip("'\"")
        raise LabelMapError(
            f"{path} is damaged ({reason}): copy it again, or delete it and make it again"
        ) from error


def read_digests(path: Path, rows: int) -> bytes:
    """The digests of the images' content, one after the other; empty if a file has none."""
    with h5py.File(path, "r", locking=False) as file:
        if DIGESTS not in file.attrs:
            return b""
        found = file.attrs[DIGESTS]
    if not isinstance(found, np.ndarray) or found.dtype != np.uint8:
        return b""
    return found.tobytes() if found.shape == (rows, DIGEST_BYTES) else b""


def open_parts(path: Path) -> Parts:
    """Read and cross-check a file's header and class list, and find its columns.

    Raises:
        FileNotFoundError: no such file.
        LabelMapError: not HDF5, incomplete, open for writing, of an unknown version, or with
            unexpected content.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise LabelMapError(f"{path}{_why_not_opened(path, error)}") from error
    try:
        with damage_explained(path), file:
            datasets = _find_datasets(file, path)
            header = _read_header(file, path)
            size = path.stat().st_size
            return Parts(
                header,
                _read_classes(datasets["classes"], header),
                bytes(datasets["unreadable"][()]),
                {name: _find_column(datasets[name], size) for name in _TYPES},
            )
    except BaseException:
        file.close()
        raise


def _why_not_opened(path: Path, error: OSError) -> str:
    """Why HDF5 does not open a file; a file that is in use must not be reported as damaged."""
    with path.open("rb") as file:
        beginning = file.read(BEGINNING)
    if not is_hdf5(beginning) and (kind := known_kind(beginning)):
        return f", which should hold label maps, {kind}"
    reason = str(error)
    if "already open for write" in reason:
        return (
            " is open for writing in another program: wait for it, or close it. If no program has "
            "it open, its writer was killed: copy the file again, or make it again"
        )
    if "locking flag" in reason:
        return " is already open in this program as an h5py.File: close that first"
    return f" is not a complete HDF5 file: {reason}"


def read_unreadable(encoded: bytes) -> dict[str, str]:
    """Images without a row, key -> reason.

    Raises:
        ValueError: not valid JSON of that kind, or a key is there twice.
    """
    unreadable = msgspec.json.decode(encoded, type=dict[str, str])
    _require_distinct_members(encoded)
    return unreadable


def decode_key(encoded: bytes, path: Path) -> str:
    """The key of a row as a string.

    Raises:
        LabelMapError: it is not valid UTF-8, or points outside the data set's folder.
    """
    try:
        key = encoded.decode()
    except UnicodeDecodeError as error:
        raise LabelMapError(f"{path}: key {encoded!r} is not valid UTF-8") from error
    check_key(key)
    return key


def _read_header(file: h5py.File, path: Path) -> Header:
    content = file.attrs.get("header")
    if not isinstance(content, np.bytes_) or len(content) > LARGEST_HEADER:
        raise LabelMapError(f"{path} is HDF5, but not a label-map file (no header)")
    try:
        found = msgspec.json.decode(content, type=FormatVersion)
        if (found.format, found.version) != (FORMAT, VERSION):
            raise LabelMapError(
                f"{path} is {found.format} version {found.version}; this labelkit reads {FORMAT} "
                f"version {VERSION}. Install the labelkit that wrote it, or make the file again"
            )
        checksum = file.attrs.get("header_crc32")
        if not isinstance(checksum, np.integer) or int(checksum) != zlib.crc32(content):
            raise ValueError("the header's checksum differs")
        header = msgspec.json.decode(content, type=Header)
    except msgspec.DecodeError as error:
        raise ValueError(f"header: {error}") from error
    _require_distinct_members(content)
    return header


def _require_distinct_members(encoded: bytes) -> None:
    """Raise if an object has two members of one name, of which each reader may take another.

    Raises:
        ValueError: the message names it.
    """

    def check(pairs: list[tuple[str, object]]) -> None:
        (name, count), *_ = Counter(name for name, _ in pairs).most_common(1) or [("", 1)]
        if count > 1:
            raise ValueError(f"duplicate member {name!r:.80} in a JSON object")

    json.loads(encoded, object_pairs_hook=check)


def _find_datasets(file: h5py.File, path: Path) -> dict[str, h5py.Dataset]:
    """The five datasets; refuses links, external or virtual storage, unknown names and types."""
    if "header" not in file.attrs:
        raise LabelMapError(f"{path} is HDF5, but not a label-map file (no header)")
    if sorted(file) != sorted(DATASETS):
        raise LabelMapError(f"{path} contains {sorted(file)}, expected {sorted(DATASETS)}")
    datasets: dict[str, h5py.Dataset] = {}
    for name in DATASETS:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise LabelMapError(f"{path}: {name} is a link, expected a dataset")
        dataset = file[name]
        if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
            raise LabelMapError(f"{path}: {name} is not stored in the file itself")
        text = dataset.dtype.kind == "S" and dataset.dtype.itemsize <= _STRING_LIMIT
        expected = text if name == "classes" else dataset.dtype == _TYPES.get(name, "u1")
        if not expected or dataset.ndim != 1:
            raise LabelMapError(
                f"{path}: {name} has an unexpected type: {dataset.dtype}, {dataset.ndim} dimensions"
            )
        _check_storage(dataset, name, path)
        datasets[name] = dataset
    return datasets


def _check_storage(dataset: h5py.Dataset, name: str, path: Path) -> None:
    """Refuse filters, except gzip for the class list, and more content than is stored."""
    stored = dataset.id.get_storage_size()
    if name != "classes":
        if dataset.chunks is not None or stored != dataset.nbytes:
            raise LabelMapError(f"{path}: {name} is not contiguous and uncompressed")
        if name == "unreadable" and stored > LARGEST_UNREADABLE:
            raise LabelMapError(f"{path}: {name} declares {stored:,} bytes, more than allowed")
        return
    if dataset.compression not in {None, "gzip"} or dataset.shuffle or dataset.scaleoffset:
        raise LabelMapError(f"{path}: {name} uses filters other than gzip")
    if dataset.shape[0] and not stored:
        raise LabelMapError(f"{path}: {name} has no content")
    most = min(max(stored * _EXPANSION, _SMALL), LARGEST_CLASSES)
    if dataset.compression is None:
        most = LARGEST_PLAIN_CLASSES
    if dataset.nbytes > most:
        raise LabelMapError(f"{path}: {name} declares {dataset.nbytes:,} bytes, more than allowed")


def _find_column(dataset: h5py.Dataset, file_size: int) -> Column:
    if not dataset.nbytes:
        return Column(0, 0)
    offset = dataset.id.get_offset()
    if offset is None or offset + dataset.nbytes > file_size:
        raise ValueError(f"{dataset.name} extends beyond the end of the file")
    return Column(offset, dataset.nbytes)


def _read_classes(column: h5py.Dataset, header: Header) -> ClassList:
    try:
        ids = tuple(class_id.decode() for class_id in column[()])
        classes = ClassList(ids, header.classes_name)
    except ClassListError as error:
        raise ValueError(f"class list: {error}") from error
    if classes.digest != header.classes_digest:
        raise ValueError(
            f"the class list has digest {classes.digest[:6]}, the header declares "
            f"{header.classes_digest[:6]}"
        )
    return classes
