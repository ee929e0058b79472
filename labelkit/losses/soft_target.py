"""Cross-entropy with a probability distribution as the target, dense or sparse.

# B batch, C classes, E entries, h w positions
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from labelkit.losses.spoiled_targets import SpoiledTargets, hint_for_shapes
from labelkit.targets import SparseProbabilities
from labelkit.tensor_checks import (
    check_class_range,
    check_floats,
    check_int64,
    check_not_empty,
    describe_shapes,
)

if TYPE_CHECKING:
    from torch.autograd.function import BackwardCFunction, FunctionCtx


class SoftTargetCrossEntropy(nn.Module):
    """Cross-entropy between logits and soft targets, dense or sparse, averaged over the batch.

    ``loss = (1/B) * sum_b sum_c -target[b, c] * log softmax(logits[b])[c]``

    Computed in at least float32, whatever the inputs or autocast: in half precision, the
    log-softmax over thousands of classes loses its significant digits. Targets need not sum to 1,
    but where a row sums to more, or a whole batch is class 0, as timm's mixers leave soft targets
    unless they are built for them, the loss warns once.

    Sparse targets are never converted to dense ones, which halves the time of the loss over many
    thousands of classes; no gradient flows into them.

    With smoothing e, a target t that sums to m becomes ``(1 - e) t + e m / C``.

    Args:
        label_smoothing: e, at least 0 and below 1.

    Raises:
        ValueError: the smoothing is out of range.

    Source: Yun et al. 2021 (arXiv 2101.05022), section 3; Hinton et al. 2015 (arXiv 1503.02531),
    section 2, at temperature 1; Szegedy et al. 2016 (arXiv 1512.00567), section 7, for smoothing.

    >>> loss = SoftTargetCrossEntropy()
    >>> round(float(loss(torch.zeros(2, 4), torch.full((2, 4), 0.25))), 4)
    1.3863
    >>> listed, excess = torch.tensor([[2], [0]]), torch.full((2, 1), 0.6)
    >>> sparse = SparseProbabilities(listed, excess, rest=torch.full((2,), 0.1))
    >>> round(float(loss(torch.eye(2, 4), sparse)), 4)
    1.6437
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(
                f"label_smoothing is {label_smoothing}, expected at least 0 and below 1"
            )
        self.label_smoothing = label_smoothing
        self._spoiled = SpoiledTargets()

    def forward(self, logits: Tensor, target: Tensor | SparseProbabilities) -> Tensor:
        """The loss as a scalar, in float32 (float64 for float64 inputs).

        Args:
            logits: floats (B, C), or (B, C, h, w) for a map of positions, over which the mean is
                taken as well.
            target: floats of the same shape, a distribution over the C classes for each sample or
                position; or, for (B, C) logits, the same as ``SparseProbabilities``.

        Raises:
            ValueError: the shapes differ or have no classes, the types are not floats, B is 0, or
                a sparse target on the CPU lists a class outside the C.
        """
        if isinstance(target, SparseProbabilities):
            return sparse_cross_entropy(logits, self._smoothed(target, logits.shape[-1]))
        if logits.ndim not in {2, 4}:
            raise ValueError(
                f"got {describe_shapes(logits=logits, target=target)}, expected (batch, classes) "
                "or (batch, classes, h, w)"
            )
        if logits.shape != target.shape:
            shapes = describe_shapes(logits=logits, target=target)
            hint = hint_for_shapes(logits, target)
            raise ValueError(f"got {shapes}, expected the same shape for both{hint}")
        check_floats(logits=logits, target=target)
        check_not_empty(logits)
        self._spoiled.look_at(target)
        dtype = torch.promote_types(torch.promote_types(logits.dtype, target.dtype), torch.float32)
        log_probability = logits.log_softmax(dim=1, dtype=dtype)
        predictions = logits.numel() // logits.shape[1]
        target = target.to(dtype)
        if e := self.label_smoothing:
            target = target * (1 - e) + target.sum(dim=1, keepdim=True) * (e / logits.shape[1])
        return -(target * log_probability).sum() / predictions

    def _smoothed(self, target: SparseProbabilities, classes: int) -> SparseProbabilities:
        if not (e := self.label_smoothing):
            return target
        mass = target.excess.sum(dim=1) + target.rest * classes
        rest = target.rest * (1 - e) + mass * (e / classes)
        return SparseProbabilities(target.classes, target.excess * (1 - e), rest)


