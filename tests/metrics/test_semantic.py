"""Semantic accuracy against loops on random trees, and the published numbers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, strategies as st

from labelkit.metrics import SemanticAccuracy, semantic_accuracy
from tests.oracles import semantic_losses as oracle
from tests.oracles.forests import Parents, chain_of, forests, permute_parents, tree_of
from tests.oracles.published_vectors import fall11_tree, needs_vectors, published_case

SMALL: Parents = (4, -1, 1, 4, -1, 0)


def batch_for(parents: Parents, batch: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, len(parents), generator=generator)
    return logits, torch.randint(0, len(parents), (batch,), generator=generator)


@given(parents=forests(), batch=st.integers(1, 6), seed=st.integers(0, 1000), data=st.data())
def test_equals_the_loops_in_one_batch_or_two(
    parents: Parents, batch: int, seed: int, data: st.DataObject
) -> None:
    logits, target = batch_for(parents, batch, seed)
    correct, valid = oracle.semantic_hits(parents, logits.tolist(), target.tolist())
    assert semantic_accuracy(logits, target, tree_of(parents)) == 100.0 * correct / valid
    split = data.draw(st.integers(0, batch))
    accuracy = SemanticAccuracy(tree_of(parents))
    accuracy.update(logits[:split], target[:split])
    accuracy.update(logits[split:], target[split:])
    assert accuracy.compute() == 100.0 * correct / valid


@given(parents=forests(), seed=st.integers(0, 1000), data=st.data())
def test_the_order_of_the_class_list_changes_nothing(
    parents: Parents, seed: int, data: st.DataObject
) -> None:
    position = data.draw(st.permutations(range(len(parents))))
    logits, target = batch_for(parents, 4, seed)
    moved = torch.empty_like(logits)
    moved[:, position] = logits
    moved_tree = tree_of(permute_parents(parents, position))
    found = semantic_accuracy(moved, torch.tensor(position)[target], moved_tree)
    assert found == semantic_accuracy(logits, target, tree_of(parents))


@pytest.mark.parametrize("batch", [31, 32, 33, 100])
def test_batches_of_several_steps(batch: int) -> None:
    parents: Parents = (*SMALL, *(-1, 6, 7, 8, 9, 6, 7, 8))
    logits, target = batch_for(parents, batch, seed=2)
    correct, valid = oracle.semantic_hits(parents, logits.tolist(), target.tolist())
    assert semantic_accuracy(logits, target, tree_of(parents)) == 100.0 * correct / valid


def test_the_first_of_equal_logits_is_the_best_class_of_a_level() -> None:
    """Level 0 has 1 and 4, level 1 has 0, 2 and 3, level 2 has 5: only 1, 0 and 5 are correct."""
    found = [
        semantic_accuracy(torch.zeros(1, 6), torch.tensor([target]), tree_of(SMALL))
        for target in (1, 4, 0, 5)
    ]
    assert found == pytest.approx([100.0, 0.0, 50.0, 200 / 3])


def test_logits_raised_along_the_chain_are_all_correct() -> None:
    logits, target = batch_for(SMALL, 8, seed=0)
    for row, child in enumerate(target.tolist()):
        logits[row, chain_of(SMALL, child)] += 100
    assert semantic_accuracy(logits, target, tree_of(SMALL)) == 100.0


def test_the_levels_below_the_target_do_not_count() -> None:
    """Target 4 is a root: only the roots 1 and 4 are compared."""
    logits = torch.tensor([[9.0, 1.0, 9.0, 9.0, 2.0, 9.0]])
    assert semantic_accuracy(logits, torch.tensor([4]), tree_of(SMALL)) == 100.0


def test_compute_before_update_and_after_reset() -> None:
    accuracy = SemanticAccuracy(tree_of(SMALL))
    with pytest.raises(ValueError, match="no samples were counted"):
        accuracy.compute()
    accuracy.update(*batch_for(SMALL, 2, seed=1))
    accuracy.compute()
    accuracy.reset()
    with pytest.raises(ValueError, match="no samples were counted"):
        accuracy.compute()


@pytest.mark.parametrize(
    ("logits_shape", "target", "message"),
    [
        ((2, 5), [0, 0], r"logits have shape \(2, 5\), expected \(batch, 6\)"),
        ((2, 6), [0], r"target has shape \(1,\), expected \(2,\)"),
        ((2, 6), [0, 6], "classes from 0 to 6, expected 0 to 5"),
        ((2, 6), [-1, 0], "classes from -1 to 0, expected 0 to 5"),
        ((2, 6), [0.0, 1.0], r"target must be integers, got torch\.float32"),
    ],
)
def test_wrong_inputs_say_what_was_found(
    logits_shape: tuple[int, ...], target: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        semantic_accuracy(torch.zeros(logits_shape), torch.tensor(target), tree_of(SMALL))


@needs_vectors
@pytest.mark.parametrize("number", [0, 1])
def test_published_accuracy(number: int) -> None:
    """+12 at each target; for the first half of the batch, +20 at it and at each ancestor."""
    case, tree = published_case(number), fall11_tree()
    logits = case.student.clone()
    for row, child in enumerate(case.target.tolist()):
        logits[row, child] += 12
        if row < len(logits) // 2:
            logits[row, chain_of(tree.parent.tolist(), child)] += 20
    assert int((tree.depth[case.target.numpy()] + 1).sum()) == case.expected["accuracy_terms"]
    assert semantic_accuracy(logits, case.target, tree) == pytest.approx(case.expected["accuracy"])
