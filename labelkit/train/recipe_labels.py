"""The kinds of labels of a recipe: the table ``[labels]``. Loads no tensors."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

from labelkit.data import TargetOptions
from labelkit.train.recipe_types import (
    LevelWeights,
    NotNegative,
    Positive,
    RecipeTable,
    Share,
    Smoothing,
    Text,
)


class HardLabels(RecipeTable, frozen=True, tag_field="kind", tag="hard"):
    """Cross-entropy with the class of each image's folder; the train folders are the class list.

    Attributes:
        label_smoothing: how much of each target is spread over all classes.
    """

    label_smoothing: Smoothing = 0.0


class SemanticSoftmaxLabels(RecipeTable, frozen=True, tag_field="kind", tag="semantic-softmax"):
    """One softmax per level of a tree; the class list is the tree's.

    Attributes:
        tree: a file made by ``labelkit build-tree``; it must contain the name of every folder.
        label_smoothing: spread within each level.
        level_weights: ``paper``, ``uniform``, or one number per level from the roots down.
        teacher: for semantic distillation, as for ``DistillationLabels``; none by default.
        teacher_weight: how much the distillation counts, beside the loss with the labels.
    """

    tree: Text
    label_smoothing: Smoothing = 0.0
    level_weights: LevelWeights = "paper"
    teacher: Text | None = None
    teacher_weight: NotNegative = 1.0


class HierarchicalLabels(
    RecipeTable, frozen=True, tag_field="kind", tag="hierarchical-cross-entropy"
):
    """One softmax over the classes, and cross-entropy at each split of a tree above them.

    The class list is the tree's, without its inner nodes.

    Attributes:
        tree: a file made by ``labelkit build-tree``, in which no class is below another; it must
            contain the name of every folder.
        alpha: a split of depth d counts ``exp(-alpha * d)``; 0 is plain cross-entropy.
    """

    tree: Text
    alpha: NotNegative = 0.1


class MultiLabelLabels(RecipeTable, frozen=True, tag_field="kind", tag="multi-label"):
    """Sigmoid cross-entropy with each image's class and all classes above it in a tree.

    The class list is the tree's.

    Attributes:
        tree: a file made by ``labelkit build-tree``; it must contain the name of every folder.
    """

    tree: Text


class DistillationLabels(RecipeTable, frozen=True, tag_field="kind", tag="distillation"):
    """A live teacher that sees each crop; the train folders are the class list.

    Attributes:
        teacher: a card's name or path, a timm model, or the folder of a run of ``labelkit train``.
            Its classes are projected onto the folders', which must be classes that it knows.
        temperature: divides the logits of both, teacher and student.
        original: weight of the own label, from 0 to 1, for images that have one.
        names: a file made by ``labelkit match-names``, for folders with plain names.
    """

    teacher: Text
    temperature: Positive = 1.0
    original: Share = 0.0
    names: Text | None = None


class LabelMapLabels(RecipeTable, frozen=True, tag_field="kind", tag="label-maps"):
    """Soft targets pooled from label maps over each random crop; the class list is the file's.

    With a tree, the loss is semantic softmax, and the class list is the tree's.

    Attributes:
        maps: a file made by ``labelkit relabel`` from the train folder.
        label: what is pooled, the crop or the whole image, and whether all of it is the target or
            only the strongest class; or the original label. ``labelkit.data.TargetOptions``
            describes each.
        original: weight of the original label, from 0 to 1.
        temperature: divides pooled logits, from 0.001 to 1000.
        method: pool logits (``relabel``) or probabilities.
        absent: the value of a class in cells that do not store it.
        calibrated: apply the file's calibration, if it has one.
        other: what becomes of the probability of the teacher's classes outside the file's list, as
            ``TargetOptions`` describes. With ``output``, the student's last output is *other*.
        tree: a file made by ``labelkit build-tree``; it must contain every class of the maps.
        level_weights: how much each level of the tree counts, as for ``SemanticSoftmaxLabels``;
            ``paper`` by default.
        label_smoothing: moves each target that far towards the uniform distribution; with a tree
            within each level.
        unlabelled_maps: a file made by ``labelkit relabel`` from ``data.unlabelled``, over the same
            classes; it may be the same file, if that was made from a folder above both.
    """

    maps: Text
    label: str = "local-multi"
    original: float = 0.0
    temperature: float = 1.0
    method: str = "relabel"
    absent: str = "background"
    calibrated: bool = True
    other: str = "drop"
    tree: Text | None = None
    level_weights: LevelWeights | None = None
    label_smoothing: Smoothing = 0.0
    unlabelled_maps: Text | None = None

    def __post_init__(self) -> None:
        self.options()
        if self.level_weights is not None and self.tree is None:
            raise ValueError("level_weights without a tree: set tree, or remove level_weights")
        if self.other == "output" and self.tree is not None:
            raise ValueError("other is output, but a tree has no such class: choose another value")

    def options(self) -> TargetOptions:
        """The same options, as ``LabelMapDataset`` takes them.

        Raises:
            ValueError: a value is out of range; the message names it.
        """
        # TargetOptions checks the words and lists the valid ones.
        words = (self.label, self.method, self.absent, self.other)
        label, method, absent, other = cast("Any", words)
        return TargetOptions(
            label=label,
            original=self.original,
            temperature=self.temperature,
            method=method,
            absent=absent,
            calibrated=self.calibrated,
            other=other,
        )


Labels: TypeAlias = (
    HardLabels
    | SemanticSoftmaxLabels
    | HierarchicalLabels
    | MultiLabelLabels
    | LabelMapLabels
    | DistillationLabels
)


def kind_of(labels: Labels) -> str:
    """The field ``kind`` of the table."""
    return str(labels.__struct_config__.tag)


def output_tree(labels: Labels) -> str | None:
    """The tree whose classes, inner nodes included, are the student's outputs; None for others."""
    match labels:
        case SemanticSoftmaxLabels() | MultiLabelLabels() | LabelMapLabels():
            return labels.tree
        case _:
            return None
