"""Probabilities as targets of the three losses with a tree, dense and sparse."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st
from timm.data import Mixup
from torchvision.transforms import v2

from labelkit.data import mix
from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy
from labelkit.losses import HierarchicalCrossEntropy, SemanticDistillationLoss, SemanticSoftmaxLoss
from labelkit.targets import SparseProbabilities
from tests.losses.test_hierarchical import PARENTS, as_rows, leaves_of, tree_over
from tests.oracles import soft_trees as oracle
from tests.oracles.forests import Parents, chain_of, forests, levels_of, tree_of

if TYPE_CHECKING:
    from collections.abc import Callable

# Roots 1 and 4; 2 below 1, 3 and 0 below 4, 5 below 0; not ordered by level.
SMALL: Parents = (4, -1, 1, 4, -1, 0)
BY_LEVEL: Parents = (-1, -1, 0, 0, 1)


def logits_of(batch: int, classes: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, classes, generator=generator, dtype=torch.float64) * 3


def sparse_of(batch: int, classes: int, seed: int, entries: int = 3) -> SparseProbabilities:
    """Targets that sum to 1; a class may be listed twice, and some list nothing but one class."""
    generator = torch.Generator().manual_seed(seed)
    listed = torch.randint(0, classes, (batch, entries), generator=generator)
    shares = torch.rand(batch, entries, generator=generator, dtype=torch.float64)
    kept = torch.rand(batch, 1, generator=generator, dtype=torch.float64).round(decimals=0)
    kept = kept * 0.7 + 0.3
    excess = shares / shares.sum(dim=1, keepdim=True) * kept
    return SparseProbabilities(listed, excess, ((1 - kept) / classes).squeeze(1))


@given(
    parents=forests(),
    batch=st.integers(1, 3),
    seed=st.integers(0, 1000),
    smoothing=st.sampled_from([0.0, 0.2]),
    skip=st.booleans(),
)
def test_semantic_softmax_is_the_mean_over_the_classes(
    parents: Parents, batch: int, seed: int, smoothing: float, *, skip: bool
) -> None:
    """Dense and sparse, for any forest and class order; a level of weight 0 does not count."""
    logits, sparse = logits_of(batch, len(parents), seed), sparse_of(batch, len(parents), seed)
    weights = [0.5 + level for level in range(len(levels_of(parents)))]
    if skip:
        weights[-1] = 0.0
    target = sparse.dense(len(parents))
    expected = oracle.semantic_softmax(
        parents, logits.tolist(), target.tolist(), label_smoothing=smoothing, weights=weights
    )
    loss = SemanticSoftmaxLoss(tree_of(parents), smoothing, weights)
    for soft in (target, sparse):
        assert float(loss(logits, soft)) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(
    parents=forests(),
    batch=st.integers(1, 3),
    seed=st.integers(0, 1000),
    alpha=st.sampled_from([None, 0.0, 0.5]),
)
def test_hierarchical_cross_entropy_is_the_mean_over_the_classes(
    parents: Parents, batch: int, seed: int, alpha: float | None
) -> None:
    leaves = leaves_of(parents)
    logits, sparse = logits_of(batch, len(leaves), seed), sparse_of(batch, len(leaves), seed)
    target = sparse.dense(len(leaves))
    rows, shares = as_rows(parents, logits), as_rows(parents, target)
    numbers = [0.5 * level for level in range(len(levels_of(parents)))]
    if alpha is None:
        weight_of = {at: numbers[len(chain_of(parents, at)) - 1] for at in range(len(parents))}
        expected = oracle.chain_cross_entropy(parents, rows, shares, weight_of)
        loss = HierarchicalCrossEntropy(tree_over(parents), level_weights=numbers)
    else:
        expected = oracle.hierarchical_cross_entropy(parents, rows, shares, alpha)
        loss = HierarchicalCrossEntropy(tree_over(parents), alpha)
    for soft in (target, sparse):
        assert float(loss(logits, soft)) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(parents=forests(), batch=st.integers(1, 3), seed=st.integers(0, 1000))
def test_distillation_equals_the_loops(parents: Parents, batch: int, seed: int) -> None:
    logits, sparse = logits_of(batch, len(parents), seed), sparse_of(batch, len(parents), seed)
    target = sparse.dense(len(parents))
    expected = oracle.semantic_distillation(parents, logits.tolist(), target.tolist()) / batch
    loss = SemanticDistillationLoss(tree_of(parents))
    for soft in (target, sparse):
        assert float(loss(logits, target=soft)) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_distillation_from_probabilities_equals_that_from_logits() -> None:
    """Every class on the last of three levels: then both teachers state the same distributions."""
    parents = (-1, -1, 0, 0, 1, *([2] * 25), *([3] * 30), *([4] * 9))
    target = torch.zeros(4, len(parents), dtype=torch.float64)
    target[:, 5:] = logits_of(4, len(parents) - 5, seed=1).softmax(dim=1)
    teacher = torch.tensor(
        [
            [np.log(oracle.node_probability(parents, row, node)) for node in range(len(parents))]
            for row in target.tolist()
        ],
        dtype=torch.float64,
    )
    student = logits_of(4, len(parents), seed=2)
    loss = SemanticDistillationLoss(tree_of(parents))
    torch.testing.assert_close(loss(student, target=target), loss(student, teacher))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("parents", [SMALL, BY_LEVEL])
def test_one_hot_targets_equal_class_indices(
    parents: Parents, smoothing: float, dtype: torch.dtype
) -> None:
    """Loss and gradient of semantic softmax; also where masked classes have logits of -inf."""
    classes = torch.arange(len(parents))
    one_hot = F.one_hot(classes, len(parents)).to(dtype)
    sparse = SparseProbabilities(
        classes[:, None], torch.ones(len(parents), 1), torch.zeros(len(parents))
    )
    logits = logits_of(len(parents), len(parents), seed=3).to(dtype)
    if not smoothing:
        logits[0, 1] = -torch.inf
    for compat in (None, "imagenet21k"):
        loss = SemanticSoftmaxLoss(tree_of(parents), smoothing, compat=compat)  # type: ignore[arg-type]
        results = [
            value_and_gradient(loss, logits, target) for target in (classes, one_hot, sparse)
        ]
        for result in results[1:]:
            torch.testing.assert_close(result, results[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("alpha", [None, 0.0, 0.4])
def test_one_hot_targets_equal_class_indices_below_inner_nodes(alpha: float | None) -> None:
    classes = torch.arange(5)
    sparse = SparseProbabilities(classes[:, None], torch.ones(5, 1), torch.zeros(5))
    logits = logits_of(5, 5, seed=4).float()
    logits[0, 3] = -torch.inf
    loss = HierarchicalCrossEntropy(tree_over(PARENTS), alpha)
    index, *soft = (
        value_and_gradient(loss, logits, target)
        for target in (classes, F.one_hot(classes, 5).float(), sparse)
    )
    for result in soft:
        torch.testing.assert_close(result, index, rtol=1e-6, atol=1e-6)


def value_and_gradient(
    loss: Callable[..., torch.Tensor],
    logits: torch.Tensor,
    target: torch.Tensor | SparseProbabilities,
) -> tuple[torch.Tensor, torch.Tensor]:
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, target)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


def distillation(tree: SemanticTree) -> Callable[..., torch.Tensor]:
    loss = SemanticDistillationLoss(tree)
    return lambda logits, target: loss(logits, target=target)


LOSSES: dict[str, tuple[Callable[..., torch.Tensor], int]] = {
    "softmax": (SemanticSoftmaxLoss(tree_of(SMALL)), 6),
    "smoothed": (SemanticSoftmaxLoss(tree_of(SMALL), 0.2), 6),
    "by level": (SemanticSoftmaxLoss(tree_of(BY_LEVEL), 0.2), 5),
    "published": (SemanticSoftmaxLoss(tree_of(BY_LEVEL), compat="imagenet21k"), 5),
    "distillation": (distillation(tree_of(SMALL)), 6),
    "chain": (HierarchicalCrossEntropy(tree_over(PARENTS)), 5),
    "given the parent": (HierarchicalCrossEntropy(tree_over(PARENTS), alpha=0.4), 5),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients(name: str) -> None:
    """First and second derivatives, dense and sparse."""
    loss, classes = LOSSES[name]
    sparse = sparse_of(4, classes, seed=5)
    logits = logits_of(4, classes, seed=5).requires_grad_()
    for target in (sparse, sparse.dense(classes)):
        assert torch.autograd.gradcheck(lambda leaf, soft=target: loss(leaf, soft), (logits,))
        assert torch.autograd.gradgradcheck(lambda leaf, soft=target: loss(leaf, soft), (logits,))


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_targets_and_logits_are_converted_first(name: str) -> None:
    loss, classes = LOSSES[name]
    sparse = sparse_of(4, classes, seed=6)
    narrow = logits_of(4, classes, seed=6).bfloat16()
    target = sparse.dense(classes).bfloat16()
    expected = loss(narrow.double(), target.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(narrow, target)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_no_gradient_reaches_the_targets(name: str) -> None:
    loss, classes = LOSSES[name]
    logits = logits_of(4, classes, seed=7).requires_grad_()
    sparse = sparse_of(4, classes, seed=7)
    dense = sparse.dense(classes).requires_grad_()
    sparse.excess.requires_grad_()
    for target in (dense, sparse):
        loss(logits, target).backward()
    assert logits.grad is not None
    assert dense.grad is None
    assert sparse.excess.grad is None


@pytest.mark.parametrize("name", LOSSES)
def test_compiles_into_one_graph(name: str) -> None:
    loss, classes = LOSSES[name]
    logits, sparse = logits_of(4, classes, seed=8), sparse_of(4, classes, seed=8)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for target in (sparse, sparse.dense(classes)):
        torch.testing.assert_close(
            value_and_gradient(compiled, logits, target), value_and_gradient(loss, logits, target)
        )


def test_a_copy_on_another_device_has_no_state() -> None:
    loss = SemanticSoftmaxLoss(tree_of(SMALL))
    assert loss.state_dict() == {}
    moved = copy.deepcopy(loss).to("meta")
    assert {buffer.device.type for buffer in moved.buffers()} == {"meta"}
    target = sparse_of(2, 6, seed=0).to("meta")
    for soft in (target, target.dense(6)):
        assert moved(torch.zeros(2, 6, device="meta"), soft).shape == ()


def test_what_ends_above_a_level_counts_for_nothing_there() -> None:
    """Half of the target on a root without a class below it, half on a class two levels down."""
    parents = (-1, -1, 0, 0, 2, 2)
    logits = logits_of(1, 6, seed=9)
    target = torch.tensor([[0, 0.5, 0, 0, 0.5, 0]], dtype=torch.float64)
    loss = SemanticSoftmaxLoss(tree_of(parents), level_weights="uniform")
    roots, middle, deepest = (logits[0, at].log_softmax(0) for at in ([0, 1], [2, 3], [4, 5]))
    by_hand = -0.5 * (roots[0] + roots[1]) - 0.5 * middle[0] - 0.5 * deepest[0]
    torch.testing.assert_close(loss(logits, target), by_hand)


def test_a_row_that_sums_to_less_counts_less() -> None:
    logits, target = logits_of(3, 6, seed=10), sparse_of(3, 6, seed=10).dense(6)
    for loss, _ in (LOSSES["smoothed"], LOSSES["distillation"]):
        torch.testing.assert_close(loss(logits, target / 4), loss(logits, target) / 4)
        assert float(loss(logits, target * 0)) == 0.0


# --- which columns ---

EDGES = [("tabby", "cat"), ("lion", "cat"), ("pug", "dog"), ("husky", "dog")]
TAXONOMY = Taxonomy.from_edges([*EDGES, ("cat", "animal"), ("dog", "animal")])
ANIMALS = SemanticTree.build(ClassList.of([child for child, _ in EDGES]), TAXONOMY, inner_levels=1)
assert ANIMALS.classes.ids == ("tabby", "lion", "pug", "husky", "cat", "dog")
OTHER_ORDER = ("husky", "tabby", "lion", "pug")


@pytest.mark.parametrize("loss_of", [SemanticSoftmaxLoss, SemanticDistillationLoss])
def test_columns_of_inner_nodes_may_be_missing(loss_of: type[torch.nn.Module]) -> None:
    """A sparse target is over the data's classes: inner nodes get none of its rest."""
    loss, logits = loss_of(ANIMALS), logits_of(3, 6, seed=11)
    sparse = sparse_of(3, 4, seed=11)
    short = sparse.dense(4)
    for target in (F.pad(short, (0, 2)), sparse):
        torch.testing.assert_close(loss(logits, target=target), loss(logits, target=short))


