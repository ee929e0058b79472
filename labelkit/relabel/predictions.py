"""What one or several teachers predict for an image, averaged on one grid, over one class list.

Legend: B batch, S classes of a teacher, T or C classes of the maps, H W grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import torch

from labelkit.errors import ClassListMismatch, TeacherError
from labelkit.relabel.batches import InputSize
from labelkit.teachers import (
    DEFAULT_MERGE,
    Merge,
    project_teachers,
    resize_grid,
    teacher_id,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from labelkit.hierarchy import ClassList
    from labelkit.relabel.settings import Average
    from labelkit.teachers import Teacher

_SMALLEST_PROBABILITY = 1e-30


@dataclass(frozen=True)
class _View:
    """One forward pass for every image: positions of the teacher and of the input size."""

    teacher: int
    size: int


class Predictions:
    """The averaged logits of all views of an image, for each of its maps.

    Args:
        teachers: one or several; their order does not matter.
        classes: what to predict; they are found among each teacher's classes by id.
        sizes: for each map the input sides in pixels, all of which every teacher sees; empty for
            one map at each teacher's default size.
        synsets: class -> the wnid by which a teacher may know it.
        flip: predict the mirrored image too.
        average: the mean of the logits, or the logarithm of the mean of each cell's softmax.
        merge: how several classes of a teacher become one.
        other: whether to keep the probability of the teachers' classes that belong to none of
            ``classes``, as one more output.

    Attributes:
        teachers: in the order in which they are called.
        other: whether the last output is *other*: asked for, and a teacher has such classes.
        input_sizes: what an image must be resized to.
        crop_sizes: what a crop must be resized to for each teacher: the size it was trained at.
        zooms: for each map the geometric mean of its input sides, relative to the size at which
            the teacher was trained.

    Raises:
        ClassListMismatch: a teacher lacks one of the classes.
        ClassListError: two classes have the same synset.
        TeacherError: a duplicate teacher, a duplicate size within a map, or two maps of one zoom.
    """

    def __init__(  # noqa: PLR0913 -- each is a separate choice
        self,
        teachers: Sequence[Teacher],
        classes: ClassList,
        sizes: Sequence[tuple[int, ...]],
        *,
        synsets: Mapping[str, str] | None = None,
        flip: bool = False,
        average: Average = "logit",
        merge: Merge = DEFAULT_MERGE,
        other: bool = False,
    ) -> None:
        self.teachers = _in_fixed_order(teachers)
        for sides in sizes:
            if not sides or len(set(sides)) != len(sides):
                raise TeacherError(f"input sizes {sides}: expected one or more, all different")
        synsets = synsets or {}
        self._projections = project_teachers(self.teachers, classes, synsets, merge, other=other)
        self.other = other and any(each.unused for each in self._projections if each)
        self._merge: Merge = merge
        self._synsets = {
            each: synsets[each]
            for each in classes
            if any(teacher_id(each, teacher, synsets) != each for teacher in self.teachers)
        }
        self._flip, self._average = flip, average
        pairs = [self._pairs(sides) for sides in (sizes or [()])]
        self.input_sizes = sorted({size for of_map in pairs for _, size in of_map})
        self._views = [
            [_View(teacher, self.input_sizes.index(size)) for teacher, size in of_map]
            for of_map in pairs
        ]
        self._grids: dict[_View, tuple[int, int]] = {}
        self.crop_sizes = [
            InputSize(each.card.native_size, each.card.interpolation) for each in self.teachers
        ]
        self.zooms = [self._zoom(views) for views in self._views]
        if len(set(self.zooms)) != len(self.zooms):
            raise TeacherError(
                f"two maps of an image have the same zoom ({self.zooms}), so a crop cannot choose "
                "between them: use other sizes"
            )

    def __call__(
        self, pixels: Sequence[torch.Tensor], number: int, grid: tuple[int, int]
    ) -> torch.Tensor:
        """The logits (B, C, H, W) of map ``number``.

        Args:
            pixels: images (B, 3, S, S) at each input size, uint8.
            number: which map, from 0.
            grid: rows and columns.
        """
        views = self._views[number]
        # One view after the other: memory for two maps, however many views there are.
        total = self._term(views[0], pixels, grid)
        for view in views[1:]:
            total = total + self._term(view, pixels, grid).to(total.device)
        return self._logits(total / len(views))

    def of_crops(self, pixels: Sequence[torch.Tensor]) -> torch.Tensor:
        """The log-probabilities (B, C) of whole crops, averaged like those of maps, on the CPU.

        Args:
            pixels: crops (B, 3, S, S) at each of ``crop_sizes``, uint8.
        """
        with torch.inference_mode():
            terms = [self._crop_term(number, each) for number, each in enumerate(pixels)]
            mean = torch.stack([term.to(terms[0].device) for term in terms]).mean(dim=0)
            return self._logits(mean)[:, :, 0, 0].double().log_softmax(dim=1).float().cpu()

    def grids(self, number: int) -> list[tuple[int, int]]:
        """The teachers' native grids for map ``number``."""
        for view in self._views[number]:
            if view not in self._grids:
                side = self.input_sizes[view.size].side
                self._grids[view] = native_grid(self.teachers[view.teacher], side)
        return [self._grids[view] for view in self._views[number]]

    def largest_gap(self) -> float:
        """The largest ``Teacher.gap`` of any teacher at any of its input sizes.

        Raises:
            TeacherError: the model has no spatial grid, or does not accept such an input size.
        """
        pairs = {
            (view.teacher, self.input_sizes[view.size].side)
            for views in self._views
            for view in views
        }
        return max(self.teachers[teacher].gap(side) for teacher, side in sorted(pairs))

    def describe(self) -> dict[str, Any]:
        """What identifies these predictions in a file, as JSON values."""
        projections = self._projections
        described: dict[str, Any] = {
            "input_sizes": [self._sides(views) for views in self._views],
            "resize": "whole image to a square, antialiased",
            "projected": any(each is not None for each in projections),
            "unused_teacher_classes": sum(each.unused if each else 0 for each in projections),
        }
        if self.other or any(each.merges for each in projections if each):
            described["merged"] = self._merge
        if len(self.teachers) == 1:
            described["teacher"] = self.teachers[0].describe()
        else:
            described["teachers"] = [teacher.describe() for teacher in self.teachers]
        if self._synsets:
            described["synsets"] = self._synsets
        if self._flip:
            described["flip"] = True
        if self._average != "logit":
            described["average"] = self._average
        return described

    def _pairs(self, sides: tuple[int, ...]) -> list[tuple[int, InputSize]]:
        """The views of one map: positions of teachers, and input sizes."""
        return [
            (number, InputSize(side, teacher.card.interpolation))
            for number, teacher in enumerate(self.teachers)
            for side in (sides or (teacher.card.size,))
        ]

    def _term(
        self, view: _View, pixels: Sequence[torch.Tensor], grid: tuple[int, int]
    ) -> torch.Tensor:
        """What one view adds to the mean of a map: (B, C, H, W)."""
        teacher, projection = self.teachers[view.teacher], self._projections[view.teacher]

        def predict(images: torch.Tensor) -> torch.Tensor:
            logits = teacher.logits_map(teacher.normalize(images))
            return resize_grid(logits if projection is None else projection(logits), grid)

        return self._both_directions(predict, pixels[view.size])

    def _crop_term(self, number: int, pixels: torch.Tensor) -> torch.Tensor:
        """What one teacher adds to the mean of whole crops: (B, C, 1, 1)."""
        teacher, projection = self.teachers[number], self._projections[number]

        def predict(images: torch.Tensor) -> torch.Tensor:
            logits = teacher.logits(teacher.normalize(images))[:, :, None, None]
            return logits if projection is None else projection(logits)

        return self._both_directions(predict, pixels)

    def _both_directions(
        self, predict: Callable[[torch.Tensor], torch.Tensor], pixels: torch.Tensor
    ) -> torch.Tensor:
        """Logits or probabilities (B, C, H, W), averaged with those of mirrored images if asked."""

        def term(images: torch.Tensor) -> torch.Tensor:
            logits = predict(images)
            return logits.softmax(dim=1) if self._average == "probability" else logits

        if not self._flip:
            return term(pixels)
        return (term(pixels) + term(pixels.flip(3)).flip(3)) / 2

    def _logits(self, mean: torch.Tensor) -> torch.Tensor:
        """Logits from a mean of terms."""
        if self._average == "logit":
            return mean
        return mean.clamp_min(_SMALLEST_PROBABILITY).log()

    def _zoom(self, views: list[_View]) -> float:
        logs = [
            math.log(
                self.input_sizes[view.size].side / self.teachers[view.teacher].card.native_size
            )
            for view in views
        ]
        return round(math.exp(math.fsum(logs) / len(logs)), 6)

    def _sides(self, views: list[_View]) -> int | list[int] | list[list[int]]:
        """A map's input side, a list of several, or one list for each teacher if they differ."""
        seen: list[list[int]] = [[] for _ in self.teachers]
        for view in views:
            seen[view.teacher].append(self.input_sizes[view.size].side)
        sides = [sorted(each) for each in seen]
        if any(each != sides[0] for each in sides):
            return sides
        return sides[0][0] if len(sides[0]) == 1 else sides[0]


