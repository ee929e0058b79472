"""Arrays of numbers as bytes that compress well, and back.

Legend: N images, L planes, H W grid, V values.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# No logit comes near; with larger ones a step times 255 would leave float32.
LARGEST = 2.0**100
STEPS = 255
LARGEST_FACTOR = 31


def quantise(values: NDArray[np.floating]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Values (N, V) as steps of 1/255 of each row's own range.

    Returns:
        The lowest and highest value of each row, as bytes of two float32 (N, 8), and the steps
        (N, V), uint8.
    """
    values = values.astype(np.float32, copy=False)
    extremes = np.stack([values.min(axis=1), values.max(axis=1)], axis=1).astype("<f4")
    low, high = extremes[:, :1].astype(np.float64), extremes[:, 1:].astype(np.float64)
    width = np.maximum(high - low, np.finfo(np.float32).tiny)
    steps = np.rint((values - low) * (STEPS / width)).astype(np.uint8)
    return extremes.view(np.uint8), steps


def read_range(record: bytes, start: int) -> tuple[np.float32, np.float32]:
    """The width of one step, and what step 0 is.

    Raises:
        ValueError: a range that does not ascend, or beyond 2 ** 100.
    """
    low, high = struct.unpack_from("<2f", record, start)
    if not -LARGEST <= low <= high <= LARGEST:
        raise ValueError(f"a range from {low} to {high}")
    return np.float32((high - low) / STEPS), np.float32(low)


def whole_factors(values: NDArray[np.floating]) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Values (N, ...) as whole numbers from -31 to 31, and what 1 is worth in each of N (N,)."""
    axes = tuple(range(1, values.ndim))
    largest = np.abs(values).max(axis=axes, initial=0, keepdims=True)
    unit = largest.astype(np.float64) / LARGEST_FACTOR
    numbers = values / np.where(unit > 0, unit, 1)
    return np.rint(numbers).astype(np.int8), unit.ravel()


def flatten_neighbours(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Planes (..., H, W) as differences to the cell above, then of these to the one on the left.

    All modulo 256; above the first row and left of the first column stand zeros.
    """
    planes = planes.copy()
    planes[..., 1:, :] -= planes[..., :-1, :].copy()
    planes[..., 1:] -= planes[..., :-1].copy()
    return planes


def restore_neighbours(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Undo ``flatten_neighbours``, in place."""
    np.add.accumulate(planes, axis=-2, dtype=np.uint8, out=planes)
    return np.add.accumulate(planes, axis=-1, dtype=np.uint8, out=planes)


def byte_planes(values: NDArray[np.generic], dtype: str) -> NDArray[np.uint8]:
    """Values (N, V) of a little-endian type as bytes: the lowest of all V, then the next, ..."""
    little = np.ascontiguousarray(values, dtype=dtype)
    by_value = little.view(np.uint8).reshape(*little.shape, little.itemsize)
    return by_value.transpose(0, 2, 1).reshape(len(little), little.shape[1] * little.itemsize)


def from_byte_planes(record: bytes, start: int, count: int, dtype: str) -> NDArray[np.generic]:
    """Undo ``byte_planes`` for one record: (count,)."""
    width = np.dtype(dtype).itemsize
    planes = np.frombuffer(record, np.uint8, count * width, start).reshape(width, count)
    return planes.T.copy().view(dtype)[:, 0]
