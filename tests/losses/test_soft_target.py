"""SoftTargetCrossEntropy against loops and torch's cross-entropy, and its argument checks."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st

from labelkit.losses import SoftTargetCrossEntropy
from labelkit.targets import SparseProbabilities
from tests.oracles import semantic_losses as oracle


def distributions(batch: int, classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, generator=generator, dtype=torch.float64) * 3
    target = torch.rand(batch, classes, generator=generator, dtype=torch.float64)
    return logits, target / target.sum(dim=1, keepdim=True)


@given(batch=st.integers(1, 4), classes=st.integers(1, 6), seed=st.integers(0, 1000))
def test_equals_the_loops(batch: int, classes: int, seed: int) -> None:
    logits, target = distributions(batch, classes, seed)
    expected = oracle.soft_target_cross_entropy(logits.tolist(), target.tolist())
    assert float(SoftTargetCrossEntropy()(logits, target)) == pytest.approx(expected, rel=1e-10)


def test_equals_plain_cross_entropy_for_one_hot_targets() -> None:
    logits, _ = distributions(8, 5, seed=0)
    target = torch.arange(8) % 5
    soft = SoftTargetCrossEntropy()(logits, F.one_hot(target, 5).double())
    torch.testing.assert_close(soft, F.cross_entropy(logits, target))


def test_gradients_of_logits_and_target() -> None:
    logits, target = (tensor.requires_grad_() for tensor in distributions(3, 4, seed=1))
    assert torch.autograd.gradcheck(SoftTargetCrossEntropy(), (logits, target))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_converted_before_the_softmax(dtype: torch.dtype) -> None:
    """Over 11,221 classes, the loss equals that of the same logits in float64."""
    logits, target = distributions(4, 11_221, seed=2)
    narrow = logits.to(dtype)
    expected = SoftTargetCrossEntropy()(narrow.double(), target)
    with torch.autocast("cpu", dtype=dtype):
        loss = SoftTargetCrossEntropy()(narrow, target.float())
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)


def test_two_half_precision_inputs_give_a_float32_loss() -> None:
    logits, target = (tensor.bfloat16() for tensor in distributions(4, 1000, seed=4))
    loss = SoftTargetCrossEntropy()(logits, target)
    assert loss.dtype == torch.float32
    expected = SoftTargetCrossEntropy()(logits.double(), target.double())
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)


def test_a_half_precision_target_keeps_the_type_of_the_logits() -> None:
    logits, target = distributions(4, 100, seed=3)
    loss = SoftTargetCrossEntropy()(logits, target.half())
    assert loss.dtype == torch.float64


@pytest.mark.parametrize("target_shape", [(2, 3), (3, 4), (4,), (2,)])
def test_the_error_shows_both_shapes(target_shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"logits \(2, 4\), target \(") as error:
        SoftTargetCrossEntropy()(torch.zeros(2, 4), torch.zeros(target_shape))
    assert str(target_shape) in str(error.value)


def test_integer_targets_and_empty_batches_are_refused() -> None:
    with pytest.raises(ValueError, match=r"torch\.int64"):
        SoftTargetCrossEntropy()(torch.zeros(2, 4), torch.zeros(2, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="empty batch"):
        SoftTargetCrossEntropy()(torch.zeros(0, 4), torch.zeros(0, 4))


def test_the_mean_over_positions_equals_that_of_torch() -> None:
    flat, target = distributions(24, 5, seed=3)
    logits, target = (each.view(2, 3, 4, 5).permute(0, 3, 1, 2) for each in (flat, target))
    loss = SoftTargetCrossEntropy()(logits, target)
    torch.testing.assert_close(loss, F.cross_entropy(logits, target))


def test_smoothing_equals_torchs_and_keeps_the_sum_of_lighter_targets() -> None:
    """A target that sums to less than 1 gets that much less of the uniform distribution."""
    logits, target = torch.randn(4, 7), torch.randn(4, 7).softmax(1)
    smoothed = SoftTargetCrossEntropy(label_smoothing=0.2)
    expected = F.cross_entropy(logits, target, label_smoothing=0.2)
    torch.testing.assert_close(smoothed(logits, target), expected)
    torch.testing.assert_close(smoothed(logits, target * 0.4), expected * 0.4)
    sparse = SparseProbabilities(torch.tensor([[2, 4]] * 4), torch.rand(4, 2), torch.rand(4))
    torch.testing.assert_close(smoothed(logits, sparse), smoothed(logits, sparse.dense(7)))
    with pytest.raises(ValueError, match="label_smoothing is 1, expected at least 0 and below 1"):
        SoftTargetCrossEntropy(label_smoothing=1)
