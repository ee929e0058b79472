"""Distillation by level: the student matches the teacher's distribution within each level.

# B batch, C classes, L levels in use, N_k classes at level k
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from labelkit.losses.levels import Compat, TreeLevels
from labelkit.losses.tree_targets import SoftTarget, TreeTargets
from labelkit.targets import SparseProbabilities
from labelkit.tensor_checks import check_same_shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch.autograd.function import BackwardCFunction

    from labelkit.hierarchy import SemanticTree


class SemanticDistillationLoss(nn.Module):
    """Squared distance to the teacher at every level, weighted by the teacher's confidence.

    ``loss = (1/B) sum_k sum_b c_bk * ||pS_bk - pT_bk||^2``

    where p_bk is the softmax over the logits of level k alone, and c_bk is the sum of the teacher's
    ``ceil(N_k / 20)`` largest probabilities there, which is small if the level says nothing about
    the image. A level with a single class adds 0. Nothing enters the ``state_dict``.

    Instead of the teacher's logits, the loss takes its probabilities of the classes, such as those
    that label maps store (``target=``). A node then has the sum q over its descendants; pT_bk is q
    divided by its sum over the level, which is the part of the target that reaches the level; and
    c_bk is the sum of the ``ceil(N_k / 20)`` largest q. So a level that only a part of the target
    reaches counts for that part, and one that nothing reaches adds 0.

    Args:
        tree: the classes, in the order of both models' logits.
        compat: ``"imagenet21k"`` reproduces the published code: the sum over the batch instead of
            the mean, without the deepest level.
        target_classes: the class ids of the columns of ``target``, as for ``SemanticSoftmaxLoss``.

    Attributes:
        levels: the level tables.

    Raises:
        TypeError: ``tree`` is not a ``SemanticTree``.
        ValueError: ``compat`` is unknown, the published code fails on this tree or drops every
            class that images can have, or some of ``target_classes`` are not in the tree.

    Source: Ridnik et al. 2021 (arXiv 2104.10972), the section on semantic knowledge
    distillation.
    """

    def __init__(
        self,
        tree: SemanticTree,
        compat: Compat = None,
        *,
        target_classes: Iterable[str] | None = None,
    ) -> None:
        super().__init__()
        self.levels = TreeLevels(tree, compat)
        self.summed = compat is not None
        self.soft_targets = TreeTargets(tree, target_classes)

    def forward(
        self,
        logits: Tensor,
        teacher_logits: Tensor | None = None,
        *,
        target: SoftTarget | None = None,
    ) -> Tensor:
        """The loss as a scalar, in float32 (float64 for float64 logits).

        Args:
            logits: the student's floats (B, C).
            teacher_logits: the teacher's floats (B, C); no gradient flows into them.
            target: the teacher's probabilities instead, floats (B, C) or ``SparseProbabilities``.

        Raises:
            TypeError: sparse probabilities as ``teacher_logits``.
            ValueError: a wrong shape or type, an empty batch, both or neither of the teacher's
                logits and probabilities; or, on the CPU, a negative probability, NaN, or a class
                outside the list.
        """
        self.levels.check(logits)
        student = self.levels.split(logits)
        total = student[0].new_zeros(())
        if target is None and teacher_logits is not None:
            teacher = self._split_teacher(logits, teacher_logits)
        elif target is not None and teacher_logits is None:
            teacher = map(_as_logits, self.soft_targets.levels(logits, target, total))
        else:
            raise ValueError(
                f"got {'neither' if target is None else 'both'} of teacher_logits and target, "
                "expected one of them: the teacher's logits, or its probabilities"
            )
        # Without the levels that ``compat`` drops.
        for level_logits, (level_teacher, reached) in zip(student, teacher, strict=False):
            distance = _LevelDistance.apply(level_logits, level_teacher, reached)
            total = total + cast("Tensor", distance)
        return total if self.summed else total / len(logits)

    def _split_teacher(
        self, logits: Tensor, teacher_logits: Tensor
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The teacher's logits at each level (B, N_k), and how much reaches it: everything."""
        if isinstance(teacher_logits, SparseProbabilities):
            raise TypeError("teacher_logits are probabilities: pass them as target=")
        self.levels.check(teacher_logits, "teacher_logits")
        check_same_shape(logits=logits, teacher_logits=teacher_logits)
        everything = logits.new_ones(())
        return ((level, everything) for level in self.levels.split(teacher_logits.detach()))


def _as_logits(probability: Tensor) -> tuple[Tensor, Tensor]:
    """Logits whose softmax is a level's probabilities (B, N_k) over their sum; and the sum (B,)."""
    positive = probability.clamp(min=0)
    reached = positive.sum(dim=1)
    # Where nothing reaches the level, the weight is 0, and any logits do.
    return positive.log().masked_fill((reached == 0).unsqueeze(1), 0), reached


class _LevelDistance(torch.autograd.Function):
    """One level's distance, summed over the batch; forward also computes the gradient.

    The softmaxes, which take most of the time, are still in the cache then, and one tensor is kept
    instead of autograd's five.
    """

    @staticmethod
    def forward(ctx: BackwardCFunction, logits: Tensor, teacher: Tensor, reached: Tensor) -> Tensor:
        probability, target = logits.softmax(dim=1), teacher.softmax(dim=1)
        confidence = _confidence(target, reached)
        difference = probability - target
        if ctx.needs_input_grad[0]:
            slope = _slope(probability, difference, confidence)
            ctx.save_for_backward(logits, teacher, reached, slope)
        return (difference.square().sum(dim=1) * confidence).sum()

    @staticmethod
    def backward(ctx: BackwardCFunction, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        logits, teacher, reached, slope = cast("tuple[Tensor, ...]", ctx.saved_tensors)
        if torch.is_grad_enabled():  # for a second derivative
            probability, target = logits.softmax(dim=1), teacher.softmax(dim=1)
            slope = _slope(probability, probability - target, _confidence(target, reached))
        return slope * grad_outputs[0], None, None


def _slope(probability: Tensor, difference: Tensor, confidence: Tensor) -> Tensor:
    """The gradient of ``sum_b c_b ||difference_b||^2`` with respect to the student's logits."""
    mean = (difference * probability).sum(dim=1, keepdim=True)
    return (difference - mean) * probability * (2 * confidence).unsqueeze(1)


def _confidence(probability: Tensor, reached: Tensor) -> Tensor:
    """The probability of the top twentieth of a level's classes, of what reaches it: (B,)."""
    count = -(-probability.shape[1] // 20)
    # Floats >= 0 sort like their bits, and comparing integers takes half the time.
    bits = probability.view(torch.int32 if probability.dtype == torch.float32 else torch.int64)
    highest = _candidates(bits, count).topk(count, dim=1, sorted=False).values
    return highest.view(probability.dtype).sum(dim=1) * reached


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
