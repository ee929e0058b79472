"""What each kind of labels brings: a class list, training targets, losses and metrics.

Legend: B batch, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

import numpy as np
from torch import nn

from labelkit.data import LabelMapDataset
from labelkit.errors import RecipeError
from labelkit.hierarchy import ClassList, SemanticTree
from labelkit.label_maps import LabelMapFile
from labelkit.losses import SemanticSoftmaxLoss, SoftTargetCrossEntropy
from labelkit.metrics import SemanticAccuracy, TopKAccuracy
from labelkit.train.evaluation import MeanLoss, Metric
from labelkit.train.files import without_detours
from labelkit.train.folders import FolderSamples, folder_classes, make_transforms, open_folder
from labelkit.train.recipe import HardLabels, LabelMapLabels, Recipe, SemanticSoftmaxLabels

if TYPE_CHECKING:
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

NEW_MAPS = (
    "Make maps over the data set's own classes: labelkit relabel DATA --classes DATA -o MAPS. "
    "Folders with plain names, not ids such as n01440764, need --names too: labelkit match-names"
)
NEW_TREE = "Build the tree from a list that holds them: labelkit build-tree CLASSES -o TREE"
SAME_FOLDERS = "Training and evaluation need the same class folders"


@dataclass(frozen=True, eq=False)
class Task:
    """All that a training loop needs to know of the labels.

    Attributes:
        classes: the class list of the student's outputs.
        train_set: yields an image and what ``loss`` takes as its target: (), or (C,).
        val_set: yields an image and its class index.
        loss: of logits (B, C) and the batch's targets.
        val_loss: of logits (B, C) and class indices (B,), without smoothing.
        labels: the digest of the file that the labels come from; empty for hard labels.
        tree: where the labels have one.
    """

    classes: ClassList
    train_set: FolderSamples | LabelMapDataset
    val_set: FolderSamples
    loss: nn.Module
    val_loss: nn.Module
    labels: str = ""
    tree: SemanticTree | None = None

    @property
    def measure(self) -> str:
        """The metric that tells which epoch was best."""
        return "top1" if self._rivals else "semantic_accuracy"

    def metrics(self) -> dict[str, Metric]:
        """New metrics for one evaluation.

        ``loss``; ``top1`` and, with more than five classes, ``top5``; ``semantic_accuracy`` for a
        tree. Each level of a tree is a softmax of its own, so that logits of different levels
        cannot be ranked: there is no top-k accuracy unless all the data's classes are on one level.
        """
        metrics: dict[str, Metric] = {"loss": MeanLoss(self.val_loss)}
        if rivals := self._rivals:
            metrics["top1"] = TopKAccuracy(1, rivals)
            if len(rivals) > 5:
                metrics["top5"] = TopKAccuracy(5, rivals)
        if self.tree is not None:
            metrics["semantic_accuracy"] = SemanticAccuracy(self.tree)
        return metrics

    @property
    def inner(self) -> int:
        """How many of the classes are inner nodes of the tree."""
        return len(self.tree.inner) if self.tree else 0

    @property
    def _rivals(self) -> list[int]:
        """The data's classes, if one softmax holds them all; else none."""
        if self.tree is None:
            return list(range(len(self.classes)))
        own = np.flatnonzero(self.tree.is_data_class)
        return own.tolist() if len(np.unique(self.tree.level[own])) == 1 else []


def build_task(recipe: Recipe) -> Task:
    """Open the data that a recipe names, and check that its class lists fit.

    Raises:
        RecipeError: a file that the recipe names does not exist.
        DatasetError: a folder is missing, or empty.
        ClassListMismatch: a folder is no class of the list; the message says the way out.
        TreeFileError: the tree file is damaged.
        LabelMapError: the label-map file is damaged, or lacks an image.
    """
    transforms = make_transforms(recipe.data, recipe.model.name)
    train = open_folder(recipe.data.train, "data.train")
    val = open_folder(recipe.data.val, "data.val")
    match recipe.labels:
        case HardLabels() as labels:
            return _hard(labels, train, val, transforms)
        case SemanticSoftmaxLabels() as labels:
            return _semantic_softmax(labels, train, val, transforms)
        case LabelMapLabels() as labels:
            return _label_maps(labels, train, val, transforms)
        case _:
            assert_never(recipe.labels)


_Transforms = tuple["v2.Transform", "v2.Transform"]


def _hard(
    labels: HardLabels, train: ImageFolder, val: ImageFolder, transforms: _Transforms
) -> Task:
    classes = folder_classes(train)
    return Task(
        classes,
        FolderSamples(train, classes, transforms[0], hint=SAME_FOLDERS),
        FolderSamples(val, classes, transforms[1], hint=SAME_FOLDERS),
        loss=nn.CrossEntropyLoss(label_smoothing=labels.label_smoothing),
        val_loss=nn.CrossEntropyLoss(),
    )


def _semantic_softmax(
    labels: SemanticSoftmaxLabels, train: ImageFolder, val: ImageFolder, transforms: _Transforms
) -> Task:
    try:
        tree = SemanticTree.load(without_detours(labels.tree))
    except FileNotFoundError:
        raise RecipeError(
            f"labels.tree: no file {labels.tree!r}. Make it: labelkit build-tree "
            f"{train.root} -o {labels.tree}"
        ) from None
    try:
        loss = SemanticSoftmaxLoss(tree, labels.label_smoothing, labels.level_weights)
    except ValueError as error:
        raise RecipeError(f"labels: {error}") from error
    return Task(
        tree.classes,
        FolderSamples(train, tree.classes, transforms[0], hint=NEW_TREE),
        FolderSamples(val, tree.classes, transforms[1], hint=NEW_TREE),
        loss=loss,
        val_loss=SemanticSoftmaxLoss(tree, level_weights=labels.level_weights),
        labels=tree.digest,
        tree=tree,
    )


def _label_maps(
    labels: LabelMapLabels, train: ImageFolder, val: ImageFolder, transforms: _Transforms
) -> Task:
    try:
        maps = LabelMapFile.open(without_detours(labels.maps))
    except FileNotFoundError:
        raise RecipeError(
            f"labels.maps: no file {labels.maps!r}. Make it: labelkit relabel {train.root} "
            f"--classes {train.root} -o {labels.maps}"
        ) from None
    # The val folders first: another class list is the likelier mistake than another data set.
    val_set = FolderSamples(val, maps.classes, transforms[1], hint=NEW_MAPS)
    return Task(
        maps.classes,
        LabelMapDataset(train, maps, transforms[0], options=labels.options()),
        val_set,
        loss=SoftTargetCrossEntropy(),
        val_loss=nn.CrossEntropyLoss(),
        labels=maps.digest,
    )
