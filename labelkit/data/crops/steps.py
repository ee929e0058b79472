"""How the transforms of torchvision v1 move a tracker, and the table that each library fills in.

A v1 transform knows nothing about trackers, so its step is repeated here with its own parameters,
drawn in its own order: the pixels are identical to those of the transform itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torchvision import transforms as v1
from torchvision.transforms import functional as F, v2
from torchvision.transforms.v2 import functional as VF

from labelkit.data.crops.tracker import CropTracker

Tracked = tuple[Any, CropTracker]
"""An image and its tracker."""

Move = Callable[[Any, Any, CropTracker], Tracked]
"""Takes a step, an image and its tracker; returns both after the step."""


@dataclass(frozen=True)
class StepTable:
    """How one library's transforms are followed.

    Attributes:
        moving: what to do for each type that moves pixels.
        still: the types that move no pixels.
        untraced: the types that move pixels and keep no record of it.
        changes_colour_only: whether a given step of an untraced type happens to move no pixels.
    """

    moving: Mapping[type, Move]
    still: frozenset[type]
    untraced: tuple[type, ...]
    changes_colour_only: Callable[[Any], bool] = lambda _: False


def apply(name: str, image: Any, tracker: CropTracker, *arguments: object) -> Tracked:  # noqa: ANN401
    """One of torchvision's functions, applied to the image as v1 does it and to the tracker."""
    return getattr(F, name)(image, *arguments), apply_to_tracker(name, tracker, *arguments)


def apply_to_tracker(name: str, tracker: CropTracker, *arguments: object) -> CropTracker:
    """One of torchvision's functions, applied to the tracker alone."""
    return getattr(VF, name)(tracker, *arguments)


def _random_crop(step: v1.RandomCrop, image: Any, tracker: CropTracker) -> Tracked:  # noqa: ANN401
    paddings = [step.padding] if step.padding is not None else []
    if step.pad_if_needed:
        # As in torchvision, both sides are measured after the explicit padding.
        height, width = _padded_size(image, step.padding)
        if width < step.size[1]:
            paddings.append([step.size[1] - width, 0])
        if height < step.size[0]:
            paddings.append([0, step.size[0] - height])
    for padding in paddings:
        image, tracker = apply("pad", image, tracker, padding, step.fill, step.padding_mode)
    height, width = step.size
    return apply("crop", image, tracker, *step.get_params(image, (height, width)))


def _random_resized_crop(
    step: v1.RandomResizedCrop,
    image: Any,  # noqa: ANN401
    tracker: CropTracker,
) -> Tracked:
    place = step.get_params(image, list(step.scale), list(step.ratio))
    return apply(
        "resized_crop", image, tracker, *place, step.size, step.interpolation, step.antialias
    )


def _random_rotation(
    step: v1.RandomRotation,
    image: Any,  # noqa: ANN401
    tracker: CropTracker,
) -> Tracked:
    fill = _fill(step, image)
    angle = step.get_params(step.degrees)
    return apply(
        "rotate", image, tracker, angle, step.interpolation, step.expand, step.center, fill
    )


def _random_affine(step: v1.RandomAffine, image: Any, tracker: CropTracker) -> Tracked:  # noqa: ANN401
    fill = _fill(step, image)
    _, height, width = F.get_dimensions(image)
    drawn = step.get_params(step.degrees, step.translate, step.scale, step.shear, [width, height])
    return apply("affine", image, tracker, *drawn, step.interpolation, fill, step.center)


def _random_perspective(
    step: v1.RandomPerspective,
    image: Any,  # noqa: ANN401
    tracker: CropTracker,
) -> Tracked:
    fill = _fill(step, image)
    _, height, width = F.get_dimensions(image)
    if torch.rand(1) >= step.p:
        return image, tracker
    points = step.get_params(width, height, step.distortion_scale)
    return apply("perspective", image, tracker, *points, step.interpolation, fill)


def _flip(name: str) -> Move:
    def flip(step: Any, image: Any, tracker: CropTracker) -> Tracked:  # noqa: ANN401
        return apply(name, image, tracker) if torch.rand(1) < step.p else (image, tracker)

    return flip


def _fill(step: Any, image: Any) -> Any:  # noqa: ANN401
    """The fill colour as v1 passes it on: for tensors, one number per channel."""
    if not isinstance(image, torch.Tensor):
        return step.fill
    if isinstance(step.fill, (int, float)):
        return [float(step.fill)] * F.get_dimensions(image)[0]
    return [float(value) for value in step.fill]


def _padded_size(image: Any, padding: Any) -> tuple[int, int]:  # noqa: ANN401
    tracker = CropTracker.of(F.get_dimensions(image)[1:])
    return (tracker if padding is None else apply_to_tracker("pad", tracker, padding)).canvas_size


_MOVING: dict[type, Move] = {
    v1.CenterCrop: lambda step, image, tracker: apply("center_crop", image, tracker, step.size),
    v1.Pad: lambda step, image, tracker: apply(
        "pad", image, tracker, step.padding, step.fill, step.padding_mode
    ),
    v1.RandomAffine: _random_affine,
    v1.RandomCrop: _random_crop,
    v1.RandomHorizontalFlip: _flip("hflip"),
    v1.RandomPerspective: _random_perspective,
    v1.RandomResizedCrop: _random_resized_crop,
    v1.RandomRotation: _random_rotation,
    v1.RandomVerticalFlip: _flip("vflip"),
    v1.Resize: lambda step, image, tracker: apply(
        "resize", image, tracker, step.size, step.interpolation, step.max_size, step.antialias
    ),
}

# A Lambda is the user's promise that it moves no pixels.
_STILL: frozenset[type] = frozenset(
    {
        v1.ColorJitter,
        v1.ConvertImageDtype,
        v1.GaussianBlur,
        v1.Grayscale,
        v1.Lambda,
        v1.Normalize,
        v1.PILToTensor,
        v1.RandomAdjustSharpness,
        v1.RandomAutocontrast,
        v1.RandomEqualize,
        v1.RandomErasing,
        v1.RandomGrayscale,
        v1.RandomInvert,
        v1.RandomPosterize,
        v1.RandomSolarize,
        v1.ToPILImage,
        v1.ToTensor,
        v2.Lambda,
    }
)

ELASTIC: tuple[type, ...] = (v1.ElasticTransform, v2.ElasticTransform)

TORCHVISION = StepTable(
    moving=_MOVING,
    still=_STILL,
    untraced=(
        v1.AutoAugment,
        v1.RandAugment,
        v1.TrivialAugmentWide,
        v1.AugMix,
        v2.AutoAugment,
        v2.RandAugment,
        v2.TrivialAugmentWide,
        v2.AugMix,
        *ELASTIC,
    ),
)