@pytest.mark.parametrize("by_level", [False, True])
@pytest.mark.parametrize(
    "loss_of", [SemanticSoftmaxLoss, SemanticDistillationLoss, HierarchicalCrossEntropy]
)
def test_targets_over_another_class_list(loss_of: Any, *, by_level: bool) -> None:
    """A file's classes in any order, and only some of the tree's."""
    tree = ANIMALS.ordered_by_level() if by_level else ANIMALS
    data = tree.data_classes
    outputs = data if loss_of is HierarchicalCrossEntropy else tree.classes
    logits = logits_of(3, len(outputs), seed=12)
    for listed in (OTHER_ORDER, OTHER_ORDER[:3], ClassList.of(OTHER_ORDER[1:])):
        sparse = sparse_of(3, len(listed), seed=12)
        target = sparse.dense(len(listed))
        expected = torch.zeros(3, len(outputs), dtype=torch.float64)
        for column, each in enumerate(listed):
            expected[:, outputs.index[each]] = target[:, column]
        loss = loss_of(tree, target_classes=listed)
        for soft in (target, sparse):
            torch.testing.assert_close(
                loss(logits, target=soft), loss_of(tree)(logits, target=expected)
            )


def test_class_indices_stay_those_of_the_tree() -> None:
    logits, target = logits_of(3, 6, seed=13), torch.tensor([0, 3, 5])
    loss = SemanticSoftmaxLoss(ANIMALS, target_classes=OTHER_ORDER)
    torch.testing.assert_close(loss(logits, target), SemanticSoftmaxLoss(ANIMALS)(logits, target))


