"""SemanticSoftmaxLoss against loops on random trees, and its behaviour as a module."""

from __future__ import annotations

import copy
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st

from labelkit.losses import SemanticSoftmaxLoss
from tests.oracles import semantic_losses as oracle
from tests.oracles.forests import Parents, forests, levels_of, permute_parents, tree_of

# Roots 1 and 4; 2 below 1, 3 and 0 below 4, 5 below 0; not ordered by level.
SMALL: Parents = (4, -1, 1, 4, -1, 0)
# A chain with one class at each level.
CHAIN: Parents = (-1, 0, 1)
# One root, two classes, one class below: single classes above and below a wider level.
DIAMOND: Parents = (-1, 0, 0, 1)


def batch_for(parents: Parents, batch: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, len(parents), generator=generator, dtype=torch.float64) * 3
    return logits, torch.randint(0, len(parents), (batch,), generator=generator)


def uniform(parents: Parents) -> list[float]:
    return [1.0] * len(levels_of(parents))


@given(
    parents=forests(),
    batch=st.integers(1, 4),
    seed=st.integers(0, 1000),
    smoothing=st.sampled_from([0.0, 0.2]),
    kind=st.sampled_from(["paper", "uniform", "numbers"]),
)
def test_equals_the_loops(
    parents: Parents, batch: int, seed: int, smoothing: float, kind: str
) -> None:
    """Any forest, any class order, any batch size, all kinds of weights."""
    logits, targets = batch_for(parents, batch, seed)
    numbers = [0.5 + level for level in range(len(levels_of(parents)))]
    loss_of, weights = {
        "paper": (
            SemanticSoftmaxLoss(tree_of(parents), smoothing),
            oracle.paper_weights(parents),
        ),
        "uniform": (
            SemanticSoftmaxLoss(tree_of(parents), smoothing, level_weights="uniform"),
            uniform(parents),
        ),
        "numbers": (
            SemanticSoftmaxLoss(tree_of(parents), smoothing, level_weights=numbers),
            numbers,
        ),
    }[kind]
    expected = oracle.semantic_softmax(
        parents, logits.tolist(), targets.tolist(), label_smoothing=smoothing, weights=weights
    )
    assert loss_of.level_weights == pytest.approx(weights)
    assert float(loss_of(logits, targets)) == pytest.approx(expected, rel=1e-10, abs=1e-12)


@given(parents=forests(), seed=st.integers(0, 1000), data=st.data())
def test_the_order_of_the_class_list_changes_nothing(
    parents: Parents, seed: int, data: st.DataObject
) -> None:
    position = data.draw(st.permutations(range(len(parents))))
    logits, targets = batch_for(parents, 3, seed)
    moved = torch.empty_like(logits)
    moved[:, position] = logits
    loss = SemanticSoftmaxLoss(tree_of(parents), 0.1)(logits, targets)
    moved_loss = SemanticSoftmaxLoss(tree_of(permute_parents(parents, position)), 0.1)(
        moved, torch.tensor(position)[targets]
    )
    torch.testing.assert_close(loss, moved_loss)


def test_a_flat_class_list_gives_plain_cross_entropy() -> None:
    parents = (-1,) * 7
    logits, targets = batch_for(parents, 5, seed=0)
    loss = SemanticSoftmaxLoss(tree_of(parents), label_smoothing=0.1)(logits, targets)
    torch.testing.assert_close(loss, F.cross_entropy(logits, targets, label_smoothing=0.1))


@pytest.mark.parametrize("parents", [SMALL, CHAIN, DIAMOND, (-1, -1, 0, 0, 1)])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradients(parents: Parents, smoothing: float) -> None:
    """First and second derivatives; the last tree is ordered by level and needs no gather."""
    logits, targets = batch_for(parents, 4, seed=1)
    loss = SemanticSoftmaxLoss(tree_of(parents), smoothing)
    inputs = (logits.requires_grad_(), targets)
    assert torch.autograd.gradcheck(loss, inputs)
    assert torch.autograd.gradgradcheck(loss, inputs)


def test_only_a_class_list_ordered_by_level_is_split_without_a_gather() -> None:
    assert SemanticSoftmaxLoss(tree_of((-1, -1, 0, 0, 1))).levels.ordered
    assert not SemanticSoftmaxLoss(tree_of(SMALL)).levels.ordered


def test_levels_below_the_target_get_no_gradient() -> None:
    """A root as the target changes the logits of the roots only."""
    logits, _ = batch_for(SMALL, 1, seed=2)
    SemanticSoftmaxLoss(tree_of(SMALL), 0.2)(logits.requires_grad_(), torch.tensor([4])).backward()
    assert logits.grad is not None
    assert logits.grad.ne(0).tolist() == [[False, True, False, False, True, False]]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_masked_classes_of_levels_without_a_target_keep_the_loss_finite(smoothing: float) -> None:
    logits, _ = batch_for(SMALL, 1, seed=2)
    target = torch.tensor([4])
    loss = SemanticSoftmaxLoss(tree_of(SMALL), smoothing)
    expected = loss(logits, target)
    logits[0, [0, 2]] = -torch.inf
    found = loss(logits.requires_grad_(), target)
    found.backward()
    torch.testing.assert_close(found.detach(), expected)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_the_loss_of_a_chain_of_single_classes_is_zero() -> None:
    logits, targets = batch_for(CHAIN, 4, seed=3)
    assert float(SemanticSoftmaxLoss(tree_of(CHAIN), 0.2)(logits, targets)) == 0.0