def sparse_cross_entropy(logits: Tensor, target: SparseProbabilities) -> Tensor:
    """Cross-entropy averaged over the batch, as a scalar, in at least float32.

    Equal to the cross-entropy with ``target.dense(C)``. Gradients flow to the logits only.

    Args:
        logits: floats (B, C).
        target: B rows of values over the C classes; they need not sum to 1.

    Raises:
        ValueError: a wrong shape or type, an empty batch, or, on the CPU, a class outside the C.
    """
    check_sparse(logits, target, logits.shape[-1])
    dtype = torch.promote_types(logits.dtype, torch.float32)
    for values in (target.excess, target.rest):
        dtype = torch.promote_types(dtype, values.dtype)
    rows = cross_entropy_of_rows(
        logits.to(dtype), target.classes, target.excess.to(dtype), target.rest.to(dtype)
    )
    return rows.sum() / len(logits)


def cross_entropy_of_rows(logits: Tensor, classes: Tensor, excess: Tensor, rest: Tensor) -> Tensor:
    """The cross-entropy of each row (B,), without checks; all floats must have one type."""
    return cast("Tensor", _SparseCrossEntropy.apply(logits, classes, excess, rest))


class _SparseCrossEntropy(torch.autograd.Function):
    """Cross-entropy of each row (B,); the gradient is ``softmax * mass - target``."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, logits: Tensor, classes: Tensor, excess: Tensor, rest: Tensor
    ) -> Tensor:
        probability = logits.softmax(dim=1)
        highest = logits.amax(dim=1)
        # The largest probability is 1 / sum exp(logit - highest): cheaper than logsumexp.
        log_sum_exp = -probability.amax(dim=1).log()
        mass = excess.sum(dim=1) + rest * logits.shape[1]
        listed = (excess * (logits.gather(1, classes) - highest.unsqueeze(1))).sum(dim=1)
        shifted_sum = logits.sum(dim=1) - highest * logits.shape[1]
        ctx.save_for_backward(logits, probability, classes, excess, rest, mass)
        return mass * log_sum_exp - listed - rest * shifted_sum

    @staticmethod
    def backward(ctx: BackwardCFunction, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        saved = cast("tuple[Tensor, ...]", ctx.saved_tensors)
        logits, probability, classes, excess, rest, mass = saved
        if torch.is_grad_enabled():  # for a second derivative
            probability = logits.softmax(dim=1)
        scale = grad_outputs[0]
        grad = probability * (mass * scale).unsqueeze(1)
        grad.sub_((rest * scale).unsqueeze(1))
        grad.scatter_add_(1, classes, excess * -scale.unsqueeze(1))
        return grad, None, None, None


def check_sparse(logits: Tensor, target: SparseProbabilities, class_count: int) -> None:
    """Raise ValueError unless a target fits the logits (B, C), and lists ``class_count`` classes.

    Class indices are checked on the CPU only, as in ``check_class_range``.
    """
    classes, excess, rest = target
    fits = logits.ndim == classes.ndim == 2 and classes.shape == excess.shape
    if not fits or not tuple(rest.shape) == classes.shape[:1] == logits.shape[:1]:
        shapes = describe_shapes(logits=logits, classes=classes, excess=excess, rest=rest)
        raise ValueError(
            f"got {shapes} for a sparse target, expected (B, C), (B, E), (B, E) and (B,)"
        )
    check_int64(classes, "target.classes")
    check_floats(logits=logits, excess=excess, rest=rest)
    check_not_empty(logits)
    check_class_range(classes, class_count)
