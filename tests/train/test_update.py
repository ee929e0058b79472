"""Precision, accumulation, clipping and averaging: each against what it must equal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from labelkit.errors import RecipeError, TrainingError
from labelkit.train import StepRecord, load_classifier, read_recipe, train
from labelkit.train.checkpoint import content_digest
from labelkit.train.failures import diverged
from tests.train.support import recipe_text

if TYPE_CHECKING:
    from labelkit.train import Event, TrainingResult

# No batch norm and no dropout: every image counts alone. SGD, since Adam's first steps have the
# sign of a gradient, however small.
ALONE = ("model={name='test_vit', kwargs={img_size=32}}", "optimizer={name='sgd', lr=0.05}")


def run(folder: Path, photos: Path, name: str, *changes: str) -> TrainingResult:
    path = folder / "recipe.toml"
    path.write_text(recipe_text(photos, epochs=1))
    return train(read_recipe(path, [f"run.output={folder / name}", *changes]))


def saved(folder: Path, part: str = "model") -> dict[str, torch.Tensor]:
    return torch.load(folder / "last.pt", weights_only=True)[part]


def difference(one: Path, other: Path) -> float:
    pairs = zip(saved(one).values(), saved(other).values(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


def test_parts_of_a_batch_add_up_to_the_batch(tmp_path: Path, photos: Path) -> None:
    """Twelve images in parts of 3, 3, 2, 2 and 2: the mean is over the images, not the parts."""
    whole = run(tmp_path, photos, "whole", *ALONE)
    parts = run(tmp_path, photos, "parts", *ALONE, "run.accumulate=5")
    assert 0 < difference(tmp_path / "whole", tmp_path / "parts") < 1e-5
    assert parts.best.train_loss == pytest.approx(whole.best.train_loss, abs=1e-5)
    assert parts.best.metrics == pytest.approx(whole.best.metrics, abs=1e-5)


@pytest.mark.parametrize(
    ("budget", "epochs"),
    [
        ("schedule={epochs=2, warmup_epochs=2}", "the 2 epochs:"),
        ("schedule={epochs=1, warmup_epochs=5}", "the 1 epoch:"),
        # 72 images in batches of 12 are an epoch, so that 100 images take two of them.
        ("schedule={images=100, warmup_epochs=2}", "the 2 epochs that schedule.images = 100 takes"),
    ],
)
def test_warmup_must_end_before_the_run(
    tmp_path: Path, photos: Path, budget: str, epochs: str
) -> None:
    expected = rf"schedule\.warmup_epochs is \d, expected less than {epochs}"
    with pytest.raises(RecipeError, match=expected):
        run(tmp_path, photos, "run", budget)
    assert not (tmp_path / "run/last.pt").exists()


def test_one_epoch_after_warmup_is_enough(tmp_path: Path, photos: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_text(photos, epochs=1))
    changes = ("schedule={images=100, warmup_epochs=1}", f"run.output={tmp_path / 'run'}")
    first, last = train(read_recipe(path, changes)).records
    assert first.lr > last.lr


def test_there_must_be_an_image_for_each_part(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(RecipeError, match="run: accumulate is 13, expected at most batch_size, 12"):
        run(tmp_path, photos, "run", "run.accumulate=13")
    with pytest.raises(RecipeError, match=r"72 images, too few .* run\.accumulate = 100"):
        run(tmp_path, photos, "run", "run.accumulate=100", "run.batch_size=200")


def test_float16_scales_the_loss_and_learns(tmp_path: Path, photos: Path) -> None:
    result = run(tmp_path, photos, "run", "run.precision=float16", "schedule.epochs=4")
    assert result.best.metrics["top1"] > 80
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["scaler"]
    assert state["scale"] >= 1
    assert state["_growth_tracker"] == 24  # four epochs of six updates without an overflow


def test_an_overflow_in_float16_skips_the_update(tmp_path: Path, photos: Path) -> None:
    """The loss stays finite: only the scaled gradients overflow, so the scale is halved."""
    run(tmp_path, photos, "run", *ALONE, "run.precision=float16", "run.batch_size=72")
    before = saved(tmp_path / "run")
    content = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    content["scaler"] |= {"scale": 2.0**120}
    content["recipe"]["schedule.epochs"] = 2
    content["digest"] = content_digest(content)
    torch.save(content, tmp_path / "run" / "last.pt")
    more = ("run.precision=float16", "run.batch_size=72", "schedule.epochs=2")
    run(tmp_path, photos, "run", *ALONE, *more)
    after = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert after["scaler"]["scale"] == 2.0**119
    assert all(torch.equal(before[name], after["model"][name]) for name in before)


def test_gradients_are_clipped_to_the_norm(tmp_path: Path, photos: Path) -> None:
    """One update of plain SGD moves the weights by at most lr times the limit."""
    changes = (*ALONE, "run.batch_size=72", "schedule.warmup_epochs=0")
    sgd = "optimizer={name='sgd', lr=0.05, momentum=0, kwargs={nesterov=false}, clip_grad="
    run(tmp_path, photos, "free", *changes, sgd + "1e9}")
    run(tmp_path, photos, "clipped", *changes, sgd + "0.01}")
    run(tmp_path, photos, "adaptive", *changes, sgd + "0.01, clip_mode='agc'}")
    start = initial_weights(tmp_path)
    moved = {name: norm_of_change(start, tmp_path / name) for name in ("free", "clipped")}
    assert moved["free"] > 0.05 * 0.01 * 2
    assert moved["clipped"] == pytest.approx(0.05 * 0.01, rel=1e-3)
    # Adaptive clipping: each row moves by at most lr * 0.01 times its norm, the classifier freely.
    ends = saved(tmp_path / "adaptive")
    for name, weights in start.items():
        change = (ends[name] - weights).flatten(1).norm(dim=1) if weights.ndim > 1 else None
        if change is not None and name != "head.weight" and "embed" not in name:
            limit = 0.05 * 0.01 * weights.flatten(1).norm(dim=1).clamp(min=1e-3)
            assert bool((change <= limit * 1.001).all()), name
    assert not torch.equal(ends["head.weight"], start["head.weight"])


def initial_weights(folder: Path) -> dict[str, torch.Tensor]:
    from labelkit.train.building import create_student

    recipe = read_recipe(folder / "recipe.toml", ALONE)
    return {name: each.detach() for name, each in create_student(recipe, 3).named_parameters()}


def norm_of_change(start: dict[str, torch.Tensor], folder: Path) -> float:
    end = saved(folder)
    return float(torch.stack([(end[name] - start[name]).norm() for name in start]).norm())


def test_the_average_is_what_is_evaluated_and_exported(tmp_path: Path, photos: Path) -> None:
    """Recomputed from the weights after each epoch, of one update each."""
    text = ("run.batch_size=72", "model.ema_decay=0.1", "schedule.epochs=3")
    steps: list[dict[str, torch.Tensor]] = []

    def keep(event: Event) -> None:
        if type(event).__name__ == "EpochRecord":
            steps.append(saved(tmp_path / "run"))

    (tmp_path / "r.toml").write_text(recipe_text(photos))
    recipe = read_recipe(tmp_path / "r.toml", [f"run.output={tmp_path / 'run'}", *text])
    result = train(recipe, on_event=keep)
    expected = steps[0]  # the first update starts the average
    for number, weights in enumerate(steps[1:], start=1):
        decay = min(0.1, number / (number + 10))
        expected = {name: decay * expected[name] + (1 - decay) * weights[name] for name in expected}
    ema = saved(tmp_path / "run", "ema")
    name = "conv1.0.weight"
    assert not torch.equal(ema[name], saved(tmp_path / "run")[name])
    assert torch.allclose(ema[name], expected[name], atol=1e-6)
    last = load_classifier(tmp_path / "run" / "last.pt")
    assert torch.equal(last.model.state_dict()[name], ema[name])
    if result.best is result.records[-1]:
        best = load_classifier(tmp_path / "run")
        assert torch.equal(best.model.state_dict()[name], ema[name])


KILLED = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from labelkit.train import StepRecord, read_recipe, train
def die(event):
    if isinstance(event, StepRecord) and event.epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)
train(read_recipe(sys.argv[1], sys.argv[2:]), on_event=die)
"""


