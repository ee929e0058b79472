"""What to know about a teacher before a long run: its grid, its cost, and whether its map is exact.

Legend: B batch, S image side, H W grid.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch.utils.flop_counter import FlopCounterMode

from labelkit.errors import TeacherError
from labelkit.teachers.card import Golden
from labelkit.teachers.grid_head import DenseModel, pooled_norms, split
from labelkit.teachers.teacher import EXACT_GAP, size_errors

if TYPE_CHECKING:
    from torch import Tensor

    from labelkit.teachers.teacher import Teacher

LINEAR = "linear after average pooling"
POOLED_NORM = "linear after average pooling, with the normalisation scale of the pooled vector"
DENSE = "the model computes its map itself"
NOT_LINEAR = "a layer after the pool is not linear"
ATTENTION = "pools by attention, not by averaging"
FORCED = "forced: patch tokens through a head that was trained on the class token"

GOLDEN_CLASSES = 5
GOLDEN_TOLERANCE = 0.02

_FAMILIES = Path(__file__).parent / "families.tsv"

# Centre row, centre column and radius as fractions of the side; red, green, blue.
_DISCS = (
    (0.35, 0.30, 0.22, (230, 120, 30)),
    (0.65, 0.68, 0.27, (40, 90, 200)),
    (0.62, 0.25, 0.12, (250, 240, 90)),
    (0.25, 0.75, 0.16, (60, 170, 80)),
)


@dataclass(frozen=True)
class Check:
    """The measurements of a teacher.

    Attributes:
        size: side in pixels of the images.
        grid: rows and columns of the map.
        parameters: how many numbers the model's weights have.
        flops: floating-point operations per image; a multiply-add counts as two.
        gap: ``Teacher.gap`` at that size.
        reason: why the map is exact, or why it is not.
        golden: whether its prediction matches the one in its card; None if the card has none.
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
        """Whether the map's mean equals the model's logits."""
        return self.gap < EXACT_GAP

    @property
    def stride(self) -> float:
        """Pixels from one row of the map to the next."""
        return self.size / self.grid[0]


def check(teacher: Teacher, *, size: int | None = None, golden: bool = True) -> Check:
    """Measure a teacher.

    Args:
        teacher: any teacher.
        size: side in pixels of the images; None is the card's.
        golden: compare its prediction for the golden image with the one in its card, if any.

    Raises:
        TeacherError: the model has no grid, predicts from a class token, does not take images of
            that size, or returns scores that are not finite.
    """
    size = size or teacher.card.size
    gap = teacher.gap(size)
    image = torch.zeros(1, 3, size, size, device=teacher.device)
    rows, columns = teacher.logits_map(image).shape[2:]
    expected = teacher.card.golden if golden else None
    return Check(
        size=size,
        grid=(rows, columns),
        parameters=sum(weight.numel() for weight in teacher.model.parameters()),
        flops=count_flops(teacher, size),
        gap=gap,
        reason=_reason(teacher, image, exact=gap < EXACT_GAP),
        golden=None if expected is None else matches_golden(teacher, expected),
    )


def count_flops(teacher: Teacher, size: int, *, dense: bool = False) -> int:
    """Floating-point operations per image; a multiply-add counts as two.

    Args:
        teacher: any teacher.
        size: side in pixels of the image.
        dense: count those of its map of logits, not of its logits.

    Raises:
        TeacherError: the model does not take images of that size, or has no grid.
    """
    image = torch.zeros(1, 3, size, size, device=teacher.device)
    predict = teacher.logits_map if dense else teacher.logits
    with size_errors(teacher.card, size), FlopCounterMode(display=False) as counter:
        predict(image)
    return counter.get_total_flops()


@torch.inference_mode()
def _reason(teacher: Teacher, image: Tensor, *, exact: bool) -> str:
    """Why a map is exact, or why it is not."""
    model = teacher.model
    if isinstance(model, DenseModel):
        return DENSE
    steps = split(model)
    if steps.special:
        return steps.special
    if not exact:
        if teacher.force and _predicts_from_class_token(teacher, image):
            return FORCED
        return ATTENTION if _pools_by_attention(model) else NOT_LINEAR
    features = cast("Tensor", steps.features(image))  # a grid, or gap would have raised
    return POOLED_NORM if pooled_norms(model, steps.head, features) else LINEAR


