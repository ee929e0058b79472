"""Distillation by level: the student matches the teacher's distribution within each level.

# B batch, C classes, L levels in use, N_k classes at level k
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from labelkit.losses.levels import Compat, TreeLevels
from labelkit.tensor_checks import check_same_shape

if TYPE_CHECKING:
    from torch.autograd.function import BackwardCFunction

    from labelkit.hierarchy import SemanticTree


class SemanticDistillationLoss(nn.Module):
    """Squared distance to the teacher at every level, weighted by the teacher's confidence.

    ``loss = (1/B) sum_k sum_b c_bk * ||pS_bk - pT_bk||^2``

    where p_bk is the softmax over the logits of level k alone, and c_bk is the sum of the teacher's
    ``ceil(N_k / 20)`` largest probabilities there, which is small if the level says nothing about
    the image. A level with a single class adds 0. Nothing enters the ``state_dict``.

    Args:
        tree: the classes, in the order of both models' logits.
        compat: ``"imagenet21k"`` reproduces the published code: the sum over the batch instead of
            the mean, without the deepest level.

    Attributes:
        levels: the level tables.

    Raises:
        TypeError: ``tree`` is not a ``SemanticTree``.
        ValueError: ``compat`` is unknown, or the published code fails on this tree or drops every
            class that images can have.

    Source: Ridnik et al. 2021 (arXiv 2104.10972), the section on semantic knowledge
    distillation.
    """

    def __init__(self, tree: SemanticTree, compat: Compat = None) -> None:
        super().__init__()
        self.levels = TreeLevels(tree, compat)
        self.summed = compat is not None

    def forward(self, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """The loss as a scalar, in float32 (float64 for float64 logits).

        Args:
            logits: the student's floats (B, C).
            teacher_logits: the teacher's floats (B, C); no gradient flows into them.

        Raises:
            ValueError: a wrong shape or type, or an empty batch.
        """
        self.levels.check(logits)
        self.levels.check(teacher_logits, "teacher_logits")
        check_same_shape(logits=logits, teacher_logits=teacher_logits)
        student = self.levels.split(logits)
        teacher = self.levels.split(teacher_logits.detach())
        total = student[0].new_zeros(())
        for level_logits, level_teacher in zip(student, teacher, strict=True):
            distance = cast("Tensor", _LevelDistance.apply(level_logits, level_teacher))
            total = total + distance
        return total if self.summed else total / len(logits)


class _LevelDistance(torch.autograd.Function):
    """One level's distance, summed over the batch; forward also computes the gradient.

    The softmaxes, which take most of the time, are still in the cache then, and one tensor is kept
    instead of autograd's five.
    """

    @staticmethod
    def forward(ctx: BackwardCFunction, logits: Tensor, teacher: Tensor) -> Tensor:
        probability, target = logits.softmax(dim=1), teacher.softmax(dim=1)
        confidence = _confidence(target)
        difference = probability - target
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(logits, teacher, _slope(probability, difference, confidence))
        return (difference.square().sum(dim=1) * confidence).sum()

    @staticmethod
    def backward(ctx: BackwardCFunction, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        logits, teacher, slope = cast("tuple[Tensor, ...]", ctx.saved_tensors)
        if torch.is_grad_enabled():  # for a second derivative
            probability, target = logits.softmax(dim=1), teacher.softmax(dim=1)
            slope = _slope(probability, probability - target, _confidence(target))
        return slope * grad_outputs[0], None


def _slope(probability: Tensor, difference: Tensor, confidence: Tensor) -> Tensor:
    """The gradient of ``sum_b c_b ||difference_b||^2`` with respect to the student's logits."""
    mean = (difference * probability).sum(dim=1, keepdim=True)
    return (difference - mean) * probability * (2 * confidence).unsqueeze(1)


def _confidence(probability: Tensor) -> Tensor:
    """The probability of the top twentieth of a level's classes: (B, N_k) -> (B,)."""
    count = -(-probability.shape[1] // 20)
    # Floats >= 0 sort like their bits, and comparing integers takes half the time.
    bits = probability.view(torch.int32 if probability.dtype == torch.float32 else torch.int64)
    highest = _candidates(bits, count).topk(count, dim=1, sorted=False).values
    return highest.view(probability.dtype).sum(dim=1)


def _candidates(values: Tensor, count: int) -> Tensor:
    """A part of each row's values that includes the ``count`` largest: (B, N) -> (B, n).

    The columns are split into groups of five. Only the groups with the ``count`` largest maxima can
    contain any of the largest values, and finding those groups takes less time than a search
    through all values.
    """
    fifth = values.shape[1] // 5
    if fifth < 2 * count:
        return values
    groups = values[:, : 5 * fifth].unflatten(1, (5, fifth))
    best = groups.amax(dim=1).topk(count, dim=1, sorted=False).indices
    chosen = groups.gather(2, best.unsqueeze(1).expand(-1, 5, -1)).flatten(1)
    return torch.cat([chosen, values[:, 5 * fifth :]], dim=1)
