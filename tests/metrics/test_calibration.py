"""Expected calibration error against loops and known values."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, strategies as st

from labelkit.metrics import CalibrationError, calibration_error
from tests.oracles import metrics as oracle
from tests.oracles.semantic_losses import log_softmax


@given(batch=st.integers(1, 40), seed=st.integers(0, 1000), split=st.integers(0, 40))
def test_equals_the_loops_in_one_batch_or_two(batch: int, seed: int, split: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, 3, generator=generator, dtype=torch.float64) * 2
    target = torch.randint(0, 3, (batch,), generator=generator)
    confidences = [math.exp(max(log_softmax(row))) for row in logits.tolist()]
    hits = [
        row.index(max(row)) == correct
        for row, correct in zip(logits.tolist(), target.tolist(), strict=True)
    ]
    metric = CalibrationError()
    metric.update(logits[:split], target[:split])
    metric.update(logits[split:], target[split:])
    expected = oracle.calibration_error(confidences, hits)
    assert metric.compute() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_full_confidence_in_wrong_and_in_correct_classes() -> None:
    assert calibration_error(torch.eye(4) * 100, torch.tensor([1, 2, 3, 0])) == 100.0
    assert calibration_error(torch.eye(4) * 100, torch.arange(4)) == 0.0


def test_over_and_underconfidence_cancel_only_within_a_bin() -> None:
    """Two samples, one of them correct: in one bin their errors cancel, in separate bins not."""
    logits = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    target = torch.tensor([0, 0])  # the first of equal logits is the best
    confidence = 1 / (1 + math.exp(-1))
    one_bin = abs(1 - (0.5 + confidence)) / 2
    assert calibration_error(logits, target, bins=1) == pytest.approx(100 * one_bin)
    assert calibration_error(logits, target, bins=10) == pytest.approx(100 * (0.5 + confidence) / 2)


def test_a_bin_includes_its_upper_edge() -> None:
    """A confidence of 0.5 is in the lower of two bins, separate from the other sample."""
    logits, confidence = torch.tensor([[0.0, 0.0], [0.0, 1.0]]), 1 / (1 + math.exp(-1))
    found = calibration_error(logits, torch.tensor([1, 1]), bins=2)
    assert found == pytest.approx(100 * (0.5 + 1 - confidence) / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [3, 5, 15])
def test_a_confidence_on_an_edge_of_fifteen_bins_stays_below_it(
    classes: int, dtype: torch.dtype
) -> None:
    """A wrong prediction at 1/3, 1/5 or 1/15 and a correct one slightly above: two bins."""
    confidence = 1 / classes + 0.01
    logits = torch.zeros(2, classes, dtype=dtype)
    logits[1, 0] = math.log(confidence * (classes - 1) / (1 - confidence))
    found = calibration_error(logits, torch.tensor([1, 0]))
    assert found == pytest.approx(100 * (1 / classes + 1 - confidence) / 2, rel=1e-5)


def test_full_confidence_is_in_the_highest_bin() -> None:
    """Together with near certainty: wrong at 1 and correct at 0.9 share a bin."""
    logits = torch.tensor([[1000.0, 0.0], [math.log(9), 0.0]])
    found = calibration_error(logits, torch.tensor([1, 0]), bins=4)
    assert found == pytest.approx(100 * abs(1 - 1.9) / 2)


def test_compute_before_update_and_after_reset() -> None:
    metric = CalibrationError()
    with pytest.raises(ValueError, match="no samples were counted"):
        metric.compute()
    metric.update(torch.zeros(1, 2), torch.tensor([0]))
    assert metric.compute() == 50.0
    metric.reset()
    with pytest.raises(ValueError, match="no samples were counted"):
        metric.compute()


def test_bins_of_at_least_one() -> None:
    with pytest.raises(ValueError, match="bins is 0"):
        CalibrationError(0)
