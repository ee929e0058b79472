"""``kill -9`` at any point: no finished work is lost, repeated or left half-written.

``LABELKIT_CRASHES=200`` kills at that many random moments instead of 20.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest

from labelkit.label_maps import LabelMapFile
from labelkit.label_maps.file.reader import stored_rows
from tests.label_maps.support.killable_writer import CLASSES, UNREADABLE, open_writer, write_shards
from tests.label_maps.support.killing import deaths
from tests.label_maps.support.small_files import make

CRASHES = int(os.environ.get("LABELKIT_CRASHES", "20"))
ROOT = Path(__file__).parents[2]
ENDS = {0, -signal.SIGKILL}


class Writers:
    """Writers in separate processes, which a server forks."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    def run(
        self, path: Path, *, step: int = 0, moment: float | None = None, writers: int = 1
    ) -> dict:
        """Run one writer to its end, or several at once."""
        request = {"path": str(path), "step": step, "moment": moment, "writers": writers}
        print(json.dumps(request), file=self._server.stdin, flush=True)
        return json.loads(self._server.stdout.readline())

    def finish(self, path: Path) -> float:
        """Run one writer undisturbed; returns how many seconds it took."""
        answer = self.run(path)
        assert answer["status"] == [0], answer
        return answer["seconds"]


