"""Real runs: all kinds of labels learn, and workers and interruptions change no results."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
import torch
from torchvision.datasets import ImageFolder

from labelkit.errors import RecipeError, TrainingError
from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy
from labelkit.losses import SemanticSoftmaxLoss
from labelkit.train import (
    EpochRecord,
    RunStarted,
    StepRecord,
    TrainingResult,
    build_task,
    read_recipe,
    train,
)
from labelkit.train.checkpoint import content_digest
from tests.train.support import recipe_text, save_maps, save_tree

if TYPE_CHECKING:
    from labelkit.train import Event


def run(folder: Path, text: str, *changes: str, name: str = "run") -> TrainingResult:
    path = folder / "recipe.toml"
    path.write_text(text)
    return train(read_recipe(path, [f"run.output={folder / name}", *changes]))


def numbers(result: TrainingResult) -> list[EpochRecord]:
    """Everything that a repeated run must reproduce: all fields but the times."""
    return [replace(record, seconds=0, images_per_second=0) for record in result.records]


def test_hard_labels_are_learned(tmp_path: Path, photos: Path) -> None:
    """Three classes, so chance is 33 %; the log has each returned epoch once."""
    result = run(tmp_path, recipe_text(photos, epochs=4))
    assert result.best.metrics["top1"] > 80
    assert result.records[-1].train_loss < result.records[0].train_loss
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [EpochRecord(**json.loads(line)) for line in lines] == list(result.records)
    assert "top5" not in result.best.metrics


def test_semantic_softmax_is_learned_on_a_tree_of_two_levels(tmp_path: Path, photos: Path) -> None:
    """Folders match the tree's classes by name: the tree's order is not the folders'."""
    tree = save_tree(tmp_path / "tree.json")
    labels = f'kind = "semantic-softmax"\ntree = "{tree}"\nlabel_smoothing = 0.1'
    result = run(tmp_path, recipe_text(photos, labels, epochs=4))
    assert result.measure == "semantic_accuracy"
    assert set(result.best.metrics) == {"loss", "semantic_accuracy"}
    assert result.best.metrics["semantic_accuracy"] > 80
    assert result.classes.ids == ("thing", "sky", "nothing", "leaf", "apple")


def test_top_1_ranks_classes_of_one_level_without_inner_nodes(tmp_path: Path, photos: Path) -> None:
    """Inner nodes precede the classes here, so class indices differ from folder positions."""
    taxonomy = Taxonomy.from_edges([("apple", "thing"), ("leaf", "thing"), ("sky", "nothing")])
    classes = ClassList.of(["apple", "leaf", "sky"])
    tree = SemanticTree.build(classes, taxonomy, inner_levels="all").ordered_by_level()
    assert list(tree.classes) == ["thing", "apple", "leaf", "sky"]
    tree.save(tmp_path / "tree.json")
    labels = f'kind = "semantic-softmax"\ntree = "{tmp_path / "tree.json"}"'
    result = run(tmp_path, recipe_text(photos, labels))
    last = result.records[-1].metrics
    assert set(last) == {"loss", "top1", "semantic_accuracy"}
    assert last["top1"] > 60


def test_the_recipe_sets_the_level_weights(tmp_path: Path, photos: Path) -> None:
    tree = save_tree(tmp_path / "tree.json")
    labels = f'kind = "semantic-softmax"\ntree = "{tree}"\nlevel_weights = '
    found = {}
    for weights in ('"paper"', '"uniform"', "[0, 2.5]"):
        (tmp_path / "recipe.toml").write_text(recipe_text(photos, labels + weights))
        loss = build_task(read_recipe(tmp_path / "recipe.toml")).loss
        assert isinstance(loss, SemanticSoftmaxLoss)
        found[weights] = loss.level_weights
    assert found == {'"paper"': (1.0, 5 / 3), '"uniform"': (1.0, 1.0), "[0, 2.5]": (0.0, 2.5)}
    (tmp_path / "recipe.toml").write_text(recipe_text(photos, labels + "[1.0]"))
    with pytest.raises(RecipeError, match="labels: level_weights has 1 weights, expected 2"):
        build_task(read_recipe(tmp_path / "recipe.toml"))


