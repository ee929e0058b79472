"""Soft targets of 256 random crops: LabelPooling against the dense map with RoIAlign.

The plain way is what the paper's description comes to: scatter the stored entries into a dense
(C, 15, 15) map, RoIAlign to one cell, softmax. Both give the same targets, which is checked first.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from torchvision.ops import roi_align

from labelkit.geometry import CropBox
from labelkit.label_maps import LabelMap, pool

if TYPE_CHECKING:
    from collections.abc import Callable

CROPS, TOP_K, GRID, ROUNDS = 256, 5, 15, 7


def dense_way(maps: list[LabelMap], boxes: list[CropBox], classes: int) -> torch.Tensor:
    """Targets (B, C) through dense maps, in one batch."""
    index = torch.from_numpy(np.stack([m.index for m in maps]).astype(np.int64))
    score = torch.from_numpy(np.stack([m.score for m in maps]))
    dense = torch.zeros(len(maps), classes, GRID, GRID).scatter_(1, index, score)
    corners = torch.tensor([[b.left, b.top, b.right, b.bottom] for b in boxes]) * GRID - 0.5
    rois = torch.cat([torch.arange(len(maps))[:, None].float(), corners], dim=1)
    return roi_align(dense, rois, 1, aligned=False)[:, :, 0, 0].softmax(dim=1)


def pooled_way(maps: list[LabelMap], boxes: list[CropBox], classes: int) -> torch.Tensor:
    """Targets (B, C) one crop after another, as a data loader's worker makes them."""
    pairs = zip(maps, boxes, strict=True)
    return torch.from_numpy(np.stack([pool(m, b).probabilities(classes) for m, b in pairs]))


def measure(classes: int) -> str:
    """One line: both times and their ratio, medians of interleaved rounds."""
    rng = np.random.default_rng(0)
    # A photo shows some twenty classes, in regions.
    maps = [
        LabelMap(
            rng.permutation(classes)[:20][
                rng.random((GRID, GRID, 20)).argsort(axis=-1)[..., :TOP_K].transpose(2, 0, 1)
            ].astype(np.uint16),
            rng.normal(5, 3, (TOP_K, GRID, GRID)).astype(np.float32),
        )
        for _ in range(CROPS)
    ]
    sides, corners = rng.uniform(0.3, 1, (CROPS, 2)), rng.random((CROPS, 2))
    starts = corners * (1 - sides)
    edges = np.concatenate([starts, starts + sides], axis=1).tolist()
    boxes = [CropBox(left, top, right, bottom) for left, top, right, bottom in edges]
    assert torch.allclose(
        dense_way(maps, boxes, classes), pooled_way(maps, boxes, classes), atol=1e-5
    )
    plain, ours = [], []
    for _ in range(ROUNDS):
        plain.append(_seconds(lambda: dense_way(maps, boxes, classes)))
        ours.append(_seconds(lambda: pooled_way(maps, boxes, classes)))
    slow, fast = statistics.median(plain), statistics.median(ours)
    return f"C={classes:,}: {slow * 1e3:.0f} ms -> {fast * 1e3:.1f} ms, {slow / fast:.1f}x"


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    torch.set_num_threads(1)
    figures = "; ".join(measure(classes) for classes in (1000, 11_221))
    print(f"LabelPooling of {CROPS} crops, {figures}  (python benchmarks/label_pooling.py)")