def test_train_and_eval_mode_agree() -> None:
    logits, targets = batch_for(SMALL, 4, seed=4)
    loss = SemanticSoftmaxLoss(tree_of(SMALL), 0.1)
    trained = loss.train()(logits, targets)
    assert float(trained) > 0
    torch.testing.assert_close(loss.eval()(logits, targets), trained)


def test_the_deepest_level_counts_unless_compat_is_given() -> None:
    parents = (-1, -1, 0, 0)
    logits, _ = batch_for(parents, 1, seed=5)
    target = torch.tensor([3])
    roots, leaves = oracle.paper_weights(parents)
    for compat, weights in ((None, [roots, leaves]), ("imagenet21k", [roots, 0.0])):
        loss = SemanticSoftmaxLoss(tree_of(parents), compat=compat)(logits, target)
        expected = oracle.semantic_softmax(
            parents, logits.tolist(), [3], label_smoothing=0, weights=weights
        )
        assert float(loss) == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_converted_before_the_softmax(dtype: torch.dtype) -> None:
    parents = (-1,) * 500 + tuple(range(500)) * 4
    logits, targets = batch_for(parents, 8, seed=6)
    narrow = logits.to(dtype)
    loss = SemanticSoftmaxLoss(tree_of(parents), 0.1)
    expected = loss(narrow.double(), targets)
    narrow.requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        found = loss(narrow, targets)
    found.backward()
    assert found.dtype == torch.float32
    assert narrow.grad is not None
    assert narrow.grad.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("parents", [SMALL, (-1, -1, 0, 0, 1)])
def test_compiles_into_one_graph(parents: Parents) -> None:
    """In any class order, and ordered by level."""
    logits, targets = batch_for(parents, 4, seed=9)
    loss = SemanticSoftmaxLoss(tree_of(parents), 0.1)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(logits, targets), loss(logits, targets))


def test_casting_the_module_changes_no_weight() -> None:
    """A model that contains the loss may be cast to half precision; the tables stay exact."""
    logits, targets = batch_for(SMALL, 4, seed=7)
    loss = SemanticSoftmaxLoss(tree_of(SMALL))
    torch.testing.assert_close(copy.deepcopy(loss).half()(logits, targets), loss(logits, targets))


def test_buffers_move_and_stay_out_of_the_state_dict() -> None:
    loss = SemanticSoftmaxLoss(tree_of(SMALL))
    assert loss.state_dict() == {}
    loss.load_state_dict({})
    moved = copy.deepcopy(loss).to("meta")
    assert {buffer.device.type for buffer in moved.buffers()} == {"meta"}
    assert moved(torch.zeros(2, 6, device="meta"), torch.zeros(2, device="meta").long()).shape == ()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_targets_may_have_any_integer_type(dtype: torch.dtype) -> None:
    logits, targets = batch_for(SMALL, 4, seed=8)
    loss = SemanticSoftmaxLoss(tree_of(SMALL))
    torch.testing.assert_close(loss(logits, targets.to(dtype)), loss(logits, targets))


@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        (torch.zeros(2, 5), [0, 0], r"logits have shape \(2, 5\), expected \(batch, 6\)"),
        (torch.zeros(6), [0], r"logits have shape \(6,\), expected \(batch, 6\)"),
        (torch.zeros(2, 6, dtype=torch.long), [0, 0], r"logits must be floats, got torch\.int64"),
        (torch.zeros(0, 6), [], "empty batch"),
        (torch.zeros(2, 6), [0], r"target has shape \(1,\), expected \(2,\)"),
        (
            torch.zeros(1, 6),
            [[0] * 6],
            r"target of shape \(1, 6\) must be floats, .* class indices \(batch,\)",
        ),
        (torch.zeros(2, 6), [0, 6], "classes from 0 to 6, expected 0 to 5"),
        (torch.zeros(2, 6), [-1, 3], "classes from -1 to 3, expected 0 to 5"),
        (torch.zeros(2, 6), [0.0, 1.0], r"target must be integers, got torch\.float32"),
        (torch.zeros(2, 6), [False, True], r"target must be integers, got torch\.bool"),
    ],
)
def test_wrong_inputs_say_what_was_found(
    logits: torch.Tensor, target: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        SemanticSoftmaxLoss(tree_of(SMALL))(logits, torch.tensor(target))


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_invalid_label_smoothing(smoothing: float) -> None:
    with pytest.raises(ValueError, match="label_smoothing is"):
        SemanticSoftmaxLoss(tree_of(SMALL), label_smoothing=smoothing)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, 1.0], "has 2 weights, expected 3"),
        ([1.0, -1.0, 1.0], "numbers >= 0"),
        ([1.0, float("nan"), 1.0], "finite"),
        ([1.0, float("inf"), 1.0], "finite"),
        ("papre", "'papre', expected 'paper', 'uniform' or numbers"),
    ],
)
def test_wrong_level_weights(weights: Literal["paper"], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SemanticSoftmaxLoss(tree_of(SMALL), level_weights=weights)


@pytest.mark.parametrize(
    ("parents", "compat", "message"),
    [
        (SMALL, "imagenet1k", "compat is 'imagenet1k', expected 'imagenet21k' or None"),
        ((-1, -1), "imagenet21k", "this tree has only one level"),
        (DIAMOND, "imagenet21k", "level 0 has one class"),
    ],
)
def test_compat_is_refused_for_trees_on_which_the_published_code_fails(
    parents: Parents, compat: Literal["imagenet21k"], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        SemanticSoftmaxLoss(tree_of(parents), compat=compat)