def test_a_class_below_no_inner_node_of_a_level_has_no_target_there() -> None:
    """Levels are given here, and a class on the last level is a root."""
    tree = SemanticTree.of(
        ["a", "b", "alone", "ab", "c", "cd"],
        [3, 3, -1, -1, 5, -1],
        inner=[3, 5],
        level=[1, 1, 1, 0, 1, 0],
    )
    logits = logits_of(2, 6, seed=14)
    target = torch.tensor([[0.25, 0.25, 0.5, 0], [0, 0, 0.1, 0.9]], dtype=torch.float64)
    loss = SemanticSoftmaxLoss(
        tree, level_weights=[2.0, 1.0], target_classes=["a", "b", "alone", "c"]
    )
    upper = logits[:, [3, 5]].log_softmax(dim=1)
    lower = logits[:, [0, 1, 2, 4]].log_softmax(dim=1)
    by_hand = -2 * (0.5 * upper[0, 0] + 0.9 * upper[1, 1]) - (target * lower).sum()
    torch.testing.assert_close(loss(logits, target), by_hand / 2)


# --- mixing ---


def test_cutmix_and_mixup() -> None:
    """Of class indices and of soft targets: a mixed target costs what its parts cost together."""
    images = torch.rand(4, 3, 8, 8)
    loss, logits = SemanticSoftmaxLoss(ANIMALS, 0.1), logits_of(4, 6, seed=15)
    _, labels = v2.MixUp(num_classes=6)(images, torch.tensor([0, 1, 2, 3]))
    assert float(loss(logits, labels)) > 0
    a, b = sparse_of(4, 4, seed=15), sparse_of(4, 4, seed=16)
    parts = 0.7 * loss(logits, a) + 0.3 * loss(logits, b)
    torch.testing.assert_close(loss(logits, a.mixed(b, 0.3)), parts)
    for target in (a, a.dense(4)):
        _, mixed = mix(v2.CutMix(), images, target)
        assert float(loss(logits, mixed)) > 0


