"""Soft targets of random crops: LabelPooling against the dense map with RoIAlign.

The baseline follows the paper's description: scatter the stored entries into a dense (C, H, W) map,
RoIAlign to one cell, softmax. Both give the same targets, which is checked first. Two forms of
maps: ``published`` (5 classes per cell, 15x15, logit 0 elsewhere), ``default`` (8 classes per
image, 10x10, a background of 128 classes with 2 patterns). The last lines show what a file's
calibration adds.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torchvision.ops import roi_align

from labelkit.geometry import CropBox
from labelkit.label_maps import (
    Background,
    Calibration,
    LabelMaps,
    MapBatch,
    pool,
    pool_batch,
)

if TYPE_CHECKING:
    from collections.abc import Callable

CROPS, ROUNDS = 256, 7
FORMS = ("published", "default")


def published_maps(rng: np.random.Generator, classes: int) -> LabelMaps:
    """Maps as published; a photo shows some twenty classes, in regions."""
    index = np.empty((CROPS, 5, 15, 15), np.uint16)
    for cells in index:
        places = rng.random((15, 15, 20)).argsort(axis=-1)[..., :5].transpose(2, 0, 1)
        cells[:] = rng.permutation(classes)[:20][places]
    return LabelMaps(index, rng.normal(5, 3, index.shape).astype(np.float32))


def default_maps(rng: np.random.Generator, classes: int) -> LabelMaps:
    """Maps of the form that ``labelkit relabel`` makes."""
    chosen = np.stack([rng.permutation(classes)[: 8 + 128] for _ in range(CROPS)])
    background = Background(
        np.sort(chosen[:, 8:]),
        rng.normal(0, 1, (CROPS, 128)).astype(np.float32),
        rng.normal(-2, 1, CROPS).astype(np.float32),
        rng.normal(0, 1, (CROPS, 2, 128)).astype(np.float32),
        rng.normal(0, 1, (CROPS, 2, 10, 10)).astype(np.float32),
    )
    score = rng.normal(5, 3, (CROPS, 8, 10, 10)).astype(np.float32)
    return LabelMaps(np.sort(chosen[:, :8]), score, background)


def dense_pooling(maps: MapBatch, rows: int, boxes: torch.Tensor, classes: int) -> torch.Tensor:
    """Targets (B, C) through dense maps, in one batch."""
    count = len(maps.rest)
    dense = maps.rest[:, None, None, None].repeat(1, classes, rows, rows)
    size = maps.background.shape[1]
    stored = maps.classes[:, : maps.classes.shape[1] - size]
    if size:
        means = maps.background[:, :, None] + maps.coefficients.mT @ maps.patterns.flatten(2)
        index = maps.classes[:, -size:, None].expand_as(means)
        dense.view(count, classes, -1).scatter_add_(1, index, means)
    index = stored.view(count, maps.excess.shape[1], *((rows, rows) if not size else (1, 1)))
    dense.scatter_add_(1, index.expand_as(maps.excess), maps.excess)
    numbers = torch.arange(count)[:, None].float()
    rois = torch.cat([numbers, boxes * rows - 0.5], dim=1)
    return roi_align(dense, rois, 1, aligned=False)[:, :, 0, 0].softmax(dim=1)


def random_boxes(rng: np.random.Generator) -> torch.Tensor:
    """Crops (B, 4) inside the image, 9 to 100 % of it."""
    sides, corners = rng.uniform(0.3, 1, (CROPS, 2)), rng.random((CROPS, 2))
    starts = corners * (1 - sides)
    return torch.from_numpy(np.concatenate([starts, starts + sides], axis=1)).float()


def medians(*calls: Callable[[], object]) -> list[float]:
    """Seconds of each, medians of interleaved rounds."""
    spent: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, times in zip(calls, spent, strict=True):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in spent]


def batch_line(form: str, maps: LabelMaps, classes: int, boxes: torch.Tensor) -> str:
    """A batch of crops: both times and their ratio."""
    every = list(maps)
    batch = MapBatch.stack(every)
    rows = every[0].grid[0]

    def plain() -> torch.Tensor:
        return dense_pooling(batch, rows, boxes, classes)

    def ours() -> torch.Tensor:
        return pool_batch(batch, boxes).dense(classes).softmax(dim=1)

    assert torch.allclose(plain(), ours(), atol=1e-5)
    slow, fast, stack = medians(plain, ours, lambda: MapBatch.stack(every))
    return (
        f"{CROPS} crops, C={classes:,}, {form} maps: {slow * 1e3:.0f} ms -> {fast * 1e3:.2f} ms, "
        f"{slow / fast:.0f}x; stacking the maps {stack * 1e3:.1f} ms"
    )


def crop_line(form: str, maps: LabelMaps, classes: int, boxes: torch.Tensor) -> str:
    """One crop after another, as a data loader's worker pools them."""
    every = list(maps)
    crops = [CropBox(*edges) for edges in boxes.tolist()]
    expected = pool_batch(MapBatch.stack(every), boxes).dense(classes).softmax(dim=1)

    def work() -> list[np.ndarray]:
        pairs = zip(every, crops, strict=True)
        return [pool(each, crop).probabilities(classes) for each, crop in pairs]

    assert np.allclose(np.stack(work()), expected, atol=1e-5)
    (spent,) = medians(work)
    return f"one crop, C={classes:,}, {form} maps, numpy: {spent / CROPS * 1e6:.0f} us"


def calibration_line(form: str, maps: LabelMaps, classes: int, boxes: torch.Tensor) -> str:
    """Crops without and with a calibration: a batch, and one after another."""
    mixing = ((0.0, 0.0),)
    fitted = Calibration(
        scale=(0.5, 0.3),
        compression=0.8,
        mixing=mixing,
        classes=classes,
        images=64,
        crops=4,
        seed=0,
    )
    both = [maps, replace(maps, calibration=fitted)]
    batches = [MapBatch.stack(list(each)) for each in both]
    crops = [CropBox(*edges) for edges in boxes.tolist()]

    def batch(number: int) -> Callable[[], object]:
        return lambda: pool_batch(batches[number], boxes).dense(classes).softmax(dim=1)

    def singly(number: int) -> Callable[[], object]:
        pairs = list(zip(both[number], crops, strict=True))
        return lambda: [pool(each, crop).probabilities(classes) for each, crop in pairs]

    calls = [batch(0), batch(1), singly(0), singly(1)]
    plain, calibrated, one, one_calibrated = (each / CROPS * 1e6 for each in medians(*calls))
    return (
        f"calibration, C={classes:,}, {form} maps: a crop in a batch {plain:.2f} -> "
        f"{calibrated:.2f} us, alone {one:.0f} -> {one_calibrated:.0f} us"
    )


def main() -> None:
    """Print one line for each measurement."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    boxes = random_boxes(rng)
    makers = dict(zip(FORMS, (published_maps, default_maps), strict=True))
    for line, sizes in (
        (batch_line, (1000, 11_221)),
        (crop_line, (1000,)),
        (calibration_line, (1000, 11_221)),
    ):
        for classes in sizes:
            for form, make in makers.items():
                print(line(form, make(rng, classes), classes, boxes), flush=True)


if __name__ == "__main__":
    main()
