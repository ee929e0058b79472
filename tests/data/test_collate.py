"""Batches of sparse targets."""

from __future__ import annotations

import pytest
import torch

from labelkit.data import collate_sparse
from labelkit.targets import SparseProbabilities


def sparse(*excess: float) -> SparseProbabilities:
    """One crop's target, over the first classes."""
    return SparseProbabilities(torch.arange(len(excess)), torch.tensor(excess), torch.tensor(0.5))


def test_shorter_targets_are_padded_with_entries_that_add_nothing():
    image = torch.zeros(3, 2, 2)
    images, targets = collate_sparse([(image, sparse(1.0)), (image, sparse(2.0, 3.0, 4.0))])
    assert images.shape == (2, 3, 2, 2)
    assert targets.dense(4).tolist() == [[1.5, 0.5, 0.5, 0.5], [2.5, 3.5, 4.5, 0.5]]


def test_dense_targets_are_refused_with_what_to_do():
    samples = [(torch.zeros(3, 2, 2), torch.ones(4))] * 2
    with pytest.raises(
        TypeError,
        match=r"type Tensor, expected SparseProbabilities: .*sparse=True, or drop the collate_fn",
    ):
        collate_sparse(samples)