def test_targets_that_timm_has_smoothed_are_noticed_once() -> None:
    mixer = Mixup(mixup_alpha=0.8, num_classes=6, multi_label=True)
    _, spoiled = mixer(torch.rand(4, 3, 8, 8), torch.eye(6)[:4])
    logits = torch.zeros(4, 6)
    for loss in (SemanticSoftmaxLoss(tree_of(SMALL)), SemanticDistillationLoss(tree_of(SMALL))):
        with pytest.warns(UserWarning, match=r"sums to 1\.\d+, expected 1: .*timm") as seen:
            loss(logits, target=spoiled)
        assert seen[0].filename == __file__
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loss(logits, target=spoiled)


# --- errors ---

SPARSE = SparseProbabilities(torch.zeros(2, 1).long(), torch.ones(2, 1), torch.zeros(2))
WRONG: list[tuple[object, str]] = [
    (
        torch.ones(2, 5) / 5,
        r"\(2, 5\), expected \(2, 4\) or \(2, 6\): .* class of the tree\. .*target_classes=maps",
    ),
    (torch.ones(3, 6) / 6, r"\(3, 6\), expected \(2, 4\) or \(2, 6\)"),
    (torch.ones(12, 6) / 6, r"\(12, 6\), .*multi_label=True and label_smoothing=0"),
    (torch.ones(2, 6).long(), r"shape \(2, 6\) must be floats, got torch\.int64"),
    (torch.zeros(2, 1).long(), r"shape \(2, 1\) must be floats.*class indices \(batch,\)"),
    (torch.tensor([[2.0, -1, 0, 0], [0, 0, 0, 1]]), r"value -1, expected probabilities.*softmax"),
    (torch.tensor([[float("nan"), 0, 0, 0], [0, 0, 0, 1]]), "value nan, expected probabilities"),
    (SPARSE._replace(classes=torch.tensor([[0], [4]])), "classes from 0 to 4, expected 0 to 3"),
    (SPARSE._replace(excess=-torch.ones(2, 1)), "value -1, expected probabilities"),
    (SPARSE._replace(rest=-torch.ones(2)), "value -1, expected probabilities"),
    (SPARSE._replace(excess=torch.full((2, 1), float("nan"))), "value nan"),
    (SPARSE._replace(rest=torch.zeros(3)), r"expected \(B, C\), \(B, E\), \(B, E\) and \(B,\)"),
]


