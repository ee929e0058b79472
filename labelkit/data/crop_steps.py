"""How torchvision's containers draw their steps, and how its v1 transforms move a tracker.

A v1 transform knows nothing of trackers. So its step is done here with its own parameters, drawn in
its own order: the pixels are those of the transform itself, to the bit.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch
from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import functional as F, v2
from torchvision.transforms.v2 import functional as VF

# With the kernels that move it.
from labelkit.data.crop_kernels import CropTracker

Tracked = tuple[Any, CropTracker]
Draw = Callable[[Any], Iterable[object]]
Move = Callable[[Any, Any, CropTracker], Tracked]


def both(name: str, image: Any, tracker: CropTracker, *arguments: object) -> Tracked:  # noqa: ANN401
    """One of torchvision's functions, on the image as v1 does it and on the tracker."""
    return getattr(F, name)(image, *arguments), moved(name, tracker, *arguments)


def moved(name: str, tracker: CropTracker, *arguments: object) -> CropTracker:
    """The tracker alone after one of torchvision's functions."""
    return getattr(VF, name)(tracker, *arguments)


def _shuffled(step: v1.RandomOrder) -> Iterable[object]:
    order = list(range(len(step.transforms)))
    random.shuffle(order)
    return [step.transforms[at] for at in order]


# The steps that a container takes this time, by its type.
DRAWS: dict[type, Draw] = {
    nn.Sequential: list,
    v1.Compose: lambda step: step.transforms,
    v1.RandomApply: lambda step: () if step.p < torch.rand(1) else step.transforms,
    v1.RandomChoice: lambda step: random.choices(step.transforms, weights=step.p),  # noqa: S311
    v1.RandomOrder: _shuffled,
    v2.Compose: lambda step: step.transforms,
    v2.RandomApply: lambda step: () if torch.rand(1) >= step.p else step.transforms,
    v2.RandomChoice: lambda step: [
        step.transforms[int(torch.multinomial(torch.tensor(step.p), 1))]
    ],
    v2.RandomOrder: lambda step: [
        step.transforms[at] for at in torch.randperm(len(step.transforms))
    ],
}


@cache
def draw_of(kind: type) -> Draw | None:
    """How a container of that type draws its steps, also one that only inherits how; or None."""
    for base in kind.__mro__:
        if base in DRAWS:
            name = "forward" if issubclass(base, nn.Module) else "__call__"
            return DRAWS[base] if getattr(kind, name) is getattr(base, name) else None
    return None


def _random_crop(step: v1.RandomCrop, image: Any, tracker: CropTracker) -> Tracked:  # noqa: ANN401
    paddings = [step.padding] if step.padding is not None else []
    if step.pad_if_needed:
        # Each is measured with the padding before it, which changes the other side or none.
        height, width = _padded_size(image, step.padding)
        paddings += [[step.size[1] - width, 0]] if width < step.size[1] else []
        paddings += [[0, step.size[0] - height]] if height < step.size[0] else []
    for padding in paddings:
        image, tracker = both("pad", image, tracker, padding, step.fill, step.padding_mode)
    height, width = step.size
    return both("crop", image, tracker, *step.get_params(image, (height, width)))


def _random_resized_crop(
    step: v1.RandomResizedCrop,
    image: Any,  # noqa: ANN401
    tracker: CropTracker,
) -> Tracked:
    place = step.get_params(image, list(step.scale), list(step.ratio))
    return both(
        "resized_crop", image, tracker, *place, step.size, step.interpolation, step.antialias
    )


def _random_rotation(
    step: v1.RandomRotation,
    image: Any,  # noqa: ANN401
    tracker: CropTracker,
) -> Tracked:
    fill = _fill(step, image)
    angle = step.get_params(step.degrees)
    return both("rotate", image, tracker, angle, step.interpolation, step.expand, step.center, fill)


def _random_affine(step: v1.RandomAffine, image: Any, tracker: CropTracker) -> Tracked:  # noqa: ANN401
    fill = _fill(step, image)
    _, height, width = F.get_dimensions(image)
    drawn = step.get_params(step.degrees, step.translate, step.scale, step.shear, [width, height])
    return both("affine", image, tracker, *drawn, step.interpolation, fill, step.center)


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
    return both("perspective", image, tracker, *points, step.interpolation, fill)


def _flip(name: str) -> Move:
    def flip(step: Any, image: Any, tracker: CropTracker) -> Tracked:  # noqa: ANN401
        return both(name, image, tracker) if torch.rand(1) < step.p else (image, tracker)

    return flip


def _fill(step: Any, image: Any) -> Any:  # noqa: ANN401
    """The fill colour as v1 hands it on: one number a channel for tensors."""
    if not isinstance(image, torch.Tensor):
        return step.fill
    if isinstance(step.fill, (int, float)):
        return [float(step.fill)] * F.get_dimensions(image)[0]
    return [float(value) for value in step.fill]


def _padded_size(image: Any, padding: Any) -> tuple[int, int]:  # noqa: ANN401
    tracker = CropTracker.of(F.get_dimensions(image)[1:])
    return (tracker if padding is None else moved("pad", tracker, padding)).canvas_size


# What moves pixels, by its type: the image and its tracker after the step.
MOVES: dict[type, Move] = {
    v1.CenterCrop: lambda step, *pair: both("center_crop", *pair, step.size),
    v1.Pad: lambda step, *pair: both("pad", *pair, step.padding, step.fill, step.padding_mode),
    v1.RandomAffine: _random_affine,
    v1.RandomCrop: _random_crop,
    v1.RandomHorizontalFlip: _flip("hflip"),
    v1.RandomPerspective: _random_perspective,
    v1.RandomResizedCrop: _random_resized_crop,
    v1.RandomRotation: _random_rotation,
    v1.RandomVerticalFlip: _flip("vflip"),
    v1.Resize: lambda step, *pair: both(
        "resize", *pair, step.size, step.interpolation, step.max_size, step.antialias
    ),
}

# What moves no pixels; a Lambda is the user's word for it.
STILL: frozenset[type] = frozenset(
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

# Of torchvision v2: what is done without its search for images among all that a sample may hold,
# which takes longer than a flip. Those that move pixels by parameters that they draw ...
DRAWN: frozenset[type] = frozenset(
    {
        v2.CenterCrop,
        v2.Pad,
        v2.RandomAffine,
        v2.RandomCrop,
        v2.RandomHorizontalFlip,
        v2.RandomPerspective,
        v2.RandomResize,
        v2.RandomResizedCrop,
        v2.RandomRotation,
        v2.RandomShortestSize,
        v2.RandomVerticalFlip,
        v2.RandomZoomOut,
        v2.Resize,
        v2.ScaleJitter,
    }
)
# ... and those that move none.
PLAIN: frozenset[type] = frozenset({v2.Normalize, v2.ToDtype, v2.ToImage})

# What takes a batch of images and labels, not one image.
MIXERS: tuple[type, ...] = (v2.CutMix, v2.MixUp)

# What distorts images and keeps no record of it.
ELASTIC: tuple[type, ...] = (v1.ElasticTransform, v2.ElasticTransform)

# What moves pixels a little and keeps no record of it.
UNTRACED: tuple[type, ...] = (
    v1.AutoAugment,
    v1.RandAugment,
    v1.TrivialAugmentWide,
    v1.AugMix,
    v2.AutoAugment,
    v2.RandAugment,
    v2.TrivialAugmentWide,
    v2.AugMix,
    *ELASTIC,
)
