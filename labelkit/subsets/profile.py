"""How many images of each class: as many of all, or a long tail."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING, Literal

from labelkit.errors import DatasetError
from labelkit.subsets.seeded_order import seeded_order

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROUNDING = 1e-9  # 5000 images / 100 are 50, whatever the last bit of the power


def images_per_class(
    counts: Mapping[str, int],
    per_class: int | Literal["smallest"] | None = None,
    imbalance: float | None = None,
    seed: int = 0,
) -> dict[str, int]:
    """How many images to take of each class.

    Balanced, as many of each class. With an imbalance, class ``i`` of C gets
    ``N * imbalance ** (-i / (C - 1))`` images, rounded down, but at least one. Classes are numbered
    by the images that they have, the most first, equal ones at random: if any order of the
    classes can have N, this one can.

    Args:
        counts: the images that each class has.
        per_class: N, of the largest class; ``smallest`` is as many as the smallest class has, and
            None as many as there can be, or all images without an imbalance.
        imbalance: the largest class over the smallest; 1 and None are balanced.
        seed: of the order among classes with equally many images.

    Raises:
        DatasetError: a class has too few images; the message names the greatest N.

    Source: Cui et al. 2019 (arXiv 1901.05555), section 5.1, for the exponential profile and the
    imbalance factor; Cao et al. 2019 (arXiv 1906.07413), whose code rounds down.

    >>> images_per_class({"cat": 9, "dog": 50, "cow": 20}, 40, imbalance=10)
    {'cat': 4, 'dog': 40, 'cow': 12}
    """
    if not counts:
        raise DatasetError("no class is left: choose weaker filters")
    if imbalance is None and per_class is None:
        return dict(counts)
    imbalance = imbalance or 1.0
    order = sorted(seeded_order(counts, seed), key=lambda class_id: -counts[class_id])
    last = max(len(order) - 1, 1)
    shares = [imbalance ** (-place / last) for place in range(len(order))]

    def numbers(largest: int) -> dict[str, int]:
        rounded = (max(1, math.floor(largest * share + _ROUNDING)) for share in shares)
        return dict(zip(order, rounded, strict=True))

    def is_too_many(largest: int) -> bool:
        return any(number > counts[class_id] for class_id, number in numbers(largest).items())

    most = bisect_left(range(1, counts[order[0]] + 1), True, key=is_too_many)
    wanted = min(counts.values()) if per_class == "smallest" else per_class
    if wanted is not None and wanted > most:
        raise DatasetError(
            f"{_profile(wanted, imbalance)} needs more images than some of the "
            f"{len(counts):,} classes have: at most {most:,} per class are possible. Choose fewer, "
            "or drop small classes with min_images (--min-images)"
        )
    chosen = numbers(most if wanted is None else wanted)
    return {class_id: chosen[class_id] for class_id in counts}


def _profile(largest: int, imbalance: float) -> str:
    tail = f", down to {largest / imbalance:,.0f}" if imbalance > 1 else ""
    return f"{largest:,} images per class{tail}"