@pytest.fixture(scope="module")
def writers():
    command = [sys.executable, "-m", "tests.label_maps.support.killable_writer"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        yield Writers(server)
        server.stdin.close()
    assert server.returncode == 0


class Undisturbed(NamedTuple):
    """The content of a file whose writer was not killed."""

    content: dict[str, tuple]
    rows: dict[bytes, tuple[bytes, int]]


@pytest.fixture(scope="module")
def undisturbed(writers, tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed") / "maps.h5"
    writers.finish(path)
    return Undisturbed(content(path), rows(path))


def content(path: Path) -> dict[str, tuple]:
    """The whole content of a file: types, shapes, bytes."""
    with h5py.File(path, "r") as file:
        parts = {f"@{name}": (type(value), value.tobytes()) for name, value in file.attrs.items()}
        for name, dataset in file.items():
            parts[name] = (dataset.dtype.str, dataset.shape, dataset[()].tobytes())
        return parts


def rows(path: Path) -> dict[bytes, tuple[bytes, int]]:
    """The stored record and the checksum of every key."""
    with LabelMapFile.open(path) as file:
        return {key: (stored, crc32) for key, stored, crc32, _ in stored_rows(file).unchecked()}


def check_what_is_left(
    path: Path, undisturbed: Undisturbed, *, before: dict[int, tuple]
) -> dict[int, tuple]:
    """After a crash: no visible file is incomplete, and no finished shard is lost or made again.

    Args:
        path: the finished file, if the writer got that far.
        undisturbed: its expected content.
        before: the shards that were finished when the writer started, with their inode and time.

    Returns:
        The shards that are finished now.
    """
    if path.exists():
        assert content(path) == undisturbed.content
        return before
    parts = path.with_name(path.name + ".parts")
    for shard in parts.glob("[0-9]*.h5"):
        assert rows(shard).items() <= undisturbed.rows.items()
        LabelMapFile.open(shard).check_rows()
    states = {
        int(marker.stem): marker.with_suffix(".h5").stat() for marker in parts.glob("[0-9]*.json")
    }
    finished = {n: (state.st_ino, state.st_mtime_ns) for n, state in states.items()}
    assert before.items() <= finished.items()
    assert {shard.number for shard in open_writer(path).pending()} == {0, 1} - finished.keys()
    return finished


def test_the_reference_run_has_rows_to_compare_with(undisturbed):
    """Twelve of fourteen images have a map, in two shards, so no test here compares empty files."""
    assert len(undisturbed.rows) == 14 - len(UNREADABLE)
    assert undisturbed.content["classes"][1] == (len(CLASSES),)
    assert json.loads(undisturbed.content["unreadable"][2]) == UNREADABLE
    stored = b"".join(record for record, _ in undisturbed.rows.values())
    assert undisturbed.content["records"][2] == stored


def test_a_run_killed_after_any_step_is_resumed_by_the_next_one(writers, undisturbed, tmp_path):
    """Each call that reaches the disk is once the last; some of the next runs are killed too."""
    seen: set[str] = set()
    resumed = False
    rng = np.random.default_rng(0)
    for step in count(1):
        path = tmp_path / str(step) / "maps.h5"
        answer = writers.run(path, step=step)
        if answer["status"] == [0]:
            break
        assert answer["status"] == [-signal.SIGKILL], answer
        seen.add(answer["step"])
        finished = check_what_is_left(path, undisturbed, before={})
        resumed |= bool(finished)
        if not step % 5:
            again = writers.run(path, step=int(rng.integers(1, 40)))
            assert set(again["status"]) <= ENDS, again
            check_what_is_left(path, undisturbed, before=finished)
        writers.finish(path)
        assert content(path) == undisturbed.content
        shutil.rmtree(path.parent)
    assert content(path) == undisturbed.content
    assert step > 50
    assert resumed
    assert seen >= {
        "mkdir",
        "link",
        "fsync",
        "unlink",
        "rmdir",
        "half of a file",
        "a file",
        "Group.create_dataset",
        "File.close",
    }


def test_a_run_killed_at_a_random_moment_is_resumed_by_the_next_one(writers, undisturbed, tmp_path):
    """``CRASHES`` kills, each of them resumed; some hit a run that resumes."""
    seconds = min(writers.finish(tmp_path / f"{n}.h5") for n in range(3))
    rng = np.random.default_rng(1)
    crashes = 0
    for attempt in range(CRASHES * 10):
        if crashes == CRASHES:
            break
        path = tmp_path / str(attempt) / "maps.h5"
        finished: dict[int, tuple] = {}
        for _ in range(rng.integers(1, 4)):
            answer = writers.run(path, moment=rng.uniform(0, seconds))
            assert set(answer["status"]) <= ENDS, answer
            crashes += answer["status"] != [0]
            finished = check_what_is_left(path, undisturbed, before=finished)
            if answer["status"] == [0] or crashes == CRASHES:
                break
        writers.finish(path)
        assert content(path) == undisturbed.content
        shutil.rmtree(path.parent)
    assert crashes == CRASHES


def test_two_writers_killed_at_once_leave_no_partial_file(writers, undisturbed, tmp_path):
    """Both write one output and are killed together; then one resumes alone, or two together."""
    seconds = min(writers.finish(tmp_path / f"{n}.h5") for n in range(3))
    rng = np.random.default_rng(2)
    both = 0
    for attempt in range(max(CRASHES // 2, 10)):
        path = tmp_path / str(attempt) / "maps.h5"
        answer = writers.run(path, moment=rng.uniform(0.1, 1.5) * seconds, writers=2)
        assert set(answer["status"]) <= ENDS, answer
        both += answer["status"] == [-signal.SIGKILL] * 2
        check_what_is_left(path, undisturbed, before={})
        if attempt % 2:
            writers.finish(path)
        else:
            assert writers.run(path, writers=2)["status"] == [0, 0]
        assert content(path) == undisturbed.content
        shutil.rmtree(path.parent)
    assert both


def test_two_writers_killed_after_any_step_leave_no_partial_file(writers, undisturbed, tmp_path):
    """Concurrently, each after the same number of its steps."""
    deaths = 0
    for step in range(1, 60, 3):
        path = tmp_path / str(step) / "maps.h5"
        answer = writers.run(path, step=step, writers=2)
        assert set(answer["status"]) <= ENDS, answer
        deaths += answer["status"].count(-signal.SIGKILL)
        check_what_is_left(path, undisturbed, before={})
        writers.finish(path)
        assert content(path) == undisturbed.content
        shutil.rmtree(path.parent)
    assert deaths > 20


def test_an_overwrite_killed_at_any_step_keeps_the_old_file_until_the_new_one_is_complete(
    tmp_path, undisturbed
):
    """The next run resumes from the finished shards, and leaves nothing but the new file."""
    path = tmp_path / "out" / "maps.h5"
    path.parent.mkdir()
    old = make(tmp_path / "old.h5", ["old.jpg"]).path.read_bytes()

    def overwrite() -> None:
        write_shards(open_writer(path, overwrite=True))

    places, resumed = set(), 0
    path.write_bytes(old)
    for _ in deaths(overwrite):
        is_old = path.read_bytes() == old
        places.add(is_old)
        assert is_old or content(path) == undisturbed.content
        LabelMapFile.open(path).check_rows()
        resumed += is_old and len(open_writer(path, overwrite=True).pending()) < 2
        overwrite()
        assert content(path) == undisturbed.content
        assert [file.name for file in path.parent.iterdir()] == ["maps.h5"]
        path.write_bytes(old)
    assert places == {True, False}
    assert resumed > 10
    assert content(path) == undisturbed.content


def test_an_existing_file_is_refused_unless_overwriting(tmp_path):
    path = make(tmp_path / "maps.h5", ["old.jpg"]).path
    with pytest.raises(FileExistsError, match=r"maps\.h5 exists: choose another name"):
        open_writer(path)
    with LabelMapFile.open(path) as old:
        write_shards(open_writer(path, overwrite=True))
        assert list(old) == ["old.jpg"]  # an open reader keeps the file that it opened
        assert old["old.jpg"].top_k
    assert len(LabelMapFile.open(path)) == 14 - len(UNREADABLE)
