"""DistillationLoss against loops and known identities, for live and stored teachers."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st

from labelkit.losses import DistillationLoss, TopKLogits
from tests.oracles import distillation as oracle

TEMPERATURES = st.sampled_from([0.5, 1.0, 4.0])


def logits_for(batch: int, classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, batch, classes, generator=generator, dtype=torch.float64) * 3
    return student, teacher


def stored(teacher: torch.Tensor, k: int) -> TopKLogits:
    best = teacher.topk(k, dim=1)
    return TopKLogits(best.indices, best.values, teacher.logsumexp(dim=1))


@given(
    batch=st.integers(1, 4),
    classes=st.integers(1, 6),
    seed=st.integers(0, 1000),
    temperature=TEMPERATURES,
)
def test_equals_the_loops(batch: int, classes: int, seed: int, temperature: float) -> None:
    student, teacher = logits_for(batch, classes, seed)
    expected = oracle.divergence(student.tolist(), teacher.tolist(), temperature)
    loss = DistillationLoss(temperature)(student, teacher)
    assert float(loss) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(
    batch=st.integers(1, 4),
    classes=st.integers(2, 7),
    seed=st.integers(0, 1000),
    temperature=TEMPERATURES,
    data=st.data(),
)
def test_stored_logits_equal_the_loops(
    batch: int, classes: int, seed: int, temperature: float, data: st.DataObject
) -> None:
    """The remaining mass is spread over the classes that are not stored, then softened."""
    student, teacher = logits_for(batch, classes, seed)
    kept = stored(teacher, data.draw(st.integers(0, classes - 1)))
    dense = [
        oracle.spread_out(dict(zip(listed, values, strict=True)), log_sum_exp, classes)
        for listed, values, log_sum_exp in zip(*(part.tolist() for part in kept), strict=True)
    ]
    expected = oracle.divergence(student.tolist(), dense, temperature)
    loss = DistillationLoss(temperature)(student, kept)
    assert float(loss) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_storing_all_logits_equals_a_live_teacher(temperature: float) -> None:
    student, teacher = logits_for(4, 6, seed=0)
    loss = DistillationLoss(temperature)
    torch.testing.assert_close(loss(student, stored(teacher, 6)), loss(student, teacher))


def test_a_teacher_with_one_certain_class_gives_plain_cross_entropy() -> None:
    student, _ = logits_for(4, 6, seed=1)
    target = torch.arange(4)
    certain = TopKLogits(target.unsqueeze(1), torch.full((4, 1), 7.0), torch.full((4,), 7.0))
    expected = F.cross_entropy(student, target)
    torch.testing.assert_close(DistillationLoss()(student, certain), expected)


def test_a_student_that_equals_its_teacher_has_zero_loss() -> None:
    student, _ = logits_for(4, 6, seed=2)
    assert abs(float(DistillationLoss(3.0)(student, student + 5))) < 1e-12


@pytest.mark.parametrize("k", [None, 2, 5])
def test_gradients(k: int | None) -> None:
    student, teacher = logits_for(3, 5, seed=3)
    logits = teacher if k is None else stored(teacher, k)
    loss = DistillationLoss(2.0)
    assert torch.autograd.gradcheck(lambda x: loss(x, logits), (student.requires_grad_(),))


def test_no_gradient_reaches_the_teacher() -> None:
    student, teacher = (tensor.requires_grad_() for tensor in logits_for(3, 5, seed=4))
    for logits in (teacher, stored(teacher, 2)):
        DistillationLoss()(student, logits).backward()
    assert student.grad is not None
    assert teacher.grad is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("k", [None, 20])
def test_the_loss_is_float32_under_autocast(dtype: torch.dtype, k: int | None) -> None:
    student, teacher = (tensor.to(dtype) for tensor in logits_for(4, 3000, seed=5))
    exact = teacher.double() if k is None else stored(teacher.double(), k)
    narrow = teacher if k is None else stored(teacher.float(), k)
    expected = DistillationLoss(2.0)(student.double(), exact)
    with torch.autocast("cpu", dtype=dtype):
        found = DistillationLoss(2.0)(student, narrow)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=0)


def test_a_copy_in_eval_mode_gives_the_same_loss() -> None:
    student, teacher = logits_for(3, 5, seed=6)
    loss = DistillationLoss(2.0)
    other = copy.deepcopy(loss).eval()
    assert float(other(student, teacher)) == float(loss(student, teacher))
    assert loss.state_dict() == {}


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_invalid_temperatures(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature is"):
        DistillationLoss(temperature)


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        (
            torch.zeros(2, 5),
            torch.zeros(2, 6),
            r"logits \(2, 5\), teacher \(2, 6\), expected the same shape",
        ),
        (torch.zeros(2, 5), torch.zeros(2, 5).long(), r"teacher must be floats, got torch\.int64"),
        (torch.zeros(0, 5), torch.zeros(0, 5), "empty batch"),
        (torch.zeros(5), torch.zeros(5), r"shape \(5,\), expected \(batch, classes\)"),
        (torch.zeros(2, 5).long(), torch.zeros(2, 5), r"logits must be floats, got torch\.int64"),
    ],
)
def test_wrong_shapes(student: torch.Tensor, teacher: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DistillationLoss()(student, teacher)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": torch.zeros(2, 3).long()}, r"classes \(2, 3\), logits \(2, 2\)"),
        ({"log_sum_exp": torch.zeros(2, 1)}, r"log_sum_exp \(2, 1\)"),
        (
            {"classes": torch.tensor([[0, 1], [0, 5]])},
            r"teacher\.classes has classes from 0 to 5",
        ),
        (
            {"classes": torch.zeros(2, 2).int()},
            r"teacher\.classes must be torch\.int64, got torch\.int32",
        ),
        ({"logits": torch.zeros(2, 2).long()}, r"teacher\.logits must be floats, got torch\.int64"),
        ({"log_sum_exp": torch.zeros(2).long()}, r"log_sum_exp must be floats, got torch\.int64"),
        ({"log_sum_exp": torch.zeros(2)}, r"sum to 2: log_sum_exp must be"),
    ],
)
def test_wrong_stored_logits(change: dict[str, torch.Tensor], message: str) -> None:
    kept = TopKLogits(torch.tensor([[0, 1], [2, 3]]), torch.zeros(2, 2), torch.full((2,), 2.0))
    assert DistillationLoss()(torch.zeros(2, 5), kept) > 0
    with pytest.raises(ValueError, match=message):
        DistillationLoss()(torch.zeros(2, 5), kept._replace(**change))


def test_more_stored_logits_than_classes() -> None:
    kept = TopKLogits(torch.tensor([[0, 1, 0]]), torch.zeros(1, 3), torch.full((1,), 2.0))
    with pytest.raises(ValueError, match="lists 3 of 2 classes"):
        DistillationLoss()(torch.zeros(1, 2), kept)
