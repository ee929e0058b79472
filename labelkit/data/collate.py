"""Batches of sparse targets.

Legend: B batch, E entries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import default_collate

from labelkit.targets import SparseProbabilities

if TYPE_CHECKING:
    from collections.abc import Sequence


def collate_sparse(
    samples: Sequence[tuple[Any, SparseProbabilities]],
) -> tuple[Any, SparseProbabilities]:
    """Images, and one ``SparseProbabilities`` (B, E) with E of the longest; a ``collate_fn``.

    Shorter ones are filled with entries that add nothing.

    Raises:
        TypeError: a target is no ``SparseProbabilities``.
    """
    images, targets = zip(*samples, strict=True)
    for target in targets:
        if not isinstance(target, SparseProbabilities):
            raise TypeError(
                f"collate_sparse got a target of type {type(target).__name__}, expected "
                "SparseProbabilities: make the data set with sparse=True, or leave collate_fn out"
            )
    return default_collate(list(images)), SparseProbabilities(
        pad_sequence([target.classes for target in targets], batch_first=True),
        pad_sequence([target.excess for target in targets], batch_first=True),
        torch.stack([target.rest for target in targets]),
    )
