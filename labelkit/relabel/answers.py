"""What one or several teachers say of an image, seen once or several times, on one grid.

Legend: B batch, C classes, S input side, H W grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import torch

from labelkit.errors import ClassListMismatch, TeacherError
from labelkit.relabel.merging import merge_onto, sought_id
from labelkit.teachers import resize_grid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labelkit.hierarchy import ClassList
    from labelkit.teachers import Teacher

Average = Literal["logit", "probability"]
Square = tuple[int, str]  # side in pixels, interpolation


@dataclass(frozen=True)
class _View:
    """One look at the image: by which teacher, in which square."""

    teacher: int
    square: int


class Answers:
    """The class scores of all looks at an image, averaged, for each of its maps.

    Args:
        teachers: one or several; their order changes nothing.
        classes: what the scores are to be of; each teacher's classes are found among them by id.
        sizes: for each map the sides in pixels at which every teacher looks at the image; none at
            all is each teacher's own good size, one map.
        nouns: class -> the id by which a teacher may know it.
        flip: look at the mirrored image too.
        average: the mean of the logits, or the logarithm of the mean of each cell's softmax.

    Attributes:
        teachers: in the order in which they are asked.
        squares: what an image must be resized to.
        zooms: for each map the geometric mean of side over the side that a teacher was trained at.

    Raises:
        ClassListMismatch: a teacher lacks one of the classes.
        ClassListError: two classes have one noun.
        TeacherError: two teachers are the same, the same size stands twice in a map, or two maps
            have one zoom.
    """

    def __init__(  # noqa: PLR0913 -- who looks, at what and how, and what the answers are of
        self,
        teachers: Sequence[Teacher],
        classes: ClassList,
        sizes: Sequence[tuple[int, ...]],
        *,
        nouns: Mapping[str, str] | None = None,
        flip: bool = False,
        average: Average = "logit",
    ) -> None:
        self.teachers = sorted(teachers, key=_identity)
        identities = [_identity(teacher) for teacher in self.teachers]
        if len(set(identities)) != len(identities):
            raise TeacherError("the same teacher stands twice")
        for each in sizes:
            if len(set(each)) != len(each) or not each:
                raise TeacherError(f"input sizes {each}: none at all, or one stands twice")
        told = nouns or {}
        self._merges = [merge_onto(classes, teacher, told) for teacher in self.teachers]
        self._nouns = {
            each: told[each]
            for each in classes
            if any(sought_id(each, teacher, told) != each for teacher in self.teachers)
        }
        self._flip, self._average = flip, average
        asked = [self._looks(each) for each in (sizes or [()])]
        squares = {square for looks in asked for _, square in looks}
        self.squares: list[Square] = sorted(squares)
        self._views = [
            [_View(teacher, self.squares.index(square)) for teacher, square in looks]
            for looks in asked
        ]
        self.zooms = [self._zoom(views) for views in self._views]
        if len(set(self.zooms)) != len(self.zooms):
            raise TeacherError(
                f"two maps of an image at one zoom ({self.zooms}): no crop could choose between "
                "them. Take other sizes"
            )

    def __call__(
        self, images: Sequence[torch.Tensor], number: int, grid: tuple[int, int]
    ) -> torch.Tensor:
        """The logits (B, C, H, W) of map ``number``.

        Args:
            images: pixels (B, 3, S, S) of each square, uint8.
            number: which map, from 0.
            grid: rows and columns.
        """
        total: torch.Tensor | None = None
        views = self._views[number]
        for view in views:
            logits = self._look(view, images[view.square], grid)
            # Averaged one after the other: memory for two maps, however many looks there are.
            part = logits.softmax(dim=1) if self._average == "probability" else logits
            total = part if total is None else total + part.to(total.device)
        if total is None:
            raise ValueError("no look at the image")
        mean = total / len(views)
        return mean.clamp_min(1e-30).log() if self._average == "probability" else mean

    def grids(self, number: int) -> list[tuple[int, int]]:
        """The teachers' own grids for map ``number``."""
        return [
            teacher_grid(self.teachers[view.teacher], self.squares[view.square][0])
            for view in self._views[number]
        ]

    def gap(self) -> float:
        """The largest gap of any teacher at any of its sizes.

        Raises:
            TeacherError: the model has no spatial grid, or does not take such an input size.
        """
        pairs = {(view.teacher, self.squares[view.square][0]) for v in self._views for view in v}
        return max(self.teachers[teacher].gap(size) for teacher, size in sorted(pairs))

    def describe(self) -> dict[str, Any]:
        """What identifies these answers in a file, as JSON values."""
        described: dict[str, Any] = {
            "input_sizes": [self._told_sizes(views) for views in self._views],
            "resize": "whole image to a square, antialiased",
            "projected": any(merge is not None for merge in self._merges),
            "unused_teacher_classes": sum(merge.unused if merge else 0 for merge in self._merges),
        }
        if len(self.teachers) == 1:
            described["teacher"] = self.teachers[0].describe()
        else:
            described["teachers"] = [teacher.describe() for teacher in self.teachers]
        if self._nouns:
            described["nouns"] = self._nouns
        if self._flip:
            described["flip"] = True
        if self._average != "logit":
            described["average"] = self._average
        return described

    def _looks(self, sizes: tuple[int, ...]) -> list[tuple[int, Square]]:
        return [
            (number, (size, teacher.card.interpolation))
            for number, teacher in enumerate(self.teachers)
            for size in (sizes or (teacher.card.size,))
        ]

    def _look(self, view: _View, pixels: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        teacher, merge = self.teachers[view.teacher], self._merges[view.teacher]

        def answer(turned: torch.Tensor) -> torch.Tensor:
            logits = teacher.logits_map(teacher.normalize(turned))
            return resize_grid(logits if merge is None else merge(logits), grid)

        if not self._flip:
            return answer(pixels)
        return self._both(answer(pixels), answer(pixels.flip(3)).flip(3))

    def _both(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        if self._average == "logit":
            return (first + second) / 2
        return ((first.softmax(dim=1) + second.softmax(dim=1)) / 2).clamp_min(1e-30).log()

    def _zoom(self, views: list[_View]) -> float:
        logs = [
            math.log(self.squares[view.square][0] / self.teachers[view.teacher].card.native_size)
            for view in views
        ]
        return round(math.exp(math.fsum(logs) / len(logs)), 6)

    def _told_sizes(self, views: list[_View]) -> int | list[int] | list[list[int]]:
        """The one side, the sides that every teacher saw, or a list of them for each teacher."""
        seen: list[list[int]] = [[] for _ in self.teachers]
        for view in views:
            seen[view.teacher].append(self.squares[view.square][0])
        each = [sorted(sides) for sides in seen]
        if any(sides != each[0] for sides in each):
            return each
        return each[0][0] if len(each[0]) == 1 else each[0]


def common_classes(teachers: Sequence[Teacher]) -> ClassList:
    """The class list that all teachers answer in.

    Raises:
        ClassListMismatch: there are several; the message names two.
    """
    first, *others = [teacher.classes for teacher in teachers]
    for other in others:
        if other.ids != first.ids:
            raise ClassListMismatch(
                f"the teachers answer in different class lists, {first} and {other}: name the one "
                "that the maps are to be of with --classes"
            )
    return first


def teacher_grid(teacher: Teacher, size: int) -> tuple[int, int]:
    """Rows and columns of a teacher's own grid for squares of ``size`` pixels."""
    blank = torch.zeros(1, 3, size, size, device=teacher.device)
    rows, columns = teacher.logits_map(blank).shape[2:]
    return rows, columns


def _identity(teacher: Teacher) -> bytes:
    return msgspec.json.encode(teacher.describe(), order="deterministic")
