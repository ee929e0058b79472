"""SoftTargetCrossEntropy with sparse targets: equal to dense ones, including the gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, strategies as st

from labelkit.losses import SoftTargetCrossEntropy
from labelkit.targets import SparseProbabilities
from tests.oracles import semantic_losses as oracle


def batch_for(
    batch: int, classes: int, entries: int, seed: int
) -> tuple[torch.Tensor, SparseProbabilities]:
    """Logits and targets in float64, with duplicate classes and negative values."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, generator=generator, dtype=torch.float64) * 3
    listed = torch.randint(0, classes, (batch, entries), generator=generator)
    excess = torch.randn(batch, entries, generator=generator, dtype=torch.float64)
    return logits, SparseProbabilities(
        listed, excess, torch.rand(batch, generator=generator).double()
    )


def dense_rows(targets: SparseProbabilities, classes: int) -> list[list[float]]:
    """The dense targets, by loops."""
    rows = [[rest] * classes for rest in targets.rest.tolist()]
    for row, listed, added in zip(
        rows, targets.classes.tolist(), targets.excess.tolist(), strict=True
    ):
        for child, share in zip(listed, added, strict=True):
            row[child] += share
    return rows


@given(
    batch=st.integers(1, 4),
    classes=st.integers(1, 6),
    entries=st.integers(0, 8),
    seed=st.integers(0, 1000),
)
def test_equals_the_loops(batch: int, classes: int, entries: int, seed: int) -> None:
    """Any number of entries, including none, and classes that are listed twice."""
    logits, targets = batch_for(batch, classes, entries, seed)
    expected = oracle.soft_target_cross_entropy(logits.tolist(), dense_rows(targets, classes))
    found = float(SoftTargetCrossEntropy()(logits, targets))
    assert found == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("batch", [1, 3])
def test_gradients(batch: int) -> None:
    logits, targets = batch_for(batch, 5, 7, seed=1)
    logits.requires_grad_()

    def loss(leaf: torch.Tensor) -> torch.Tensor:
        return SoftTargetCrossEntropy()(leaf, targets)

    assert torch.autograd.gradcheck(loss, (logits,))
    assert torch.autograd.gradgradcheck(loss, (logits,))


def test_entries_without_excess_are_padding() -> None:
    logits, targets = batch_for(3, 6, 2, seed=2)
    padded = SparseProbabilities(
        torch.cat([targets.classes, torch.zeros(3, 4, dtype=torch.int64)], dim=1),
        torch.cat([targets.excess, torch.zeros(3, 4)], dim=1),
        targets.rest,
    )
    loss = SoftTargetCrossEntropy()
    torch.testing.assert_close(loss(logits, padded), loss(logits, targets))


def test_no_gradient_reaches_the_targets() -> None:
    logits, targets = batch_for(3, 6, 2, seed=3)
    targets.excess.requires_grad_()
    SoftTargetCrossEntropy()(logits.requires_grad_(), targets).backward()
    assert logits.grad is not None
    assert targets.excess.grad is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_converted_before_the_softmax(dtype: torch.dtype) -> None:
    logits, targets = batch_for(4, 11_221, 30, seed=5)
    targets = SparseProbabilities(
        targets.classes, targets.excess.float(), targets.rest.float() / 11_221
    )
    narrow = logits.to(dtype)
    expected = SoftTargetCrossEntropy()(narrow.double(), targets)
    narrow.requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        loss = SoftTargetCrossEntropy()(narrow, targets)
    loss.backward()
    assert loss.dtype == torch.float32
    assert narrow.grad is not None
    assert narrow.grad.dtype == dtype
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("offset", [-1000.0, 1000.0])
def test_large_logits_do_not_overflow(offset: float) -> None:
    logits, targets = batch_for(3, 6, 2, seed=6)
    spread = (logits * 100 + offset).float()
    expected = oracle.soft_target_cross_entropy(spread.tolist(), dense_rows(targets, 6))
    loss = SoftTargetCrossEntropy()(
        spread, SparseProbabilities(targets.classes, targets.excess.float(), targets.rest.float())
    )
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_a_copy_in_eval_mode_gives_the_same_loss() -> None:
    logits, targets = batch_for(3, 6, 2, seed=7)
    loss = SoftTargetCrossEntropy()
    assert float(copy.deepcopy(loss).eval()(logits, targets)) == float(loss(logits, targets))


def test_compiles_into_one_graph() -> None:
    logits, targets = batch_for(3, 6, 2, seed=8)
    loss = SoftTargetCrossEntropy()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    gradients: list[torch.Tensor] = []
    for run in (loss, compiled):
        leaf = logits.clone().requires_grad_()
        run(leaf, targets).backward()
        assert leaf.grad is not None
        gradients.append(leaf.grad)
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize(
    ("logits", "classes", "excess", "rest", "message"),
    [
        (torch.zeros(2, 4), (2, 3), (2, 2), (2,), r"classes \(2, 3\), excess \(2, 2\)"),
        (
            torch.zeros(2, 4),
            (2, 3),
            (2, 3),
            (2, 1),
            r"rest \(2, 1\) for a sparse target, expected \(B, C\)",
        ),
        (torch.zeros(1, 4), (2, 3), (2, 3), (2,), r"got logits \(1, 4\), classes \(2, 3\)"),
        (torch.zeros(4), (4, 3), (4, 3), (4,), r"got logits \(4,\), classes \(4, 3\)"),
        (torch.zeros(0, 4), (0, 3), (0, 3), (0,), "empty batch"),
        (
            torch.zeros(2, 4).long(),
            (2, 3),
            (2, 3),
            (2,),
            r"logits must be floats, got torch\.int64",
        ),
    ],
)
def test_wrong_shapes(
    logits: torch.Tensor,
    classes: tuple[int, ...],
    excess: tuple[int, ...],
    rest: tuple[int, ...],
    message: str,
) -> None:
    targets = SparseProbabilities(
        torch.zeros(classes).long(), torch.zeros(excess), torch.zeros(rest)
    )
    with pytest.raises(ValueError, match=message):
        SoftTargetCrossEntropy()(logits, targets)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (torch.tensor([[4]]), "target has classes from 4 to 4, expected 0 to 3"),
        (torch.tensor([[-1]]), "target has classes from -1 to -1, expected 0 to 3"),
        (
            torch.tensor([[1]], dtype=torch.int32),
            r"target\.classes must be torch\.int64, got torch\.int32",
        ),
    ],
)
def test_wrong_classes(classes: torch.Tensor, message: str) -> None:
    targets = SparseProbabilities(classes, torch.ones(1, 1), torch.zeros(1))
    with pytest.raises(ValueError, match=message):
        SoftTargetCrossEntropy()(torch.zeros(1, 4), targets)
