"""Evaluation: named metrics over all batches.

# B batch, C classes
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from labelkit.device import forward_in_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


class Metric(Protocol):
    """Accumulates predictions over batches, as all classes of ``labelkit.metrics`` do."""

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count a batch: logits (B, C) and class indices (B,)."""
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
        """Count a batch: logits (B, C) and class indices (B,)."""
        self._sum += float(self.loss(logits, target)) * len(logits)
        self._count += len(logits)

    def compute(self) -> float:
        """The mean over all samples.

        Raises:
            ValueError: no samples were counted.
        """
        if not self._count:
            raise ValueError("no samples were counted: call update(logits, target) first")
        return self._sum / self._count


class NonFiniteLogits:
    """The number of images with a logit that is infinite or not a number."""

    def __init__(self) -> None:
        self._images: Tensor | None = None

    @torch.no_grad()
    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count a batch: logits (B, C)."""
        del target
        images = (~torch.isfinite(logits).all(1)).sum()
        self._images = images if self._images is None else self._images + images

    def compute(self) -> float:
        """The number over all batches."""
        return 0.0 if self._images is None else float(self._images)


@torch.no_grad()
def predict_logits(model: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """The float32 logits (B, C) of images (B, 3, S, S), without gradients, on the device."""
    return forward_in_parts(model, images.to(device, non_blocking=True)).float()


def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    metrics: Mapping[str, Metric],
    *,
    gather: Callable[[Tensor], Tensor] = lambda rows: rows,
) -> Iterator[tuple[str, float]]:
    """Run a model over all batches, then yield each metric's name and value.

    The model runs in eval mode, without gradients, on its device; the metrics get float32 logits.
    Afterwards the model is back in its previous mode.

    Args:
        model: maps images (B, 3, S, S) to logits (B, C).
        batches: images and class indices (B,); images without a class index are not counted.
        metrics: new metrics, by name.
        gather: the rows of all processes that share a batch; each has its metrics over all images.

    Raises:
        ValueError: there were no batches, or a class outside the logits' columns.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        for images, target in batches:
            logits = gather(predict_logits(model, images, device)[: len(target)])
            device_target = gather(target.to(device, non_blocking=True))
            for metric in metrics.values():
                metric.update(logits, device_target)
    finally:
        model.train(was_training)
    for name, metric in metrics.items():
        yield name, metric.compute()
