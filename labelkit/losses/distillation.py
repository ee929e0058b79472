"""Knowledge distillation: the student follows a teacher's whole answer, live or stored.

# B batch, C classes, K stored logits per sample
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelkit.losses.levels import check_class_range
from labelkit.losses.sparse_cross_entropy import sparse_cross_entropy
from labelkit.targets import SparseProbabilities

# Logits stored in a byte may be off by some hundredths, and their probabilities by some percent.
LARGEST_STORED_SUM = 1.1


class TopKLogits(NamedTuple):
    """A teacher's K best logits per sample; the other C - K classes share what mass is left.

    The mass of the others is ``1 - sum exp(logits - log_sum_exp)``, spread evenly. At temperatures
    above 1 even a little of it weighs: keep ``log_sum_exp`` in float32.

    Attributes:
        classes: class indices (B, K), int64, distinct within each row.
        logits: their logits (B, K), floats.
        log_sum_exp: of the logits of all C classes, at temperature 1 (B,), floats.
    """

    classes: Tensor
    logits: Tensor
    log_sum_exp: Tensor


class DistillationLoss(nn.Module):
    """Kullback-Leibler divergence from a teacher's softened answer, averaged over the batch.

    ``loss = T^2 (1/B) sum_b KL(softmax(teacher_b / T) || softmax(logits_b / T))``

    It is 0 where both agree. The factor keeps the gradients' size when T changes. Computed in
    float32 at least. No gradient flows into the teacher. The same in train and eval mode.

    Args:
        temperature: T; above 1 the teacher's small probabilities count for more.

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

    def forward(self, logits: Tensor, teacher: Tensor | TopKLogits) -> Tensor:
        """The loss as a scalar, in float32 (float64 for float64 inputs).

        Args:
            logits: the student's floats (B, C).
            teacher: the teacher's logits, floats (B, C); or those that were stored.

        Raises:
            ValueError: a wrong shape or type, or an empty batch; and, where they lie on the CPU,
                stored classes outside the C or stored logits that do not fit their log_sum_exp.
        """
        if logits.ndim != 2 or not logits.is_floating_point() or len(logits) == 0:
            raise ValueError(
                f"got logits {tuple(logits.shape)} of {logits.dtype}, expected floats (B, C) with "
                "at least one row"
            )
        if isinstance(teacher, TopKLogits):
            return self._from_stored(logits, teacher)
        if teacher.shape != logits.shape or not teacher.is_floating_point():
            raise ValueError(
                f"got logits {tuple(logits.shape)} and teacher logits {tuple(teacher.shape)} of "
                f"{teacher.dtype}, expected floats of one shape"
            )
        dtype = torch.promote_types(logits.dtype, teacher.dtype)
        dtype = torch.promote_types(dtype, torch.float32)
        wanted = (teacher.detach().to(dtype) / self.temperature).softmax(dim=1)
        found = (logits.to(dtype) / self.temperature).log_softmax(dim=1)
        divergence = F.kl_div(found, wanted, reduction="sum")
        return divergence * (self.temperature**2 / len(logits))

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
    left = (1 - listed.exp().sum(dim=1, keepdim=True)).clamp(min=0)
    # Softening acts on each class: all others together weigh as many times what one of them does.
    together = (left / max(others, 1)).log() / temperature + math.log(others or 1)
    if not others:
        together = torch.full_like(left, -math.inf)
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
        raise ValueError(
            f"got logits {tuple(logits.shape)} and a teacher of classes {tuple(classes.shape)}, "
            f"logits {tuple(stored.shape)} and log_sum_exp {tuple(log_sum_exp.shape)}, "
            "expected (B, C), (B, K), (B, K) and (B,)"
        )
    if classes.dtype != torch.int64:
        raise ValueError(f"the teacher's classes have type {classes.dtype}, expected torch.int64")
    if not (stored.is_floating_point() and log_sum_exp.is_floating_point()):
        raise ValueError(
            f"the teacher's logits have type {stored.dtype}, log_sum_exp {log_sum_exp.dtype}: "
            "expected floats"
        )
    if classes.shape[1] > class_count:
        raise ValueError(f"the teacher lists {classes.shape[1]} of {class_count} classes")
    check_class_range(classes, class_count, name="teacher.classes")
    if stored.device.type != "cpu" or torch.compiler.is_compiling() or not stored.numel():
        return
    listed = stored.detach().float() - log_sum_exp.detach().float().unsqueeze(1)
    largest = float(listed.exp().sum(dim=1).max())
    if largest > LARGEST_STORED_SUM:
        raise ValueError(
            f"the stored logits of a sample have probabilities that sum to {largest:.3g}: "
            "log_sum_exp must be that of all classes' logits, at temperature 1"
        )
