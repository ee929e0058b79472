"""Arrays of numbers as bytes that compress well, and back.

Legend: N images, L planes, H W grid, V values.
"""

from __future__ import annotations

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


def read_floats(records: NDArray[np.uint8], count: int) -> NDArray[np.float32]:
    """The float32 numbers that records (N, R) begin with: (N, count).

    Raises:
        ValueError: a number that is not finite, or beyond 2 ** 100.
    """
    numbers = records[:, : 4 * count].copy().view("<f4")
    if not (np.abs(numbers) <= LARGEST).all():
        (wrong, *_) = numbers[~(np.abs(numbers) <= LARGEST)]
        raise ValueError(f"{wrong:.3g} among the numbers that a record begins with")
    return numbers


def read_steps(
    numbers: NDArray[np.float32], place: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The width of one step in each record, and what step 0 is, (N,) each.

    Args:
        numbers: what ``read_floats`` found (N, count).
        place: of the lowest value among them; the highest follows it.

    Raises:
        ValueError: a range that does not ascend.
    """
    low, high = numbers[:, place], numbers[:, place + 1]
    if not (low <= high).all():
        raise ValueError(f"a range from {low[low > high][0]} to {high[low > high][0]}")
    return ((high.astype(np.float64) - low) / STEPS).astype(np.float32), low


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
    """Undo ``flatten_neighbours`` for planes (N, L, H, W), in place."""
    if len(planes) == 1:
        np.add.accumulate(planes, axis=-2, dtype=np.uint8, out=planes)
        return np.add.accumulate(planes, axis=-1, dtype=np.uint8, out=planes)
    # With all images side by side, a row or a column at a time is five times as fast.
    cells = np.ascontiguousarray(planes.transpose(2, 3, 0, 1))
    for row in range(1, len(cells)):
        cells[row] += cells[row - 1]
    for column in range(1, cells.shape[1]):
        cells[:, column] += cells[:, column - 1]
    planes[:] = cells.transpose(2, 3, 0, 1)
    return planes


def byte_planes(values: NDArray[np.generic], dtype: str) -> NDArray[np.uint8]:
    """Values (N, V) of a little-endian type as bytes: the lowest of all V, then the next, ..."""
    little = np.ascontiguousarray(values, dtype=dtype)
    by_value = little.view(np.uint8).reshape(*little.shape, little.itemsize)
    return by_value.transpose(0, 2, 1).reshape(len(little), little.shape[1] * little.itemsize)


def from_byte_planes(
    records: NDArray[np.uint8], start: int, count: int, dtype: str
) -> NDArray[np.generic]:
    """Undo ``byte_planes`` for records (N, R): (N, count)."""
    width = np.dtype(dtype).itemsize
    planes = records[:, start : start + count * width].reshape(len(records), width, count)
    return planes.transpose(0, 2, 1).copy().view(dtype)[:, :, 0]
