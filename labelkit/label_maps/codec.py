"""Label maps as fixed-length byte records, one an image.

A record holds, little-endian: the image's lowest and highest score as float32; the scores as uint8
steps between those two; then the class indices, all low bytes first, then the next byte, since
bytes of one kind compress better side by side. Scores and indices run in (K, H, W) order.

Legend: N images, K entries per cell, H W grid, R bytes of a record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from labelkit.label_maps.label_map import LabelMap

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RANGE_BYTES = 8
_STEPS = 255


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
        return _RANGE_BYTES + self.entries * (1 + self.index_bytes)

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
        count = len(index)
        expected = (count, self.top_k, *self.grid)
        if index.shape != expected or score.shape != expected:
            raise ValueError(
                f"expected arrays of shape {expected}, got {index.shape}, {score.shape}"
            )
        if not np.isfinite(score).all():
            raise ValueError("a score is not a finite number")
        if count and not (0 <= int(index.min()) <= int(index.max()) < self.num_classes):
            raise ValueError(f"a class index is outside the list of {self.num_classes} classes")
        flat = score.reshape(count, self.entries).astype(np.float32)
        extremes = np.stack([flat.min(axis=1), flat.max(axis=1)], axis=1)
        low, high = extremes[:, :1].astype(np.float64), extremes[:, 1:].astype(np.float64)
        steps = np.rint((flat - low) * (_STEPS / np.maximum(high - low, np.finfo(np.float32).tiny)))
        planes = index.reshape(count, self.entries).astype(f"<u{self.index_bytes}")[..., None]
        planes = planes.view(np.uint8).transpose(0, 2, 1)
        planes = planes.reshape(count, self.entries * self.index_bytes)
        ranges = extremes.astype("<f4").view(np.uint8)
        return np.concatenate([ranges, steps.astype(np.uint8), planes], axis=1)

    def decode(self, record: bytes) -> LabelMap:
        """Decode one record of R bytes.

        Raises:
            ValueError: the record has another length, a range that is not finite, or a class
                outside the list.
        """
        if len(record) != self.nbytes:
            raise ValueError(f"a record of {len(record)} bytes, expected {self.nbytes}")
        low, high = np.frombuffer(record, "<f4", 2).tolist()
        steps = np.frombuffer(record, np.uint8, self.entries, _RANGE_BYTES)
        planes = np.frombuffer(record, np.uint8, offset=_RANGE_BYTES + self.entries)
        planes = planes.reshape(self.index_bytes, self.entries)
        index = np.ascontiguousarray(planes.T).view(f"<u{self.index_bytes}")[:, 0]
        if not (np.isfinite(low) and np.isfinite(high) and low <= high):
            raise ValueError(f"a score range from {low} to {high}")
        if int(index.max()) >= self.num_classes:
            raise ValueError(f"class {index.max()} of a list of {self.num_classes}")
        score = steps.astype(np.float32) * np.float32((high - low) / _STEPS) + np.float32(low)
        shape = (self.top_k, *self.grid)
        return LabelMap(index.reshape(shape), score.reshape(shape))
