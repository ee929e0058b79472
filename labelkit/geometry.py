"""Where a crop lies in its image, as fractions, so that any grid can be pooled over it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, slots=True)
class CropBox:
    """A crop as fractions of the original image; may reach outside it (padding).

    ``left`` and ``right`` are fractions of the width, ``top`` and ``bottom`` of the height, as the
    image itself lies. How the crop is shown is told apart: ``transposed``, its rows are the image's
    columns; then ``flipped``, mirrored left to right; then ``upside_down``, mirrored top to bottom.
    """

    left: float
    top: float
    right: float
    bottom: float
    flipped: bool = False
    upside_down: bool = False
    transposed: bool = False

    def __post_init__(self) -> None:
        edges = (self.left, self.top, self.right, self.bottom)
        if not all(map(math.isfinite, edges)):
            raise ValueError(f"a crop needs edges that are finite numbers, got {edges}")
        if not (self.right > self.left and self.bottom > self.top):
            raise ValueError(
                f"a crop needs left < right and top < bottom, got left={self.left}, "
                f"top={self.top}, right={self.right}, bottom={self.bottom}"
            )

    @classmethod
    def whole(cls) -> Self:
        """The whole image."""
        return cls(0.0, 0.0, 1.0, 1.0)

    @classmethod
    def outside(cls) -> Self:
        """A place beside the image, for a crop that shows nothing of it."""
        return cls(-2.0, -2.0, -1.0, -1.0)

    def inside(self) -> Self:
        """The part of the crop that lies in the image; ``outside`` if there is none."""
        left, top = max(self.left, 0.0), max(self.top, 0.0)
        right, bottom = min(self.right, 1.0), min(self.bottom, 1.0)
        if left >= right or top >= bottom:
            return self.outside()
        return replace(self, left=left, top=top, right=right, bottom=bottom)

    @classmethod
    def from_pixels(
        cls, left: float, top: float, width: float, height: float, image_size: tuple[int, int]
    ) -> Self:
        """A crop given in pixels of an image of ``image_size`` = (height, width).

        Raises:
            ValueError: the crop or the image has no area.
        """
        image_height, image_width = image_size
        if image_height < 1 or image_width < 1:
            raise ValueError(f"an image of {image_height}x{image_width} pixels has no area")
        return cls(
            left / image_width,
            top / image_height,
            (left + width) / image_width,
            (top + height) / image_height,
        )
