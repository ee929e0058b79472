"""HierarchicalCrossEntropy against loops on random trees, and known identities."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st

from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy, read_class_list
from labelkit.losses import HierarchicalCrossEntropy
from tests.oracles import distillation as oracle
from tests.oracles.forests import Parents, chain_of, forests, levels_of, tree_of

# Two roots: 0 above 2 and 3 (above 4, 5); 1 above 6, 7. The leaves are 2, 4, 5, 6 and 7.
PARENTS: Parents = (-1, -1, 0, 0, 3, 3, 1, 1)


def leaves_of(parents: Parents) -> list[int]:
    return [node for node in range(len(parents)) if node not in parents]


def tree_over(parents: Parents) -> SemanticTree:
    """A tree in which all nodes with children are inner nodes."""
    bare = tree_of(parents)
    inner = torch.tensor([node for node in range(len(parents)) if node in parents]).long()
    return SemanticTree(bare.classes, bare.names, bare.parent, bare.source, inner.numpy())


def batch_for(parents: Parents, batch: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    leaves = len(leaves_of(parents))
    logits = torch.randn(batch, leaves, generator=generator, dtype=torch.float64) * 3
    return logits, torch.randint(0, leaves, (batch,), generator=generator)


def as_rows(parents: Parents, logits: torch.Tensor) -> list[dict[int, float]]:
    return [dict(zip(leaves_of(parents), row, strict=True)) for row in logits.tolist()]


@given(
    parents=forests(),
    batch=st.integers(1, 4),
    seed=st.integers(0, 1000),
    alpha=st.sampled_from([0.0, 0.1, 0.5, 2.0]),
)
def test_equals_the_loops_given_the_parent(
    parents: Parents, batch: int, seed: int, alpha: float
) -> None:
    logits, targets = batch_for(parents, batch, seed)
    leaves = [leaves_of(parents)[at] for at in targets.tolist()]
    expected = oracle.hierarchical_cross_entropy(parents, as_rows(parents, logits), leaves, alpha)
    found = HierarchicalCrossEntropy(tree_over(parents), alpha=alpha)(logits, targets)
    assert float(found) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(parents=forests(), batch=st.integers(1, 4), seed=st.integers(0, 1000), uniform=st.booleans())
def test_equals_the_loops_over_the_chain(
    parents: Parents, batch: int, seed: int, *, uniform: bool
) -> None:
    logits, targets = batch_for(parents, batch, seed)
    leaves = [leaves_of(parents)[at] for at in targets.tolist()]
    numbers = [1.0 if uniform else 0.5 * level for level in range(len(levels_of(parents)))]
    weight_of = {node: numbers[len(chain_of(parents, node)) - 1] for node in range(len(parents))}
    expected = oracle.chain_cross_entropy(parents, as_rows(parents, logits), leaves, weight_of)
    tree = tree_over(parents)
    loss = HierarchicalCrossEntropy(tree, level_weights="uniform" if uniform else numbers)
    assert float(loss(logits, targets)) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("alpha", [None, 0.0, 0.7])
def test_a_flat_class_list_gives_plain_cross_entropy(alpha: float | None) -> None:
    """With alpha, times the weight of the only edge, whose lower end has depth 1."""
    tree = tree_of((-1,) * 7)
    logits, targets = batch_for((-1,) * 7, 5, seed=0)
    loss = HierarchicalCrossEntropy(tree, alpha)(logits, targets)
    weight = math.exp(-(alpha or 0.0) * 1)
    torch.testing.assert_close(loss, weight * F.cross_entropy(logits, targets))


def animals() -> SemanticTree:
    """A thing is an animal or a bus, an animal a cat or a dog, a cat a tabby or a manx."""
    ids = ["tabby", "manx", "dog", "bus", "thing", "animal", "cat"]
    return SemanticTree.of(ids, [6, 6, 5, 4, -1, 4, 5], inner=[4, 5, 6])


def test_the_weights_of_a_small_tree_by_hand() -> None:
    """Bertinetto et al.: the edge to a node weighs exp(-alpha * the node's depth), the root's 0.

    With alpha = ln 2, depth 1 weighs 1/2, depth 2 a quarter, depth 3 an eighth. The softmax is
    tabby 0.4, manx 0.2, dog 0.1, bus 0.3; so cat is 0.6, animal 0.7, thing 1.
    """
    loss = HierarchicalCrossEntropy(animals(), alpha=math.log(2))
    logits = torch.tensor([[0.4, 0.2, 0.1, 0.3]], dtype=torch.float64).log()
    by_hand = {
        0: -math.log(0.7 / 1) / 2 - math.log(0.6 / 0.7) / 4 - math.log(0.4 / 0.6) / 8,
        2: -math.log(0.7 / 1) / 2 - math.log(0.1 / 0.7) / 4,
        3: -math.log(0.3 / 1) / 2,
    }
    for target, expected in by_hand.items():
        assert float(loss(logits, torch.tensor([target]))) == pytest.approx(expected, rel=1e-12)
    assert by_hand[0] == pytest.approx(0.178338 + 0.038538 + 0.050683, abs=1e-6)


def test_several_roots_are_children_of_one_more_node() -> None:
    """Without its root, the tree above has two roots of depth 1, and the same loss."""
    ids = ["tabby", "manx", "dog", "bus", "animal", "cat"]
    cut = SemanticTree.of(ids, [5, 5, 4, -1, -1, 4], inner=[4, 5])
    logits, target = torch.randn(8, 4, dtype=torch.float64), torch.arange(8) % 4
    for alpha in (0.0, 0.4, 2.0):
        whole, without_root = (
            HierarchicalCrossEntropy(tree, alpha=alpha)(logits, target) for tree in (animals(), cut)
        )
        torch.testing.assert_close(whole, without_root)


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0])
def test_a_near_mistake_costs_less_than_a_far_one(alpha: float) -> None:
    """A tabby taken for a manx, a dog and a bus; alpha 0 makes no difference."""

    def costs(alpha: float) -> list[float]:
        loss = HierarchicalCrossEntropy(animals(), alpha=alpha)
        confident = torch.eye(4, dtype=torch.float64) * 6
        return [float(loss(confident[[at]], torch.tensor([0]))) for at in (1, 2, 3)]

    manx, dog, bus = costs(alpha)
    assert manx < dog < bus
    assert costs(0.0) == pytest.approx([costs(0.0)[0]] * 3)


def test_alpha_zero_gives_plain_cross_entropy() -> None:
    logits, targets = batch_for(PARENTS, 5, seed=1)
    loss = HierarchicalCrossEntropy(tree_over(PARENTS), alpha=0.0)(logits, targets)
    torch.testing.assert_close(loss, F.cross_entropy(logits, targets))


def test_imagenet_1k_with_inner_nodes() -> None:
    """A mistake within the same inner node costs less than a distant one."""
    classes = read_class_list("imagenet-1k")
    tree = SemanticTree.build(classes, Taxonomy.wordnet(), inner_levels=4)
    loss = HierarchicalCrossEntropy(tree)
    samoyed, pomeranian, guitar = (
        classes.index[wnid] for wnid in ("n02111889", "n02112018", "n02676566")
    )
    near, far = (
        float(loss(F.one_hot(torch.tensor([other]), 1000) * 20.0, torch.tensor([samoyed])))
        for other in (pomeranian, guitar)
    )
    assert near < far / 2


@pytest.mark.parametrize("alpha", [None, 0.4])
def test_gradients(alpha: float | None) -> None:
    logits, targets = batch_for(PARENTS, 4, seed=2)
    loss = HierarchicalCrossEntropy(tree_over(PARENTS), alpha)
    assert torch.autograd.gradcheck(loss, (logits.requires_grad_(), targets))
    assert torch.autograd.gradgradcheck(loss, (logits, targets))


def test_probabilities_too_small_for_floats_stay_exact() -> None:
    """Root 1 has e^-500 of the mass: too small for a sum of probabilities."""
    logits = torch.tensor([[500.0, 500.0, 500.0, 0.0, 0.0]], requires_grad=True)
    loss = HierarchicalCrossEntropy(tree_over(PARENTS), level_weights=[1.0, 0.0, 0.0])
    found = loss(logits, torch.tensor([3]))
    found.backward()
    assert float(found.detach()) == pytest.approx(500 + math.log(3) - math.log(2))
    assert logits.grad is not None
    expected = [1 / 3, 1 / 3, 1 / 3, -0.5, -0.5]
    assert logits.grad.tolist()[0] == pytest.approx(expected, abs=1e-6)


def test_masked_classes_keep_the_gradient_finite() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0, -math.inf, -math.inf]], requires_grad=True)
    HierarchicalCrossEntropy(tree_over(PARENTS))(logits, torch.tensor([1])).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_changes_neither_sums_nor_weights(dtype: torch.dtype) -> None:
    logits, targets = batch_for(PARENTS, 4, seed=3)
    narrow = logits.to(dtype)
    loss = HierarchicalCrossEntropy(tree_over(PARENTS), alpha=0.3)
    expected = loss(narrow.double(), targets)
    with torch.autocast("cpu", dtype=dtype):
        found = copy.deepcopy(loss).to(dtype).eval()(narrow, targets)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)
    assert loss.state_dict() == {}


def test_a_class_above_another_is_refused() -> None:
    with pytest.raises(ValueError, match="class 'c1' is below class 'c0'"):
        HierarchicalCrossEntropy(tree_of((-1, 0)))


def test_an_inner_node_without_classes_is_ignored() -> None:
    tree = SemanticTree.build(
        ClassList.of(["a", "b", "top", "empty"]),
        Taxonomy.from_edges([("a", "top"), ("b", "top"), ("empty", "top")]),
    )
    with_empty = SemanticTree(
        tree.classes, tree.names, tree.parent, tree.source, torch.tensor([2, 3]).numpy()
    )
    logits = torch.tensor([[1.0, 2.0]], requires_grad=True)
    loss = HierarchicalCrossEntropy(with_empty)(logits, torch.tensor([0]))
    torch.testing.assert_close(loss, F.cross_entropy(logits, torch.tensor([0])))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": -0.1}, "alpha is -0.1"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"alpha": 0.1, "level_weights": [1.0] * 3}, "expected only one of them"),
        ({"level_weights": [1.0]}, "has 1 weights, expected 3"),
        ({"level_weights": [1.0, -1.0, 1.0]}, "finite numbers >= 0"),
        ({"level_weights": "paper"}, "'paper', expected 'uniform' or numbers"),
    ],
)
def test_wrong_weights(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HierarchicalCrossEntropy(tree_over(PARENTS), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        (torch.zeros(2, 8), [0, 0], r"\(2, 8\), expected \(batch, 5\).*none for inner nodes"),
        (torch.zeros(2, 5), [0, 5], "classes from 0 to 5, expected 0 to 4"),
        (torch.zeros(0, 5), [], "empty batch"),
    ],
)
def test_wrong_inputs_say_what_was_found(
    logits: torch.Tensor, target: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        HierarchicalCrossEntropy(tree_over(PARENTS))(logits, torch.tensor(target))
