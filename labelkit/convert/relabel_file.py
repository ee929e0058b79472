"""One label map as ReLabel publishes it: a ``.pt`` file of one tensor, read with care and written.

The tensor is float (2, K, H, W): scores, then class indices as floats. A class that a cell does not
store counts as logit 0. Whether H or W runs down the image is not in the file: ``Axes`` says it.

Source: Yun et al. 2021 (arXiv 2101.05022) and the loader published with it.

Legend: K entries per cell, H W grid.
"""

from __future__ import annotations

import io
import pickle
import stat
import warnings
import zipfile
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from labelkit.errors import LabelMapError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Axes: TypeAlias = Literal["rows-first", "columns-first"]
"""Which of a tensor's last two axes runs down the image: the first of them, or the second."""

LARGEST = 1 << 24  # bytes; a published file has about ten thousand
_EXACT = {"float16": 1 << 11, "bfloat16": 1 << 8}
_FLOATS = ("float16", "bfloat16", "float32", "float64")

Entries: TypeAlias = "tuple[NDArray[np.uint32], NDArray[np.float32]]"


def read_relabel_map(path: Path, axes: Axes, num_classes: int) -> Entries:
    """Read a published label map; nothing in the file is executed.

    Args:
        path: the ``.pt`` file.
        axes: which of the tensor's axes runs down the image.
        num_classes: length of the class list.

    Returns:
        Class indices and logits (K, H, W), strongest first in each cell, row 0 at the top.

    Raises:
        LabelMapError: the file is gone, empty, torn, or no such map; the message does not name it.
        OSError: the disk or a permission fails.
    """
    planes, exact = _load(_content(path))
    score, index = planes[0], planes[1]
    _check(score, index, exact, num_classes)
    if axes == "columns-first":
        score, index = score.swapaxes(1, 2), index.swapaxes(1, 2)
    if (score[1:] > score[:-1]).any():
        order = np.argsort(-score, axis=0, kind="stable")
        score, index = (np.take_along_axis(plane, order, axis=0) for plane in (score, index))
    return index.astype(np.uint32, order="C"), score.astype(np.float32, order="C")


def relabel_file(index: NDArray[np.integer], score: NDArray[np.floating], axes: Axes) -> bytes:
    """The content of a published label map's file; the same map gives the same bytes.

    Args:
        index: class indices (K, H, W), row 0 at the top.
        score: their logits, of the same shape.
        axes: which of the tensor's axes is to run down the image.
    """
    import torch

    planes = np.stack([score.astype(np.float32, copy=False), index.astype(np.float32)])
    if axes == "columns-first":
        planes = planes.swapaxes(2, 3)
    buffer = io.BytesIO()
    torch.save(torch.from_numpy(np.ascontiguousarray(planes)), buffer)
    return buffer.getvalue()


def _content(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would never end
            raise LabelMapError("it is no plain file")
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    except FileNotFoundError as error:
        raise LabelMapError("it is gone, or a link to nothing") from error


def _load(content: bytes) -> tuple[NDArray[np.floating], int]:
    """The tensor of a file, and up to which whole number its type is exact."""
    import torch

    if not content:
        raise LabelMapError("it is empty (0 bytes)")
    try:
        _check_content(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols that torch does not write
            loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return _array(loaded)
    except LabelMapError:
        raise
    except Exception as error:
        # Torn zips and hostile pickles raise a dozen types, whose texts are torch's own: a bare
        # number, or the advice to load such a file without care.
        raise LabelMapError(_unloadable(content, error)) from error


def _check_content(content: bytes) -> None:
    """Raise unless a file is small enough once unpacked, and a zip's own checksums are right.

    torch looks at neither.
    """
    size = len(content)
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = max(size, sum(entry.file_size for entry in archive.infolist()))
            if size <= LARGEST and archive.testzip() is not None:
                raise LabelMapError("it is damaged: a checksum is wrong")
    if size > LARGEST:
        raise LabelMapError(f"it holds more than {LARGEST:,} bytes, which no label map needs")


def _unloadable(content: bytes, error: Exception) -> str:
    if not content.startswith((b"PK", b"\x80")):
        return "it is no torch file"
    if isinstance(error, pickle.UnpicklingError):
        return "it is torn, or holds what could run code and no plain tensor: refused"
    return "it is torn"


def _array(loaded: object) -> tuple[NDArray[np.floating], int]:
    import torch

    expected = "expected one float tensor (2, k, rows, columns)"
    if not isinstance(loaded, torch.Tensor):
        raise LabelMapError(f"it holds a {type(loaded).__name__}, {expected}")
    name = str(loaded.dtype).removeprefix("torch.")
    shape = tuple(loaded.shape)
    if name not in _FLOATS or len(shape) != 4 or shape[0] != 2 or not loaded.numel():
        raise LabelMapError(f"it holds {name} numbers of shape {list(shape)}, {expected}")
    if loaded.numel() * 4 > LARGEST:
        raise LabelMapError(f"its shape {list(shape)} is larger than any label map's")
    plain = loaded.detach()
    if name == "bfloat16":
        plain = plain.float()
    return plain.numpy(), _EXACT.get(name, 1 << 24)


def _check(
    score: NDArray[np.floating], index: NDArray[np.floating], exact: int, num_classes: int
) -> None:
    """Raise unless scores are finite, and classes whole, of the list, exact and distinct."""
    if not (np.abs(score) <= np.finfo(np.float32).max).all():
        raise LabelMapError("a score is not a finite number")
    if not (index == np.floor(index)).all():
        raise LabelMapError("a class index is not a whole number: are its two planes exchanged?")
    low, high = float(index.min()), float(index.max())
    if low < 0 or high >= num_classes:
        raise LabelMapError(
            f"its class indices reach from {low:g} to {high:g}, the list has {num_classes:,} "
            "classes: is it the right list?"
        )
    if high >= exact:
        raise LabelMapError(
            f"its class index {high:g} may have been another one: its type holds whole numbers up "
            f"to {exact:,} only, and rounds larger ones. Make the file anew in float32"
        )
    ordered = np.sort(index, axis=0)
    if (ordered[1:] == ordered[:-1]).any():
        raise LabelMapError("a cell stores a class twice")
