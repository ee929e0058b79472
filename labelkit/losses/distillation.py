"""Knowledge distillation: the student matches a teacher's full distribution, live or stored.

# B batch, C classes, K stored logits per sample
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelkit.losses.soft_target import sparse_cross_entropy
from labelkit.targets import SparseProbabilities
from labelkit.tensor_checks import (
    check_class_range,
    check_floats,
    check_int64,
    check_logits,
    check_not_empty,
    check_same_shape,
    describe_shapes,
)

# Logits stored in one byte may be off by hundredths, and their probabilities by a few percent.
LARGEST_STORED_SUM = 1.1


class TopKLogits(NamedTuple):
    """A teacher's K highest logits per sample; the other C - K classes share the remaining mass.

    Their mass is ``1 - sum exp(logits - log_sum_exp)``, spread evenly. At temperatures above 1 even
    a small mass matters: keep ``log_sum_exp`` in float32.

    Attributes:
        classes: class indices (B, K), int64, distinct within each row.
        logits: their logits (B, K), floats.
        log_sum_exp: of the logits of all C classes, at temperature 1 (B,), floats.
    """

    classes: Tensor
    logits: Tensor
    log_sum_exp: Tensor


class DistillationLoss(nn.Module):
    """Kullback-Leibler divergence from a teacher's softened distribution, averaged over the batch.

    ``loss = T^2 (1/B) sum_b KL(softmax(teacher_b / T) || softmax(logits_b / T))``

    It is 0 where the two agree. The factor T^2 keeps the size of the gradients when T changes.
    Computed in at least float32. No gradient flows into the teacher. Train and eval mode give the
    same value.

    Args:
        temperature: T; a value above 1 gives more weight to the teacher's small probabilities.

    Raises:
        ValueError: the temperature is not a positive number.

    Source: Hinton et al. 2015 (arXiv 1503.02531), section 2.

    >>> loss = DistillationLoss(temperature=2.0)
    >>> round(float(loss(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]]))), 4)
    0.4805
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"temperature is {temperature}, expected a positive number")
        self.temperature = temperature

    def forward(
        self, logits: Tensor, teacher: Tensor | TopKLogits, weight: Tensor | None = None
    ) -> Tensor:
        """The loss as a scalar, in float32 (float64 for float64 inputs).

        Args:
            logits: the student's floats (B, C).
            teacher: the teacher's logits, floats (B, C), or its stored ones.
            weight: of each sample's divergence (B,); 1 by default. For a teacher's full logits.

        Raises:
            ValueError: a wrong shape or type, an empty batch, or weights of stored logits; and, for
                stored logits on the CPU, a class outside the C, or logits that are inconsistent
                with log_sum_exp.
        """
        check_logits(logits)
        check_floats(logits=logits)
        check_not_empty(logits)
        if isinstance(teacher, TopKLogits):
            if weight is not None:
                raise ValueError("weight is given, but stored logits are averaged without weights")
            return self._from_stored(logits, teacher)
        check_same_shape(logits=logits, teacher=teacher)
        check_floats(teacher=teacher)
        dtype = torch.promote_types(logits.dtype, teacher.dtype)
        dtype = torch.promote_types(dtype, torch.float32)
        target = (teacher.detach().to(dtype) / self.temperature).softmax(dim=1)
        log_probability = (logits.to(dtype) / self.temperature).log_softmax(dim=1)
        rows = F.kl_div(log_probability, target, reduction="none").sum(dim=1)
        if weight is not None:
            check_same_shape(weight=weight, divergence=rows)
            rows = rows * weight
        return rows.sum() * (self.temperature**2 / len(logits))

    def _from_stored(self, logits: Tensor, teacher: TopKLogits) -> Tensor:
        _check_stored(logits, teacher)
        target, negative_entropy = _softened(teacher, logits.shape[1], self.temperature)
        dtype = torch.promote_types(logits.dtype, target.rest.dtype)
        cross_entropy = sparse_cross_entropy(logits.to(dtype) / self.temperature, target)
        return (cross_entropy + negative_entropy) * self.temperature**2


@torch.no_grad()
def _softened(
    teacher: TopKLogits, class_count: int, temperature: float
) -> tuple[SparseProbabilities, Tensor]:
    """The teacher's distribution at a temperature, and the mean over the batch of sum p log p."""
    dtype = torch.promote_types(teacher.logits.dtype, teacher.log_sum_exp.dtype)
    dtype = torch.promote_types(dtype, torch.float32)
    others = class_count - teacher.classes.shape[1]
    listed = teacher.logits.to(dtype) - teacher.log_sum_exp.to(dtype).unsqueeze(1)
    remaining = (1 - listed.exp().sum(dim=1, keepdim=True)).clamp(min=0)
    # Softening acts on each class, so the total weight of the others is one class's weight times
    # their number.
    together = (remaining / max(others, 1)).log() / temperature + math.log(others or 1)
    if not others:
        together = torch.full_like(remaining, -math.inf)
    shares = torch.cat([listed / temperature, together], dim=1).softmax(dim=1)
    share, rest = shares[:, :-1], shares[:, -1:] / max(others, 1)
    negative_entropy = (
        torch.xlogy(share, share).sum(dim=1) + others * torch.xlogy(rest, rest).squeeze(1)
    ).mean()
    return SparseProbabilities(teacher.classes, share - rest, rest.squeeze(1)), negative_entropy


def _check_stored(logits: Tensor, teacher: TopKLogits) -> None:
    classes, stored, log_sum_exp = teacher
    batch, class_count = logits.shape
    fits = classes.ndim == 2 and classes.shape == stored.shape and len(classes) == batch
    if not fits or tuple(log_sum_exp.shape) != (batch,):
        shapes = describe_shapes(classes=classes, logits=stored, log_sum_exp=log_sum_exp)
        raise ValueError(
            f"got logits {tuple(logits.shape)} and a teacher of {shapes}, "
            "expected (B, C), (B, K), (B, K) and (B,)"
        )
    check_int64(classes, "teacher.classes")
    check_floats(**{"teacher.logits": stored, "teacher.log_sum_exp": log_sum_exp})
    if classes.shape[1] > class_count:
        raise ValueError(f"the teacher lists {classes.shape[1]} of {class_count} classes")
    check_class_range(classes, class_count, name="teacher.classes")
    if stored.device.type != "cpu" or torch.compiler.is_compiling() or not stored.numel():
        return
    listed = stored.detach().float() - log_sum_exp.detach().float().unsqueeze(1)
    largest = float(listed.exp().sum(dim=1).max())
    if largest > LARGEST_STORED_SUM:
        raise ValueError(
            f"the probabilities of a sample's stored logits sum to {largest:.3g}: log_sum_exp must "
            "be that of all classes' logits, at temperature 1"
        )
