"""Top-k accuracy against sorting, exact over batches, and its argument checks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, strategies as st

from labelkit.metrics import TopKAccuracy, top_k_accuracy
from labelkit.metrics.counting import HitCount
from tests.oracles import semantic_losses as oracle


@given(
    batch=st.integers(1, 9),
    classes=st.integers(1, 7),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_equals_sorting_in_one_batch_or_many(
    batch: int, classes: int, seed: int, data: st.DataObject
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, generator=generator)
    target = torch.randint(0, classes, (batch,), generator=generator)
    k = data.draw(st.integers(1, classes))
    expected = 100 * oracle.top_k_hits(logits.tolist(), target.tolist(), k) / batch
    assert top_k_accuracy(logits, target, k) == pytest.approx(expected)
    split = data.draw(st.integers(0, batch))
    accuracy = TopKAccuracy(k)
    accuracy.update(logits[:split], target[:split])
    accuracy.update(logits[split:], target[split:])
    assert accuracy.compute() == pytest.approx(expected)


def test_only_competing_classes_are_predicted() -> None:
    logits = torch.tensor([[0.0, 9.0, 2.0, 1.0], [3.0, 9.0, 1.0, 0.0]])
    target = torch.tensor([2, 2])
    found = {}
    for k in (1, 2):
        accuracy = TopKAccuracy(k, among=[3, 2, 0])
        accuracy.update(logits, target)
        found[k] = accuracy.compute()
    assert found == {1: 50.0, 2: 100.0}
    with pytest.raises(ValueError, match="k is 3, but 2 classes compete"):
        TopKAccuracy(3, among=[0, 1])


def test_counts_stay_exact_beyond_float32() -> None:
    """16,777,217 hits, one more than float32 can count."""
    count, yes, no = HitCount(), torch.tensor([True]), torch.tensor([False])
    count.add(yes.expand(2**24), yes.expand(2**24))
    count.add(yes, yes)
    count.add(no, yes)
    assert count.percent() == 100 * (2**24 + 1) / (2**24 + 2)


def test_hits_outside_the_trials_do_not_count() -> None:
    count = HitCount()
    count.add(torch.tensor([True, True]), torch.tensor([True, False]))
    assert count.percent() == 100.0


def test_compute_before_update_and_after_reset() -> None:
    accuracy = TopKAccuracy()
    with pytest.raises(ValueError, match="no samples were counted"):
        accuracy.compute()
    accuracy.update(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert accuracy.compute() == 100.0
    accuracy.reset()
    with pytest.raises(ValueError, match="no samples were counted"):
        accuracy.compute()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_targets_may_have_any_integer_type(dtype: torch.dtype) -> None:
    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert top_k_accuracy(logits, torch.tensor([0, 1], dtype=dtype)) == 50.0


@pytest.mark.parametrize(
    ("logits_shape", "target", "message"),
    [
        ((4,), [0], r"logits have shape \(4,\), expected \(batch, classes\)"),
        ((2, 4), [0], r"target has shape \(1,\), expected \(2,\)"),
        ((1, 4), [[0, 0, 0, 0]], r"target has shape \(1, 4\), expected \(1,\)"),
        ((2, 4), [0, 4], "classes from 0 to 4, expected 0 to 3"),
        ((2, 4), [-1, 0], "classes from -1 to 0, expected 0 to 3"),
        ((2, 4), [0.5, 0.5], r"target must be integers, got torch\.float32"),
        ((2, 2), [0, 1], "k is 3, but the logits have 2 classes"),
    ],
)
def test_wrong_inputs_say_what_was_found(
    logits_shape: tuple[int, ...], target: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        top_k_accuracy(torch.zeros(logits_shape), torch.tensor(target), k=3)


def test_k_of_at_least_one() -> None:
    with pytest.raises(ValueError, match="k is 0, expected at least 1"):
        TopKAccuracy(0)


def test_competing_classes_must_be_columns() -> None:
    with pytest.raises(ValueError, match="among has class 9, but the logits have 5"):
        TopKAccuracy(1, among=[0, 9]).update(torch.zeros(2, 5), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="among has class -1"):
        TopKAccuracy(1, among=[0, -1])