def common_classes(teachers: Sequence[Teacher]) -> ClassList:
    """The class list that all teachers predict.

    Raises:
        ClassListMismatch: there are several; the message names two.
    """
    first, *others = [teacher.classes for teacher in teachers]
    for other in others:
        if other.ids != first.ids:
            raise ClassListMismatch(
                f"the teachers predict different class lists, {first} and {other}: choose the "
                "classes of the maps with --classes"
            )
    return first


def native_grid(teacher: Teacher, side: int) -> tuple[int, int]:
    """Rows and columns of a teacher's native grid for squares of ``side`` pixels."""
    blank = torch.zeros(1, 3, side, side, device=teacher.device)
    rows, columns = teacher.logits_map(blank).shape[2:]
    return rows, columns


def _in_fixed_order(teachers: Sequence[Teacher]) -> list[Teacher]:
    """The teachers sorted by what identifies them.

    Raises:
        TeacherError: two are the same.
    """
    by_identity: dict[bytes, Teacher] = {}
    for teacher in teachers:
        identity = msgspec.json.encode(teacher.describe(), order="deterministic")
        if identity in by_identity:
            raise TeacherError(f"duplicate teacher {teacher.card.name!r}: name each teacher once")
        by_identity[identity] = teacher
    return [by_identity[identity] for identity in sorted(by_identity)]
