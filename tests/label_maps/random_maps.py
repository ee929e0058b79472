"""Random label maps for tests."""

from __future__ import annotations

import numpy as np

from labelkit.label_maps import LabelMap


def random_arrays(
    rng: np.random.Generator, count: int, top_k: int, grid: tuple[int, int], classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Class indices, distinct in each cell, and descending logits, both (N, K, H, W)."""
    shape = (count, *grid, classes)
    index = rng.random(shape).argsort(axis=-1)[..., :top_k].transpose(0, 3, 1, 2)
    score = -np.sort(-rng.normal(3, 4, index.shape).astype(np.float32), axis=1)
    return index, score


def random_map(
    seed: int = 0, top_k: int = 3, grid: tuple[int, int] = (15, 15), classes: int = 20
) -> LabelMap:
    """One random label map."""
    index, score = random_arrays(np.random.default_rng(seed), 1, top_k, grid, classes)
    return LabelMap(index[0].astype(np.uint16), score[0])
