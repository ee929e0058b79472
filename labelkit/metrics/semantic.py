"""Semantic accuracy: is the prediction correct at each level of the tree that the target reaches?

# B batch, C classes, L levels
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from labelkit.metrics.counting import HitCount
from labelkit.tensor_checks import check_logits, check_target

if TYPE_CHECKING:
    from labelkit.hierarchy import SemanticTree

# Samples per step on a CPU: a step with only shallow targets skips the deeper levels.
ROWS = 32


def semantic_accuracy(logits: Tensor, target: Tensor, tree: SemanticTree) -> float:
    """Percent of (sample, level) pairs for which the level's best class is in the target's chain.

    ``SemanticAccuracy`` for a single batch; see there.

    Args:
        logits: class scores (B, C).
        target: class indices (B,), integers, of classes at any depth.
        tree: the classes, in the order of the logits, and their chains.

    Raises:
        ValueError: a wrong shape or type, a class outside the list, or an empty batch.
    """
    accuracy = SemanticAccuracy(tree)
    accuracy.update(logits, target)
    return accuracy.compute()


class SemanticAccuracy:
    """Semantic accuracy over any number of batches.

    At each level, from the roots to the target's depth, the class with the highest logit among
    the classes of that level must be the member of the target's chain. The accuracy is the
    share of correct pairs among all valid (sample, level) pairs, so a deep target counts more often
    than a shallow one. A level of one class is always correct.

    Args:
        tree: the classes, in the order of the logits, and their chains.

    Source: Ridnik et al. 2021 (arXiv 2104.10972), the section on semantic softmax training.
    """

    def __init__(self, tree: SemanticTree) -> None:
        self._sizes = [len(level) for level in tree.levels]
        self._order = torch.from_numpy(np.concatenate(tree.levels).astype(np.int64))
        self._ordered = bool((self._order == torch.arange(len(self._order))).all())
        place = np.empty_like(tree.level)
        for level in tree.levels:
            place[level] = np.arange(len(level))
        chains = tree.chain_table
        self._places = torch.from_numpy(np.where(chains >= 0, place[chains], -1))
        self._level = torch.from_numpy(tree.level.copy())
        self._count = HitCount()

    @torch.no_grad()
    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count a batch of logits (B, C) against class indices (B,), of classes at any depth.

        Raises:
            ValueError: a wrong shape or type, or a class outside the list.
        """
        classes = len(self._order)
        check_logits(logits, classes)
        check_target(target, len(logits), classes, on_accelerators=True)
        device, target = logits.device, target.long()
        self._order, self._level = self._order.to(device), self._level.to(device)
        self._places = self._places.to(device)
        level, deepest_first = self._level.index_select(0, target).sort(descending=True)
        places = self._places.index_select(0, target.index_select(0, deepest_first))
        hits = torch.zeros_like(places, dtype=torch.bool)
        step = ROWS if device.type == "cpu" else max(len(target), 1)
        for number, deepest in enumerate(level[::step].tolist()):
            rows, used = slice(number * step, (number + 1) * step), deepest + 1
            samples = logits.index_select(0, deepest_first[rows])
            best = [_best(level_logits) for level_logits in self._split(samples, used)]
            hits[rows, :used] = torch.stack(best, dim=1) == places[rows, :used]
        self._count.add(hits, places >= 0)

    def compute(self) -> float:
        """Accuracy in percent over all batches since the start or the last reset.

        Raises:
            ValueError: no samples were counted.
        """
        return self._count.percent()

    def reset(self) -> None:
        """Forget all batches."""
        self._count = HitCount()

    def _split(self, logits: Tensor, used: int) -> tuple[Tensor, ...]:
        """Logits (B, C) split into one (B, N_k) tensor for each of the first ``used`` levels."""
        sizes = self._sizes[:used]
        if self._ordered:
            return logits[:, : sum(sizes)].split(sizes, dim=1)
        return logits.index_select(1, self._order[: sum(sizes)]).split(sizes, dim=1)


def _best(logits: Tensor) -> Tensor:
    """The column of each row's highest logit, the first of equal ones: (B, N_k) -> (B,)."""
    if logits.device.type == "cpu" and logits.dtype.itemsize >= 4:
        return torch.from_numpy(logits.numpy().argmax(axis=1))  # vectorised, unlike torch's
    return logits.argmax(dim=1)
