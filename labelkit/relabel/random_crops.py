"""Random crops of an image as a training pipeline takes them, to ask the teacher about."""

# B crops, S input side

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torchvision.transforms import v2

from labelkit.geometry import CropBox
from labelkit.relabel.batches import resized

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.relabel.batches import InputSize

_SCALE, _RATIO = [0.08, 1.0], [3 / 4, 4 / 3]


class RandomCrops(NamedTuple):
    """Crops of one image.

    Attributes:
        boxes: B of them.
        pixels: at each input size (B, 3, S, S), uint8.
    """

    boxes: list[CropBox]
    pixels: tuple[torch.Tensor, ...]


def random_crops(
    image: torch.Tensor, key: str, count: int, sizes: Sequence[InputSize], seed: int
) -> RandomCrops:
    """Crops with torchvision's defaults: 8 to 100 % of the area, aspect ratios of 3:4 to 4:3.

    Args:
        image: (3, height, width), uint8.
        key: of the image; its crops depend only on this and the seed.
        count: B.
        sizes: what each crop is resized to.
        seed: of the crops.
    """
    height, width = image.shape[1:]
    sequence = np.random.SeedSequence([seed, *key.encode()])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(sequence.generate_state(1)[0]))
        places = [v2.RandomResizedCrop.get_params(image, _SCALE, _RATIO) for _ in range(count)]
    shown = [image[:, top : top + high, left : left + wide] for top, left, high, wide in places]
    return RandomCrops(
        [
            CropBox.from_pixels(left, top, wide, high, (height, width))
            for top, left, high, wide in places
        ],
        tuple(torch.stack([resized(crop, size) for crop in shown]) for size in sizes),
    )
