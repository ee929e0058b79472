"""The loss and the metrics of an evaluation.

# B batch, C classes
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from labelkit.errors import RecipeError
from labelkit.losses import SemanticSoftmaxLoss, TreeBinaryCrossEntropy
from labelkit.metrics import SemanticAccuracy, TopKAccuracy
from labelkit.train.evaluation import MeanLoss, Metric
from labelkit.train.recipe_labels import (
    LabelMapLabels,
    Labels,
    MultiLabelLabels,
    SemanticSoftmaxLabels,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from labelkit.hierarchy import ClassList, SemanticTree


def ranked_classes(classes: ClassList, tree: SemanticTree | None) -> list[int]:
    """The classes that top-k accuracy ranks: the data's, if they share one softmax, or none.

    Each level of a tree has a separate softmax, so logits of different levels cannot be compared.
    """
    if tree is None:
        return list(range(len(classes)))
    data_classes = np.flatnonzero(tree.is_data_class)
    return data_classes.tolist() if len(np.unique(tree.level[data_classes])) == 1 else []


def validation_metrics(
    loss: nn.Module, ranked: Sequence[int], tree: SemanticTree | None
) -> dict[str, Metric]:
    """New metrics, by the names under which a run logs them.

    Args:
        loss: of logits (B, C) and class indices (B,); its mean is ``loss``.
        ranked: the classes that compete for ``top1`` and, if there are more than five, ``top5``;
            empty for neither.
        tree: for ``semantic_accuracy``, or None.
    """
    metrics: dict[str, Metric] = {"loss": MeanLoss(loss)}
    if ranked:
        metrics["top1"] = TopKAccuracy(1, ranked)
        if len(ranked) > 5:
            metrics["top5"] = TopKAccuracy(5, ranked)
    if tree is not None:
        metrics["semantic_accuracy"] = SemanticAccuracy(tree)
    return metrics


def validation_loss(labels: Labels, tree: SemanticTree | None) -> nn.Module:
    """The loss of logits (B, C) and class indices (B,) of a run with these labels.

    Args:
        labels: of the recipe.
        tree: whose classes are the outputs, or None.

    A hierarchical cross-entropy is evaluated as plain cross-entropy.

    Raises:
        RecipeError: the level weights do not fit the tree.
    """
    match labels:
        case MultiLabelLabels() if tree is not None:
            return TreeBinaryCrossEntropy(tree)
        case SemanticSoftmaxLabels() | LabelMapLabels() if tree is not None:
            with explained_labels():
                return SemanticSoftmaxLoss(tree, level_weights=labels.level_weights or "paper")
        case _:
            return nn.CrossEntropyLoss()


@contextmanager
def explained_labels() -> Generator[None]:
    """Turn what a loss refuses into an error of the recipe.

    Raises:
        RecipeError: an argument of the loss does not fit the tree.
    """
    try:
        yield
    except ValueError as error:
        raise RecipeError(f"labels: {error}") from error
