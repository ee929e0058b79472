"""Cross-entropy with sparse soft targets, without a target of all classes.

# B batch, E entries, C classes
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from labelkit.losses.levels import check_class_range

if TYPE_CHECKING:
    from torch.autograd.function import BackwardCFunction, FunctionCtx

    from labelkit.targets import SparseProbabilities


def sparse_cross_entropy(logits: Tensor, target: SparseProbabilities) -> Tensor:
    """Cross-entropy averaged over the batch, as a scalar, in at least float32.

    Equal to that with ``target.dense(C)``. Gradients flow to the logits only.

    Args:
        logits: floats (B, C).
        target: B rows of values over the C classes; they need not sum to 1.

    Raises:
        ValueError: a wrong shape or type, an empty batch, or, on the CPU, a class outside the C.
    """
    _check(logits, target)
    dtype = torch.promote_types(logits.dtype, torch.float32)
    for values in (target.excess, target.rest):
        dtype = torch.promote_types(dtype, values.dtype)
    rows = cross_entropy_of_rows(
        logits.to(dtype), target.classes, target.excess.to(dtype), target.rest.to(dtype)
    )
    return rows.sum() / len(logits)


def cross_entropy_of_rows(logits: Tensor, classes: Tensor, excess: Tensor, rest: Tensor) -> Tensor:
    """Each row's cross-entropy (B,), unchecked; all floats of one type."""
    return cast("Tensor", _SparseCrossEntropy.apply(logits, classes, excess, rest))


class _SparseCrossEntropy(torch.autograd.Function):
    """Cross-entropy of each row (B,); backward is ``softmax * mass - target``."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, logits: Tensor, classes: Tensor, excess: Tensor, rest: Tensor
    ) -> Tensor:
        probability = logits.softmax(dim=1)
        highest = logits.amax(dim=1)
        # Its probability is 1 / sum exp(logit - highest): cheaper than logsumexp.
        log_sum_exp = -probability.amax(dim=1).log()
        mass = excess.sum(dim=1) + rest * logits.shape[1]
        listed = (excess * (logits.gather(1, classes) - highest.unsqueeze(1))).sum(dim=1)
        whole = logits.sum(dim=1) - highest * logits.shape[1]
        ctx.save_for_backward(logits, probability, classes, excess, rest, mass)
        return mass * log_sum_exp - listed - rest * whole

    @staticmethod
    def backward(ctx: BackwardCFunction, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        saved = cast("tuple[Tensor, ...]", ctx.saved_tensors)
        logits, probability, classes, excess, rest, mass = saved
        if torch.is_grad_enabled():  # a second derivative is wanted
            probability = logits.softmax(dim=1)
        scale = grad_outputs[0]
        grad = probability * (mass * scale).unsqueeze(1)
        grad.sub_((rest * scale).unsqueeze(1))
        grad.scatter_add_(1, classes, excess * -scale.unsqueeze(1))
        return grad, None, None, None


def _check(logits: Tensor, target: SparseProbabilities) -> None:
    classes, excess, rest = target
    fits = logits.ndim == classes.ndim == 2 and classes.shape == excess.shape
    if not fits or not tuple(rest.shape) == classes.shape[:1] == logits.shape[:1]:
        raise ValueError(
            f"got logits {tuple(logits.shape)} and sparse targets of classes "
            f"{tuple(classes.shape)}, excess {tuple(excess.shape)} and rest {tuple(rest.shape)}, "
            "expected (B, C), (B, E), (B, E) and (B,)"
        )
    if classes.dtype != torch.int64:
        raise ValueError(f"the targets' classes have type {classes.dtype}, expected torch.int64")
    for name, values in (("logits", logits), ("excess", excess), ("rest", rest)):
        if not values.is_floating_point():
            raise ValueError(f"{name} have type {values.dtype}, expected floats")
    if len(logits) == 0:
        raise ValueError("logits and targets have 0 rows: an empty batch has no mean; skip it")
    check_class_range(classes, logits.shape[1])