@pytest.mark.parametrize("kind", ["hard", "semantic-softmax", "label-maps"])
def test_folders_match_the_class_list_by_name(tmp_path: Path, photos: Path, kind: str) -> None:
    """Neither the tree nor the file has its classes in the order of the folders."""
    labels = {
        "hard": 'kind = "hard"',
        "semantic-softmax": f'kind = "semantic-softmax"\ntree = "{tmp_path / "tree.json"}"',
        "label-maps": f'kind = "label-maps"\nmaps = "{tmp_path / "maps.h5"}"',
    }
    save_tree(tmp_path / "tree.json")
    save_maps(tmp_path / "maps.h5", photos / "train")
    (tmp_path / "recipe.toml").write_text(recipe_text(photos, labels[kind]))
    task = build_task(read_recipe(tmp_path / "recipe.toml"))
    for split, samples in (("train", task.train_set), ("val", task.val_set)):
        paths = ImageFolder(str(photos / split)).samples
        for position in range(len(samples)):
            folder = Path(paths[position][0]).parent.name
            _, target = samples[position]
            found = int(target.argmax()) if target.ndim else int(target)
            assert task.classes[found] == folder


def test_label_maps_are_learned(tmp_path: Path, photos: Path) -> None:
    """The val folders match the file's classes by name: the file's order is not the folders'."""
    maps = save_maps(tmp_path / "maps.h5", photos / "train")
    result = run(tmp_path, recipe_text(photos, f'kind = "label-maps"\nmaps = "{maps}"', epochs=4))
    assert result.best.metrics["top1"] > 80


def test_label_maps_are_learned_on_a_tree(tmp_path: Path, photos: Path) -> None:
    """Neither the file's classes nor the tree's are in the folders' order, nor in each other's."""
    maps = save_maps(tmp_path / "maps.h5", photos / "train")
    tree = save_tree(tmp_path / "tree.json")
    labels = f'kind = "label-maps"\nmaps = "{maps}"\ntree = "{tree}"\nlevel_weights = [1, 1.5]'
    result = run(tmp_path, recipe_text(photos, labels, epochs=4))
    assert set(result.best.metrics) == {"loss", "semantic_accuracy"}
    assert result.best.metrics["semantic_accuracy"] > 80
    assert result.classes.ids == ("thing", "sky", "nothing", "leaf", "apple")
    task = build_task(read_recipe(tmp_path / "recipe.toml"))
    for loss in (task.loss, task.val_loss):
        assert isinstance(loss, SemanticSoftmaxLoss)
        assert loss.level_weights == (1, 1.5)
    again = train(read_recipe(tmp_path / "recipe.toml", [f"run.output={tmp_path / 'run'}"]))
    assert numbers(again) == numbers(result)


def test_a_recipe_chooses_the_label(tmp_path: Path, photos: Path) -> None:
    """With the original label alone, its class has the whole target; with half of it, half."""
    maps = save_maps(tmp_path / "maps.h5", photos / "train")
    for more, least in (('label = "original"', 1.0), ("original = 0.5", 0.5)):
        text = recipe_text(photos, f'kind = "label-maps"\nmaps = "{maps}"\n{more}')
        (tmp_path / "recipe.toml").write_text(text)
        task = build_task(read_recipe(tmp_path / "recipe.toml"))
        path, _ = ImageFolder(str(photos / "train")).samples[0]
        _, target = task.train_set[0]
        assert target[task.classes.index[Path(path).parent.name]] >= least
        assert (target.max() == 1) == (least == 1)


def test_workers_change_nothing(tmp_path: Path, photos: Path) -> None:
    """Crops follow from (seed, epoch, image), whichever process draws them."""
    text = recipe_text(photos, epochs=2)
    alone = run(tmp_path, text, name="alone")
    shared = run(tmp_path, text, "data.workers=2", name="shared")
    assert numbers(alone) == numbers(shared)


