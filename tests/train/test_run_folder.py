"""One trainer per folder, and no other program's files replaced."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from labelkit.errors import TrainingError
from labelkit.train import read_recipe, train
from labelkit.train.run_folder import locked, require_own_folder
from tests.train.support import recipe_text, save_tree

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import os, pathlib, sys, time
from labelkit.train.run_folder import locked
with locked(pathlib.Path(sys.argv[1])):
    if not os.fork():  # outlives its killed parent, as data-loading workers do
        print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_trainer_learns_who_holds_the_folder(tmp_path: Path) -> None:
    """And ``kill -9`` frees it at once, although a child of the trainer still lives."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(TrainingError) as caught, locked(tmp_path):
            pass
        for part in (f"process {holder.pid}", socket.gethostname(), "since 20", "(-o)"):
            assert part in str(caught.value)
        holder.kill()
        holder.wait()
        with locked(tmp_path):
            assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()
        os.killpg(holder.pid, signal.SIGKILL)


def test_a_thread_of_the_same_process_is_refused_too(tmp_path: Path) -> None:
    again = pytest.raises(TrainingError, match=f"process {os.getpid()}")
    with locked(tmp_path), again, locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_two_runs_at_once_do_not_touch_the_first(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "r.toml").write_text(recipe_text(photos, epochs=1))
    recipe = read_recipe(tmp_path / "r.toml", [f"run.output={tmp_path / 'run'}"])
    refused: list[str] = []

    def start_another(_: object) -> None:
        with pytest.raises(TrainingError, match="is training in") as caught:
            train(recipe)
        refused.append(str(caught.value))

    train(recipe, on_event=start_another)
    assert len(refused) >= 2
    assert train(recipe).records[-1].epoch == 1


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b'{"pid": "x"}', b"\xff\x00"])
def test_a_lock_file_of_any_content_is_read(tmp_path: Path, content: bytes) -> None:
    with locked(tmp_path):
        (tmp_path / "run.lock").write_bytes(content)
        with pytest.raises(TrainingError, match="another process is training"), locked(tmp_path):
            pass


def test_what_killed_runs_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".best.safetensors.0123456789abcdef.tmp"
    other = tmp_path / ".notes.tmp"
    left.touch()
    other.touch()
    with locked(tmp_path):
        assert not left.exists()
    assert other.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("log.jsonl", b'{"step": 1}\n'),
        ("log.csv", b"epoch,loss\n1,0.5\n"),
        ("report.html", b"<title>Evaluation of photos</title>"),
        ("curves.png", b"\x89PNG\r\n"),
        ("log.jsonl", b"[" * 100_000),
        ("log.jsonl", b'{"epoch": ' + b"9" * 5000 + b"}"),
        ("config.json", b'{"architecture": "resnet18", "pretrained_cfg": {}}'),
        ("best.safetensors", b"\x02" + b"\0" * 7 + b"{}"),
        ("best.safetensors", b"\xff" * 20),
        ("plan.json", b""),
    ],
)
def test_files_of_other_programs_are_kept(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TrainingError, match=rf"{name}.*\(-o\)"):
        require_own_folder(tmp_path)
    assert (tmp_path / name).read_bytes() == content


def test_another_programs_checkpoint_is_kept(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "run").mkdir()
    torch.save({"model": {}, "epoch": 3}, tmp_path / "run" / "last.pt")
    (tmp_path / "r.toml").write_text(recipe_text(photos, epochs=1))
    with pytest.raises(TrainingError, match=r"another program's.*\(-o\)"):
        train(read_recipe(tmp_path / "r.toml", [f"run.output={tmp_path / 'run'}"]))


def test_a_run_of_other_labels_is_named(tmp_path: Path, photos: Path) -> None:
    tree = save_tree(tmp_path / "tree.json")
    for labels in ('kind = "hard"', f'kind = "semantic-softmax"\ntree = "{tree}"'):
        (tmp_path / "r.toml").write_text(recipe_text(photos, labels, epochs=1))
        recipe = read_recipe(tmp_path / "r.toml", [f"run.output={tmp_path / 'run'}"])
        if "hard" in labels:
            train(recipe)
    with pytest.raises(
        TrainingError, match="a run with hard labels, the recipe has semantic-softmax labels"
    ):
        train(recipe)
