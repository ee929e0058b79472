"""CutMix and MixUp of a run's batches, with any kind of labels.

# B batch, C classes, S image side
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torchvision.transforms import v2

from labelkit.data import mix

if TYPE_CHECKING:
    from torch import Tensor

    from labelkit.train.recipe import Mix

# Beside the children of a run's seed that draw orders and crops (``EpochSampler``).
_CHILD = 2


@dataclass(frozen=True)
class BatchMixing:
    """Mixes the images of a batch, and their targets in the same proportions.

    Whether, how and in what proportion follow from the seed and the number of the update alone, so
    that neither interruptions nor workers change them. Each image is mixed with the one before it.

    Attributes:
        settings: the recipe's.
        seed: the run's.
        classes: C of the targets.

    Source: Zhang et al. 2018 (arXiv 1710.09412); Yun et al. 2019 (arXiv 1905.04899).
    """

    settings: Mix
    seed: int
    classes: int

    def __call__(self, images: Tensor, target: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """The batch mixed, or as it is in 1 - ``prob`` of all updates.

        Args:
            images: (B, 3, S, S).
            target: class indices (B,), or probabilities (B, C).
            number: of the update in the run.

        Returns:
            The images, and probabilities (B, C).
        """
        soft = soft_labels(target, self.classes)
        source = np.random.SeedSequence([self.seed, number], spawn_key=(_CHILD,))
        generator = torch.default_generator  # torchvision's mixers have no other
        state = generator.get_state()
        try:
            generator.manual_seed(int(source.generate_state(1, np.uint64)[0]))
            mixer = self._mixer(*torch.rand(2).tolist())
            return (images, soft) if mixer is None else mix(mixer, images, soft)
        finally:
            generator.set_state(state)

    def _mixer(self, chance: float, choice: float) -> v2.CutMix | v2.MixUp | None:
        """The mixer of one batch, by two random numbers."""
        settings = self.settings
        if chance >= settings.prob:
            return None
        if settings.cutmix and (not settings.mixup or choice < settings.switch_prob):
            return v2.CutMix(alpha=settings.cutmix)
        return v2.MixUp(alpha=settings.mixup)


def soft_labels(target: Tensor, classes: int) -> Tensor:
    """Class indices (B,) as probabilities (B, C), all 0 for -1; probabilities as they are."""
    if target.ndim == 2:
        return target
    known = (target >= 0).unsqueeze(1)
    return F.one_hot(target.clamp(min=0), classes).float() * known