def test_neither_workers_nor_interruptions_change_how_batches_are_mixed(
    tmp_path: Path, photos: Path
) -> None:
    text = recipe_text(photos, epochs=2) + "[mix]\nmixup = 0.4\ncutmix = 1.0\nprob = 0.8\n"
    whole = run(tmp_path, text, name="whole")
    plain = run(tmp_path, text, "mix={}", name="plain")
    assert numbers(plain) != numbers(whole)
    recipe = read_recipe(
        tmp_path / "recipe.toml", [f"run.output={tmp_path / 'parts'}", "data.workers=1"]
    )
    with pytest.raises(StoppedError):
        train(recipe, on_event=stop_in_epoch_2)
    assert numbers(train(recipe)) == numbers(whole)


def test_some_epochs_go_without_evaluation(tmp_path: Path, photos: Path) -> None:
    """They train as with it; the last one is evaluated, and a run resumes after any of them."""
    text = recipe_text(photos, epochs=3)
    every = run(tmp_path, text, name="every")
    some = run(tmp_path, text, "run.evaluate_every=2", name="some")
    assert [bool(record.metrics) for record in some.records] == [False, True, True]
    assert [each.train_loss for each in some.records] == [each.train_loss for each in every.records]
    assert some.records[1].metrics == every.records[1].metrics
    assert some.best.epoch in {2, 3}

    def stop(event: Event) -> None:
        if isinstance(event, EpochRecord):
            raise KeyboardInterrupt

    recipe = read_recipe(tmp_path / "recipe.toml", [f"run.output={tmp_path / 'stopped'}"])
    recipe = msgspec.structs.replace(
        recipe, run=msgspec.structs.replace(recipe.run, evaluate_every=2)
    )
    with pytest.raises(KeyboardInterrupt):
        train(recipe, on_event=stop)
    assert not (tmp_path / "stopped" / "best.safetensors").exists()
    assert numbers(train(recipe)) == numbers(some)


def test_another_seed_gives_other_results(tmp_path: Path, photos: Path) -> None:
    text = recipe_text(photos, epochs=1)
    first, second = (run(tmp_path, text, f"run.seed={seed}", name=str(seed)) for seed in (1, 2))
    assert numbers(first) != numbers(second)


class StoppedError(Exception):
    """Represents anything that stops a run in the middle of an epoch."""


def stop_in_epoch_2(event: Event) -> None:
    if isinstance(event, StepRecord) and event.epoch == 2:
        raise StoppedError


def test_a_resumed_run_gives_the_results_of_an_uninterrupted_one(
    tmp_path: Path, photos: Path
) -> None:
    """Momentum, learning rate, dropout, order and crops all continue."""
    text = recipe_text(photos, epochs=3)
    whole = run(tmp_path, text, name="whole")

    recipe = read_recipe(tmp_path / "recipe.toml", [f"run.output={tmp_path / 'parts'}"])
    with pytest.raises(StoppedError):
        train(recipe, on_event=stop_in_epoch_2)
    events: list[Event] = []
    parts = train(recipe, on_event=events.append)
    assert isinstance(events[0], RunStarted)
    assert events[0].done == 1
    assert numbers(parts) == numbers(whole)
    assert weights(tmp_path / "parts").keys() == weights(tmp_path / "whole").keys()
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(tmp_path / "parts")[name])


def test_a_finished_run_is_not_trained_again(tmp_path: Path, photos: Path) -> None:
    first = run(tmp_path, recipe_text(photos, epochs=1))
    before = (tmp_path / "run" / "last.pt").stat().st_mtime_ns
    assert run(tmp_path, recipe_text(photos, epochs=1)) == first
    assert (tmp_path / "run" / "last.pt").stat().st_mtime_ns == before


KILLED_RUN = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy
from labelkit.train import StepRecord, read_recipe, train
def die(event):
    if isinstance(event, StepRecord) and event.epoch == 3:
        os.kill(os.getpid(), signal.SIGKILL)
