"""Accuracy for images with several correct classes, such as ImageNet's ReaL labels.

# B batch, C classes, M largest number of labels of one sample
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from labelkit.metrics.counting import HitCount
from labelkit.tensor_checks import check_class_range, check_integers, describe_shapes

REAL_LABELS = "data/_info/imagenet_real_labels.json"


def multi_label_accuracy(logits: Tensor, labels: Tensor, k: int = 1) -> float:
    """Percent of the labelled samples with one of their labels among the k highest logits.

    ``MultiLabelAccuracy`` for a single batch; see there.

    Raises:
        ValueError: a wrong shape or type, a class or k out of range, or no sample has labels.

    >>> multi_label_accuracy(torch.eye(3), torch.tensor([[0, 2], [2, -1], [-1, -1]]))
    50.0
    """
    accuracy = MultiLabelAccuracy(k)
    accuracy.update(logits, labels)
    return accuracy.compute()


class MultiLabelAccuracy:
    """Top-k accuracy with several correct classes per sample, over any number of batches.

    A sample is correct if one of the k highest logits is among its labels. Samples without labels
    do not count.

    Args:
        k: the number of highest logits that count.

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
            labels: class indices (B, M), integers, padded with -1; or booleans (B, C).

        Raises:
            ValueError: a wrong shape or type, a class outside the C, or fewer than k classes.
        """
        _check(logits, labels)
        if self.k > logits.shape[1]:
            raise ValueError(f"k is {self.k}, but the logits have {logits.shape[1]} classes")
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
    """ImageNet-1k's reassessed labels ("ReaL"): (50000, M) int64, padded with -1.

    Row i belongs to ``ILSVRC2012_val_{i + 1:08d}.JPEG``; about 3,200 images have none. The file
    comes with timm, which is not imported.

    Raises:
        FileNotFoundError: the installed timm does not contain them.

    Source: Beyer et al. 2020, *Are we done with ImageNet?* (arXiv 2006.07159).
    """
    timm = find_spec("timm")
    root = Path(timm.origin).parent if timm is not None and timm.origin else Path("timm")
    lists: list[list[int]] = json.loads((root / REAL_LABELS).read_text())
    most = max(map(len, lists))
    return torch.tensor([labels + [-1] * (most - len(labels)) for labels in lists])


def _check(logits: Tensor, labels: Tensor) -> None:
    shapes = describe_shapes(logits=logits, labels=labels)
    if logits.ndim != 2 or labels.ndim != 2 or len(logits) != len(labels):
        raise ValueError(f"got {shapes}, expected (B, C) and (B, M)")
    if labels.dtype == torch.bool:
        if labels.shape != logits.shape:
            raise ValueError(f"got {shapes} of booleans, expected one boolean per class: (B, C)")
        return
    check_integers(labels, "labels", "integers or booleans")
    check_class_range(labels, logits.shape[1], name="labels", padding=True, on_accelerators=True)
