"""Hierarchical distance against loops on random trees."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from labelkit.hierarchy import SemanticTree, Taxonomy, hierarchical_distance, read_class_list
from labelkit.metrics import HierarchicalDistance, mean_hierarchical_distance
from tests.oracles import metrics as oracle
from tests.oracles.forests import Parents, forests, tree_of

SMALL: Parents = (4, -1, 1, 4, -1, 0)
Kind = Literal["height", "path", "lca_depth"]
KINDS: tuple[Kind, ...] = ("height", "path", "lca_depth")


def batch_for(classes: int, batch: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, generator=generator)
    return logits, torch.randint(0, classes, (batch,), generator=generator)


def best(row: list[float], k: int) -> list[int]:
    return sorted(range(len(row)), key=lambda child: -row[child])[:k]


@given(
    parents=forests(),
    batch=st.integers(1, 5),
    seed=st.integers(0, 1000),
    kind=st.sampled_from(KINDS),
    data=st.data(),
)
def test_equals_the_loops_in_one_batch_or_two(
    parents: Parents, batch: int, seed: int, kind: Kind, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(parents)))
    logits, target = batch_for(len(parents), batch, seed)
    distances = [
        oracle.distance_between(parents, child, correct, kind)
        for row, correct in zip(logits.tolist(), target.tolist(), strict=True)
        for child in best(row, k)
    ]
    split = data.draw(st.integers(0, batch))
    metric = HierarchicalDistance(tree_of(parents), k, kind=kind)
    metric.update(logits[:split], target[:split])
    metric.update(logits[split:], target[split:])
    assert metric.compute() == pytest.approx(sum(distances) / len(distances))


@given(parents=forests(), batch=st.integers(1, 5), seed=st.integers(0, 1000))
def test_mistakes_alone(parents: Parents, batch: int, seed: int) -> None:
    logits, target = batch_for(len(parents), batch, seed)
    distances = [
        oracle.distance_between(parents, best(row, 1)[0], correct, "height")
        for row, correct in zip(logits.tolist(), target.tolist(), strict=True)
        if best(row, 1)[0] != correct
    ]
    found = mean_hierarchical_distance(logits, target, tree_of(parents), mistakes_only=True)
    if distances:
        assert found == pytest.approx(sum(distances) / len(distances))
    else:
        assert math.isnan(found)


@pytest.mark.parametrize("kind", KINDS)
def test_inner_nodes_do_not_compete_and_need_no_outputs(kind: Kind) -> None:
    """ImageNet-1k under levels of inner nodes: 1,000 columns or 1,225, and the same distance."""
    tree = SemanticTree.build(
        read_class_list("imagenet-1k"), Taxonomy.wordnet(), inner_levels=4
    ).ordered_by_level()
    columns = np.flatnonzero(tree.is_data_class)
    logits, target = batch_for(1000, 64, seed=0)
    predicted = columns[logits.argmax(dim=1).numpy()]
    expected = hierarchical_distance(tree, predicted, columns[target.numpy()], kind).mean()
    metric = HierarchicalDistance(tree, kind=kind)
    metric.update(logits, target)
    assert metric.compute() == pytest.approx(expected)
    wide = torch.full((64, len(tree.classes)), 100.0)
    wide[:, columns] = logits
    metric.reset()
    metric.update(wide, torch.from_numpy(columns)[target])
    assert metric.compute() == pytest.approx(expected)


def test_compute_before_update() -> None:
    with pytest.raises(ValueError, match="no samples were counted"):
        HierarchicalDistance(tree_of(SMALL)).compute()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k is 0, expected 1 to 6"),
        ({"k": 7}, "k is 7, expected 1 to 6"),
        ({"k": 2, "mistakes_only": True}, "k is 2, but mistakes_only needs k=1"),
        ({"kind": "width"}, "kind is 'width'"),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HierarchicalDistance(tree_of(SMALL), **arguments)  # type: ignore[arg-type]


def test_wrong_columns() -> None:
    with pytest.raises(ValueError, match=r"logits have shape \(2, 5\), expected \(batch, 6\)"):
        HierarchicalDistance(tree_of(SMALL)).update(torch.zeros(2, 5), torch.tensor([0, 0]))