train(read_recipe(sys.argv[1], ["run.output=" + sys.argv[2]]), on_event=die)
"""


def test_a_killed_run_resumes(tmp_path: Path, photos: Path) -> None:
    """After SIGKILL in the third epoch and a second run, the log has every epoch once."""
    text = recipe_text(photos, epochs=4)
    whole = run(tmp_path, text, name="whole")
    arguments = [sys.executable, "-c", KILLED_RUN, tmp_path / "recipe.toml", tmp_path / "killed"]
    killed = subprocess.run(arguments, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL
    log = tmp_path / "killed" / "log.jsonl"
    assert len(log.read_text().splitlines()) == 2
    # As if killed after an epoch's log line but before its checkpoint.
    log.write_text(log.read_text() + log.read_text().splitlines()[-1] + "\n")
    resumed = run(tmp_path, text, name="killed")
    assert numbers(resumed) == numbers(whole)
    assert [json.loads(line)["epoch"] for line in log.read_text().splitlines()] == [1, 2, 3, 4]


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path, photos: Path) -> None:
    """No checkpoint of broken weights is written."""
    with pytest.raises(TrainingError, match=r"the loss is nan in epoch 1.*optimizer\.lr"):
        run(tmp_path, recipe_text(photos), "optimizer.name=sgd", "optimizer.lr=1e30")
    assert not (tmp_path / "run" / "last.pt").exists()


def test_bfloat16_and_every_schedule_run(tmp_path: Path, photos: Path) -> None:
    text = recipe_text(photos, epochs=1)
    for name in ("cosine", "tanh", "step", "multistep", "poly"):
        changes = [f"schedule.name={name}", "run.precision=bfloat16"]
        assert run(tmp_path, text, *changes, name=name).records[-1].epoch == 1


def test_the_learning_rate_follows_the_schedule_of_the_recipe(tmp_path: Path, photos: Path) -> None:
    """After a warm-up from 0 over six updates, the last of them runs at 5/6 of the peak."""
    result = run(tmp_path, recipe_text(photos, epochs=2), "schedule.warmup_epochs=1")
    assert result.records[0].lr == pytest.approx(3e-3 * 5 / 6)
    assert result.records[1].lr < 3e-3


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "last.pt", weights_only=True)["model"]


def test_a_changed_tree_over_the_same_classes_is_refused(tmp_path: Path, photos: Path) -> None:
    tree = save_tree(tmp_path / "tree.json")
    text = recipe_text(photos, f'kind = "semantic-softmax"\ntree = "{tree}"', epochs=1)
    run(tmp_path, text)
    flat = SemanticTree.load(tree)
    SemanticTree(flat.classes, flat.names, np.full(len(flat.classes), -1)).save(tree)
    with pytest.raises(
        TrainingError, match=r"other labels for the same classes.*choose another folder"
    ):
        run(tmp_path, text)


def test_a_changed_recipe_is_refused(tmp_path: Path, photos: Path) -> None:
    """A resumed run may change its workers, but nothing that changes its results."""
    run(tmp_path, recipe_text(photos, epochs=1))
    run(tmp_path, recipe_text(photos, epochs=1), "data.workers=1")
    with pytest.raises(TrainingError, match=r"optimizer\.lr = 0\.003, the recipe has 0\.1"):
        run(tmp_path, recipe_text(photos, epochs=1), "optimizer.lr=0.1")


def test_a_checkpoint_from_before_a_field_resumes(tmp_path: Path, photos: Path) -> None:
    """A field that the checkpoint lacks had its default, so only another value is refused."""
    run(tmp_path, recipe_text(photos, epochs=1))
    last = tmp_path / "run" / "last.pt"
    content = torch.load(last, weights_only=True)
    del content["recipe"]["data.hflip"], content["recipe"]["labels.label_smoothing"]
    content["digest"] = content_digest(content)
    torch.save(content, last)
    run(tmp_path, recipe_text(photos, epochs=1))
    with pytest.raises(TrainingError, match=r"data\.hflip = 0\.5, the recipe has 0\.1"):
        run(tmp_path, recipe_text(photos, epochs=1), "data.hflip=0.1")
