"""Batches in parts: which parts, and the same rows."""

from __future__ import annotations

import pytest
import torch

from labelkit.device import forward_in_parts


@pytest.mark.parametrize(
    ("images", "side", "parts"),
    [
        (0, 224, [0]),
        (8, 224, [8]),
        (9, 224, [5, 4]),  # no part of one image: some kernels round differently for one
        (64, 224, [8] * 8),
        (64, 64, [64]),
        (3, 1000, [1, 1, 1]),
    ],
)
def test_large_batches_are_split_evenly(images: int, side: int, parts: list[int]) -> None:
    seen = []

    def means(batch: torch.Tensor) -> torch.Tensor:
        seen.append(len(batch))
        return batch.mean(dim=(2, 3))

    batch = torch.rand(images, 3, side, side)
    found = forward_in_parts(means, batch)
    assert seen == parts
    assert torch.equal(found, batch.mean(dim=(2, 3)))
