"""Follow a crop through a torchvision v2 pipeline, to know which part of the image it shows.

``CropTracker`` goes through the pipeline beside the image. It holds the affine map from the current
pixels back to those of the original image; each geometric transform multiplies its own onto it. A
geometric transform that has no exact box raises: torchvision would pass an unknown type through
without a word, and the labels would be wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Self

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as VF

from labelkit.geometry import CropBox

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_UNTRACED = (v2.AutoAugment, v2.RandAugment, v2.TrivialAugmentWide, v2.AugMix)
_UNSUPPORTED = ("affine", "rotate", "perspective", "elastic", "five_crop", "ten_crop")


class CropTracker(tv_tensors.TVTensor):
    """The map from current to original pixels: scale and offset per axis, float64 (2, 2).

    Row 0 is x, row 1 is y: ``original = scale * current + offset``, with (0, 0) at the image's
    corner. A negative scale is a flip.

    Attributes:
        image_size: height and width of the original image.
        canvas_size: height and width of the current one.
        trail: all trackers of one image so far, the latest last; it outlives a step that turns
            the tracker itself into a plain tensor, as ``ToPureTensor`` does.
    """

    image_size: tuple[int, int]
    canvas_size: tuple[int, int]
    trail: list[CropTracker]

    @classmethod
    def of(cls, image_size: Sequence[int]) -> Self:
        """A tracker for an untouched image of (height, width) pixels."""
        height, width = image_size
        identity = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
        return cls._build(identity, (height, width), (height, width), [])

    def then(self, scale: Sequence[float], offset: Sequence[float], size: Sequence[int]) -> Self:
        """The tracker after one more step, ``previous = scale * new + offset`` in (x, y).

        ``size`` is the new height and width.
        """
        old = self.as_subclass(torch.Tensor)
        new = torch.stack(
            [
                old[:, 0] * torch.tensor(scale, dtype=torch.float64),
                old[:, 0] * torch.tensor(offset, dtype=torch.float64) + old[:, 1],
            ],
            dim=1,
        )
        return self._build(new, self.image_size, (int(size[0]), int(size[1])), self.trail)

    @property
    def box(self) -> CropBox:
        """The part of the original image that the current pixels show."""
        (scale_x, offset_x), (scale_y, offset_y) = self.as_subclass(torch.Tensor).tolist()
        height, width = self.canvas_size
        # Crops lie on whole pixels: rounding takes back what the products lost, since the number
        # of points that pooling samples jumps where a crop is a whole number of cells wide.
        left, right = sorted((round(offset_x, 6), round(offset_x + scale_x * width, 6)))
        top, bottom = sorted((round(offset_y, 6), round(offset_y + scale_y * height, 6)))
        image_height, image_width = self.image_size
        return CropBox(
            left / image_width,
            top / image_height,
            right / image_width,
            bottom / image_height,
            flipped=scale_x < 0,
        )

    @classmethod
    def _build(
        cls,
        data: torch.Tensor,
        image_size: tuple[int, int],
        canvas_size: tuple[int, int],
        trail: list[CropTracker],
    ) -> Self:
        tracker = data.as_subclass(cls)
        tracker.image_size, tracker.canvas_size, tracker.trail = image_size, canvas_size, trail
        trail.append(tracker)
        return tracker


@VF.register_kernel("horizontal_flip", CropTracker)
def _horizontal_flip(tracker: CropTracker) -> CropTracker:
    return tracker.then((-1, 1), (tracker.canvas_size[1], 0), tracker.canvas_size)


@VF.register_kernel("vertical_flip", CropTracker)
def _vertical_flip(tracker: CropTracker) -> CropTracker:
    return tracker.then((1, -1), (0, tracker.canvas_size[0]), tracker.canvas_size)


@VF.register_kernel("crop", CropTracker)
def _crop(tracker: CropTracker, top: int, left: int, height: int, width: int) -> CropTracker:
    return tracker.then((1, 1), (left, top), (height, width))


@VF.register_kernel("resize", CropTracker)
def _resize(
    tracker: CropTracker,
    size: int | Sequence[int] | None,
    max_size: int | None = None,
    **_: Any,  # noqa: ANN401 -- interpolation and antialias move no pixel
) -> CropTracker:
    height, width = tracker.canvas_size
    new_height, new_width = _resized(height, width, size, max_size)
    return tracker.then((width / new_width, height / new_height), (0, 0), (new_height, new_width))


@VF.register_kernel("resized_crop", CropTracker)
def _resized_crop(  # noqa: PLR0913, PLR0917 -- torchvision's signature
    tracker: CropTracker,
    top: int,
    left: int,
    height: int,
    width: int,
    size: int | Sequence[int],
    **_: Any,  # noqa: ANN401 -- interpolation and antialias move no pixel
) -> CropTracker:
    return _resize(_crop(tracker, top, left, height, width), size)


@VF.register_kernel("pad", CropTracker)
def _pad(
    tracker: CropTracker,
    padding: int | Sequence[int],
    **_: Any,  # noqa: ANN401 -- fill and mode move no pixel
) -> CropTracker:
    sides = [padding] if isinstance(padding, int) else list(padding)
    left, top, right, bottom = {1: sides * 4, 2: sides * 2, 4: sides}[len(sides)]
    height, width = tracker.canvas_size
    return tracker.then((1, 1), (-left, -top), (height + top + bottom, width + left + right))


@VF.register_kernel("center_crop", CropTracker)
def _center_crop(tracker: CropTracker, output_size: int | Sequence[int]) -> CropTracker:
    sizes = [output_size] if isinstance(output_size, int) else list(output_size)
    crop_height, crop_width = sizes * 2 if len(sizes) == 1 else sizes
    height, width = tracker.canvas_size
    # A crop larger than the image pads it first, the odd pixel to the right and below.
    down, across = max(crop_height - height, 0), max(crop_width - width, 0)
    padded = _pad(tracker, [across // 2, down // 2, (across + 1) // 2, (down + 1) // 2])
    height, width = padded.canvas_size
    top, left = round((height - crop_height) / 2.0), round((width - crop_width) / 2.0)
    return _crop(padded, top, left, crop_height, crop_width)


def track_crop(image: Any, transform: Callable[..., Any]) -> tuple[torch.Tensor, CropBox]:  # noqa: ANN401
    """Send an image through a v2 pipeline and say which part of it came out.

    Args:
        image: a Pillow image, or a tensor (..., H, W).
        transform: a torchvision v2 pipeline.

    Returns:
        The pipeline's output, and the box of the image that it shows.

    Raises:
        ValueError: the pipeline moves pixels in a way that no box describes.
    """
    height, width = VF.get_size(image)
    start = CropTracker.of((height, width))
    output, _ = transform(image, start)
    tracker = start.trail[-1]
    size = tuple(VF.get_size(output))
    if size != tracker.canvas_size:
        raise ValueError(
            f"the pipeline returns {size[0]}x{size[1]} pixels, its known steps give "
            f"{tracker.canvas_size[0]}x{tracker.canvas_size[1]}: it holds a transform of its own "
            "that moves pixels, which label maps cannot follow"
        )
    return output, tracker.box


def require_trackable(transform: object) -> None:
    """Refuse a pipeline with a step that moves pixels without a trace.

    A ``Lambda``, or a transform of the user's own that moves pixels and keeps the size, cannot be
    noticed.

    Raises:
        TypeError: the pipeline, or a step of it, is not of torchvision's v2 transforms.
        ValueError: a step rotates and shears images without telling other inputs.
    """
    if not isinstance(transform, v2.Transform):
        kind = type(transform)
        raise TypeError(
            f"{kind.__module__}.{kind.__name__} is not a torchvision v2 transform: build the "
            "pipeline from torchvision.transforms.v2, which can carry a crop's place along"
        )
    if isinstance(transform, _UNTRACED):
        raise ValueError(  # noqa: TRY004 -- a fitting type whose work has no box
            f"{type(transform).__name__} rotates, shears and shifts images without a trace, so "
            "label maps cannot follow it: take colour steps such as ColorJitter or RandomPosterize"
        )
    for step in getattr(transform, "transforms", ()):
        require_trackable(step)


def _refuse(name: str) -> None:
    @VF.register_kernel(name, CropTracker)
    def _(tracker: CropTracker, *_: object, **__: object) -> NoReturn:
        del tracker
        raise ValueError(
            f"the transform uses {name}, whose result is not an upright box of the image: label "
            "maps cannot follow it. Take it out of the pipeline, or train without label maps"
        )


for _name in _UNSUPPORTED:
    _refuse(_name)


def _resized(
    height: int, width: int, size: int | Sequence[int] | None, max_size: int | None
) -> tuple[int, int]:
    """Height and width after torchvision's ``resize``: one number is the shorter side's."""
    sizes = [size] if isinstance(size, int) else list(size or [])
    if len(sizes) == 2:
        return sizes[0], sizes[1]
    short, long = min(height, width), max(height, width)
    if not sizes:
        # Without a size, the image grows or shrinks until its longer side has max_size.
        new_short, new_long = int((max_size or long) * short / long), max_size or long
    else:
        new_short, new_long = sizes[0], int(sizes[0] * long / short)
        if max_size is not None and new_long > max_size:
            new_short, new_long = int(max_size * new_short / new_long), max_size
    return (new_short, new_long) if height <= width else (new_long, new_short)
