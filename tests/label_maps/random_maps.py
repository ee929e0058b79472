"""Random label maps for tests."""

from __future__ import annotations

import numpy as np

from labelkit.label_maps import Background, LabelMap


def random_arrays(
    rng: np.random.Generator, count: int, top_k: int, grid: tuple[int, int], classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Class indices, distinct in each cell, and descending logits, both (N, K, H, W)."""
    shape = (count, *grid, classes)
    index = rng.random(shape).argsort(axis=-1)[..., :top_k].transpose(0, 3, 1, 2)
    score = -np.sort(-rng.normal(3, 4, index.shape).astype(np.float32), axis=1)
    return index, score


def random_background(rng: np.random.Generator, count: int, size: int, classes: int) -> Background:
    """Backgrounds of N images."""
    chosen = np.sort([rng.permutation(classes)[:size] for _ in range(count)], axis=1)
    logits = rng.normal(-1, 2, (count, size)).astype(np.float32)
    return Background(chosen, logits, rng.normal(-3, 1, count).astype(np.float32))


def random_map(
    seed: int = 0,
    top_k: int = 3,
    grid: tuple[int, int] = (15, 15),
    classes: int = 20,
    background: int = 0,
) -> LabelMap:
    """One random label map."""
    rng = np.random.default_rng(seed)
    index, score = random_arrays(rng, 1, top_k, grid, classes)
    behind = None
    if background:
        every = random_background(rng, 1, background, classes)
        behind = Background(every.classes[0], every.logits[0], float(every.rest[0]))
    return LabelMap(index[0].astype(np.uint16), score[0], behind)
