"""Trees that a loss refuses: those on which it trains nothing, and other types."""

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
def test_compat_is_refused_if_it_drops_every_class(loss: Callable[..., object]) -> None:
    """Only inner nodes are above the classes of this tree, and no image has them as labels."""
    tree = SemanticTree.build(LEAVES, TAXONOMY, inner_levels=1)
    assert tree.counts == (2, 4)
    with pytest.raises(ValueError, match=r"holds all 4 classes of the data.*compat=None"):
        loss(tree, compat="imagenet21k")
    loss(tree, compat=None)


def test_compat_is_accepted_if_a_class_of_the_data_remains() -> None:
    classes = ClassList.of(["cat", "dog", *LEAVES])
    loss = SemanticSoftmaxLoss(SemanticTree.build(classes, TAXONOMY), compat="imagenet21k")
    assert float(loss(torch.randn(1, 6), torch.tensor([0]))) > 0


@pytest.mark.parametrize(
    "loss", [SemanticSoftmaxLoss, SemanticDistillationLoss, HierarchicalCrossEntropy]
)
def test_a_path_instead_of_a_tree_is_a_type_error(loss: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match=r"tree is 'tree.json' of type str.*SemanticTree\.load"):
        loss("tree.json")
