"""Label maps as fixed-length byte records, one an image.

A record holds, little-endian and side by side, so that bytes of one kind compress well:

    2 x float32       the image's lowest and highest score
    uint32            D, how many classes the image's palette has
    K x H x W uint8   the scores as steps of 1/255 between the lowest and the highest: plane 0 as
                      differences to the cell above, then of these to the cell on the left; plane k
                      as differences to plane k - 1
    K x H x W uint8   the place of each entry's class in the palette
    D classes         the palette, ascending: the first class, then each one's difference to the
                      one before; 2 or 4 bytes each, all low bytes first, then all next bytes

Differences are taken modulo their width. An image of more than 256 classes has no palette: D is 0,
and the classes themselves stand in place of places and palette, low bytes first. Zeros fill up a
record.

Legend: N images, K entries per cell, H W grid, D classes of a palette, R bytes of a record.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from labelkit.label_maps.label_map import LabelMap

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HEAD = 12
_STEPS = 255
_LARGEST_PALETTE = 256


@dataclass(frozen=True, slots=True)
class RecordLayout:
    """The shape of every record of one file.

    Attributes:
        top_k: entries per cell, K.
        grid: rows and columns, (H, W).
        num_classes: length of the class list; indices take 2 bytes up to 65,536 classes, else 4.
    """

    top_k: int
    grid: tuple[int, int]
    num_classes: int

    def __post_init__(self) -> None:
        if not (1 <= self.top_k <= self.num_classes):
            raise ValueError(f"top_k={self.top_k} is not between 1 and {self.num_classes} classes")
        if min(self.grid) < 1:
            raise ValueError(f"a grid of {self.grid[0]}x{self.grid[1]} cells holds nothing")

    @property
    def index_bytes(self) -> int:
        """Bytes of one class index: 2 or 4."""
        return 2 if self.num_classes <= 1 << 16 else 4

    @property
    def entries(self) -> int:
        """Stored entries of one image, K*H*W."""
        return self.top_k * self.grid[0] * self.grid[1]

    @property
    def nbytes(self) -> int:
        """Bytes of one record, R."""
        width = self.index_bytes
        with_palette = self.entries + _LARGEST_PALETTE * width
        return _HEAD + self.entries + max(with_palette, self.entries * width)

    @property
    def sections(self) -> tuple[int, int, int]:
        """Where bytes of another kind begin: drops below the strongest, places, palette.

        With a code of its own each part compresses better.
        """
        steps = _HEAD + self.entries
        return _HEAD + self.grid[0] * self.grid[1], steps, steps + self.entries

    def encode(self, index: NDArray[np.integer], score: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Encode N images at once.

        The scores lose at most 1/510 of the image's own range.

        Args:
            index: class indices (N, K, H, W).
            score: their logits (N, K, H, W).

        Returns:
            Records (N, R), uint8.

        Raises:
            ValueError: a shape that is not the layout's, a score that is not finite, or a class
                outside the list.
        """
        self._check(index, score)
        records = np.zeros((len(index), self.nbytes), np.uint8)
        flat = score.reshape(len(score), -1).astype(np.float32)
        extremes = np.stack([flat.min(axis=1), flat.max(axis=1)], axis=1)
        records[:, :8] = extremes.astype("<f4").view(np.uint8)
        _, start, _ = self.sections
        records[:, _HEAD:start] = _differences(self._steps(flat, extremes)).reshape(len(flat), -1)
        for record, classes in zip(records, index.reshape(len(index), -1), strict=True):
            self._put_classes(record, start, classes)
        return records

    def decode(self, record: bytes) -> LabelMap:
        """Decode one record of R bytes.

        Raises:
            ValueError: the record has another length, a range that is not finite, or a class
                outside the list.
        """
        if len(record) != self.nbytes:
            raise ValueError(f"a record of {len(record)} bytes, expected {self.nbytes}")
        low, high = struct.unpack_from("<2f", record)
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise ValueError(f"a score range from {low} to {high}")
        shape = (self.top_k, *self.grid)
        steps = np.frombuffer(record, np.uint8, self.entries, _HEAD).reshape(shape).copy()
        steps[0].cumsum(axis=0, dtype=np.uint8, out=steps[0])
        steps[0].cumsum(axis=1, dtype=np.uint8, out=steps[0])
        for above, plane in pairwise(steps):  # faster than cumsum for a handful of planes
            np.add(plane, above, out=plane)
        score = steps * np.float32((high - low) / _STEPS)
        score += np.float32(low)
        return LabelMap(self._classes(record).reshape(shape), score)

    def _check(self, index: NDArray[np.integer], score: NDArray[np.floating]) -> None:
        expected = (len(index), self.top_k, *self.grid)
        if index.shape != expected or score.shape != expected:
            raise ValueError(
                f"expected arrays of shape {expected}, got {index.shape}, {score.shape}"
            )
        if not np.isfinite(score).all():
            raise ValueError("a score is not a finite number")
        if len(index) and not (0 <= int(index.min()) <= int(index.max()) < self.num_classes):
            raise ValueError(f"a class index is outside the list of {self.num_classes} classes")

    def _steps(self, flat: NDArray[np.float32], extremes: NDArray[np.float32]) -> NDArray[np.int16]:
        """Scores (N, K*H*W) as steps (N, K, H, W) of the image's own range."""
        low, high = extremes[:, :1].astype(np.float64), extremes[:, 1:].astype(np.float64)
        width = np.maximum(high - low, np.finfo(np.float32).tiny)
        steps = np.rint((flat - low) * (_STEPS / width))
        return steps.astype(np.int16).reshape(len(flat), self.top_k, *self.grid)

    def _put_classes(
        self, record: NDArray[np.uint8], start: int, classes: NDArray[np.integer]
    ) -> None:
        """Write places and palette, or the classes where they are too many."""
        present = np.zeros(self.num_classes, bool)
        present[classes] = True
        palette = np.flatnonzero(present)
        if len(palette) > _LARGEST_PALETTE:
            planes = _byte_planes(classes, self.index_bytes)
        else:
            record[8:_HEAD] = np.array([len(palette)], "<u4").view(np.uint8)
            place = np.empty(self.num_classes, np.uint8)
            place[palette] = np.arange(len(palette))
            record[start : start + self.entries] = place[classes]
            start += self.entries
            planes = _byte_planes(np.diff(palette, prepend=0), self.index_bytes)
        record[start : start + len(planes)] = planes

    def _classes(self, record: bytes) -> NDArray[np.unsignedinteger]:
        """The class of every entry: (K*H*W,)."""
        start, width = _HEAD + self.entries, self.index_bytes
        size = int.from_bytes(record[8:_HEAD], "little")
        if size > _LARGEST_PALETTE:
            raise ValueError(f"a palette of {size} classes, expected {_LARGEST_PALETTE} at most")
        if not size:
            classes = _from_byte_planes(record, start, self.entries, width)
            highest = int(classes.max())
        else:
            steps = _from_byte_planes(record, start + self.entries, size, width)
            palette = steps.cumsum(dtype=np.uint32)
            highest = int(palette[-1])
            try:
                places = np.frombuffer(record, np.uint8, self.entries, start)
                classes = palette.astype(steps.dtype).take(places)
            except IndexError as error:
                raise ValueError(f"a place outside the palette of {size} classes") from error
        if highest >= self.num_classes:
            raise ValueError(f"class {highest} of a list of {self.num_classes}")
        return classes


def _differences(steps: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Steps (N, K, H, W) as differences between planes, and within the first one between cells."""
    planes = np.diff(steps, axis=1, prepend=np.int16(0))
    first = planes[:, 0]
    planes[:, 0] = np.diff(np.diff(first, axis=1, prepend=np.int16(0)), axis=2, prepend=np.int16(0))
    return planes.astype(np.uint8)


def _byte_planes(values: NDArray[np.integer], width: int) -> NDArray[np.uint8]:
    """Unsigned integers as bytes: the lowest of all, then the next."""
    little = np.ascontiguousarray(values, dtype=f"<u{width}")
    return little.view(np.uint8).reshape(-1, width).T.ravel()


def _from_byte_planes(
    record: bytes, start: int, count: int, width: int
) -> NDArray[np.unsignedinteger]:
    planes = np.frombuffer(record, np.uint8, count * width, start).reshape(width, count)
    return planes.T.copy().view(f"<u{width}")[:, 0]
