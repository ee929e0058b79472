"""Label maps as fixed-length byte records, one an image.

A record holds, little-endian and side by side, so that bytes of one kind compress well:

    2 x float32       the image's lowest and highest score
    uint32            D, how many classes the image's palette has
    the background, in files that have one:
      3 x float32     the lowest and the highest logit of its M classes, and the logit of all others
      M uint8         the M logits as steps of 1/255 between the lowest and the highest
      M classes       ascending: the first class, then each one's difference to the one before;
                      2 or 4 bytes each, all low bytes first, then all next bytes
    K x H x W uint8   the scores as steps of 1/255 between the lowest and the highest: plane 0 as
                      differences to the cell above, then of these to the cell on the left; plane k
                      as differences to plane k - 1
    K x H x W uint8   the place of each entry's class in the palette
    D classes         the palette, ascending, as the background's classes

Differences are taken modulo their width. An image of more than 256 classes has no palette: D is 0,
and the classes themselves stand in place of places and palette, low bytes first. Zeros fill up a
record.

Legend: N images, K entries per cell, H W grid, D classes of a palette, M of a background, R bytes
of a record.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from labelkit.label_maps.label_map import Background, LabelMap

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HEAD = 12
_BACKGROUND_HEAD = 12
_STEPS = 255
_LARGEST_PALETTE = 256


@dataclass(frozen=True, slots=True)
class RecordLayout:
    """The shape of every record of one file.

    Attributes:
        top_k: entries per cell, K.
        grid: rows and columns, (H, W).
        num_classes: length of the class list; indices take 2 bytes up to 65,536 classes, else 4.
        background: classes of the background, M; 0 for maps without one.
    """

    top_k: int
    grid: tuple[int, int]
    num_classes: int
    background: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.background <= self.num_classes):
            raise ValueError(
                f"background={self.background} is not between 0 and {self.num_classes} classes"
            )
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
        return self.sections[2] + max(with_palette, self.entries * width)

    @property
    def sections(self) -> tuple[int, int, int, int]:
        """Where parts of a record begin: steps, drops below the strongest, places, palette."""
        background = _BACKGROUND_HEAD + self.background * (1 + self.index_bytes)
        steps = _HEAD + (background if self.background else 0)
        places = steps + self.entries
        return steps, steps + self.grid[0] * self.grid[1], places, places + self.entries

    @property
    def breaks(self) -> tuple[int, ...]:
        """Where bytes of another kind begin: with a code of its own each part compresses better."""
        return self.sections if self.background else self.sections[1:]

    def encode(
        self,
        index: NDArray[np.integer],
        score: NDArray[np.floating],
        background: Background | None = None,
    ) -> NDArray[np.uint8]:
        """Encode N images at once.

        The scores lose at most 1/510 of the image's own range.

        Args:
            index: class indices (N, K, H, W).
            score: their logits (N, K, H, W).
            background: of N images and M classes, if the layout has one.

        Returns:
            Records (N, R), uint8.

        Raises:
            ValueError: a shape that is not the layout's, a score that is not finite, a class
                outside the list, or a background too many or too few.
        """
        self._check(index, score, background)
        records = np.zeros((len(index), self.nbytes), np.uint8)
        if background is not None:
            records[:, _HEAD : self.sections[0]] = self._background_bytes(background)
        flat = score.reshape(-1, self.entries).astype(np.float32)
        extremes, steps = _quantise(flat)
        records[:, :8] = extremes.view(np.uint8)
        first, _, places, _ = self.sections
        planes = steps.reshape(len(flat), self.top_k, *self.grid)
        records[:, first:places] = _differences(planes).reshape(-1, self.entries)
        for record, classes in zip(records, index.reshape(-1, self.entries), strict=True):
            self._put_classes(record, places, classes)
        return records

    def decode(self, record: bytes) -> LabelMap:
        """Decode one record of R bytes.

        Raises:
            ValueError: the record has another length, a range that is not finite, or a class
                outside the list.
        """
        if len(record) != self.nbytes:
            raise ValueError(f"a record of {len(record)} bytes, expected {self.nbytes}")
        scale, low = _scale(record, 0)
        shape = (self.top_k, *self.grid)
        steps = np.frombuffer(record, np.uint8, self.entries, self.sections[0])
        steps = steps.reshape(shape).copy()
        steps[0].cumsum(axis=0, dtype=np.uint8, out=steps[0])
        steps[0].cumsum(axis=1, dtype=np.uint8, out=steps[0])
        for above, plane in pairwise(steps):  # faster than cumsum for a handful of planes
            np.add(plane, above, out=plane)
        score = steps * scale
        score += low
        background = self._background(record) if self.background else None
        return LabelMap(self._classes(record).reshape(shape), score, background)

    def _check(
        self,
        index: NDArray[np.integer],
        score: NDArray[np.floating],
        background: Background | None,
    ) -> None:
        expected = (len(index), self.top_k, *self.grid)
        if index.shape != expected or score.shape != expected:
            raise ValueError(
                f"expected arrays of shape {expected}, got {index.shape}, {score.shape}"
            )
        if not np.isfinite(score).all():
            raise ValueError("a score is not a finite number")
        if len(index) and not (0 <= int(index.min()) <= int(index.max()) < self.num_classes):
            raise ValueError(f"a class index is outside the list of {self.num_classes} classes")

        shape = (len(index), self.background)
        if background is None:
            if self.background:
                raise ValueError(f"a background of {self.background} classes is missing")
            return
        if not (self.background and shape == background.classes.shape == background.logits.shape):
            raise ValueError(f"a background of shape {background.classes.shape}, expected {shape}")
        if not (np.isfinite(background.logits).all() and np.isfinite(background.rest).all()):
            raise ValueError("a logit of the background is not a finite number")
        if len(index) and not (
            int(background.classes[:, 0].min()) >= 0
            and int(background.classes[:, -1].max()) < self.num_classes
            and (np.diff(background.classes, axis=1) > 0).all()
        ):
            raise ValueError("the background's classes do not ascend within the list")

    def _background_bytes(self, background: Background) -> NDArray[np.uint8]:
        """The background's part of N records."""
        extremes, steps = _quantise(background.logits.astype(np.float32))
        rest = np.asarray(background.rest, "<f4").reshape(-1, 1).view(np.uint8)
        gaps = np.diff(background.classes, axis=1, prepend=0)
        little = np.ascontiguousarray(gaps, dtype=f"<u{self.index_bytes}").view(np.uint8)
        planes = little.reshape(-1, self.background, self.index_bytes).transpose(0, 2, 1)
        planes = planes.reshape(-1, self.background * self.index_bytes)
        return np.concatenate(
            [extremes.view(np.uint8), rest, steps.astype(np.uint8), planes], axis=1
        )

    def _background(self, record: bytes) -> Background:
        scale, low = _scale(record, _HEAD)
        (rest,) = struct.unpack_from("<f", record, _HEAD + 8)
        start = _HEAD + _BACKGROUND_HEAD
        steps = np.frombuffer(record, np.uint8, self.background, start)
        gaps = _from_byte_planes(record, start + self.background, self.background, self.index_bytes)
        classes = gaps.cumsum(dtype=np.int64)
        if not math.isfinite(rest) or classes[-1] >= self.num_classes or not gaps[1:].all():
            raise ValueError("a background that is none")
        return Background(classes, steps * scale + low, rest)

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
        start, width = self.sections[2], self.index_bytes
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


def _quantise(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    """Lowest and highest value of each row (N, 2), and the values as steps between them."""
    extremes = np.stack([values.min(axis=1), values.max(axis=1)], axis=1).astype("<f4")
    low, high = extremes[:, :1].astype(np.float64), extremes[:, 1:].astype(np.float64)
    width = np.maximum(high - low, np.finfo(np.float32).tiny)
    return extremes, np.rint((values - low) * (_STEPS / width)).astype(np.int16)


def _scale(record: bytes, start: int) -> tuple[np.float32, np.float32]:
    """The width of one step, and what step 0 is."""
    low, high = struct.unpack_from("<2f", record, start)
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"a score range from {low} to {high}")
    return np.float32((high - low) / _STEPS), np.float32(low)


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
