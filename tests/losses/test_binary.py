"""TreeBinaryCrossEntropy against loops over the chains, and torch's loss."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
import torch.nn.functional as F

from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy
from labelkit.losses import TreeBinaryCrossEntropy
from labelkit.targets import SparseProbabilities

# Not in the order of the levels.
CLASSES = ClassList.of(["cat", "animal", "car", "dog", "thing", "tabby"])
EDGES = [("cat", "animal"), ("dog", "animal"), ("car", "thing"), ("tabby", "cat")]
CHAINS = {
    "cat": {"cat", "animal"},
    "animal": {"animal"},
    "car": {"car", "thing"},
    "dog": {"dog", "animal"},
    "thing": {"thing"},
    "tabby": {"tabby", "cat", "animal"},
}
TREE = SemanticTree.build(CLASSES, Taxonomy.from_edges(EDGES))


def by_hand(logits: torch.Tensor, targets: list[dict[str, float]]) -> float:
    total = 0.0
    for row, target in zip(logits.tolist(), targets, strict=True):
        for label, share in target.items():
            for name, value in zip(CLASSES, row, strict=True):
                chance = 1 / (1 + exp(-value))
                total -= share * log(chance if name in CHAINS[label] else 1 - chance)
    return total / len(targets)


def test_class_indices_stand_for_their_whole_chains() -> None:
    logits = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    loss = TreeBinaryCrossEntropy(TREE)
    expected = by_hand(logits, [{name: 1.0} for name in CLASSES])
    assert float(loss(logits, torch.arange(6))) == pytest.approx(expected, rel=1e-12)
    chains = torch.tensor([[float(name in CHAINS[each]) for name in CLASSES] for each in CLASSES])
    torchs = F.binary_cross_entropy_with_logits(logits, chains.double(), reduction="sum") / 6
    torch.testing.assert_close(loss(logits, torch.arange(6)), torchs)


def test_distributions_count_as_their_classes_do() -> None:
    """Dense and sparse, over other columns than the logits', and with a sum below 1."""
    logits = torch.randn(2, 6, generator=torch.Generator().manual_seed(1), requires_grad=True)
    columns = ["tabby", "car", "dog"]
    dense = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.4, 0.1]])
    loss = TreeBinaryCrossEntropy(TREE, target_classes=columns)
    rows = [dict(zip(columns, row, strict=True)) for row in dense.tolist()]
    expected = by_hand(logits.detach(), rows)
    found = loss(logits, dense)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    sparse = SparseProbabilities(
        torch.tensor([[0, 2], [1, 2]]), torch.rand(2, 2) / 5, torch.rand(2) / 5
    )
    torch.testing.assert_close(loss(logits, sparse), loss(logits, sparse.dense(3)))
    found.backward()
    mean = torch.zeros(6)
    for name, share in rows[0].items():
        on_chain = torch.tensor([float(each in CHAINS[name]) for each in CLASSES])
        mean += share * (logits.detach()[0].sigmoid() - on_chain)
    torch.testing.assert_close(logits.grad[0], mean / 2)


def test_arguments_are_checked() -> None:
    loss = TreeBinaryCrossEntropy(TREE)
    with pytest.raises(ValueError, match="6"):
        loss(torch.zeros(2, 5), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="6"):
        loss(torch.zeros(2, 6), torch.tensor([0, 6]))
    with pytest.raises(ValueError, match="at least 0"):
        loss(torch.zeros(1, 6), torch.tensor([[-1.0, 2, 0, 0, 0, 0]]))
    with pytest.raises(TypeError, match="SemanticTree"):
        TreeBinaryCrossEntropy("tree.json")  # type: ignore[arg-type]
