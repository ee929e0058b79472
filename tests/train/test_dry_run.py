"""``labelkit train --dry-run``: the recipe, the plan, the run's errors, and no file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
import pytest

from labelkit.train import dry_run, label_kinds, read_recipe, recipe_template, recipe_toml, train
from labelkit.train.run_folder import locked
from tests.command import labelkit
from tests.train.support import recipe_text, save_maps, save_tree

if TYPE_CHECKING:
    from pathlib import Path

    from labelkit.train import Event


@pytest.fixture
def recipe(tmp_path: Path, photos: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_text(photos))
    return path


def files_of(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_the_output_is_the_recipe_and_a_plan_counted_by_hand(recipe: Path, photos: Path) -> None:
    """72 images in batches of 10: seven updates, and two images left over."""
    changes = ["run.batch_size=10", "mix.cutmix=0.5", f"run.output={recipe.parent / 'run'}"]
    before = files_of(recipe.parent), files_of(photos)
    options = [word for change in changes for word in ("--set", change)]
    printed = labelkit("train", str(recipe), *options, "--dry-run")
    assert printed.code == 0, printed.text
    assert (files_of(recipe.parent), files_of(photos)) == before
    resolved = recipe.parent / "resolved.toml"
    resolved.write_text(printed.out)
    assert read_recipe(resolved) == read_recipe(recipe, changes)
    assert "label_smoothing = 0.0\n" in printed.out
    assert "# ema_decay is off\n" in printed.out
    for line in (
        "(3 classes, digest",
        "72 training images, 24 evaluation images; 0.37 M parameters on cpu",
        "Trained with hard labels; CutMix of alpha 0.5",
        "3 epochs of 7 updates: 21 updates, 210 images shown",
        "Each epoch drops its incomplete last batch, 2 images",
        "1 process on cpu, in float32",
        f"{recipe.parent / 'run'}: no run yet; last.pt takes about ",
    ):
        assert line in printed.out
    assert labelkit("train", str(recipe), "--dry-run", "-q").out == ""


def test_a_batch_that_is_larger_than_the_data_is_said(recipe: Path) -> None:
    plan = labelkit("train", recipe, "--dry-run", "--set", "run.batch_size=5000")
    assert "One update an epoch, of 72 images: fewer than run.batch_size, 5,000" in plan.text


def test_kd_is_another_word_for_distillation() -> None:
    assert labelkit("train", "--init", "kd").out == recipe_template("distillation")


def test_without_a_terminal_long_epochs_print_lines(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labelkit.cli.train._LINE_SECONDS", -1)
    output = recipe.parent / "run"
    run = labelkit("train", recipe, "--set", "schedule.epochs=1", "-o", output)
    assert f"Output: {output}" in run.text
    assert re.search(r"epoch 1/1, update (\d+) of \1: loss \d", run.text)


@pytest.mark.parametrize("kind", label_kinds())
def test_a_recipe_as_toml_is_the_same_recipe(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_template(kind))
    odd = 'photos "of" \\ Zoë 🐈\x7f\n'
    changes = ['optimizer.kwargs={betas=[0.9, 0.98], "a b"={c=true}, eps=1e-9}']
    original = read_recipe(path, changes)
    data = msgspec.structs.replace(original.data, train=odd, crop_scale=(0.25, 1.0), labels=50)
    original = msgspec.structs.replace(original, data=data)
    path.write_text(recipe_toml(original))
    assert read_recipe(path) == original


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_size_of_the_checkpoint(recipe: Path, optimizer: str) -> None:
    """AdamW keeps two numbers a weight, SGD one; a moving average is one more."""
    changes = [f"run.output={recipe.parent / 'run'}", f"optimizer.name={optimizer}"]
    run = read_recipe(recipe, [*changes, "schedule.epochs=1", "model.ema_decay=0.9"])
    plan = dry_run(run)
    assert (plan.start.done, plan.updates, plan.shown, plan.dropped) == (0, 6, 72, 0)
    train(run)
    size = (recipe.parent / "run" / "last.pt").stat().st_size
    assert plan.checkpoint_bytes == pytest.approx(size, rel=0.08)
    assert dry_run(run).start.done == 1
    assert dry_run(run).checkpoint_bytes == plan.checkpoint_bytes


class _Stopped(Exception):  # noqa: N818
    """The run was interrupted."""


def stop_in_epoch_2(event: Event) -> None:
    if getattr(event, "epoch", 0) == 2:
        raise _Stopped


def test_what_the_output_folder_has(recipe: Path) -> None:
    run = read_recipe(recipe, [f"run.output={recipe.parent / 'run'}"])
    with pytest.raises(_Stopped):
        train(run, on_event=stop_in_epoch_2)
    before = files_of(recipe.parent)
    command = ("train", str(recipe), "-o", str(recipe.parent / "run"), "--dry-run")
    assert "a run to resume after epoch 1" in labelkit(*command).out
    assert files_of(recipe.parent) == before
    train(run)
    assert "a finished run" in labelkit(*command).out


@pytest.mark.parametrize(
    "change",
    [
        "data.train=nowhere",
        "data.image_size=4000000",
        "model.name=resnet5",
        "optimizer.name=adamm",
        "optimizer.kwargs={colour=1}",
        "schedule.kwargs={colour=1}",
        "run.accumulate=99",
        'labels={kind="semantic-softmax", tree="nowhere.json"}',
        "run.output=recipe.toml/run",
    ],
)
def test_the_errors_are_those_of_the_run(
    recipe: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(recipe.parent)
    command = ("train", str(recipe), "--set", "run.output=run", "--set", change)
    dry = labelkit(*command, "--dry-run")
    wet = labelkit(*command)
    assert (dry.code, dry.text) == (wet.code, wet.text)
    assert dry.code > 0
    assert not (recipe.parent / "run").exists()


def test_a_folder_that_another_run_needs(recipe: Path) -> None:
    folder = recipe.parent / "run"
    run = read_recipe(recipe, [f"run.output={folder}", "schedule.epochs=1"])
    train(run)
    other = ("train", str(recipe), "-o", str(folder), "--set", "run.seed=1")
    assert labelkit(*other, "--dry-run").text == labelkit(*other).text
    assert "run.seed" in labelkit(*other, "--dry-run").text
    with locked(folder):
        held = labelkit("train", str(recipe), "-o", str(folder), "--dry-run")
    assert held.code == 1
    assert "is training in" in held.text


def test_labels_in_words(recipe: Path, photos: Path) -> None:
    tree = save_tree(recipe.parent / "tree.json")
    maps = save_maps(recipe.parent / "maps.h5", photos / "train")
    soft = f'labels={{kind="label-maps", maps="{maps}", original=0.3, tree="{tree}"}}'
    printed = labelkit("train", str(recipe), "--set", soft, "--dry-run", "--set", "mix.mixup=1.0")
    assert (
        f"Trained with local-multi targets of the label maps {maps} and 0.3 of the original label, "
        f"temperature 1, as semantic softmax on the tree {tree}; MixUp of alpha 1\n"
    ) in printed.out
