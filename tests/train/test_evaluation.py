"""Evaluation agrees with a plain loop and restores the mode of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from labelkit.hierarchy import ClassList
from labelkit.metrics import TopKAccuracy
from labelkit.train import MeanLoss, evaluate
from labelkit.train.student import save_student

if TYPE_CHECKING:
    from pathlib import Path


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    sizes = (4, 4, 1)
    return [
        (torch.randn(size, 3, generator=generator), torch.randint(5, (size,), generator=generator))
        for size in sizes
    ]


@pytest.mark.parametrize("training", [True, False])
def test_metrics_equal_those_of_one_batch_in_eval_mode(training: bool) -> None:  # noqa: FBT001
    """A last batch of one sample counts as one sample."""
    model = nn.Sequential(nn.Linear(3, 5), nn.Dropout(0.5)).train(training)
    metrics = {"loss": MeanLoss(nn.CrossEntropyLoss()), "top1": TopKAccuracy(1)}
    found = dict(evaluate(model, batches(), metrics))
    assert model.training is training
    images, target = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    logits = model[0](images).detach()
    assert found["loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, target)))
    correct = (logits.argmax(1) == target).float().mean()
    assert found["top1"] == pytest.approx(100 * float(correct))


def test_a_failing_model_returns_to_its_mode() -> None:
    model = nn.Linear(4, 5).train()
    with pytest.raises(RuntimeError):
        list(evaluate(model, batches(), {}))
    assert model.training


def test_the_mean_loss_of_no_samples_is_an_error() -> None:
    with pytest.raises(ValueError, match="no samples"):
        MeanLoss(nn.CrossEntropyLoss()).compute()


def test_a_saved_student_has_its_class_list(tmp_path: Path) -> None:
    """Also with tied weights, which safetensors rejects."""
    import json

    from safetensors import safe_open

    classes = ClassList.of(["cat", "dog"])
    weight = torch.randn(2, 3)
    save_student(tmp_path / "s.safetensors", {"a": weight, "b": weight}, classes, {"epoch": "1"})
    with safe_open(tmp_path / "s.safetensors", "pt") as file:
        metadata = file.metadata()
        assert torch.equal(file.get_tensor("b"), weight)
    assert metadata["classes_digest"] == classes.digest
    assert json.loads(metadata["classes"]) == ["cat", "dog"]
    assert metadata["epoch"] == "1"
