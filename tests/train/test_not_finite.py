"""Numbers that are not finite stop a run, and nothing ruined is saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from labelkit.errors import TrainingError
from labelkit.hierarchy import ClassList
from labelkit.train import read_checkpoint, read_recipe, train
from labelkit.train.checkpoint import Checkpoint, EpochRecord, content_digest, not_finite
from labelkit.train.evaluation import NonFiniteLogits
from tests.train.support import recipe_text

if TYPE_CHECKING:
    from pathlib import Path

RUINED_LAST = 'schedule={epochs=2,name="multistep",kwargs={decay_milestones=[1],decay_rate=1e30}}'


def test_a_ruined_epoch_is_not_kept(tmp_path: Path, photos: Path) -> None:
    """The learning rate explodes in the only update of epoch 2: its own loss is still finite."""
    (tmp_path / "r.toml").write_text(recipe_text(photos))
    changes = [f"run.output={tmp_path / 'run'}", RUINED_LAST, "run.batch_size=72"]
    recipe = read_recipe(tmp_path / "r.toml", [*changes, "optimizer.name=sgd"])
    for _ in range(2):  # a repeated run must not resume the ruin
        with pytest.raises(TrainingError, match=r"epoch 2.*epoch 1 is kept.*optimizer\.lr"):
            train(recipe)
        assert read_checkpoint(tmp_path / "run" / "last.pt").epoch == 1
        assert (tmp_path / "run" / "log.jsonl").read_text().count("\n") == 1
        state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
        assert all(bool(torch.isfinite(value).all()) for value in state["model"].values())


def test_in_the_first_epoch_there_is_no_checkpoint_to_keep(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "r.toml").write_text(recipe_text(photos))
    changes = [f"run.output={tmp_path / 'run'}", "optimizer.name=sgd", "optimizer.lr=1e30"]
    with pytest.raises(TrainingError, match=r"in epoch 1, step \d+\. No epoch was finished\."):
        train(read_recipe(tmp_path / "r.toml", changes))
    assert not (tmp_path / "run" / "best.safetensors").exists()


def test_a_logit_of_minus_infinity_counts_although_its_loss_is_finite() -> None:
    """A class that no image has: cross-entropy does not see it."""
    logits = torch.tensor([[0.0, 1.0, -torch.inf], [0.0, 1.0, 2.0], [torch.nan, 0.0, 0.0]])
    assert torch.isfinite(torch.nn.functional.cross_entropy(logits[:2], torch.tensor([0, 1])))
    count = NonFiniteLogits()
    assert count.compute() == 0
    for part in (logits[:2], logits[2:]):
        count.update(part, torch.zeros(len(part), dtype=torch.long))
    assert count.compute() == 2


@pytest.mark.parametrize("ruin", ["model", "metrics"])
def test_a_ruined_checkpoint_of_an_earlier_version_is_refused(tmp_path: Path, ruin: str) -> None:
    bad = float("nan")
    record = EpochRecord(1, 0.5, 0.1, {"loss": bad if ruin == "metrics" else 0.5}, 1.0, 1.0)
    weights = {"w": torch.tensor([1.0, bad if ruin == "model" else 1.0])}
    checkpoint = Checkpoint({}, ClassList.of(["a"]), "", "", (record,), weights, {})
    checkpoint.save(tmp_path / "last.pt")
    with pytest.raises(TrainingError, match=r"not finite.*start again"):
        read_checkpoint(tmp_path / "last.pt")


def test_nested_tensors_are_named() -> None:
    state = {0: {"step": torch.tensor(1.0), "mean": torch.tensor([torch.inf])}, 1: [1.0, None]}
    assert not_finite(state) == ["0.mean"]


def test_a_checkpoint_changed_with_correct_checksums_is_refused(tmp_path: Path) -> None:
    """Its own digest covers every value and tensor."""
    record = EpochRecord(1, 0.5, 0.1, {"loss": 0.5}, 1.0, 1.0)
    weights = {"w": torch.tensor([1.0, 2.0])}
    optimizer = {"state": {0: {"mean": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}
    path = tmp_path / "last.pt"
    Checkpoint({"a.b": 1}, ClassList.of(["a"]), "", "", (record,), weights, optimizer).save(path)
    content = torch.load(path, weights_only=True)
    assert content_digest(content) == content["digest"]
    for change in (
        {"model": {"w": torch.tensor([1.0, 3.0])}},
        {"model": {"w": torch.tensor([[1.0, 2.0]])}},
        {"optimizer": {**optimizer, "param_groups": [{"lr": 0.2}]}},
        {"recipe": {"a.b": 2}},
        {"records": []},
    ):
        torch.save(content | change, path)
        with pytest.raises(TrainingError, match="its digest does not match"):
            read_checkpoint(path)