def _predicts_from_class_token(teacher: Teacher, image: Tensor) -> bool:
    try:
        replace(teacher, force=False).logits_map(image)
    except TeacherError:
        return True
    return False


def _pools_by_attention(model: torch.nn.Module) -> bool:
    kinds = (type(module).__name__ for module in model.modules())
    return any(kind.startswith(("AttentionPool", "RotAttentionPool")) for kind in kinds)


# The golden image: do the weights and the preprocessing still give the card's prediction? A hash of
# floating-point scores would change with every processor and version of torch, so a card keeps the
# five strongest classes with their logits, which are compared up to rounding.


def golden_image(size: int) -> Tensor:
    """The golden image, drawn by code: uint8 (1, 3, S, S), four ringed discs on a gradient."""
    row = (torch.arange(size, dtype=torch.float64) + 0.5).view(-1, 1) / size
    column = row.view(1, -1)
    stripes = 20 * torch.sin(40 * (row + 0.5 * column))
    image = torch.stack([200 * row + 0 * column, 120 + stripes, 200 * column + 0 * row])
    for center_row, center_column, radius, color in _DISCS:
        distance = ((row - center_row) ** 2 + (column - center_column) ** 2).sqrt() / radius
        shade = 0.8 + 0.2 * torch.cos(25 * distance)
        for channel, level in zip(image, color, strict=True):
            channel[distance < 1] = (level * shade)[distance < 1]
    return image.round().clamp(0, 255).to(torch.uint8)[None]


def golden_prediction(teacher: Teacher) -> Golden:
    """A teacher's strongest classes for the golden image at its native size, from its map's mean.

    Raises:
        TeacherError: as ``Teacher.logits_map``, or the model does not take its native size.
    """
    logits = _golden_logits(teacher)
    strongest, classes = logits.topk(min(GOLDEN_CLASSES, len(logits)))
    return Golden(
        tuple(teacher.classes[int(index)] for index in classes),
        tuple(round(float(logit), 3) for logit in strongest),
    )


def matches_golden(teacher: Teacher, golden: Golden) -> bool:
    """Whether every logit of a teacher is within ``GOLDEN_TOLERANCE`` of its card's prediction.

    Raises:
        TeacherError: as ``golden_prediction``.
        KeyError: the card names a class that is not in the teacher's list.
    """
    logits = _golden_logits(teacher)
    found = logits[[teacher.classes.index[class_id] for class_id in golden.classes]]
    expected = torch.tensor(golden.logits, device=found.device)
    return bool((found - expected).abs().max() <= GOLDEN_TOLERANCE)


def _golden_logits(teacher: Teacher) -> Tensor:
    size = teacher.card.native_size
    with size_errors(teacher.card, size):
        image = teacher.normalize(golden_image(size))
        return teacher.logits_map(image).mean(dim=(2, 3))[0]


# The families of timm's models.


@dataclass(frozen=True)
class Family:
    """What kind of map a family of timm's models gives, measured on one member.

    Attributes:
        family: the module of timm that contains the models.
        model: the member that was measured, with random weights.
        size: side in pixels of the images that it was measured on.
        verdict: ``exact``, ``approximate`` or ``refused``.
        reason: why.
        size_15x15: side in pixels of the images whose map has 15x15 cells, or closest to that; 0 if
            the model is refused.
    """

    family: str
    model: str
    size: int
    verdict: str
    reason: str
    size_15x15: int


def read_families() -> list[Family]:
    """The table of families, ordered by family.

    It is documentation, and no code depends on it; a test measures each of its lines.
    """
    with _FAMILIES.open(encoding="utf-8", newline="") as file:
        return [
            Family(
                row["family"],
                row["model"],
                int(row["size"]),
                row["verdict"],
                row["reason"],
                int(row["size_15x15"]),
            )
            for row in csv.DictReader(file, delimiter="\t")
        ]
