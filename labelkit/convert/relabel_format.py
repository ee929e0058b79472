"""ReLabel's folder format: one ``.pt`` file for each image, read with care and written.

A file holds one float tensor (2, K, H, W): scores, then class indices as floats. A class that a
cell does not store has logit 0. The file does not record whether H or W runs down the image:
``Axes`` does. A folder that labelkit wrote also has a ``labelkit.json`` with what the ``.pt`` files
cannot record.

Source: Yun et al. 2021 (arXiv 2101.05022) and the loader published with it.

Legend: K entries per cell, H W grid.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec
import numpy as np

from labelkit.errors import LabelMapError
from labelkit.files import decode_json, require_regular_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Axes: TypeAlias = Literal["rows-first", "columns-first"]
"""Which of a tensor's last two axes runs down the image: the first of them, or the second."""

ENDING = ".pt"
RECORD = "labelkit.json"
MAX_BYTES = 1 << 24  # a published file has about ten thousand
MAX_RECORD_BYTES = 1 << 28
_EXACT = {"float16": 1 << 11, "bfloat16": 1 << 8}
_FLOATS = ("float16", "bfloat16", "float32", "float64")

Entries: TypeAlias = "tuple[NDArray[np.uint32], NDArray[np.float32]]"


class FolderRecord(msgspec.Struct, frozen=True):
    """What ``labelkit.json`` records of a whole folder.

    Attributes:
        axes: which of a tensor's last two axes runs down the image.
        top_k: classes per cell.
        maps: digest of the label-map file that the folder was made from.
        classes_name: name of the class list.
        classes: the class ids.
    """

    axes: Axes
    top_k: int
    maps: str
    classes_name: str
    classes: list[str]


def folder_record(folder: Path) -> FolderRecord | None:
    """The record of a folder that labelkit wrote; None if there is none.

    Raises:
        LabelMapError: the record is damaged.
        OSError: the record cannot be read.
    """
    try:
        require_regular_file(folder / RECORD, LabelMapError)
        with (folder / RECORD).open("rb") as file:
            content = file.read(MAX_RECORD_BYTES)
    except FileNotFoundError:
        return None
    remedy = "export the folder again, or remove that file and pass --axes and --classes"
    return decode_json(content, FolderRecord, folder / RECORD, LabelMapError, remedy)


def map_path(key: str) -> str:
    """Where a ReLabel folder stores an image's map: the key, with ``.pt`` as its file extension.

    >>> map_path("n04355338/n04355338_22023.JPEG")
    'n04355338/n04355338_22023.pt'
    """
    return without_extension(key) + ENDING


def without_extension(key: str) -> str:
    """A path without its file extension; a name that is only an extension (``.jpg``) is kept."""
    stem, dot, extension = key.rpartition(".")
    return stem if dot and "/" not in extension and stem and not stem.endswith("/") else key


def read_relabel_map(path: Path, axes: Axes, num_classes: int) -> Entries:
    """Read a published label map; nothing in the file is executed.

    Args:
        path: the ``.pt`` file.
        axes: which of the tensor's axes runs down the image.
        num_classes: length of the class list.

    Returns:
        Class indices and logits (K, H, W), strongest first in each cell, row 0 at the top.

    Raises:
        LabelMapError: the file is missing, empty, damaged or not a label map; the message does not
            repeat the path.
        OSError: a disk or permission error.
    """
    planes, exact = _load(_read(path))
    score, index = planes[0], planes[1]
    _check(score, index, exact, num_classes)
    if axes == "columns-first":
        score, index = score.swapaxes(1, 2), index.swapaxes(1, 2)
    if (score[1:] > score[:-1]).any():
        order = np.argsort(-score, axis=0, kind="stable")
        score, index = (np.take_along_axis(plane, order, axis=0) for plane in (score, index))
    return index.astype(np.uint32, order="C"), score.astype(np.float32, order="C")


def relabel_bytes(index: NDArray[np.integer], score: NDArray[np.floating], axes: Axes) -> bytes:
    """The content of one label map's ``.pt`` file; the same map gives the same bytes.

    Args:
        index: class indices (K, H, W), row 0 at the top.
        score: their logits, of the same shape.
        axes: which of the tensor's axes runs down the image.
    """
    import torch

    planes = np.stack([score.astype(np.float32, copy=False), index.astype(np.float32)])
    if axes == "columns-first":
        planes = planes.swapaxes(2, 3)
    buffer = io.BytesIO()
    torch.save(torch.from_numpy(np.ascontiguousarray(planes)), buffer)
    return buffer.getvalue()


def _read(path: Path) -> bytes:
    try:
        if not path.is_file() and path.exists():  # opening a pipe could block forever
            raise LabelMapError("not a regular file")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise LabelMapError("missing, or a broken link") from error


def _load(content: bytes) -> tuple[NDArray[np.floating], int]:
    """The tensor of a file, and the number below which its type holds all whole numbers exactly."""
    from labelkit.torch_files import ForeignObjectError, TorchFileError, read_torch_file

    if not content:
        raise LabelMapError("empty (0 bytes)")
    try:
        return _array(read_torch_file(content, largest=MAX_BYTES))
    except ForeignObjectError as error:
        raise LabelMapError(
            f"holds {error.name}, expected a plain tensor: refused, since loading such a file "
            "could run code"
        ) from error
    except TorchFileError as error:
        raise LabelMapError(str(error)) from error


def _array(loaded: object) -> tuple[NDArray[np.floating], int]:
    import torch

    expected = "expected one float tensor (2, k, rows, columns)"
    if not isinstance(loaded, torch.Tensor):
        raise LabelMapError(f"holds a {type(loaded).__name__}, {expected}")
    name = str(loaded.dtype).removeprefix("torch.")
    shape = tuple(loaded.shape)
    if name not in _FLOATS or len(shape) != 4 or shape[0] != 2 or not loaded.numel():
        raise LabelMapError(f"holds {name} numbers of shape {list(shape)}, {expected}")
    if loaded.numel() * 4 > MAX_BYTES:
        raise LabelMapError(f"its shape {list(shape)} is too large for a label map")
    plain = loaded.detach()
    if name == "bfloat16":
        plain = plain.float()
    return plain.numpy(), _EXACT.get(name, 1 << 24)


def _check(
    score: NDArray[np.floating], index: NDArray[np.floating], exact: int, num_classes: int
) -> None:
    """Raise unless scores are finite and class indices whole, in the list, exact and distinct."""
    if not (np.abs(score) <= np.finfo(np.float32).max).all():
        raise LabelMapError("a score is not a finite number")
    if not (index == np.floor(index)).all():
        raise LabelMapError("a class index is not a whole number: are the two planes swapped?")
    low, high = float(index.min()), float(index.max())
    if low < 0 or high >= num_classes:
        raise LabelMapError(
            f"its class indices range from {low:g} to {high:g}, the list has {num_classes:,} "
            "classes: is it the right list?"
        )
    if high >= exact:
        raise LabelMapError(
            f"class index {high:g} may be wrong: the file's number type rounds whole numbers above "
            f"{exact:,}. Write the file again in float32"
        )
    ordered = np.sort(index, axis=0)
    if (ordered[1:] == ordered[:-1]).any():
        raise LabelMapError("a cell stores the same class twice")
