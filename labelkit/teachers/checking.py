"""What there is to know of a teacher before a long run: its grid, its cost, and its gap.

Legend: B batch, S input side, H W grid.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import torch
from torch.utils.flop_counter import FlopCounterMode

from labelkit.errors import TeacherError
from labelkit.teachers.golden import is_golden
from labelkit.teachers.heads import pooled_norms
from labelkit.teachers.split import DenseModel, split
from labelkit.teachers.teacher import EXACT_GAP, size_errors

if TYPE_CHECKING:
    from torch import Tensor

    from labelkit.teachers.teacher import Teacher

LINEAR = "linear after average pooling"
POOLED_NORM = "linear after the average pool, with the scale of the pooled vector's normalisation"
OWN_MAP = "its own map"
NOT_LINEAR = "a layer after the pool is not linear"
ATTENTION = "pools by attention, not by the average"
FORCED = "forced: patch tokens through a head that was trained on the class token"


@dataclass(frozen=True)
class Check:
    """What was measured of a teacher.

    Attributes:
        size: side in pixels of the images.
        grid: rows and columns of the map.
        parameters: numbers in the model's weights.
        flops: floating-point operations for one image, two for a multiplication with its addition.
        gap: ``Teacher.gap`` at that size.
        reason: why the map is exact, or why it is not.
        golden: whether it answers as its card remembers; None if there is nothing to compare.
    """

    size: int
    grid: tuple[int, int]
    parameters: int
    flops: int
    gap: float
    reason: str
    golden: bool | None

    @property
    def exact(self) -> bool:
        """Whether the map's mean is the model's own answer."""
        return self.gap < EXACT_GAP

    @property
    def stride(self) -> float:
        """Pixels from one row of the map to the next."""
        return self.size / self.grid[0]


def check(teacher: Teacher, *, size: int | None = None, golden: bool = True) -> Check:
    """Measure a teacher.

    Args:
        teacher: any.
        size: side in pixels of the images; None is the card's.
        golden: compare its answer with the one that its card remembers, if it does.

    Raises:
        TeacherError: the model gives no grid, answers from a class token, does not take images of
            that size, or gives scores that are not finite.
    """
    size = size or teacher.card.size
    gap = teacher.gap(size)
    image = torch.zeros(1, 3, size, size, device=teacher.device)
    rows, columns = teacher.logits_map(image).shape[2:]
    remembered = teacher.card.golden if golden else None
    return Check(
        size=size,
        grid=(rows, columns),
        parameters=sum(weight.numel() for weight in teacher.model.parameters()),
        flops=count_flops(teacher, size),
        gap=gap,
        reason=_reason(teacher, image, exact=gap < EXACT_GAP),
        golden=None if remembered is None else is_golden(teacher, remembered),
    )


def count_flops(teacher: Teacher, size: int, *, dense: bool = False) -> int:
    """Floating-point operations for one image, two for a multiplication with its addition.

    Args:
        teacher: any.
        size: side in pixels of the image.
        dense: for its map of logits, instead of its logits.

    Raises:
        TeacherError: the model does not take images of that size, or gives no grid.
    """
    image = torch.zeros(1, 3, size, size, device=teacher.device)
    answer = teacher.logits_map if dense else teacher.logits
    with size_errors(teacher.card, size), FlopCounterMode(display=False) as counter:
        answer(image)
    return counter.get_total_flops()


@torch.inference_mode()
def _reason(teacher: Teacher, image: Tensor, *, exact: bool) -> str:
    """Why a map is exact, or is not."""
    model = teacher.model
    if isinstance(model, DenseModel):
        return OWN_MAP
    parts = split(model)
    if parts.about:
        return parts.about
    if not exact:
        if teacher.force and _answers_from_class_token(teacher, image):
            return FORCED
        return ATTENTION if _pools_by_attention(model) else NOT_LINEAR
    features = cast("Tensor", parts.features(image))  # a grid, or gap would have raised
    return POOLED_NORM if pooled_norms(model, parts.head, features) else LINEAR


def _answers_from_class_token(teacher: Teacher, image: Tensor) -> bool:
    try:
        replace(teacher, force=False).logits_map(image)
    except TeacherError:
        return True
    return False


def _pools_by_attention(model: torch.nn.Module) -> bool:
    kinds = (type(module).__name__ for module in model.modules())
    return any(kind.startswith(("AttentionPool", "RotAttentionPool")) for kind in kinds)
