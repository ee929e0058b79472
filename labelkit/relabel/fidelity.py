"""Crop fidelity: how well targets pooled from label maps tell what the teacher says of the crops.

Random crops are taken as training takes them. The teacher is shown each at its own size, and its
answer is held against the target pooled from the image's label map: the KL divergence from answer
to target, and how often both name the same class. Nothing is trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from labelkit.data import list_images
from labelkit.relabel.maps import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from labelkit.label_maps.pooling_options import Method
    from labelkit.teachers import Teacher

_STRIDE = 32
_ZOOMS = (1, 9 / 7, 10 / 7, 2)


@dataclass(frozen=True)
class Way:
    """One way to make targets.

    Attributes:
        name: what it is called in tables.
        sizes: input sides in pixels; with several, maps are mixed by the crop's zoom.
        settings: what is kept of the logits; None keeps all of them.
        method: how a crop's target is pooled; ``probability`` needs maps with log-sum-exp.
    """

    name: str
    sizes: tuple[int, ...]
    settings: Settings | None = None
    method: Method = "relabel"


@dataclass(frozen=True)
class Fidelity:
    """How well one way does.

    Attributes:
        way: which.
        temperature: what pooled logits are divided by.
        divergence: mean KL from the teacher's answer to the target, in nats.
        error: standard error of that mean, over images.
        agreement: share of crops for which both name the same class.
        record_bytes: mean size of an image's record; 0 where all logits are kept.
        cost: floating-point operations for the teacher's maps of an image, as a multiple of those
            for its answer to one image at its own size.
    """

    way: Way
    temperature: float
    divergence: float
    error: float
    agreement: float
    record_bytes: float
    cost: float


def default_sizes(native: int) -> tuple[int, ...]:
    """Input sides worth trying: up to twice the one that the teacher was trained at."""
    sides = (round(native * zoom / _STRIDE) * _STRIDE for zoom in _ZOOMS[1:])
    return tuple(sorted({native, *sides}))


def default_ways(sizes: Sequence[int], published: int) -> list[Way]:
    """What ``labelkit fidelity`` compares: every size with all logits and several kinds of maps.

    Args:
        sizes: input sides in pixels.
        published: the input side that gives 15x15 cells, at which the paper's way is shown.

    Source: Yun et al. 2021 (arXiv 2101.05022), section 3.1, for the way as published.
    """
    kinds = {
        "default": Settings(),
        "12 classes, 192 behind": Settings(top_k=12, background=192),
        "no patterns": Settings(patterns=0),
        "15x15 cells": Settings(grid=(15, 15)),
        "each cell's 5": Settings("cell", grid=(15, 15)),
        "each cell's 5, zeros": Settings("cell", grid=(15, 15), background=0),
    }
    ways = [Way("all logits", (size,)) for size in sizes]
    ways += [Way(name, (size,), kind) for size in sizes for name, kind in kinds.items()]
    surer = Settings(log_sum_exp=True)
    ways += [Way("all logits, probabilities", (size,), None, "probability") for size in sizes]
    ways += [Way("default, probabilities", (size,), surer, "probability") for size in sizes]
    if len(sizes) > 1:
        pair = (sizes[0], sizes[-1])
        ways += [Way("all logits", pair), Way("default", pair, Settings())]
    zeros = kinds["each cell's 5, zeros"]
    return [*ways, Way("as published", (published,), zeros)]


def measure_fidelity(  # noqa: PLR0913 -- what, by whom, how, and how much of it
    root: Path,
    teacher: Teacher,
    ways: Sequence[Way],
    *,
    temperatures: Sequence[float] = (1.0,),
    images: int = 100,
    crops: int = 8,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Fidelity]:
    """Measure several ways on the same crops.

    Args:
        root: folder of images, at any depth.
        teacher: the classifier.
        ways: what to compare.
        temperatures: each way is measured at all of them.
        images: how many images, evenly spread over the folder; fewer if there are no more.
        crops: random crops of each, with torchvision's defaults (8 to 100 % of the area).
        seed: of the crops; an image's crops depend on its path and this alone.
        on_progress: called with (images done, images in all).

    Returns:
        First the floor, which is the teacher's answer to the mirrored crop as the target; then each
        way at each temperature.

    Raises:
        DatasetError: the folder holds no readable images.
        TeacherError: the model has no spatial grid, or does not take such an input size.
        ClassListError: fewer classes than a way is to keep.
    """
    from labelkit.relabel.fidelity_run import FidelityRun

    run = FidelityRun(teacher, ways, temperatures)
    keys = list_images(root)
    chosen = np.unique(np.linspace(0, len(keys) - 1, min(images, len(keys))).astype(int)).tolist()
    for done, at in enumerate(chosen):
        run.add(root / keys[at], [seed, *keys[at].encode()], crops)
        if on_progress:
            on_progress(done + 1, len(chosen))
    return run.results()


def recommend(results: Sequence[Fidelity], budget: float, least: float = 0.01) -> Fidelity | None:
    """The way to take: nearly the best within the budget, and of those the cheapest.

    Args:
        results: from ``measure_fidelity``.
        budget: bytes that an image's record may take.
        least: KL in nats that a costlier way must gain over a cheaper one.

    Returns:
        None if no way that keeps less than all logits fits the budget. Only temperature 1 is looked
        at, since a file keeps logits as they are, and the method ``relabel``, by which targets are
        pooled unless told otherwise.
    """
    fitting = [
        each
        for each in results
        if each.way.settings
        and each.way.method == "relabel"
        and each.temperature == 1
        and each.record_bytes <= budget
    ]
    best = min((each.divergence for each in fitting), default=0.0)
    near = [each for each in fitting if each.divergence <= best + least]
    return min(
        near, key=lambda each: (each.record_bytes * each.cost, each.divergence), default=None
    )
