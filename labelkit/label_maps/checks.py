"""Open a label-map file and refuse whatever is not exactly one."""

from __future__ import annotations

import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

import h5py
import msgspec
import numpy as np

from labelkit.errors import ClassListError, LabelMapError, first_line
from labelkit.hierarchy import ClassList
from labelkit.label_maps.layout import (
    DATASETS,
    FORMAT,
    VERSION,
    Header,
    Kind,
    content_digest,
    is_foreign,
)

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_HEADER_LIMIT = 1 << 20
# How far a column may expand; a hostile one would fill the memory. Rows are read one by one, and
# gzip cannot expand further than 1,032 times.
_EXPANSION = {True: 1100, False: 256}
_SMALL = 1 << 20
_STRING_LIMIT = 1 << 13


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


def open_datasets(path: Path) -> tuple[h5py.File, dict[str, h5py.Dataset]]:
    """Open a file for reading and return its datasets by name.

    Raises:
        FileNotFoundError: no such file.
        LabelMapError: not HDF5, torn, or with content that is not ours.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise LabelMapError(f"{path} is not a whole HDF5 file: {error}") from error
    try:
        with damage_explained(path):
            return file, _plain_datasets(file, path)
    except BaseException:
        file.close()
        raise


def read_identity(datasets: dict[str, h5py.Dataset], path: Path) -> tuple[Header, ClassList]:
    """The header and the class list, checked against each other and against the rows' shapes.

    Raises:
        LabelMapError: a version that is not known here.
        ValueError: parts that contradict each other.
    """
    header = _read_header(datasets["keys"].file, path)
    classes = _read_classes(datasets["classes"], header)
    nbytes = header.record_layout(len(classes)).nbytes
    rows = datasets["keys"].shape[0]
    records = datasets["records"]
    if records.shape != (rows, nbytes) or datasets["crc32"].shape != (rows,):
        raise ValueError(f"records of shape {records.shape}, expected {(rows, nbytes)}")
    if rows and (records.chunks != (1, nbytes) or records.compression != "gzip"):
        raise ValueError("records are not one gzip chunk a row")
    if rows and records.id.get_num_chunks() != rows:
        raise ValueError("rows without a record")
    return header, classes


def read_keys(column: h5py.Dataset) -> np.ndarray[tuple[int], np.dtype[np.bytes_]]:
    """The keys of all rows.

    Raises:
        ValueError: they do not ascend, so that a look-up could miss one.
    """
    keys = column[()]
    if (keys[1:] <= keys[:-1]).any():
        raise ValueError("its keys are not in ascending order")
    return keys


def read_unreadable(datasets: dict[str, h5py.Dataset]) -> dict[bytes, bytes]:
    """Images without a row, key -> reason.

    Raises:
        ValueError: the keys do not ascend, or there is another number of reasons.
    """
    keys = read_keys(datasets["unreadable_keys"])
    reasons = datasets["unreadable_reasons"][()]
    return dict(zip(keys.tolist(), reasons.tolist(), strict=True))


def check_content(
    header: Header, keys: np.ndarray, crc32: np.ndarray, unreadable: dict[bytes, bytes]
) -> None:
    """Raise unless the columns are those that the header was written with.

    Raises:
        ValueError: they are not.
    """
    if (
        content_digest(keys.tolist(), crc32.astype("<u4").tobytes(), unreadable.items())
        != header.content
    ):
        raise ValueError("keys or checksums are not those that the header sums up")


def _read_header(file: h5py.File, path: Path) -> Header:
    raw = file.attrs.get("header")
    if not isinstance(raw, np.bytes_) or len(raw) > _HEADER_LIMIT:
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
    """The six datasets; refuses links and external or virtual storage, unknown names and types."""
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
        kind, size = dataset.dtype.kind, dataset.dtype.itemsize
        numeric = {"records": ("u", 1), "crc32": ("u", 4)}
        if (kind, size) != numeric.get(name, ("S", size)) or size > _STRING_LIMIT:
            raise LabelMapError(f"{path}: {name} has type {dataset.dtype}: refused")
        if dataset.ndim != (2 if name == "records" else 1):
            raise LabelMapError(f"{path}: {name} has {dataset.ndim} dimensions: refused")
        _check_storage(dataset, name, path)
        datasets[name] = dataset
    return datasets


def _check_storage(dataset: h5py.Dataset, name: str, path: Path) -> None:
    """Refuse filters other than gzip, and more content than what is stored can expand to."""
    if dataset.compression not in {None, "gzip"} or dataset.shuffle or dataset.scaleoffset:
        raise LabelMapError(f"{path}: {name} uses filters other than gzip: refused")
    stored = dataset.id.get_storage_size()
    if dataset.shape[0] and not stored:
        raise LabelMapError(f"{path}: {name} has no content: refused")
    if dataset.nbytes > max(stored * _EXPANSION[name == "records"], _SMALL):
        raise LabelMapError(f"{path}: {name} declares {dataset.nbytes:,} bytes: refused")


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
