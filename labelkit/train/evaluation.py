"""Evaluation: named metrics over a loader, which know nothing of logs.

Legend: B batch, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


class Metric(Protocol):
    """What sums up predictions over batches, as all of ``labelkit.metrics`` do."""

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Take in a batch: logits (B, C) and class indices (B,)."""
        ...

    def compute(self) -> float:
        """The value over all batches."""
        ...


class MeanLoss:
    """A loss, averaged over samples.

    Args:
        loss: takes (logits, target) and returns the mean of the batch.
    """

    def __init__(self, loss: nn.Module) -> None:
        self.loss = loss
        self._sum = 0.0
        self._count = 0

    @torch.no_grad()
    def update(self, logits: Tensor, target: Tensor) -> None:
        """Take in a batch: logits (B, C) and class indices (B,)."""
        self._sum += float(self.loss(logits, target)) * len(logits)
        self._count += len(logits)

    def compute(self) -> float:
        """The mean over all samples.

        Raises:
            ValueError: there were none.
        """
        if not self._count:
            raise ValueError("no samples were counted: call update(logits, target) first")
        return self._sum / self._count


def evaluate(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], metrics: Mapping[str, Metric]
) -> Iterator[tuple[str, float]]:
    """Run a model over all batches, then yield each metric's name and value.

    The model answers in eval mode and without gradients, in float32, on its own device; afterwards
    it is in the mode that it was in.

    Args:
        model: gives logits (B, C) for images (B, 3, S, S).
        batches: images and class indices (B,).
        metrics: new ones, by name.

    Raises:
        ValueError: there were no batches, or a class outside the logits' columns.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for images, target in batches:
                logits = model(images.to(device, non_blocking=True)).float()
                target_there = target.to(device, non_blocking=True)
                for metric in metrics.values():
                    metric.update(logits, target_there)
    finally:
        model.train(was_training)
    for name, metric in metrics.items():
        yield name, metric.compute()
