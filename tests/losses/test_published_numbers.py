"""compat="imagenet21k" reproduces the published code's numbers on the 11,221-class tree."""

from __future__ import annotations

import pytest

from labelkit.losses import SemanticDistillationLoss, SemanticSoftmaxLoss
from tests.oracles.published_vectors import fall11_tree, needs_vectors, published_case

pytestmark = [needs_vectors, pytest.mark.parametrize("number", [0, 1])]


def test_levels_weights_and_targets(number: int) -> None:
    case = published_case(number)
    loss = SemanticSoftmaxLoss(fall11_tree(), compat="imagenet21k")
    assert list(loss.levels.sizes) == case.expected["levels"]
    assert loss.level_weights == pytest.approx(case.expected["weights"], rel=1e-6)
    targets = loss.levels.targets(case.target, len(case.target))
    assert targets.tolist() == case.expected["targets_per_level"]


def test_loss_and_gradient(number: int) -> None:
    case = published_case(number)
    loss_of = SemanticSoftmaxLoss(
        fall11_tree(), case.expected["label_smoothing"], compat="imagenet21k"
    )
    logits = case.student.requires_grad_()
    loss = loss_of(logits, case.target)
    loss.backward()
    assert logits.grad is not None
    assert loss.item() == pytest.approx(case.expected["loss"], rel=1e-5)
    gradient = logits.grad.double()
    assert float(gradient.abs().sum()) == pytest.approx(case.expected["grad_abs_sum"], rel=1e-5)
    assert float(gradient.norm()) == pytest.approx(case.expected["grad_l2"], rel=1e-5)
    first = case.expected["grad_row0_first8"]
    assert gradient[0, :8].tolist() == pytest.approx(first, rel=1e-5)


def test_distillation_and_its_gradient(number: int) -> None:
    case = published_case(number)
    student = case.student.requires_grad_()
    loss = SemanticDistillationLoss(fall11_tree(), compat="imagenet21k")(student, case.teacher)
    loss.backward()
    assert student.grad is not None
    assert loss.item() == pytest.approx(case.expected["kd_loss"], rel=1e-5)
    assert float(student.grad.double().norm()) == pytest.approx(
        case.expected["kd_grad_l2"], rel=1e-5
    )
