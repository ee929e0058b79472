"""The tasks of runs whose labels are classes of a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelkit.errors import RecipeError
from labelkit.hierarchy import SemanticTree
from labelkit.losses import HierarchicalCrossEntropy, SemanticSoftmaxLoss, TreeBinaryCrossEntropy
from labelkit.train.recipe import without_dotdot
from labelkit.train.recipe_labels import (
    HierarchicalLabels,
    MultiLabelLabels,
    SemanticSoftmaxLabels,
)
from labelkit.train.task import Opened, Task
from labelkit.train.validation import explained_labels, validation_loss

if TYPE_CHECKING:
    from torch import nn


def tree_task(labels: SemanticSoftmaxLabels | MultiLabelLabels, opened: Opened) -> Task:
    """The class of each image's folder, as a class of a tree with an output for each node.

    Raises:
        RecipeError: no such tree file, or the level weights do not fit.
        TreeFileError: the tree file is damaged.
        ClassListMismatch: a folder is not in the tree.
    """
    tree = load_tree(labels.tree, opened)
    val_loss = validation_loss(labels, tree)
    loss: nn.Module = TreeBinaryCrossEntropy(tree)
    if isinstance(labels, SemanticSoftmaxLabels):
        loss = SemanticSoftmaxLoss(tree, labels.label_smoothing, labels.level_weights)
    return Task(
        tree.classes,
        opened.train_samples(tree.classes, opened.source.new_tree),
        opened.val_samples(tree.classes, opened.source.new_tree),
        loss=loss,
        val_loss=val_loss,
        images=opened.images,
        study=opened.study,
        labels=tree.digest,
        tree=tree,
    )


def hierarchical_task(labels: HierarchicalLabels, opened: Opened) -> Task:
    """The class of each image's folder, with one output per class and none for inner nodes.

    Raises:
        RecipeError: no such tree file, or a class is below another.
        TreeFileError: the tree file is damaged.
        ClassListMismatch: a folder is no class of the tree.
    """
    tree = load_tree(labels.tree, opened)
    classes = tree.data_classes
    with explained_labels():
        loss = HierarchicalCrossEntropy(tree, labels.alpha)
    return Task(
        classes,
        opened.train_samples(classes, opened.source.new_tree),
        opened.val_samples(classes, opened.source.new_tree),
        loss=loss,
        val_loss=validation_loss(labels, None),
        images=opened.images,
        study=opened.study,
        labels=tree.digest,
    )


def load_tree(path: str, opened: Opened) -> SemanticTree:
    """The tree that a recipe names.

    Raises:
        RecipeError: no such file.
        TreeFileError: it is damaged.
    """
    try:
        return SemanticTree.load(without_dotdot(path))
    except FileNotFoundError:
        raise RecipeError(
            f"labels.tree: no such file: {path!r}. Make it with labelkit build-tree "
            f"{opened.source.path} -o {path}"
        ) from None
