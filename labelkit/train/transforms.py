"""How images become the student's inputs, in training and in evaluation.

# S image side
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torchvision.transforms import InterpolationMode, v2

from labelkit.train.augmentation import augmentation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labelkit.train.recipe_data import Data


def preprocessing(model_name: str) -> Mapping[str, Any]:
    """``mean``, ``std`` and ``interpolation`` of a timm model."""
    import timm
    from timm.data.config import resolve_data_config

    known = timm.get_pretrained_cfg(model_name)
    return resolve_data_config(pretrained_cfg=known.to_dict() if known else {})


def make_transforms(data: Data, model_name: str) -> tuple[v2.Transform, v2.Transform]:
    """A random pipeline for training, a fixed one for evaluation; both return floats (3, S, S).

    Mean, standard deviation and interpolation are those of the timm model.

    Raises:
        RecipeError: timm does not know the automatic augmentation.
    """
    config = preprocessing(model_name)
    size = data.image_size
    interpolation = InterpolationMode(config["interpolation"])
    crop = v2.RandomResizedCrop(
        size, scale=data.crop_scale, interpolation=interpolation, antialias=True
    )
    training = [v2.ToImage(), crop, v2.RandomHorizontalFlip(data.hflip)]
    if data.augment:
        training += augmentation(data.augment, size, config["mean"])
    training += _to_floats(config)
    if data.erasing:
        # As timm's "pixel" mode: noise, which has mean 0 and deviation 1 like the images.
        training.append(v2.RandomErasing(data.erasing, value=cast("float", "random")))
    return v2.Compose(training), evaluation_transform(size, data.crop_pct, config)


def evaluation_transform(size: int, crop_pct: float, config: Mapping[str, Any]) -> v2.Transform:
    """Resize, crop the centre and normalise: the one pipeline for evaluation and prediction.

    Args:
        size: side of the model's square input, in pixels.
        crop_pct: ``size`` divided by the short side after resizing.
        config: ``mean``, ``std`` and ``interpolation``.
    """
    interpolation = InterpolationMode(config["interpolation"])
    resize = v2.Resize(round(size / crop_pct), interpolation=interpolation, antialias=True)
    return v2.Compose([v2.ToImage(), resize, v2.CenterCrop(size), *_to_floats(config)])


def _to_floats(config: Mapping[str, Any]) -> list[v2.Transform]:
    return [
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(list(config["mean"]), list(config["std"])),
    ]
