"""Other programs get each epoch's numbers, and only those that a recipe names are imported."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from labelkit.errors import RecipeError, TrainingError
from labelkit.train import StepRecord, read_recipe, train
from tests.train.support import recipe_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labelkit.train import Event, TrainingResult

# A module with W&B's verbs that writes down how it is called.
RECORDER = """
import json, pathlib
TARGET = pathlib.Path(__file__).with_suffix(".calls")
def write(verb, arguments):
    with TARGET.open("a") as file:
        file.write(json.dumps([verb, arguments]) + chr(10))
def init(**arguments):
    write("init", arguments)
def log(values, step=None):
    write("log", {**values, "step": step})
def finish():
    write("finish", {})
"""


@pytest.fixture(autouse=True)
def _forget_modules() -> Iterator[None]:
    yield
    for name in ("wandb", "trackio"):
        sys.modules.pop(name, None)


def run(folder: Path, photos: Path, *changes: str, **options: object) -> TrainingResult:
    (folder / "r.toml").write_text(recipe_text(photos, epochs=2))
    changes = (f"run.output={folder / 'run'}", *changes)
    return train(read_recipe(folder / "r.toml", changes), **options)


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_each_epoch_is_logged_once_also_after_an_interruption(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / f"{name}.py").write_text(RECORDER)
    monkeypatch.syspath_prepend(tmp_path)

    def stop(event: Event) -> None:
        if isinstance(event, StepRecord) and event.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, photos, f"run.logger={name}", on_event=stop)
    result = run(tmp_path, photos, f"run.logger={name}")
    run(tmp_path, photos, f"run.logger={name}")  # all is done: nothing to log
    calls = [json.loads(line) for line in (tmp_path / f"{name}.calls").read_text().splitlines()]
    assert [verb for verb, _ in calls] == ["init", "log", "finish"] * 2
    first, second = (found for verb, found in calls if verb == "init")
    assert first == second
    assert (first["project"], first["name"], first["resume"]) == ("labelkit", "run", "allow")
    assert first["config"]["optimizer.lr"] == 3e-3
    assert ("id" in first) == (name == "wandb")
    for (_, values), record in zip([calls[1], calls[4]], result.records, strict=True):
        assert values["step"] == record.epoch
        assert values["train_loss"] == record.train_loss
        assert values["val_top1"] == record.metrics["top1"]


def test_tensorboard_gets_the_numbers(tmp_path: Path, photos: Path) -> None:
    """Read back with its own reader."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = run(tmp_path, photos, "run.logger=tensorboard")
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    for name in ("train_loss", "val_loss", "val_top1"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in found] == [1, 2]
    assert found[-1][1] == pytest.approx(result.records[-1].metrics["top1"])


def test_a_missing_package_is_named_before_any_data_is_read(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the current directory has a folder of that name, as W&B leaves behind."""
    (tmp_path / "trackio").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RecipeError, match=r"the package trackio is not installed: pip install tr"):
        run(tmp_path, photos, "run.logger=trackio", "data.train=nowhere")


def test_a_logger_that_does_not_start_is_explained(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = "def init(**_):\n    raise OSError('api.wandb.ai is not reachable')\n"
    (tmp_path / "wandb.py").write_text(broken)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TrainingError, match=r"wandb does not start \(api\.wandb\.ai is not reach"):
        run(tmp_path, photos, "run.logger=wandb")
