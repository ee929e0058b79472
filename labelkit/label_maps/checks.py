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
from labelkit.label_maps.layout import DATASETS, FORMAT, VERSION, Header, Kind, is_foreign

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_HEADER_LIMIT = 1 << 20
_EXPANSION = 1100  # gzip cannot expand further: a file that declares more would fill the memory
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
        if is_foreign(error):
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
        if int(file.attrs.get("header_crc32", -1)) != zlib.crc32(raw):
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
        if dataset.compression not in {None, "gzip"} or dataset.shuffle or dataset.scaleoffset:
            raise LabelMapError(f"{path}: {name} uses filters other than gzip: refused")
        if dataset.nbytes > max(file.id.get_filesize() * _EXPANSION, _SMALL):
            raise LabelMapError(f"{path}: {name} declares {dataset.nbytes:,} bytes: refused")
        datasets[name] = dataset
    return datasets


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
