"""How timm's own transforms move a tracker: the steps of ``timm.data.create_transform``.

Each is done with its own parameters, drawn in its own order, so the pixels are timm's to the bit.
Loaded with the first pipeline that holds one, since timm takes seconds to import.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from timm.data import auto_augment, random_erasing, transforms as timm_transforms
from torchvision.transforms import functional as F

from labelkit.data.crop_steps import both, moved

if TYPE_CHECKING:
    from labelkit.data.crop_steps import Move, Tracked
    from labelkit.data.crop_tracker import CropTracker

# Operations of timm's automatic augmentation that leave pixels where they are.
_COLOUR_OPERATIONS = frozenset(
    {
        "AutoContrast",
        "Brightness",
        "BrightnessIncreasing",
        "Color",
        "ColorIncreasing",
        "Contrast",
        "ContrastIncreasing",
        "Desaturate",
        "Equalize",
        "GaussianBlur",
        "GaussianBlurRand",
        "Invert",
        "Posterize",
        "PosterizeIncreasing",
        "PosterizeOriginal",
        "Sharpness",
        "SharpnessIncreasing",
        "Solarize",
        "SolarizeAdd",
        "SolarizeIncreasing",
    }
)


def moves_only_colour(step: Any) -> bool:  # noqa: ANN401 -- one of UNTRACED
    """Whether all operations that an automatic augmentation may draw leave pixels in place.

    So it is with timm's "3-augment" (``auto_augment="3a"``), which blurs and shifts colours.
    """
    if isinstance(step, auto_augment.AutoAugment):
        names = {operation.name for policy in step.policy for operation in policy}
    else:
        names = {operation.name for operation in step.ops}
    return names <= _COLOUR_OPERATIONS


def _interpolation(step: Any) -> Any:  # noqa: ANN401
    several = isinstance(step.interpolation, (tuple, list))
    return random.choice(step.interpolation) if several else step.interpolation  # noqa: S311


def _random_resized_crop(
    step: timm_transforms.RandomResizedCropAndInterpolation,
    image: Any,  # noqa: ANN401
    tracker: CropTracker,
) -> Tracked:
    place = step.get_params(image, step.scale, step.ratio)
    return both("resized_crop", image, tracker, *place, step.size, _interpolation(step))


def _resize_keep_ratio(
    step: timm_transforms.ResizeKeepRatio,
    image: Any,  # noqa: ANN401
    tracker: CropTracker,
) -> Tracked:
    size = step.get_params(
        image,
        step.size,
        step.longest,
        step.random_scale_prob,
        step.random_scale_range,
        step.random_scale_area,
        step.random_aspect_prob,
        step.random_aspect_range,
    )
    return both("resize", image, tracker, size, _interpolation(step))


def _random_crop_or_pad(
    step: timm_transforms.RandomCropOrPad,
    image: Any,  # noqa: ANN401
    tracker: CropTracker,
) -> Tracked:
    top, left = step.get_params(image, step.size)
    place = (top, left, *step.size)
    image = timm_transforms.crop_or_pad(
        image, *place, fill=step.fill, padding_mode=step.padding_mode
    )
    return image, moved("crop", tracker, *place)


def _random_pad(
    step: timm_transforms.RandomPad,
    image: Any,  # noqa: ANN401
    tracker: CropTracker,
) -> Tracked:
    padding = list(step.get_params(image, step.input_size))
    return both("pad", image, tracker, padding, step.fill)


def _trim_border(
    step: timm_transforms.TrimBorder,
    image: Any,  # noqa: ANN401
    tracker: CropTracker,
) -> Tracked:
    _, height, width = F.get_dimensions(image)
    border = step.border_size
    place = (min(border, height), min(border, width))
    return both(
        "crop", image, tracker, *place, max(0, height - 2 * border), max(0, width - 2 * border)
    )


MOVES: dict[type, Move] = {
    timm_transforms.CenterCropOrPad: lambda step, image, tracker: (
        step(image),
        moved("center_crop", tracker, step.size),
    ),
    timm_transforms.RandomCropOrPad: _random_crop_or_pad,
    timm_transforms.RandomPad: _random_pad,
    timm_transforms.RandomResizedCropAndInterpolation: _random_resized_crop,
    timm_transforms.ResizeKeepRatio: _resize_keep_ratio,
    timm_transforms.TrimBorder: _trim_border,
}

STILL: frozenset[type] = frozenset(
    {
        random_erasing.RandomErasing,
        timm_transforms.MaybePILToTensor,
        timm_transforms.MaybeToTensor,
        timm_transforms.ToNumpy,
        timm_transforms.ToTensor,
    }
)

UNTRACED: tuple[type, ...] = (
    auto_augment.AugMixAugment,
    auto_augment.AutoAugment,
    auto_augment.RandAugment,
)
