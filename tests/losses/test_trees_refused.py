"""Trees that a loss refuses, since nothing would be trained, or since they are no trees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy
from labelkit.losses import HierarchicalCrossEntropy, SemanticDistillationLoss, SemanticSoftmaxLoss

if TYPE_CHECKING:
    from collections.abc import Callable

EDGES = [("tabby", "cat"), ("lion", "cat"), ("pug", "dog"), ("husky", "dog")]
TAXONOMY = Taxonomy.from_edges([*EDGES, ("cat", "animal"), ("dog", "animal")])
LEAVES = ClassList.of([child for child, _ in EDGES])


@pytest.mark.parametrize("loss", [SemanticSoftmaxLoss, SemanticDistillationLoss])
def test_compat_is_refused_where_it_leaves_out_every_class(loss: Callable[..., object]) -> None:
    """Above the classes of such a tree stand inner nodes alone, which no image is labelled with."""
    tree = SemanticTree.build(LEAVES, TAXONOMY, inner_levels=1)
    assert tree.counts == (2, 4)
    with pytest.raises(ValueError, match=r"holds all 4 classes of the data.*compat=None"):
        loss(tree, compat="imagenet21k")
    loss(tree, compat=None)


def test_compat_is_taken_where_a_class_of_the_data_is_left() -> None:
    classes = ClassList.of(["cat", "dog", *LEAVES])
    loss = SemanticSoftmaxLoss(SemanticTree.build(classes, TAXONOMY), compat="imagenet21k")
    assert float(loss(torch.randn(1, 6), torch.tensor([0]))) > 0


@pytest.mark.parametrize(
    "loss", [SemanticSoftmaxLoss, SemanticDistillationLoss, HierarchicalCrossEntropy]
)
def test_the_path_of_a_tree_is_no_tree(loss: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match=r"tree is 'tree.json' of type str.*SemanticTree\.load"):
        loss("tree.json")
