"""Automatic augmentation: the values of ``data.augment``."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as VF

from labelkit.errors import RecipeError, first_line

if TYPE_CHECKING:
    from collections.abc import Sequence

COLOUR_ONLY = "3-augment"


def augmentation(name: str, size: int, mean: Sequence[float]) -> list[v2.Transform]:
    """The steps of an automatic augmentation, for uint8 images after cropping.

    Args:
        name: ``data.augment``.
        size: the images' side, in pixels.
        mean: of the images, from 0 to 1, with which timm fills what a shift leaves empty.

    Raises:
        RecipeError: timm does not know the augmentation.

    Source: Touvron et al. 2022 (arXiv 2204.07118), section 3, for 3-Augment; Cubuk et al. 2019
    (arXiv 1805.09501) and 2020 (arXiv 1909.13719); Mueller and Hutter 2021 (arXiv 2103.10158).
    """
    match name:
        case "3-augment":
            blur = v2.GaussianBlur(max(3, size // 10 | 1), (0.1, 2.0))
            one = v2.RandomChoice([v2.Grayscale(3), v2.RandomSolarize(128, p=1.0), blur])
            return [one, v2.ColorJitter(0.3, 0.3, 0.3)]
        case "randaugment":
            return [v2.RandAugment()]
        case "trivialaugment":
            return [v2.TrivialAugmentWide()]
        case "autoaugment":
            return [v2.AutoAugment()]
        case _:
            return [TimmRandAugment(name, size, mean)]


class TimmRandAugment(v2.Transform):
    """timm's RandAugment by its configuration, such as ``rand-m9-mstd0.5-inc1``.

    timm draws from Python's and NumPy's generators; here all draws follow from torch's.

    Args:
        name: the configuration.
        size: the images' side, in pixels.
        mean: of the images, from 0 to 1.

    Raises:
        RecipeError: timm does not understand the configuration.
    """

    _transformed_types = (tv_tensors.Image,)

    def __init__(self, name: str, size: int, mean: Sequence[float]) -> None:
        super().__init__()
        from timm.data.auto_augment import rand_augment_transform

        # The same as timm's create_transform.
        hints = {
            "translate_const": int(size * 0.45),
            "img_mean": tuple(min(255, round(255 * each)) for each in mean),
        }
        try:
            self.augment = rand_augment_transform(name, hints)
        except Exception as error:  # any, since timm parses it without checks
            raise RecipeError(
                f"data.augment is {name!r}, which timm does not understand ({first_line(error)}): "
                "expected a configuration such as rand-m9-mstd0.5-inc1"
            ) from error

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ANN401 -- torchvision's
        """An image, augmented."""
        del params
        seed = int(torch.randint(2**31, ()))
        before = random.getstate(), np.random.get_state()  # noqa: NPY002 -- timm's generators
        try:
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            image = self.augment(VF.to_pil_image(inpt))
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002
        return tv_tensors.Image(VF.pil_to_tensor(image))
