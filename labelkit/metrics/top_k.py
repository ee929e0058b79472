"""Top-k accuracy.

# B batch, C classes
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from labelkit.metrics.counting import HitCount
from labelkit.tensor_checks import check_logits, check_target

if TYPE_CHECKING:
    from collections.abc import Sequence


def top_k_accuracy(logits: Tensor, target: Tensor, k: int = 1) -> float:
    """Percent of samples whose class is among the k highest logits.

    ``torch.topk`` chooses between equal logits.

    Args:
        logits: class scores (B, C).
        target: class indices (B,), integers.
        k: from 1 to C.

    Raises:
        ValueError: a wrong shape or type, a class or k out of range, or an empty batch.

    >>> top_k_accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1]))
    50.0
    """
    accuracy = TopKAccuracy(k)
    accuracy.update(logits, target)
    return accuracy.compute()


class TopKAccuracy:
    """Top-k accuracy over any number of batches; ``top_k_accuracy`` is for a single one.

    Args:
        k: the number of highest logits that may include the target.
        among: the indices of the classes that compete; None for all. Exclude a tree's inner nodes,
            for example, since they represent groups of classes.

    Raises:
        ValueError: k is below 1, or ``among`` has fewer than k classes or a negative index.
    """

    def __init__(self, k: int = 1, among: Sequence[int] | None = None) -> None:
        if k < 1:
            raise ValueError(f"k is {k}, expected at least 1")
        if among is not None and len(among) < k:
            raise ValueError(f"k is {k}, but {len(among)} classes compete")
        if among is not None and min(among) < 0:
            raise ValueError(f"among has class {min(among)}, expected indices >= 0")
        self.k = k
        self._highest = -1 if among is None else max(among)
        self._among = None if among is None else torch.tensor(among)
        self._count = HitCount()

    @torch.no_grad()
    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count a batch of logits (B, C) against class indices (B,).

        Raises:
            ValueError: a wrong shape or type, a class in ``target`` or ``among`` outside the list,
                or fewer than k classes.
        """
        check_logits(logits)
        check_target(target, len(logits), logits.shape[1], on_accelerators=True)
        if self.k > logits.shape[1]:
            raise ValueError(f"k is {self.k}, but the logits have {logits.shape[1]} classes")
        if self._highest >= logits.shape[1]:
            raise ValueError(
                f"among has class {self._highest}, but the logits have {logits.shape[1]} classes"
            )
        if self._among is None:
            predicted = logits.topk(self.k, dim=1, sorted=False).indices
        else:
            self._among = self._among.to(logits.device)
            best = logits.index_select(1, self._among).topk(self.k, dim=1, sorted=False).indices
            predicted = self._among[best]
        hits = (predicted == target.unsqueeze(1)).any(dim=1)
        self._count.add(hits, torch.ones_like(hits))

    def compute(self) -> float:
        """Accuracy in percent over all batches since the start or the last reset.

        Raises:
            ValueError: no samples were counted.
        """
        return self._count.percent()

    def reset(self) -> None:
        """Forget all batches."""
        self._count = HitCount()
