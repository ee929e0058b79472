"""Sparse targets equal their dense forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labelkit.targets import SparseLogits, SparseLogitsBatch, SparseProbabilities, TokenLogits


def logits_of(*numbers: float) -> np.ndarray:
    """Logits, float32."""
    return np.array(numbers, np.float32)


@pytest.mark.parametrize("rest", [-1.5, 0.0, 7.0, -np.inf])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_softmax_is_that_of_the_dense_logits(rest, temperature):
    target = SparseLogits(np.array([1, 4]), logits_of(2.0, -3.0), rest)
    expected = (torch.from_numpy(target.dense(6)) / temperature).softmax(dim=0)
    np.testing.assert_allclose(target.probabilities(6, temperature), expected, atol=1e-6)
    listed, other = target.softmax(6, temperature)
    np.testing.assert_allclose(listed, expected[[1, 4]], atol=1e-6)
    assert other == pytest.approx(float(expected[0]), abs=1e-6)


def test_a_listed_class_may_have_no_probability():
    target = SparseLogits(np.array([0, 1]), logits_of(-np.inf, 1.0), -np.inf)
    assert target.probabilities(3).tolist() == [0, 1, 0]


@pytest.mark.parametrize("listed", [[], [-np.inf]])
def test_a_softmax_without_any_probability_is_refused(listed):
    classes = np.arange(len(listed))
    with pytest.raises(
        ValueError, match="no class has a logit above -inf, so the softmax is undefined"
    ):
        SparseLogits(classes, logits_of(*listed), -np.inf).softmax(3)
    tokens = TokenLogits(
        classes, logits_of(*listed).reshape(-1, 1, 1), np.full((1, 1), -np.inf, np.float32)
    )
    with pytest.raises(ValueError, match="a token has no class with a logit above -inf"):
        tokens.probabilities(3)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    target = SparseLogits(np.array([1]), logits_of(2.0))
    tokens = TokenLogits(
        np.array([1]), np.ones((1, 1, 1), np.float32), np.zeros((1, 1), np.float32)
    )
    for each in (target, tokens):
        with pytest.raises(ValueError, match=r"expected a positive number"):
            each.probabilities(3, temperature)


def test_each_token_equals_the_target_of_one_crop():
    rng = np.random.default_rng(0)
    classes = np.array([0, 3])
    logits = rng.normal(0, 2, (2, 3, 2)).astype(np.float32)
    rest = rng.normal(0, 2, (3, 2)).astype(np.float32)
    rest[1, 1] = -np.inf
    tokens = TokenLogits(classes, logits, rest)
    for place in np.ndindex(3, 2):
        single = SparseLogits(classes, logits[:, *place], float(rest[place]))
        assert np.array_equal(tokens.dense(5)[:, *place], single.dense(5))
        found = tokens.probabilities(5, 1.7)[:, *place]
        np.testing.assert_allclose(found, single.probabilities(5, 1.7), atol=1e-6)


def test_a_token_of_a_class_outside_the_list_is_refused():
    tokens = TokenLogits(
        np.array([9]), np.ones((1, 1, 1), np.float32), np.zeros((1, 1), np.float32)
    )
    with pytest.raises(ValueError, match="class 9 is not one of 5"):
        tokens.dense(5)


@pytest.mark.parametrize("kind", [SparseLogitsBatch, SparseProbabilities])
def test_entries_of_a_batch_add_up(kind):
    """A class listed twice counts twice; an excess of 0 is padding."""
    targets = kind(
        torch.tensor([[2, 2, 0], [1, 0, 0]]),
        torch.tensor([[1.0, 0.5, 0.0], [-1.0, 0.0, 0.0]]),
        torch.tensor([0.25, 3.0]),
    )
    expected = torch.tensor([[0.25, 0.25, 1.75], [3.0, 2.0, 3.0]])
    torch.testing.assert_close(targets.dense(3), expected)


def test_mixing_equals_mixing_the_dense_rows():
    first = SparseProbabilities(torch.tensor([[1]]), torch.tensor([[2.0]]), torch.tensor([0.5]))
    second = SparseProbabilities(
        torch.tensor([[0, 1]]), torch.tensor([[1.0, 4.0]]), torch.tensor([-1.0])
    )
    mixed = first.mixed(second, 0.25).dense(3)
    torch.testing.assert_close(mixed, 0.75 * first.dense(3) + 0.25 * second.dense(3))


def test_one_sample_has_no_batch_axis():
    """As ``LabelMapDataset(sparse=True)[i]`` returns it."""
    first = SparseProbabilities(torch.tensor([1]), torch.tensor([0.5]), torch.tensor(0.25))
    second = SparseProbabilities(torch.tensor([0, 1]), torch.tensor([0.5, 0.5]), torch.tensor(0.0))
    torch.testing.assert_close(first.dense(3), torch.tensor([0.25, 0.75, 0.25]))
    mixed = first.mixed(second, 0.5).dense(3)
    torch.testing.assert_close(mixed, torch.tensor([0.375, 0.625, 0.125]))


def test_a_batch_moves_to_a_device_like_a_tensor():
    """Also by keyword, as timm's loader calls it."""
    targets = SparseProbabilities(torch.tensor([[2, 0]]), torch.ones(1, 2), torch.zeros(1))
    moved = targets.to(device="meta", non_blocking=True)
    assert isinstance(moved, SparseProbabilities)
    assert {each.device.type for each in moved} == {"meta"}
    assert [each.shape for each in moved] == [each.shape for each in targets]
