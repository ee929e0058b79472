"""Semantic softmax: one softmax per level of the tree, weighted by the number of classes below.

# B batch, C classes, L levels in use, N_k classes at level k
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelkit.losses.levels import Compat, LevelWeights, TreeLevels, resolve_level_weights
from labelkit.losses.soft_target import cross_entropy_of_rows
from labelkit.losses.tree_targets import SoftTarget, TreeTargets
from labelkit.targets import SparseProbabilities

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch.autograd.function import BackwardCFunction

    from labelkit.hierarchy import SemanticTree


class SemanticSoftmaxLoss(nn.Module):
    """Cross-entropy at every level of a semantic tree, for targets at any depth.

    With p_bk the softmax over the logits of level k alone, t_bk the member of sample b's chain at
    that level, and e the smoothing::

        loss = sum_k O_k (1/B) sum_b [t_bk exists] *
               (-(1 - e) log p_bk[t_bk] - (e / N_k) sum_c log p_bk[c])

    A target may also be a distribution over the classes, as label maps, CutMix and MixUp give it.
    With q_bk[n] the sum of its probabilities over the node n of level k and n's descendants::

        loss = sum_k O_k (1/B) sum_b sum_n q_bk[n] *
               (-(1 - e) log p_bk[n] - (e / N_k) sum_c log p_bk[c])

    That is the mean of the losses of the single classes, weighted by their probabilities. What
    belongs to classes above a level counts for nothing there.

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
        target_classes: the class ids of the columns of targets given as probabilities, such as
            ``maps.classes``, in any order; None for those of the tree, where the columns of inner
            nodes may be missing if they come last. Class indices are always the tree's.

    Attributes:
        levels: the level tables.
        level_weights: O_k of each level in use.

    Raises:
        TypeError: ``tree`` is not a ``SemanticTree``.
        ValueError: an argument is out of range, or ``compat`` is given for a tree on which the
            published code fails or drops every class that images can have, or some of
            ``target_classes`` are not in the tree.

    Source: Ridnik et al. 2021 (arXiv 2104.10972), the section on semantic softmax training.
    """

    def __init__(
        self,
        tree: SemanticTree,
        label_smoothing: float = 0.0,
        level_weights: LevelWeights = "paper",
        compat: Compat = None,
        *,
        target_classes: Iterable[str] | None = None,
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
        self.soft_targets = TreeTargets(tree, target_classes)

    def forward(self, logits: Tensor, target: SoftTarget) -> Tensor:
        """The loss as a scalar, in float32 (float64 for float64 logits).

        Args:
            logits: floats (B, C).
            target: class indices (B,), integers, of classes at any depth; or their probabilities,
                floats (B, C) or ``SparseProbabilities``, into which no gradient flows. A row that
                sums to less than 1 counts less.

        Raises:
            ValueError: a wrong shape or type, an empty batch, or a class outside the list, a
                negative probability or NaN (the last three on the CPU only; see
                ``TreeLevels.targets``).
        """
        by_level = self.levels.split(logits)
        if isinstance(target, SparseProbabilities) or target.ndim == 2:
            level_targets = self.soft_targets.levels(logits, target, by_level[0])
            level_sum = _soft_level_sum
        else:
            level_targets = self.levels.targets(target, len(logits)).unbind(dim=1)
            level_sum = _level_sum
        total = by_level[0].new_zeros(())
        # Without the levels that ``compat`` drops.
        for weight, level_logits, level_target in zip(
            self.level_weights, by_level, level_targets, strict=False
        ):
            level_total = level_sum(level_logits, level_target, self.label_smoothing)
            # The mean over the whole batch, not over the samples that reach this level.
            total = total + level_total * (weight / len(logits))
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


def _soft_level_sum(logits: Tensor, target: Tensor, smoothing: float) -> Tensor:
    """Smoothed cross-entropy at one level, summed over the batch.

    Args:
        logits: (B, N_k).
        target: the probability of each node (B, N_k); rows sum to what reaches the level.
        smoothing: the part of the target that is spread over the level.
    """
    if smoothing:
        reached = target.sum(dim=1, keepdim=True)
        target = target * (1 - smoothing) + reached * (smoothing / logits.shape[1])
    return cast("Tensor", _LevelCrossEntropy.apply(logits, target))


class _LevelCrossEntropy(torch.autograd.Function):
    """Cross-entropy at one level, summed over the batch; forward also computes the gradient.

    So one tensor is kept, instead of the target, the log-probabilities and a mask.
    """

    @staticmethod
    def forward(ctx: BackwardCFunction, logits: Tensor, target: Tensor) -> Tensor:
        log_probability = logits.log_softmax(dim=1)
        # Without the mask, logits of -inf give NaN.
        total = (target * log_probability).masked_fill_(target == 0, 0).sum()
        if ctx.needs_input_grad[0]:
            reached = target.sum(dim=1, keepdim=True)
            slope = log_probability.exp_().mul_(reached).sub_(target)
            ctx.save_for_backward(logits, reached, slope)
        return -total

    @staticmethod
    def backward(ctx: BackwardCFunction, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        logits, reached, slope = cast("tuple[Tensor, ...]", ctx.saved_tensors)
        if torch.is_grad_enabled():  # for a second derivative
            probability = logits.softmax(dim=1)
            slope = slope + (probability - probability.detach()) * reached
        return slope * grad_outputs[0], None
