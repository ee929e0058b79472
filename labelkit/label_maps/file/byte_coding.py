"""Numbers and class indices as bytes that compress well, and back.

Legend: N images, K entries per cell, L planes, H W grid, V values, D classes of a palette.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from labelkit.label_maps.label_map import MapForm

# No real logit comes near this; beyond it, a step times 255 would overflow float32.
LARGEST = 2.0**100
STEPS = 255
LARGEST_FACTOR = 31
LARGEST_PALETTE = 256


def quantise(values: NDArray[np.floating]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Values (N, V) as steps of 1/255 of each row's range.

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
    """The float32 numbers at the start of records (N, R): (N, count).

    Raises:
        ValueError: a number is not finite, or exceeds 2 ** 100.
    """
    numbers = records[:, : 4 * count].copy().view("<f4")
    if not (np.abs(numbers) <= LARGEST).all():
        (wrong, *_) = numbers[~(np.abs(numbers) <= LARGEST)]
        raise ValueError(f"{wrong:.3g} among the numbers at the start of a record")
    return numbers


def read_steps(
    numbers: NDArray[np.float32], place: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The width of a step and the value of step 0 in each record, (N,) each.

    Args:
        numbers: from ``read_floats`` (N, count).
        place: the position of the lowest value among them; the highest follows it.

    Raises:
        ValueError: the lowest value exceeds the highest.
    """
    low, high = numbers[:, place], numbers[:, place + 1]
    if not (low <= high).all():
        raise ValueError(f"a range from {low[low > high][0]} to {high[low > high][0]}")
    return ((high.astype(np.float64) - low) / STEPS).astype(np.float32), low


def whole_factors(values: NDArray[np.floating]) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Values (N, ...) as integers from -31 to 31, and the value of 1 in each image (N,)."""
    axes = tuple(range(1, values.ndim))
    largest = np.abs(values).max(axis=axes, initial=0, keepdims=True)
    unit = largest.astype(np.float64) / LARGEST_FACTOR
    numbers = values / np.where(unit > 0, unit, 1)
    return np.rint(numbers).astype(np.int8), unit.ravel()


def flatten_neighbours(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Planes (..., H, W) as differences from the row above, then from the column on the left.

    All modulo 256; zeros are assumed above the first row and left of the first column.
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
    # Five times as fast: one row or column of all images at a time.
    cells = np.ascontiguousarray(planes.transpose(2, 3, 0, 1))
    for row in range(1, len(cells)):
        cells[row] += cells[row - 1]
    for column in range(1, cells.shape[1]):
        cells[:, column] += cells[:, column - 1]
    planes[:] = cells.transpose(2, 3, 0, 1)
    return planes


def byte_planes(values: NDArray[np.generic], dtype: str) -> NDArray[np.uint8]:
    """Values (N, V) of a little-endian type as bytes: the lowest byte of all V, then the next."""
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


class ClassCodec:
    """The class indices of maps of one form as bytes, and back.

    Args:
        form: the form of the maps.
        num_classes: length of the class list; an index takes 2 bytes up to 65,536 classes, else 4.

    Attributes:
        width: bytes of an index.
        nbytes: bytes of the entries' classes in a record.
    """

    def __init__(self, form: MapForm, num_classes: int) -> None:
        self._form = form
        self._num_classes = num_classes
        self._dtype = "<u2" if num_classes <= 1 << 16 else "<u4"
        # Sums of differences must not overflow.
        self._sum = np.uint32 if num_classes <= 1 << 16 else np.uint64
        self.width = np.dtype(self._dtype).itemsize
        self._entries = form.top_k * form.grid[0] * form.grid[1]
        self.nbytes = self._entries_bytes()

    def encode_entries(self, area: NDArray[np.uint8], index: NDArray[np.integer]) -> None:
        """Write the classes of N images into their part of the records (N, nbytes).

        Args:
            area: zeros.
            index: (N, K, H, W), or ascending (N, K) if all cells store the same classes.
        """
        flat = index.reshape(len(index), math.prod(index.shape[1:]))
        if self._form.selection == "image":
            area[:] = self.encode_ascending(flat)
            return
        for record, classes in zip(area, flat, strict=True):
            self._write_palette(record, classes)

    def decode_cells(self, records: NDArray[np.uint8], start: int) -> NDArray[np.unsignedinteger]:
        """The class of every entry (N, K*H*W) of records (N, R) with the selection ``cell``.

        Raises:
            ValueError: an invalid palette, or a class outside the list.
        """
        classes = np.empty((len(records), self._entries), self._dtype)
        for row in range(len(records)):
            classes[row] = self._read_palette(records[row : row + 1], start)
        return classes

    def _read_palette(self, record: NDArray[np.uint8], start: int) -> NDArray[np.unsignedinteger]:
        """The classes of the entries (K*H*W,) of one record (1, R)."""
        size = int(record[0, start : start + 4].copy().view("<u4")[0])
        if size > LARGEST_PALETTE:
            raise ValueError(f"a palette of {size} classes, expected at most {LARGEST_PALETTE}")
        start += 4
        if not size:
            return self._known(from_byte_planes(record, start, self._entries, self._dtype))[0]
        places = record[0, start : start + self._entries]
        (palette,) = self.decode_ascending(record, start + self._entries, size)
        try:
            return palette.take(places)
        except IndexError as error:
            raise ValueError(f"an index outside the palette of {size} classes") from error

    def encode_ascending(self, classes: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Ascending classes (N, V) as the first, then each one's difference from the previous."""
        return byte_planes(np.diff(classes, axis=1, prepend=0), self._dtype)

    def decode_ascending(
        self, records: NDArray[np.uint8], start: int, count: int
    ) -> NDArray[np.unsignedinteger]:
        """Undo ``encode_ascending`` for records (N, R): (N, count).

        Raises:
            ValueError: a class outside the list, or classes that are not in ascending order.
        """
        gaps = from_byte_planes(records, start, count, self._dtype)
        classes = np.add.accumulate(gaps, axis=1, dtype=self._sum)
        if not (gaps[:, 1:] != 0).all() or (classes[:, -1] >= self._num_classes).any():
            raise ValueError(f"classes are not ascending or not in the list of {self._num_classes}")
        return classes.astype(self._dtype, copy=False)

    def _entries_bytes(self) -> int:
        if self._form.selection == "image":
            return self._form.top_k * self.width
        plain = self._entries * self.width
        return 4 + max(self._entries + LARGEST_PALETTE * self.width, plain)

    def _write_palette(self, area: NDArray[np.uint8], classes: NDArray[np.integer]) -> None:
        """Write the palette's size, indices into it, and the palette; without one if too large."""
        present = np.zeros(self._num_classes, bool)
        present[classes] = True
        palette = np.flatnonzero(present)
        start = 4
        if len(palette) > LARGEST_PALETTE:
            planes = byte_planes(classes[None], self._dtype)[0]
        else:
            area[:4] = np.array([len(palette)], "<u4").view(np.uint8)
            place = np.empty(self._num_classes, np.uint8)
            place[palette] = np.arange(len(palette))
            area[start : start + len(classes)] = place[classes]
            start += len(classes)
            planes = self.encode_ascending(palette[None])[0]
        area[start : start + len(planes)] = planes

    def _known(self, stored: NDArray[np.generic]) -> NDArray[np.unsignedinteger]:
        classes = cast("NDArray[np.unsignedinteger]", stored)
        if (classes >= self._num_classes).any():
            raise ValueError(f"class {classes.max()} in a list of {self._num_classes}")
        return classes
