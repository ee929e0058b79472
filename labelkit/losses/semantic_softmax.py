"""Semantic softmax: one softmax per level of the tree, weighted by the number of classes below.

# B batch, C classes, L levels in use, N_k classes at level k
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from labelkit.losses.levels import Compat, LevelWeights, TreeLevels, resolve_level_weights
from labelkit.losses.soft_target import cross_entropy_of_rows

if TYPE_CHECKING:
    from labelkit.hierarchy import SemanticTree


class SemanticSoftmaxLoss(nn.Module):
    """Cross-entropy at every level of a semantic tree, for targets at any depth.

    With p_bk the softmax over the logits of level k alone, t_bk the member of sample b's chain at
    that level, and e the smoothing::

        loss = sum_k O_k (1/B) sum_b [t_bk exists] *
               (-(1 - e) log p_bk[t_bk] - (e / N_k) sum_c log p_bk[c])

    A level with a single class adds 0. Train and eval mode give the same value. Nothing enters the
    ``state_dict``.

    Args:
        tree: the classes, in the order of the logits, and their chains.
        label_smoothing: e, at least 0 and below 1; spread within each level.
        level_weights: O_k. ``"paper"``: ``min(20, C / sum_{j>=k} N_j)``; ``"uniform"``: 1; or one
            weight per level of the tree, from the roots down.
        compat: ``"imagenet21k"`` reproduces the published code's training loss, which drops the
            deepest level (and that level's weight, if weights are given). The published code's
            zero loss in eval mode is not reproduced.

    Attributes:
        levels: the level tables.
        level_weights: O_k of each level in use.

    Raises:
        TypeError: ``tree`` is not a ``SemanticTree``.
        ValueError: an argument is out of range, or ``compat`` is given for a tree on which the
            published code fails or drops every class that images can have.

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
            raise ValueError(
                f"label_smoothing is {label_smoothing}, expected at least 0 and below 1"
            )
        self.levels = TreeLevels(tree, compat)
        self.label_smoothing = label_smoothing
        weights = resolve_level_weights(level_weights, self.levels.all_sizes)
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
            # The mean over the whole batch, not over the samples that reach this level.
            total = total + level_sum * (weight / len(logits))
        return total


def _level_sum(logits: Tensor, target: Tensor, smoothing: float) -> Tensor:
    """Smoothed cross-entropy at one level, summed over the samples with a target there.

    Equal to ``F.cross_entropy`` with ``label_smoothing``, which takes twice as long.

    Args:
        logits: (B, N_k).
        target: positions within the level (B,), -1 if the chain ends above it.
        smoothing: the part of the target that is spread over the level.
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
    return rows.masked_fill(absent, 0).sum()  # without it, logits of -inf give NaN
