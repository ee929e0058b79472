"""A picture, drawn by code, whose answer a card remembers: do the weights still say the same?

A hash of floating-point scores would change with every processor and version of torch. So a card
keeps the five strongest classes with their logits, which are compared up to rounding.

Legend: S image side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from labelkit.teachers.card import Golden
from labelkit.teachers.teacher import size_errors

if TYPE_CHECKING:
    from torch import Tensor

    from labelkit.teachers.teacher import Teacher

STRONGEST = 5
TOLERANCE = 0.02
# centre row, centre column and radius as fractions of the side; red, green, blue
_DISCS = (
    (0.35, 0.30, 0.22, (230, 120, 30)),
    (0.65, 0.68, 0.27, (40, 90, 200)),
    (0.62, 0.25, 0.12, (250, 240, 90)),
    (0.25, 0.75, 0.16, (60, 170, 80)),
)


def golden_image(size: int) -> Tensor:
    """The golden image: uint8 (1, 3, S, S), four discs with rings on a striped gradient."""
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


def golden_answer(teacher: Teacher) -> Golden:
    """A teacher's strongest classes for the golden image of its native size, from its map's mean.

    Raises:
        TeacherError: as ``Teacher.logits_map``, or the model does not take its native size.
    """
    pooled = _pooled(teacher)
    logits, classes = pooled.topk(min(STRONGEST, len(pooled)))
    return Golden(
        tuple(teacher.classes[int(index)] for index in classes),
        tuple(round(float(logit), 3) for logit in logits),
    )


def is_golden(teacher: Teacher, golden: Golden) -> bool:
    """Whether a teacher still answers as its card remembers: every logit within ``TOLERANCE``.

    Raises:
        TeacherError: as ``golden_answer``.
        KeyError: the card names a class that is not in the teacher's list.
    """
    pooled = _pooled(teacher)
    now = pooled[[teacher.classes.index[class_id] for class_id in golden.classes]]
    then = torch.tensor(golden.logits, device=now.device)
    return bool((now - then).abs().max() <= TOLERANCE)


def _pooled(teacher: Teacher) -> Tensor:
    size = teacher.card.native_size
    with size_errors(teacher.card, size):
        image = teacher.normalize(golden_image(size))
        return teacher.logits_map(image).mean(dim=(2, 3))[0]
