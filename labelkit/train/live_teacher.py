"""A teacher that predicts for each batch of the student, as it trains.

# B batch, C classes, S image side
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as VF

from labelkit.errors import RecipeError
from labelkit.hierarchy import ClassList
from labelkit.teachers import Teacher, TeacherCard, load_teacher, project_teachers
from labelkit.train.checkpoint import content_digest
from labelkit.train.classifier import load_classifier
from labelkit.train.recipe import without_dotdot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labelkit.teachers import LogitsProjection
    from labelkit.train.classifier import Classifier
    from labelkit.train.recipe import Recipe


@dataclass(frozen=True, eq=False)
class TaughtTarget:
    """A batch's own labels, and what the teacher says of its images.

    Attributes:
        own: probabilities of the student's classes; an image without a label has none (B, C).
        teacher: the teacher's logits for the same inputs, over its classes (B, T).
    """

    own: Tensor
    teacher: Tensor

    def tensor_split(self, count: int) -> list[TaughtTarget]:
        """The parts of the batch, as ``Tensor.tensor_split`` gives them."""
        parts = zip(self.own.tensor_split(count), self.teacher.tensor_split(count), strict=True)
        return [TaughtTarget(own, teacher) for own, teacher in parts]


class LiveTeacher:
    """A teacher's logits for the inputs of a student.

    The teacher sees exactly what the student sees, mixed and augmented, resized to the side at
    which it was trained.

    Args:
        teacher: one with any class list.
        classes: C classes of the data; the teacher's are projected onto them.
        preprocessing: ``mean`` and ``std`` of the student's inputs.
        synsets: class -> the wnid by which the teacher may know it.

    Raises:
        ClassListMismatch: the teacher has nothing for some of the classes; the message names them.

    Source: Hinton et al. 2015 (arXiv 1503.02531); Beyer et al. 2022 (arXiv 2106.05237), section 3,
    for teachers that see the student's inputs.
    """

    def __init__(
        self,
        teacher: Teacher,
        classes: ClassList,
        preprocessing: Mapping[str, Any],
        synsets: Mapping[str, str] | None = None,
    ) -> None:
        self.teacher = teacher
        self.classes = classes
        self._synsets = synsets or {}
        self._mean, self._std = (
            torch.tensor(preprocessing[name]).view(1, 3, 1, 1) for name in ("mean", "std")
        )
        self._projection = self._project()

    def to(self, device: torch.device) -> None:
        """Move the teacher to a device."""
        self.teacher.model.to(device)
        self._mean, self._std = self._mean.to(device), self._std.to(device)
        self._projection = self._project()

    def _project(self) -> LogitsProjection | None:
        return project_teachers([self.teacher], self.classes, self._synsets)[0]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """The teacher's logits (B, C), without gradient.

        Args:
            images: the student's inputs (B, 3, S, S).
        """
        card = self.teacher.card
        pixels = images.float() * self._std + self._mean
        if images.shape[-1] != card.native_size:
            side = [card.native_size, card.native_size]
            how = InterpolationMode(card.interpolation)
            pixels = VF.resize(pixels, side, how, antialias=True)
        pixels = pixels.clamp(0, 1) * 255
        # Cloned, since autograd refuses what inference mode made.
        logits = self.teacher.logits(self.teacher.normalize(pixels)).clone()
        if self._projection is None:
            return logits
        return self._projection(logits[:, :, None, None])[:, :, 0, 0]


def open_teacher(
    source: str,
    classes: ClassList,
    recipe: Recipe,
    preprocessing: Mapping[str, Any],
    synsets: Mapping[str, str] | None = None,
) -> LiveTeacher:
    """The teacher that a recipe names, on the CPU.

    Args:
        source: a card's name or path, a timm model, or a run of ``labelkit train``: its folder or
            one of its files.
        classes: of the data.
        recipe: its precision is the teacher's.
        preprocessing: ``mean`` and ``std`` of the student's inputs.
        synsets: class -> the wnid by which the teacher may know it.

    Raises:
        TeacherError: unknown name, or weights that are missing or do not fit.
        TrainingError: the run's files are damaged.
        RecipeError: the run's classes have no common ranking.
        ClassListMismatch: it has nothing for some of the classes.
    """
    path = Path(source)
    if path.exists() and path.suffix.lower() != ".toml":
        teacher = _of_run(load_classifier(without_dotdot(source), device="cpu"))
    else:
        teacher = load_teacher(source, device="cpu")
    teacher = replace(teacher, precision=recipe.run.precision)
    return LiveTeacher(teacher, classes, preprocessing, synsets)


def _of_run(run: Classifier) -> Teacher:
    """The student of an earlier run as a teacher of its classes, without inner nodes."""
    if not run.ranked:
        raise RecipeError(
            f"labels.teacher: the classes of {run.name} are on several levels of a tree, each with "
            "a separate softmax, so it has no distribution over them. Use a run with hard labels "
            "or label maps, or a teacher's card"
        )
    every = len(run.ranked) == len(run.classes)
    model = run.model if every else _Columns(run.model, run.ranked)
    card = TeacherCard(
        name=run.name,
        model=type(run.model).__name__,
        classes=run.classes.name or "classes of a run",
        size=run.size,
        native_size=run.size,
        mean=tuple(run.preprocessing["mean"]),
        std=tuple(run.preprocessing["std"]),
        interpolation=run.preprocessing["interpolation"],
    )
    classes = ClassList.of([run.classes[at] for at in run.ranked], card.classes)
    digest = content_digest({"model": dict(run.model.state_dict())})
    return Teacher(model.requires_grad_(requires_grad=False).eval(), classes, card, digest)


class _Columns(nn.Module):
    """Some of a model's outputs."""

    def __init__(self, model: nn.Module, columns: list[int]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("columns", torch.tensor(columns), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images).index_select(1, self.get_buffer("columns"))
