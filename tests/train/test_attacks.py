"""Seeded kills and mutations: nothing ends in a traceback, and nothing differs in silence.

Small versions of a longer round; every assertion holds for any seed.
"""

from __future__ import annotations

import copy
import json
import os
import random
import signal
import time
import tomllib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import torch

from labelkit.errors import LabelkitError, RecipeError, TrainingError
from labelkit.hierarchy import ClassList
from labelkit.torch_files import read_torch_file
from labelkit.train import EpochRecord, StepRecord, read_checkpoint, read_recipe, train
from labelkit.train.checkpoint import Checkpoint, content_digest
from tests.train.support import draw_folders, recipe_text

if TYPE_CHECKING:
    from pathlib import Path

    from labelkit.train import Event, Recipe

ODD: list[Any] = [None, 0, -1, "x", [], {}, [1], {"a": 1}, torch.zeros(3), True, b"x", (1, 2)]
VALUES = [
    *("nan", "-inf", "-1", "true", "[]", "{}", "''", "[1,2]", "9" * 5000, "1e400", "2" * 25),
    *("1979-05-27", "[" * 3000 + "]" * 3000, "{a=" * 500 + "1" + "}" * 500, "0.5", "[nan, 1]"),
]


def mutate(content: bytes, rng: random.Random) -> bytes:
    """One flipped bit, a cut, a lost piece or an inserted piece."""
    changed, at = bytearray(content), rng.randrange(len(content))
    match rng.randrange(4):
        case 0:
            changed[at] ^= 1 << rng.randrange(8)
        case 1:
            del changed[at:]
        case 2:
            del changed[at : at + 40]
        case _:
            changed[at:at] = rng.randbytes(8)
    return bytes(changed)


@pytest.mark.parametrize("seed", range(60))
def test_a_mutated_recipe_is_refused_or_read_as_written(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311
    lines = recipe_text(tmp_path).splitlines()
    if seed % 2:
        at = rng.choice([number for number, line in enumerate(lines) if "=" in line])
        lines[at] = f"{lines[at].split('=')[0]} = {rng.choice(VALUES)}"
        content = "\n".join(lines).encode()
    else:
        content = mutate("\n".join(lines).encode(), rng)
    (tmp_path / "r.toml").write_bytes(content)
    try:
        recipe = msgspec.to_builtins(read_recipe(tmp_path / "r.toml"))
    except RecipeError as error:
        assert len(str(error)) < 1000  # noqa: PT017
        return
    for table, fields in tomllib.loads(content.decode()).items():
        for name, value in fields.items():
            found = recipe[table][name]
            assert (list(found) if isinstance(found, tuple) else found) == value


def test_a_mutated_checkpoint_is_refused_or_read_as_written(tmp_path: Path) -> None:
    path, rng = tmp_path / "last.pt", random.Random(0)  # noqa: S311
    record = EpochRecord(1, 0.5, 0.1, {"loss": 0.5}, 1.0, 1.0)
    weights = {"w": torch.arange(50.0)}
    optimizer = {"state": {0: {"mean": torch.ones(50)}}, "param_groups": [{"lr": 0.1}]}
    Checkpoint({"a.b": 1}, ClassList.of(["a"]), "", "", (record,), weights, optimizer).save(path)
    content = path.read_bytes()
    for _ in range(150):
        path.write_bytes(mutate(content, rng))
        try:
            read_checkpoint(path)
        except TrainingError:
            continue
        found = read_torch_file(path)
        assert isinstance(found, dict)
        assert found["digest"] == content_digest(found)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    root = draw_folders(tmp_path / "data", train=4, val=2)
    (tmp_path / "r.toml").write_text(recipe_text(root, epochs=6))
    return read_recipe(tmp_path / "r.toml", [f"run.output={tmp_path / 'run'}"])


class StoppedError(Exception):
    """Stops a run in its second epoch."""


def stop(event: Event) -> None:
    if isinstance(event, StepRecord) and event.epoch == 2:
        raise StoppedError


def test_a_checkpoint_of_wrong_structure_ends_in_one_line(recipe: Recipe, tmp_path: Path) -> None:
    """Also if its digest is right, and the optimizer meets the damage only in its next update."""
    with pytest.raises(StoppedError):
        train(recipe, on_event=stop)
    path, rng = tmp_path / "run" / "last.pt", random.Random(1)  # noqa: S311
    content = torch.load(path, weights_only=True)
    places = [
        ("records",),
        ("records", 0, "metrics"),
        ("recipe",),
        ("model",),
        ("optimizer",),
        ("classes",),
        ("images",),
    ]
    places += [("optimizer", "state", 0, name) for name in content["optimizer"]["state"][0]]
    places += [("optimizer", "param_groups", 0, name) for name in ("betas", "params", "eps")]
    for place in places:
        changed = copy.deepcopy(content)
        inner = changed
        for name in place[:-1]:
            inner = inner[name]
        inner[place[-1]] = rng.choice(ODD)
        changed["digest"] = content_digest(changed)
        torch.save(changed, path)
        try:
            train(recipe, on_event=stop)
        except (LabelkitError, StoppedError):
            continue
        pytest.fail(f"{place} was not noticed, and training went past its second epoch")


@pytest.mark.parametrize("field", ["optimizer.kwargs={betas=[0.9]}", "optimizer.kwargs={eps='x'}"])
def test_arguments_that_fail_only_in_an_update_end_in_one_line(
    recipe: Recipe, tmp_path: Path, field: str
) -> None:
    changes = [field, f"run.output={recipe.run.output}"]
    with pytest.raises((RecipeError, TrainingError), match="optimizer"):
        train(read_recipe(tmp_path / "r.toml", changes))


def test_a_log_of_any_content_is_replaced_by_the_checkpoints(
    recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(StoppedError):
        train(recipe, on_event=stop)
    for content in (b"", b"[" * 100_000, b"9" * 6000, b"\xff\0", b'{"epoch": 7}\n'):
        (tmp_path / "run" / "log.jsonl").write_bytes(content)
        with pytest.raises(StoppedError):
            train(recipe, on_event=stop)
        (line,) = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
        assert json.loads(line)["epoch"] == 1


def test_kills_at_random_moments_change_nothing(recipe: Recipe, tmp_path: Path) -> None:
    whole = read_recipe(tmp_path / "r.toml", [f"run.output={tmp_path / 'whole'}"])
    begin = time.monotonic()
    train(whole)
    duration, rng = time.monotonic() - begin, random.Random(2)  # noqa: S311
    for _ in range(4):
        if not (child := os.fork()):
            train(recipe)
            os._exit(0)
        time.sleep(rng.uniform(0, duration / 2))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert train(recipe).records[-1].epoch == 6
    for name in ("last.pt", "best.safetensors"):
        assert (tmp_path / "run" / name).exists()
        assert not list((tmp_path / "run").glob(".*.tmp"))
    first, second = (read_checkpoint(tmp_path / name / "last.pt") for name in ("whole", "run"))
    assert all(torch.equal(first.model[name], second.model[name]) for name in first.model)
    assert [each.metrics for each in first.records] == [each.metrics for each in second.records]
