"""How timm's transforms move a tracker: the steps of ``timm.data.create_transform``.

Each step is repeated with its own parameters, drawn in its own order, so the pixels are identical
to timm's. Imported with the first pipeline that needs it, since importing timm takes seconds.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from timm.data import auto_augment, random_erasing, transforms as timm_transforms
from torchvision.transforms import functional as F

from labelkit.data.crops.steps import StepTable, apply, apply_to_tracker

if TYPE_CHECKING:
    from labelkit.data.crops.steps import Tracked
    from labelkit.data.crops.tracker import CropTracker

# Operations of timm's automatic augmentation that move no pixels.
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


def _changes_colour_only(step: Any) -> bool:  # noqa: ANN401 -- an automatic augmentation
    """Whether no operation that an automatic augmentation may draw moves pixels.

    True of timm's "3-augment" (``auto_augment="3a"``), which blurs images and changes colours.
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
    return apply("resized_crop", image, tracker, *place, step.size, _interpolation(step))


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
    return apply("resize", image, tracker, size, _interpolation(step))


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
    return image, apply_to_tracker("crop", tracker, *place)


def _random_pad(
    step: timm_transforms.RandomPad,
    image: Any,  # noqa: ANN401
    tracker: CropTracker,
) -> Tracked:
    padding = list(step.get_params(image, step.input_size))
    return apply("pad", image, tracker, padding, step.fill)


def _trim_border(
    step: timm_transforms.TrimBorder,
    image: Any,  # noqa: ANN401
    tracker: CropTracker,
) -> Tracked:
    _, height, width = F.get_dimensions(image)
    border = step.border_size
    place = (min(border, height), min(border, width))
    return apply(
        "crop", image, tracker, *place, max(0, height - 2 * border), max(0, width - 2 * border)
    )


TIMM = StepTable(
    moving={
        timm_transforms.CenterCropOrPad: lambda step, image, tracker: (
            step(image),
            apply_to_tracker("center_crop", tracker, step.size),
        ),
        timm_transforms.RandomCropOrPad: _random_crop_or_pad,
        timm_transforms.RandomPad: _random_pad,
        timm_transforms.RandomResizedCropAndInterpolation: _random_resized_crop,
        timm_transforms.ResizeKeepRatio: _resize_keep_ratio,
        timm_transforms.TrimBorder: _trim_border,
    },
    still=frozenset(
        {
            random_erasing.RandomErasing,
            timm_transforms.MaybePILToTensor,
            timm_transforms.MaybeToTensor,
            timm_transforms.ToNumpy,
            timm_transforms.ToTensor,
        }
    ),
    untraced=(
        auto_augment.AugMixAugment,
        auto_augment.AutoAugment,
        auto_augment.RandAugment,
    ),
    changes_colour_only=_changes_colour_only,
)