@pytest.mark.parametrize(("target", "message"), WRONG)
def test_wrong_targets_say_what_was_found(target: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SemanticSoftmaxLoss(ANIMALS)(torch.zeros(2, 6), target)


def test_columns_without_inner_nodes_need_a_class_list_if_inner_nodes_come_first() -> None:
    loss = SemanticSoftmaxLoss(ANIMALS.ordered_by_level())
    for target in (torch.ones(2, 4) / 4, SPARSE):
        with pytest.raises(ValueError, match=r"target_classes=maps\.classes"):
            loss(torch.zeros(2, 6), target)


def test_target_classes_that_the_tree_lacks() -> None:
    with pytest.raises(ValueError, match=r"not in .*: a, b, c and 1 more\. Build the tree"):
        SemanticSoftmaxLoss(ANIMALS, target_classes=["pug", "a", "b", "c", "d"])
    with pytest.raises(ValueError, match=r"not in .*: cat\. Build"):
        HierarchicalCrossEntropy(ANIMALS, target_classes=["pug", "cat"])


def test_a_tree_has_no_other() -> None:
    """As the classes of a ``LabelMapDataset`` with ``TargetOptions(other="output")`` end in it."""
    with pytest.raises(ValueError, match=r"another value of TargetOptions\(other=\.\.\.\) than"):
        SemanticSoftmaxLoss(ANIMALS, target_classes=["pug", "*other*"])


def test_distillation_needs_one_teacher() -> None:
    loss, logits = SemanticDistillationLoss(ANIMALS), torch.zeros(2, 6)
    with pytest.raises(ValueError, match="got neither of teacher_logits and target"):
        loss(logits)
    with pytest.raises(ValueError, match="got both of teacher_logits and target"):
        loss(logits, logits, target=SPARSE)
    with pytest.raises(TypeError, match="pass them as target="):
        loss(logits, SPARSE)
    with pytest.raises(ValueError, match=r"must be floats, got torch\.int64"):
        loss(logits, target=torch.tensor([0, 1]))
