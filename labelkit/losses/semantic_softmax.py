"""Semantic softmax: one softmax per level of the tree, weighted by how many classes lie below.

# B batch, C classes, L levels in use, N_k classes at level k
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

from labelkit.losses.levels import Compat, TreeLevels
from labelkit.losses.sparse_cross_entropy import cross_entropy_of_rows

if TYPE_CHECKING:
    from labelkit.hierarchy import SemanticTree

LARGEST_PAPER_WEIGHT = 20.0

LevelWeights: TypeAlias = Literal["paper", "uniform"] | Sequence[float]


class SemanticSoftmaxLoss(nn.Module):
    """Cross-entropy at every level of a semantic tree, for targets at any depth.

    With p_bk the softmax over the logits of level k alone, t_bk the member of sample b's chain at
    that level, and e the smoothing::

        loss = sum_k O_k (1/B) sum_b [t_bk exists] *
               (-(1 - e) log p_bk[t_bk] - (e / N_k) sum_c log p_bk[c])

    A level with a single class adds 0. The same in train and eval mode. Nothing enters the
    ``state_dict``.

    Args:
        tree: the classes, in the order of the logits, and their chains.
        label_smoothing: e, from 0 up to but not including 1; spread within each level.
        level_weights: O_k. ``"paper"``: ``min(20, C / sum_{j>=k} N_j)``; ``"uniform"``: 1; or one
            weight per level of the tree, from the roots down.
        compat: ``"imagenet21k"`` reproduces the published code's training loss: its deepest level
            is left out (and so is that level's weight, if weights were given). Its zero loss in
            eval mode is not reproduced.

    Attributes:
        levels: the level tables.
        level_weights: O_k of each level in use.

    Raises:
        TypeError: ``tree`` is no tree.
        ValueError: an argument is out of its range, or ``compat`` is asked for on a tree where the
            published code fails, or leaves out every class that images can have.

    Source: Ridnik et al. 2021 (arXiv 2104.10972), the section on semantic softmax training.
    """

    def __init__(
        self,
        tree: SemanticTree,
        label_smoothing: float = 0.0,
        level_weights: LevelWeights = "paper",
        compat: Compat = None,
    ) -> None:
        super().__init__()
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"label_smoothing is {label_smoothing}, expected 0 <= it < 1")
        self.levels = TreeLevels(tree, compat)
        self.label_smoothing = label_smoothing
        weights = _level_weights(level_weights, self.levels.all_sizes)
        self.level_weights = weights[: len(self.levels.sizes)]

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss as a scalar, in float32 (float64 for float64 logits).

        Args:
            logits: floats (B, C).
            target: class indices (B,), integers, of classes at any depth.

        Raises:
            ValueError: a wrong shape or type, an empty batch, or a class outside the list (the
                last on the CPU only; see ``TreeLevels.targets``).
        """
        by_level = self.levels.split(logits)
        targets = self.levels.targets(target, len(logits)).unbind(dim=1)
        total = by_level[0].new_zeros(())
        for weight, level_logits, level_target in zip(
            self.level_weights, by_level, targets, strict=True
        ):
            level_sum = _level_sum(level_logits, level_target, self.label_smoothing)
            # Over the whole batch, not over the samples that reach this level.
            total = total + level_sum * (weight / len(logits))
        return total


def _level_sum(logits: Tensor, target: Tensor, smoothing: float) -> Tensor:
    """Smoothed cross-entropy at one level, summed over the samples with a target there.

    As ``F.cross_entropy`` with ``label_smoothing``, which takes twice the time.

    Args:
        logits: (B, N_k).
        target: positions within the level (B,), -1 where the chain ends above it.
        smoothing: the share of the target that is spread over the level.
    """
    if not smoothing:
        return F.cross_entropy(logits, target, ignore_index=-1, reduction="sum")
    absent = target < 0
    present = (~absent).to(logits.dtype)
    rows = cross_entropy_of_rows(
        logits,
        target.clamp(min=0).unsqueeze(1),
        (present * (1 - smoothing)).unsqueeze(1),
        present * (smoothing / logits.shape[1]),
    )
    return rows.masked_fill(absent, 0).sum()  # logits of -inf would make it NaN


def _level_weights(level_weights: LevelWeights, sizes: tuple[int, ...]) -> tuple[float, ...]:
    """O_k for every level of the tree."""
    if isinstance(level_weights, str):
        match level_weights:
            case "paper":
                total = sum(sizes)
                below = (sum(sizes[level:]) for level in range(len(sizes)))
                return tuple(min(LARGEST_PAPER_WEIGHT, total / count) for count in below)
            case "uniform":
                return (1.0,) * len(sizes)
            case _:
                raise ValueError(
                    f"level_weights is {level_weights!r}, expected 'paper', 'uniform' or numbers"
                )
    weights = tuple(float(weight) for weight in level_weights)
    if len(weights) != len(sizes):
        raise ValueError(
            f"level_weights holds {len(weights)} weights, expected {len(sizes)}: "
            "one per level of the tree"
        )
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights):
        raise ValueError(f"level_weights are {weights}, expected finite numbers of at least 0")
    return weights
