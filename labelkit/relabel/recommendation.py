"""Which of the measured label maps to make, and whether the measurement is enough to tell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.relabel.fidelity import Fidelity

_TOLERANCE = 0.1  # of the best KL
_NORMAL = 1.96  # standard errors on each side that hold 95 % of a normal distribution


@dataclass(frozen=True)
class Recommendation:
    """The maps that a measurement speaks for.

    Attributes:
        chosen: the cheapest of the configurations that are nearly the best.
        rival: the configuration that may be better by the most; None if there is no other.
        margin: by how much KL the rival is better at most, with 95 % confidence, from the two's
            differences on the same images.
        tolerance: the largest margin with which ``chosen`` is recommended.
        images: about how many images it takes to tell.
    """

    chosen: Fidelity
    rival: Fidelity | None
    margin: float
    tolerance: float
    images: int

    @property
    def certain(self) -> bool:
        """Whether nothing within the budget can be much better than ``chosen``."""
        return self.margin <= self.tolerance


def recommend(
    results: Sequence[Fidelity], budget: float, least: float = 0.01
) -> Recommendation | None:
    """The cheapest of the configurations that are nearly the best within a budget.

    Args:
        results: from ``measure_fidelity``.
        budget: bytes that an image's record may take.
        least: KL in nats by which a more expensive configuration must improve on a cheaper one.

    Returns:
        None if nothing but all logits fits the budget. Only the pooling method ``relabel`` counts,
        which is the default. On few images or crops the choice is not certain: then a rival may be
        better by more than a tenth of the lowest KL.
    """
    fitting = [
        each
        for each in results
        if each.configuration.settings
        and each.configuration.method == "relabel"
        and each.record_bytes <= budget
    ]
    if not fitting:
        return None
    best = min(each.divergence for each in fitting)
    near = [each for each in fitting if each.divergence <= best + least]
    chosen = min(near, key=lambda each: (each.record_bytes * each.cost, each.divergence))
    rivals = [(_largest_gain(chosen, each), each) for each in fitting if each is not chosen]
    tolerance = _TOLERANCE * best
    margin, rival = max(rivals, key=lambda each: each[0], default=(0.0, None))
    images = _images_needed(chosen, [each for _, each in rivals], tolerance)
    return Recommendation(chosen, rival, margin, tolerance, images)


def _largest_gain(chosen: Fidelity, rival: Fidelity) -> float:
    """The upper end of a 95 % interval for how much KL the rival saves."""
    mean, error, count = _difference(chosen, rival)
    return mean + _quantile(count - 1) * error


def _images_needed(chosen: Fidelity, rivals: Sequence[Fidelity], tolerance: float) -> int:
    """About how many images bring all intervals below the tolerance."""
    needed = len(chosen.by_image)
    for rival in rivals:
        mean, error, count = _difference(chosen, rival)
        room = max(tolerance - mean, tolerance / 4)  # the mean is itself uncertain
        needed = max(needed, math.ceil(count * (_NORMAL * error / room) ** 2))
    return needed


def _difference(chosen: Fidelity, rival: Fidelity) -> tuple[float, float, int]:
    """The mean KL that the rival saves, its standard error over images, and their number."""
    differences = np.subtract(chosen.by_image, rival.by_image)
    count = len(differences)
    return float(differences.mean()), float(differences.std(ddof=1) / count**0.5), count


def _quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t distribution, to 1 % from 3 degrees of freedom on.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5.
    """
    z = _NORMAL
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))
