"""Hits out of trials, counted exactly over batches, and the checks that every accuracy shares.

# B batch, C classes
"""

from __future__ import annotations

import torch
from torch import Tensor

from labelkit.metrics.sums import Sums

NOTHING_COUNTED = "no samples were counted: call update(logits, target) before compute()"


class HitCount:
    """Hits out of trials as 64-bit integers, over batches and processes (see ``Sums``)."""

    def __init__(self) -> None:
        self._sums = Sums(2)

    def add(self, hits: Tensor, trials: Tensor) -> None:
        """Count boolean ``hits`` among boolean ``trials``, two tensors of one shape."""
        self._sums.add(torch.stack([(hits & trials).sum(), trials.sum()]))

    def percent(self) -> float:
        """Hits per hundred trials, over all processes if there are several.

        Raises:
            ValueError: nothing has been counted.
        """
        hits, trials = self._sums.total().tolist()
        if trials == 0:
            raise ValueError(NOTHING_COUNTED)
        return 100.0 * hits / trials


def check_predictions(logits: Tensor, target: Tensor, class_count: int | None = None) -> None:
    """Raise ValueError unless ``logits`` are (B, C) and ``target`` (B,) integers in 0..C-1.

    Args:
        logits: class scores.
        target: class indices.
        class_count: C if it is known beforehand.
    """
    columns = "classes" if class_count is None else class_count
    if logits.ndim != 2 or (class_count is not None and logits.shape[1] != class_count):
        raise ValueError(
            f"logits have shape {tuple(logits.shape)}, expected (batch, {columns}): "
            "one column per class"
        )
    if target.shape != logits.shape[:1]:
        raise ValueError(
            f"target has shape {tuple(target.shape)} and logits {tuple(logits.shape)}, expected "
            f"({len(logits)},): one class index per sample"
        )
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise ValueError(f"target has type {target.dtype}, expected integers")
    if len(target) == 0:
        return
    lowest, highest = (int(bound) for bound in target.aminmax())
    if lowest < 0 or highest >= logits.shape[1]:
        raise ValueError(
            f"target holds classes from {lowest} to {highest}, expected 0 to "
            f"{logits.shape[1] - 1}: were the labels made with another class list?"
        )
