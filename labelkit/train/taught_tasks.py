"""The tasks of runs with a live teacher: distillation, plain and by the levels of a tree.

# B batch, C classes
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from labelkit.errors import RecipeError
from labelkit.hierarchy import read_name_file
from labelkit.losses import DistillationLoss, SemanticDistillationLoss
from labelkit.train.live_teacher import LiveTeacher, TaughtTarget, open_teacher
from labelkit.train.recipe import without_dotdot
from labelkit.train.task import SAME_FOLDERS, Opened, Task
from labelkit.train.transforms import preprocessing
from labelkit.train.validation import validation_loss

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labelkit.hierarchy import ClassList
    from labelkit.train.recipe import Recipe
    from labelkit.train.recipe_labels import DistillationLabels, SemanticSoftmaxLabels


class TaughtLoss(nn.Module):
    """Distillation mixed with the own label, where an image has one.

    ``loss = (1/B) sum_b (1 - o m_b) T^2 KL(teacher_b / T || logits_b / T) + o CE(own_b, logits_b)``

    where m_b is the sum of b's own label: 1, or 0 for an image without, or between where they are
    mixed.

    Args:
        original: o, the weight of the own label.
        temperature: T.

    Source: Hinton et al. 2015 (arXiv 1503.02531), section 2.
    """

    def __init__(self, original: float, temperature: float) -> None:
        super().__init__()
        self.original = original
        self.distillation = DistillationLoss(temperature)

    def forward(self, logits: Tensor, target: TaughtTarget) -> Tensor:
        """The loss of logits (B, C) as a scalar."""
        weight = 1 - self.original * target.own.sum(dim=1)
        taught = self.distillation(logits, target.teacher, weight)
        return taught + self.original * F.cross_entropy(logits, target.own)


class TaughtTreeLoss(nn.Module):
    """Semantic softmax with the own labels, and distillation at each level of the tree.

    Args:
        labelled: the loss with the own labels.
        distillation: the loss with the teacher's probabilities.
        weight: of the latter.

    Source: Ridnik et al. 2021 (arXiv 2104.10972), the section on semantic knowledge distillation.
    """

    def __init__(
        self, labelled: nn.Module, distillation: SemanticDistillationLoss, weight: float
    ) -> None:
        super().__init__()
        self.labelled, self.distillation, self.weight = labelled, distillation, weight

    def forward(self, logits: Tensor, target: TaughtTarget) -> Tensor:
        """The loss of logits (B, C) as a scalar."""
        taught = self.distillation(logits, target=target.teacher.softmax(dim=1))
        return self.labelled(logits, target.own) + self.weight * taught


def distillation_task(labels: DistillationLabels, recipe: Recipe, opened: Opened) -> Task:
    """Distillation from a live teacher over the classes of the folders.

    Raises:
        LabelkitError: the teacher cannot be loaded, or lacks a class.
    """
    classes = opened.source.classes(opened.train)
    synsets = _read_synsets(labels.names, classes, opened)
    teacher = _open(labels.teacher, classes, recipe, synsets)
    if opened.unlabelled:
        opened.train.samples = opened.train.samples + opened.unlabelled.samples
    return Task(
        classes,
        opened.train_samples(classes, SAME_FOLDERS),
        opened.val_samples(classes, SAME_FOLDERS),
        loss=TaughtLoss(labels.original, labels.temperature),
        val_loss=validation_loss(labels, None),
        images=opened.images,
        study=opened.study,
        labels=" ".join([teacher.teacher.weights_digest, *synsets.values()]),
        teacher=teacher,
    )


def with_tree_teacher(task: Task, labels: SemanticSoftmaxLabels, recipe: Recipe) -> Task:
    """Semantic softmax with semantic distillation from a live teacher.

    Raises:
        LabelkitError: the teacher cannot be loaded, or lacks a class.
    """
    if labels.teacher is None or task.tree is None:
        return task
    classes = task.tree.data_classes
    teacher = _open(labels.teacher, classes, recipe)
    distillation = SemanticDistillationLoss(task.tree, target_classes=classes)
    return replace(
        task,
        loss=TaughtTreeLoss(task.loss, distillation, labels.teacher_weight),
        labels=f"{task.labels} {teacher.teacher.weights_digest}",
        teacher=teacher,
    )


def _open(
    source: str, classes: ClassList, recipe: Recipe, synsets: Mapping[str, str] | None = None
) -> LiveTeacher:
    return open_teacher(source, classes, recipe, preprocessing(recipe.model.name), synsets)


def _read_synsets(path: str | None, classes: ClassList, opened: Opened) -> dict[str, str]:
    """The synset of each class, from the file that a recipe names."""
    if path is None:
        return {}
    try:
        return read_name_file(Path(without_dotdot(path))).synsets_of(classes)
    except FileNotFoundError:
        raise RecipeError(
            f"labels.names: no such file: {path!r}. Make it with labelkit match-names "
            f"{opened.train.root} -o {path}"
        ) from None
