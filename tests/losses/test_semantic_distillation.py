"""SemanticDistillationLoss against loops on random trees, and its behaviour as a module."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, strategies as st

from labelkit.losses import SemanticDistillationLoss
from tests.oracles import semantic_losses as oracle
from tests.oracles.forests import Parents, forests, levels_of, permute_parents, tree_of

SMALL: Parents = (4, -1, 1, 4, -1, 0)


def logits_for(parents: Parents, batch: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (2, batch, len(parents))
    student, teacher = torch.randn(shape, generator=generator, dtype=torch.float64) * 3
    return student, teacher


@given(parents=forests(), batch=st.integers(1, 4), seed=st.integers(0, 1000))
def test_equals_the_loops(parents: Parents, batch: int, seed: int) -> None:
    student, teacher = logits_for(parents, batch, seed)
    expected = oracle.semantic_distillation(parents, student.tolist(), teacher.tolist()) / batch
    loss = SemanticDistillationLoss(tree_of(parents))(student, teacher)
    assert float(loss) == pytest.approx(expected, rel=1e-10, abs=1e-12)


@given(parents=forests(), batch=st.integers(1, 4), seed=st.integers(0, 1000))
def test_compat_sums_over_the_batch_without_the_deepest_level(
    parents: Parents, batch: int, seed: int
) -> None:
    if any(len(level) == 1 for level in levels_of(parents)[:-1]) or len(levels_of(parents)) == 1:
        with pytest.raises(ValueError, match="compat='imagenet21k'"):
            SemanticDistillationLoss(tree_of(parents), compat="imagenet21k")
        return
    student, teacher = logits_for(parents, batch, seed)
    expected = oracle.semantic_distillation(
        parents, student.tolist(), teacher.tolist(), skip_deepest=True
    )
    loss = SemanticDistillationLoss(tree_of(parents), compat="imagenet21k")(student, teacher)
    assert float(loss) == pytest.approx(expected, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("classes", [7, 8, 11, 19, 20, 21, 40, 41, 160, 163, 401])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spread", [1, 100])
def test_confidence_is_the_top_twentieth_rounded_up(
    classes: int, dtype: torch.dtype, spread: int
) -> None:
    """For unsure teachers, and for teachers that give most classes a probability of 0."""
    parents = (-1,) * classes
    student, teacher = (logits.to(dtype) for logits in logits_for(parents, 2, seed=0))
    teacher *= spread
    expected = oracle.semantic_distillation(parents, student.tolist(), teacher.tolist()) / 2
    loss = SemanticDistillationLoss(tree_of(parents))(student, teacher)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@given(parents=forests(), seed=st.integers(0, 1000), data=st.data())
def test_the_order_of_the_class_list_changes_nothing(
    parents: Parents, seed: int, data: st.DataObject
) -> None:
    position = data.draw(st.permutations(range(len(parents))))
    student, teacher = logits_for(parents, 3, seed)
    moved = torch.empty(2, *student.shape, dtype=student.dtype)
    moved[:, :, position] = torch.stack([student, teacher])
    loss = SemanticDistillationLoss(tree_of(parents))(student, teacher)
    moved_loss = SemanticDistillationLoss(tree_of(permute_parents(parents, position)))(*moved)
    torch.testing.assert_close(loss, moved_loss)


def test_a_student_that_equals_its_teacher_has_zero_loss() -> None:
    student, _ = logits_for(SMALL, 4, seed=1)
    assert float(SemanticDistillationLoss(tree_of(SMALL))(student, student + 5)) < 1e-30


@pytest.mark.parametrize("parents", [SMALL, (-1, 0, 0, 1), (-1, -1, 0, 0, 1)])
def test_gradients(parents: Parents) -> None:
    student, teacher = logits_for(parents, 3, seed=2)
    loss = SemanticDistillationLoss(tree_of(parents))
    inputs = (student.requires_grad_(), teacher)
    assert torch.autograd.gradcheck(loss, inputs)
    assert torch.autograd.gradgradcheck(loss, inputs)


def test_a_second_backward_pass_gives_the_same_gradient() -> None:
    student, teacher = logits_for(SMALL, 3, seed=6)
    loss = SemanticDistillationLoss(tree_of(SMALL))(student.requires_grad_(), teacher)
    (first,) = torch.autograd.grad(loss, student, retain_graph=True)
    (second,) = torch.autograd.grad(loss * 2, student)
    torch.testing.assert_close(second, first * 2)


@pytest.mark.parametrize("parents", [SMALL, (-1, -1, 0, 0, 1)])
def test_compiles_into_one_graph(parents: Parents) -> None:
    """In any class order, and ordered by level."""
    student, teacher = logits_for(parents, 3, seed=7)
    loss = SemanticDistillationLoss(tree_of(parents))
    results: list[tuple[torch.Tensor, torch.Tensor]] = []
    for run in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        leaf = student.clone().requires_grad_()
        value = run(leaf, teacher)
        results.append((value.detach(), torch.autograd.grad(value, leaf)[0]))
    torch.testing.assert_close(results[1], results[0])


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
@pytest.mark.parametrize("side", ["student", "teacher"])
def test_nan_and_infinite_logits_give_a_nan_loss(broken: float, side: str) -> None:
    both = dict(zip(("student", "teacher"), logits_for(SMALL, 3, seed=8), strict=True))
    both[side][1, 2] = broken
    assert SemanticDistillationLoss(tree_of(SMALL))(both["student"], both["teacher"]).isnan()


def test_no_gradient_reaches_the_teacher() -> None:
    student, teacher = (tensor.requires_grad_() for tensor in logits_for(SMALL, 3, seed=3))
    SemanticDistillationLoss(tree_of(SMALL))(student, teacher).backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_train_and_eval_mode_agree_and_the_state_dict_is_empty() -> None:
    student, teacher = logits_for(SMALL, 3, seed=4)
    loss = SemanticDistillationLoss(tree_of(SMALL))
    trained = loss.train()(student, teacher)
    torch.testing.assert_close(loss.eval()(student, teacher), trained)
    torch.testing.assert_close(copy.deepcopy(loss)(student, teacher), trained)
    assert loss.state_dict() == {}


def test_the_loss_is_float32_under_autocast() -> None:
    parents = (-1,) * 300 + tuple(range(300)) * 3
    student, teacher = (tensor.bfloat16() for tensor in logits_for(parents, 4, seed=5))
    loss = SemanticDistillationLoss(tree_of(parents))
    expected = loss(student.double(), teacher.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(student, teacher)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("student_shape", "teacher_shape", "message"),
    [
        ((2, 5), (2, 6), r"^logits have shape \(2, 5\), expected \(batch, 6\)"),
        ((2, 6), (2, 5), r"^teacher_logits have shape \(2, 5\), expected \(batch, 6\)"),
        ((2, 6), (3, 6), r"logits \(2, 6\), teacher_logits \(3, 6\), expected the same shape"),
        ((0, 6), (0, 6), "empty batch"),
    ],
)
def test_wrong_shapes(
    student_shape: tuple[int, ...], teacher_shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        SemanticDistillationLoss(tree_of(SMALL))(
            torch.zeros(student_shape), torch.zeros(teacher_shape)
        )
