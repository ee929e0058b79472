"""The box of a crop as fractions of its image, so that any grid can be pooled over it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, slots=True)
class CropBox:
    """A crop as fractions of the original image; may extend beyond it (padding).

    ``left`` and ``right`` are fractions of the image's width, ``top`` and ``bottom`` of its height.
    Three flags describe how the crop's pixels are oriented, in this order: ``transposed``, the rows
    are columns of the image; ``flipped``, mirrored left to right; ``upside_down``, mirrored top to
    bottom.

    Raises:
        ValueError: an edge is not finite, or the crop has no area.
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
            raise ValueError(f"a crop box needs finite edges, got {edges}")
        if not (self.right > self.left and self.bottom > self.top):
            raise ValueError(
                f"a crop box needs left < right and top < bottom, got left={self.left}, "
                f"top={self.top}, right={self.right}, bottom={self.bottom}"
            )

    @classmethod
    def whole(cls) -> Self:
        """The whole image."""
        return cls(0.0, 0.0, 1.0, 1.0)

    @classmethod
    def outside(cls) -> Self:
        """A box outside the image, for a crop that shows nothing of it."""
        return cls(-2.0, -2.0, -1.0, -1.0)

    def inside(self) -> Self:
        """The part of the crop that is inside the image; ``outside`` if there is none."""
        left, top = max(self.left, 0.0), max(self.top, 0.0)
        right, bottom = min(self.right, 1.0), min(self.bottom, 1.0)
        if left >= right or top >= bottom:
            return self.outside()
        return replace(self, left=left, top=top, right=right, bottom=bottom)

    @classmethod
    def from_pixels(
        cls, left: float, top: float, width: float, height: float, image_size: tuple[int, int]
    ) -> Self:
        """The box of a crop in pixels.

        Args:
            left: of the crop.
            top: of the crop.
            width: of the crop.
            height: of the crop.
            image_size: height and width of the image.

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