def test_a_killed_run_with_everything_resumes_with_the_same_numbers(
    tmp_path: Path, photos: Path
) -> None:
    """Scale, average and parts: after SIGKILL in epoch 2, the weights are bit for bit the same."""
    everything = (
        *("run.precision=float16", "run.accumulate=2", "model.ema_decay=0.9"),
        *("optimizer.clip_grad=1.0", "schedule.epochs=3"),
    )
    whole = run(tmp_path, photos, "whole", *everything)
    arguments = [tmp_path / "recipe.toml", f"run.output={tmp_path / 'killed'}", *everything]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments],
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert killed.returncode == -signal.SIGKILL
    resumed = run(tmp_path, photos, "killed", *everything)
    for one, other in zip(whole.records, resumed.records, strict=True):
        assert replace(one, seconds=0, images_per_second=0) == replace(
            other, seconds=0, images_per_second=0
        )
    for part in ("model", "ema"):
        before, after = saved(tmp_path / "whole", part), saved(tmp_path / "killed", part)
        assert all(torch.equal(before[name], after[name]) for name in before)
    assert saved(tmp_path / "whole", "scaler") == saved(tmp_path / "killed", "scaler")


def test_a_budget_in_images_is_rounded_up_to_epochs(tmp_path: Path, photos: Path) -> None:
    """72 images an epoch, of which 5 batches of 14 make 70."""
    changes = ("run.batch_size=14", "schedule={images=71, name='cosine'}")
    assert len(run(tmp_path, photos, "run", *changes).records) == 2
    changes = ("run.batch_size=14", "schedule={images=70}")
    assert len(run(tmp_path, photos, "other", *changes).records) == 1
    for schedule in ("schedule={}", "schedule.images=9"):
        with pytest.raises(RecipeError, match="schedule: set one of epochs and images"):
            run(tmp_path, photos, "run", schedule)


