"""What the teacher predicts for random crops of an image, and what its maps give for them.

# F maps of an image, N images, Z crops of each, C classes
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from labelkit.label_maps import log_zoom, pool, pool_by_zoom

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.geometry import CropBox
    from labelkit.label_maps import LabelMap, MapForm
    from labelkit.targets import Method, SparseLogits


class PooledCrops(NamedTuple):
    """An image's maps pooled over Z crops, without calibration.

    Attributes:
        maps: for each of F maps, its Z mean logits.
        mixed: the Z mean logits of all maps, mixed by the crop's zoom.
    """

    maps: list[list[SparseLogits]]
    mixed: list[SparseLogits]


class ImageCrops(NamedTuple):
    """Z crops of an image.

    Attributes:
        boxes: where they are.
        predicted: the teacher's log-probabilities for them (Z, C).
        pooled: what the image's maps give for them.
    """

    boxes: list[CropBox]
    predicted: torch.Tensor
    pooled: PooledCrops


@dataclass(frozen=True)
class CropLogits:
    """What is known about N * Z crops.

    Attributes:
        pooled: mean logits of each map over each crop (F, N, Z, C).
        plain: log-probabilities of the target without calibration (N, Z, C).
        log_zooms: of the crops (N, Z).
        predicted: the teacher's log-probabilities for the crops (N, Z, C).
    """

    pooled: torch.Tensor
    plain: torch.Tensor
    log_zooms: torch.Tensor
    predicted: torch.Tensor

    def images(self, numbers: slice) -> CropLogits:
        """The crops of some of the images."""
        return CropLogits(
            self.pooled[:, numbers],
            self.plain[numbers],
            self.log_zooms[numbers],
            self.predicted[numbers],
        )


def pool_crops(
    maps: Sequence[LabelMap],
    forms: Sequence[MapForm],
    boxes: Sequence[CropBox],
    method: Method = "relabel",
) -> PooledCrops:
    """Pool an image's maps over crops of it.

    Args:
        maps: F maps, of a file without calibration.
        forms: of the maps.
        boxes: Z crops.
        method: as in ``pool``.
    """
    pooled = [[pool(each, box, method=method) for box in boxes] for each in maps]
    if len(maps) == 1:
        return PooledCrops(pooled, pooled[0])
    zooms = [form.zoom for form in forms]
    return PooledCrops(pooled, [pool_by_zoom(maps, zooms, box, method=method) for box in boxes])


def crop_logits(images: Sequence[ImageCrops]) -> CropLogits:
    """The crops of N images as tensors."""
    classes = images[0].predicted.shape[1]

    def dense(crops: Sequence[SparseLogits]) -> torch.Tensor:
        return torch.from_numpy(np.stack([each.dense(classes) for each in crops]))

    maps = zip(*(each.pooled.maps for each in images), strict=True)
    plain = [dense(each.pooled.mixed).double().log_softmax(dim=1) for each in images]
    zooms = [[log_zoom(box) for box in each.boxes] for each in images]
    return CropLogits(
        torch.stack([torch.stack([dense(crops) for crops in of_map]) for of_map in maps]),
        torch.stack(plain).float(),
        torch.tensor(zooms, dtype=torch.float64),
        torch.stack([each.predicted for each in images]),
    )


def divergence(predicted: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """KL in nats from predictions to targets, as log-probabilities (..., C): (...)."""
    return (predicted.double().exp() * (predicted.double() - targets)).sum(dim=-1)
