"""Open a label-map file and refuse whatever is not exactly one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import msgspec
import numpy as np

from labelkit.errors import ClassListError, LabelMapError
from labelkit.hierarchy import ClassList
from labelkit.label_maps.layout import DATASETS, FORMAT, VERSION, Header

if TYPE_CHECKING:
    from pathlib import Path

_HEADER_LIMIT = 1 << 20
_STRING_LIMIT = 1 << 13


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
        return file, _plain_datasets(file, path)
    except BaseException:
        file.close()
        raise


def read_identity(datasets: dict[str, h5py.Dataset], path: Path) -> tuple[Header, ClassList]:
    """The header and the class list, checked against each other and against the rows' shapes.

    Raises:
        LabelMapError: a version that is not known here, or parts that contradict each other.
    """
    header = _read_header(datasets["keys"].file, path)
    classes = _read_classes(datasets["classes"], header, path)
    try:
        nbytes = header.record_layout(len(classes)).nbytes
    except ValueError as error:
        raise LabelMapError(f"{path}: damaged header: {error}") from error
    rows = datasets["keys"].shape[0]
    records = datasets["records"]
    if records.shape != (rows, nbytes) or datasets["crc32"].shape != (rows,):
        raise LabelMapError(
            f"{path}: records of shape {records.shape}, expected {(rows, nbytes)}: damaged file"
        )
    if rows and (records.chunks != (1, nbytes) or records.compression != "gzip"):
        raise LabelMapError(f"{path}: records are not one gzip chunk a row: damaged file")
    return header, classes


def read_keys(column: h5py.Dataset, path: Path) -> np.ndarray[tuple[int], np.dtype[np.bytes_]]:
    """The keys of all rows.

    Raises:
        LabelMapError: they do not ascend, so that a look-up could miss one.
    """
    keys = column[()]
    if (keys[1:] <= keys[:-1]).any():
        raise LabelMapError(f"{path}: keys are not in ascending order: damaged file")
    return keys


def _read_header(file: h5py.File, path: Path) -> Header:
    raw = file.attrs.get("header")
    if not isinstance(raw, np.bytes_) or len(raw) > _HEADER_LIMIT:
        raise LabelMapError(f"{path} is an HDF5 file, but not one of label maps (no header)")
    try:
        header = msgspec.json.decode(raw, type=Header)
    except msgspec.DecodeError as error:
        raise LabelMapError(f"{path}: damaged header: {error}") from error
    if (header.format, header.version) != (FORMAT, VERSION):
        raise LabelMapError(
            f"{path} is {header.format} version {header.version}; this labelkit reads {FORMAT} "
            f"version {VERSION}. Install the labelkit that wrote it, or make the maps again"
        )
    return header


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
        datasets[name] = dataset
    return datasets


def _read_classes(column: h5py.Dataset, header: Header, path: Path) -> ClassList:
    try:
        ids = tuple(class_id.decode() for class_id in column[()])
        classes = ClassList(ids, header.classes_name)
    except (ClassListError, UnicodeDecodeError) as error:
        raise LabelMapError(f"{path}: damaged class list: {error}") from error
    if classes.digest != header.classes_digest:
        raise LabelMapError(
            f"{path}: the class list has digest {classes.digest[:6]}, the header says "
            f"{header.classes_digest[:6]}: damaged file"
        )
    return classes