def test_a_batch_whose_loss_is_not_finite_is_named(tmp_path: Path, photos: Path) -> None:
    """The second of six batches of twelve: the first changes the weights by 1e30."""
    from labelkit.train.data import EpochSampler

    changes = ("optimizer={name='sgd', lr=1e30}", "data.hflip=0")
    with pytest.raises(TrainingError, match=r"in epoch 1, step \d.*images: ") as caught:
        run(tmp_path, photos, "run", *changes)
    step = int(str(caught.value).split("step ")[1][0])
    sampler = EpochSampler(72, 0, shuffle=True)
    sampler.epoch = 1
    paths = sorted(path.parts[-2:] for path in (photos / "train").rglob("*.png"))
    batch = [paths[position] for position, _ in sampler][12 * (step - 1) : 12 * step]
    named = str(caught.value).split("images: ")[1].split(", ")
    assert [Path(name).parts[-2:] for name in named] == batch


def test_a_batch_is_named_by_the_ends_of_long_paths() -> None:
    """What tells one photo from another is at the end of its path."""
    keys = [f"{'deep/' * 80}{number:04}.jpg" for number in range(3)]
    message = str(diverged(1, "the loss is nan", keys))
    assert all(f"/{number:04}.jpg" in message for number in range(3))
    assert len(message) < 800


def test_the_layout_changes_only_the_rounding(tmp_path: Path, photos: Path) -> None:
    fast = run(tmp_path, photos, "fast", *ALONE)
    plain = run(tmp_path, photos, "plain", *ALONE, "run.channels_last=false")
    assert plain.best.train_loss == pytest.approx(fast.best.train_loss, abs=1e-4)


def test_a_compiled_student_saves_the_same_names(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only traced: translating to C++ takes a minute. And a failure is explained."""
    compiled = torch.compile

    def trace(model: torch.nn.Module) -> object:
        return compiled(model, backend="eager")

    monkeypatch.setattr(torch, "compile", trace)
    plain = run(tmp_path, photos, "plain", *ALONE)
    traced = run(tmp_path, photos, "traced", *ALONE, "run.compile=true")
    assert traced.best.train_loss == pytest.approx(plain.best.train_loss, abs=1e-4)
    assert saved(tmp_path / "traced").keys() == saved(tmp_path / "plain").keys()

    def fail(*_: object) -> object:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", lambda model: compiled(model, backend=fail))
    with pytest.raises(RecipeError, match=r"run\.compile: torch cannot compile test_vit .*false"):
        run(tmp_path, photos, "failed", *ALONE, "run.compile=true")


def test_an_event_reports_the_mean_loss(tmp_path: Path, photos: Path) -> None:
    events: list[Event] = []
    (tmp_path / "r.toml").write_text(recipe_text(photos, epochs=1))
    changes = [f"run.output={tmp_path / 'run'}", *ALONE, "run.accumulate=3"]
    result = train(read_recipe(tmp_path / "r.toml", changes), on_event=events.append)
    last = [event for event in events if isinstance(event, StepRecord)][-1]
    assert last.loss == result.records[0].train_loss
