"""Accuracy where several classes are right for an image, such as with ImageNet's ReaL labels.

# N samples of the data set, B batch, C classes, M most labels of a sample
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from labelkit.metrics.hits import HitCount

REAL_LABELS = "data/_info/imagenet_real_labels.json"


def multi_label_accuracy(logits: Tensor, labels: Tensor, k: int = 1) -> float:
    """Percent of the samples with labels that have one of them among the k highest logits.

    ``MultiLabelAccuracy`` for a single batch; see there.

    Raises:
        ValueError: a wrong shape or type, a class or k outside its range, or no sample has labels.

    >>> multi_label_accuracy(torch.eye(3), torch.tensor([[0, 2], [2, -1], [-1, -1]]))
    50.0
    """
    accuracy = MultiLabelAccuracy(k)
    accuracy.update(logits, labels)
    return accuracy.compute()


class MultiLabelAccuracy:
    """Top-k accuracy with several right classes per sample, over any number of batches.

    A sample is right if one of the k highest logits is among its labels. Samples without labels are
    left out.

    Args:
        k: how many of the highest logits count.

    Raises:
        ValueError: k is below 1.

    Source: Beyer et al. 2020, *Are we done with ImageNet?* (arXiv 2006.07159), section 3.
    """

    def __init__(self, k: int = 1) -> None:
        if k < 1:
            raise ValueError(f"k is {k}, expected at least 1")
        self.k = k
        self._count = HitCount()

    @torch.no_grad()
    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch of logits (B, C).

        Args:
            logits: class scores.
            labels: class indices (B, M), integers, filled up with -1; or booleans (B, C).

        Raises:
            ValueError: a wrong shape or type, a class outside the C, or fewer than k classes.
        """
        _check(logits, labels)
        if self.k > logits.shape[1]:
            raise ValueError(f"k is {self.k}, but the logits hold {logits.shape[1]} classes")
        predicted = logits.topk(self.k, dim=1, sorted=False).indices
        if labels.dtype == torch.bool:
            hits = labels.gather(1, predicted).any(dim=1)
            self._count.add(hits, labels.any(dim=1))
        else:
            hits = (predicted.unsqueeze(2) == labels.unsqueeze(1)).flatten(1).any(dim=1)
            self._count.add(hits, (labels >= 0).any(dim=1))

    def compute(self) -> float:
        """Accuracy in percent over all batches since the start or the last reset.

        Raises:
            ValueError: no samples with labels were counted.
        """
        return self._count.percent()

    def reset(self) -> None:
        """Forget all batches."""
        self._count = HitCount()


def real_labels() -> Tensor:
    """ImageNet-1k's reassessed labels ("ReaL"): (50000, M) int64, filled up with -1.

    Row i belongs to ``ILSVRC2012_val_{i + 1:08d}.JPEG``; about 3,200 images have none. They come
    with timm, which is not imported.

    Raises:
        FileNotFoundError: this timm does not hold them.

    Source: Beyer et al. 2020, *Are we done with ImageNet?* (arXiv 2006.07159).
    """
    timm = find_spec("timm")
    root = Path(timm.origin).parent if timm is not None and timm.origin else Path("timm")
    lists: list[list[int]] = json.loads((root / REAL_LABELS).read_text())
    most = max(map(len, lists))
    return torch.tensor([labels + [-1] * (most - len(labels)) for labels in lists])


def _check(logits: Tensor, labels: Tensor) -> None:
    shapes = f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)} of {labels.dtype}"
    if logits.ndim != 2 or labels.ndim != 2 or len(logits) != len(labels):
        raise ValueError(f"got {shapes}, expected (B, C) and (B, M)")
    if labels.dtype == torch.bool:
        if labels.shape != logits.shape:
            raise ValueError(f"got {shapes}, expected one boolean per class")
        return
    if labels.is_floating_point() or labels.is_complex():
        raise ValueError(f"got {shapes}, expected integers or booleans")
    if labels.numel() == 0:
        return
    lowest, highest = (int(bound) for bound in labels.aminmax())
    if lowest < -1 or highest >= logits.shape[1]:
        raise ValueError(
            f"labels hold classes from {lowest} to {highest}, expected 0 to "
            f"{logits.shape[1] - 1}, or -1 for none"
        )
