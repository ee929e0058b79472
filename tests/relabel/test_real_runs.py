"""``labelkit relabel`` as people run it: trials, Ctrl-C, disks that fail, several at once."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from labelkit.label_maps import LabelMapFile
from tests.command import Run, labelkit
from tests.photos import CHECKOUT
from tests.relabel.processes import run_together, small_disk, start
from tests.relabel.tiny_teacher import draw_photos

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS = ("--size", 32, "--workers", 0, "--no-calibration", "--device", "cpu", "--grid", 1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve, of which the sixth is torn."""
    return draw_photos(tmp_path / "photos", 12)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of the twelve photos that one run makes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    photos = draw_photos(folder / "photos", 12)
    assert labelkit("relabel", photos, "-o", folder / "maps.h5", *OPTIONS).code == 0
    return (folder / "maps.h5").read_bytes()


def facts(*words: object) -> dict[str, Any]:
    """What a run that succeeds prints with ``--json``."""
    run = labelkit("relabel", *words, *OPTIONS, "--json")
    assert run.code == 0, run.err
    return json.loads(run.out)


def test_a_trial_is_not_repeated_by_the_full_run(photos: Path, tmp_path: Path) -> None:
    """Nor by the same trial; the full file is that of a run without it, but for no trial in it."""
    output, trial = tmp_path / "maps.h5", tmp_path / "maps.trial.h5"
    assert facts(photos, "-o", output, "--limit", 5)["processed"] == 5
    assert facts(photos, "-o", output, "--limit", 5)["processed"] == 0
    tried = len(LabelMapFile.open(trial))
    full = facts(photos, "-o", output, "--reuse", trial)
    assert (full["images"], full["reused"], full["processed"]) == (11, tried, 12 - tried)
    assert full["trial"] is None


def test_finish_says_what_is_missing_and_loses_nothing(tmp_path: Path) -> None:
    """After Ctrl-C, which leaves a shard that is begun."""
    photos = draw_photos(tmp_path / "photos", 300)
    output, parts = tmp_path / "maps.h5", tmp_path / "maps.h5.parts"
    command = ("relabel", photos, "-o", output, *OPTIONS, "--batch-size", 1)
    process, answer = start(lambda: labelkit(*command))
    while not list(parts.glob("*.claim")) and process.is_alive():
        time.sleep(0.01)
    time.sleep(0.5)  # some images, or all: then there is nothing to finish
    os.kill(process.pid or 0, signal.SIGINT)
    assert answer.recv().code == 130
    begun = (parts / "000000.begun.h5").read_bytes()
    joined = labelkit(*command, "--finish")
    assert joined.code == 1
    assert "1 of 1 shard not made yet: make them first, or wait for the processes" in joined.text
    assert (parts / "000000.begun.h5").read_bytes() == begun
    run = json.loads(labelkit(*command, "--json").out)
    assert (run["images"], [*run["unreadable"]]) == (299, ["05.png"])
    assert run["processed"] < 300


def test_a_read_only_folder_is_one_clear_line(photos: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "ro") as disk:
        run = labelkit("relabel", photos, "-o", disk / "maps.h5", *OPTIONS)
    assert run.code == 1
    assert f"Error: cannot write to {disk}: Read-only file system. Fix the disk and" in run.text


def test_a_full_disk_is_one_clear_line_and_the_same_command_goes_on(
    photos: Path, tmp_path: Path, undisturbed: bytes
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        output, filler = disk / "maps.h5", disk / "filler"
        filler.write_bytes(bytes(240 << 10))
        run = labelkit("relabel", photos, "-o", output, *OPTIONS)
        assert run.code == 1
        assert f"Error: cannot write to {disk}: No space left on device" in run.text
        assert not output.exists()
        filler.unlink()
        assert facts(photos, "-o", output)["images"] == 11
        assert output.read_bytes() == undisturbed


def test_a_limit_on_file_sizes_is_one_clear_line_and_the_same_command_goes_on(
    photos: Path, tmp_path: Path, undisturbed: bytes
) -> None:
    """As a full disk, where none can be mounted: the system refuses to write more."""
    output = tmp_path / "maps.h5"

    def limited() -> Run:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
        return labelkit("relabel", photos, "-o", output, *OPTIONS)

    (run,) = run_together([limited])
    assert run.code == 1
    assert f"Error: cannot write to {tmp_path}: File too large" in run.text
    assert not output.exists()
    assert facts(photos, "-o", output)["images"] == 11
    assert output.read_bytes() == undisturbed


def test_ctrl_c_twice_ends_the_command_at_once_and_it_goes_on(tmp_path: Path) -> None:
    photos = draw_photos(tmp_path / "photos", 400)
    output, parts = tmp_path / "maps.h5", tmp_path / "maps.h5.parts"
    command = ("relabel", photos, "-o", output, *OPTIONS, "--batch-size", 1)
    run = subprocess.Popen(
        [sys.executable, "-m", "labelkit", *map(str, command)],
        cwd=CHECKOUT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while not list(parts.glob("*.claim")) and run.poll() is None:
        time.sleep(0.01)
    for _ in range(2):
        run.send_signal(signal.SIGINT)
        time.sleep(0.05)  # two signals at once would be one
    _, error = run.communicate()
    assert run.returncode in {130, -signal.SIGINT}, error
    assert "Traceback" not in error
    assert not output.exists()
    made = facts(photos, "-o", output, "--batch-size", 1)
    assert (made["images"], [*made["unreadable"]]) == (399, ["05.png"])
    assert not parts.exists()


def test_two_commands_at_once_make_one_file(
    photos: Path, tmp_path: Path, undisturbed: bytes
) -> None:
    output = tmp_path / "maps.h5"
    command = ("relabel", photos, "-o", output, *OPTIONS, "--json")
    runs = run_together([lambda: labelkit(*command)] * 2)
    assert [run.code for run in runs] == [0, 0]
    found = [json.loads(run.out) for run in runs]
    assert [each["images"] for each in found] == [11, 11]
    assert sum(each["processed"] for each in found) == 12
    assert output.read_bytes() == undisturbed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maps.h5", "photos"]


def test_a_renamed_folder_costs_nothing(photos: Path, tmp_path: Path) -> None:
    facts(photos, "-o", tmp_path / "old.h5")
    (tmp_path / "renamed").mkdir()
    shutil.move(photos, tmp_path / "renamed" / "inside")
    words = ("--reuse", tmp_path / "old.h5", "--reuse-by", "content")
    new = facts(tmp_path / "renamed", "-o", tmp_path / "new.h5", *words)
    assert (new["images"], new["reused"], new["processed"]) == (11, 11, 1)
    assert LabelMapFile.open(tmp_path / "new.h5").key_at(0) == "inside/00.png"
