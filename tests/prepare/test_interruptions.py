"""``kill -9`` anywhere, Ctrl-C, a full disk, two runs at once: run again, and the result is equal.

``LABELKIT_CRASHES=30`` kills the command at that many moments instead of 3, for each number of
worker processes.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest

from labelkit.errors import LabelkitError
from labelkit.prepare import PrepareSettings, destination as output_folder, images, prepare
from tests.command import labelkit
from tests.prepare.support import (
    SETTINGS,
    as_compressed,
    as_folder,
    as_tar_of_tars,
    content,
    dump,
    photo,
)

ROOT = Path(__file__).parents[2]
CRASHES = int(os.environ.get("LABELKIT_CRASHES", "3"))
SHARDS = PrepareSettings(min_images=5, val=2, resize=32, shards=6)
STEPS = ((os, "mkdir"), (os, "rename"), (os, "replace"), (os, "fsync"), (os, "sync"), (os, "rmdir"))


def whole_classes(made: dict[str, bytes], reference: dict[str, bytes]) -> bool:
    """Whether each class folder in its place has exactly the files that it should have."""
    places = {tuple(path.split("/")[:2]) for path in made if path.startswith(("train/", "val/"))}
    return all(
        {path: made[path] for path in made if tuple(path.split("/")[:2]) == place}
        == {path: reference[path] for path in reference if tuple(path.split("/")[:2]) == place}
        for place in places
    )


def die_at(step: int, source: Path, out: Path, settings: PrepareSettings) -> int:
    """Run in a process that is killed after its ``step``-th change of the disk."""
    pid = os.fork()
    if not pid:
        left = step

        def dying(call):
            def calling(*arguments, **options):
                nonlocal left
                result = call(*arguments, **options)
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)
                return result

            return calling

        for module, name in (*STEPS, (images, "_write")):
            setattr(module, name, dying(getattr(module, name)))
        output_folder._SECONDS = 0
        try:
            prepare(source, out, settings, workers=0)
        except BaseException:  # noqa: BLE001 -- the parent asserts on the exit code
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("settings", [SETTINGS, SHARDS], ids=["folders", "shards"])
@pytest.mark.parametrize("write", [as_folder, as_compressed])
def test_killed_after_any_change_of_the_disk(tmp_path, settings, write):
    """Each run is killed one step later than the one before, and goes on where that was killed."""
    source = write(dump(), tmp_path / "source")
    prepare(source, tmp_path / "whole", settings, workers=0)
    reference = content(tmp_path / "whole")
    for step in count(1):
        code = die_at(step, source, tmp_path / "out", settings)
        assert code in {0, -signal.SIGKILL}
        assert whole_classes(content(tmp_path / "out"), reference)
        if code == 0:
            break
    assert step > 8
    assert content(tmp_path / "out") == reference
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        path.name for path in (tmp_path / "whole").iterdir()
    )


@pytest.mark.parametrize("settings", [SETTINGS, SHARDS], ids=["folders", "shards"])
def test_killed_at_each_step_of_a_run_of_its_own(tmp_path, settings):
    """Killed once, at any step, then undisturbed."""
    source = as_tar_of_tars(dump(), tmp_path / "source")
    prepare(source, tmp_path / "whole", settings, workers=0)
    reference = content(tmp_path / "whole")
    for step in count(1, 3):
        out = tmp_path / str(step)
        killed = die_at(step, source, out, settings)
        prepare(source, out, settings, workers=0)
        assert content(out) == reference
        shutil.rmtree(out)
        if not killed:
            return


def many(folder: Path) -> Path:
    """Enough images that a run can be killed in the middle of them."""
    classes = {
        f"n{number:02d}": {f"{each:03d}.jpg": photo(each) for each in range(40)}
        for number in range(8)
    }
    return as_folder(classes, folder)


def start(source: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    """The command, in a process group of its own, as from a shell."""
    command = [sys.executable, "-m", "labelkit", "prepare", str(source), str(out)]
    options = ("--min-images", "5", "--val", "2", "--resize", "32", *options)
    return subprocess.Popen(
        [*command, *options],
        cwd=ROOT,
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for_images(run: subprocess.Popen[str], out: Path, number: int) -> None:
    """Return once so many unfinished images are on the disk, or the run has ended."""
    while run.poll() is None:
        with contextlib.suppress(OSError):
            if sum(path.is_file() for path in out.glob(".labelkit/work-*/**/*")) >= number:
                return
        time.sleep(0.002)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_command_killed_at_several_moments(tmp_path, workers):
    """Its worker processes end with it, and a run that follows at once is not disturbed by them."""
    source = many(tmp_path / "source")
    prepare(source, tmp_path / "whole", SETTINGS, workers=0)
    for crash in range(CRASHES):
        run = start(source, tmp_path / "out", "--workers", str(workers))
        wait_for_images(run, tmp_path / "out", 1 + 250 * crash // CRASHES)
        run.kill()
        run.communicate()
    last = start(source, tmp_path / "out", "--workers", str(workers))
    out, err = last.communicate()
    assert last.returncode == 0, err
    assert "8 classes" in out
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_killed_worker_is_reported_and_the_run_resumes(tmp_path):
    source = many(tmp_path / "source")
    run = start(source, tmp_path / "out", "--workers", "2")
    wait_for_images(run, tmp_path / "out", 20)
    listed = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True)
    children = descendants(run.pid, listed.stdout)
    os.kill(max(children), signal.SIGKILL)
    _, err = run.communicate()
    assert run.returncode == 1
    assert "a worker process was killed" in err
    assert prepare(source, tmp_path / "out", SETTINGS, workers=0).manifest.counts["classes"] == 8


def descendants(pid: int, table: str) -> list[int]:
    """The processes below one, from ``ps -eo pid,ppid``."""
    pairs = [tuple(map(int, line.split())) for line in table.splitlines()[1:]]
    found, pending = [], [pid]
    while pending:
        parent = pending.pop()
        children = [child for child, above in pairs if above == parent]
        found += children
        pending += children
    return found


def test_ctrl_c_keeps_finished_classes(tmp_path):
    """SIGINT goes to the whole group, as from a terminal; no process prints a traceback."""
    source = many(tmp_path / "source")
    run = start(source, tmp_path / "out", "--workers", "2")
    wait_for_images(run, tmp_path / "out", 100)
    os.killpg(run.pid, signal.SIGINT)
    _, err = run.communicate()
    assert run.returncode == 130
    assert err.strip() == (
        "Interrupted. Finished classes are kept: run the same command again to resume."
    )
    assert not list((tmp_path / "out").glob(".labelkit/work-*"))
    result = prepare(source, tmp_path / "out", SETTINGS, workers=0)
    assert result.resumed > 0
    prepare(source, tmp_path / "whole", SETTINGS, workers=0)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


@pytest.mark.parametrize("settings", [SETTINGS, SHARDS], ids=["folders", "shards"])
def test_a_full_disk_stops_the_run_and_with_room_it_goes_on(tmp_path, settings):
    """On a real, small file system where one can be mounted, else with a limit on file sizes."""
    source = many(tmp_path / "source")
    prepare(source, tmp_path / "whole", settings, workers=0)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small file system here")
    try:
        with pytest.raises(OSError, match="No space left"):
            prepare(source, disk / "out", settings, workers=0)
        shutil.rmtree(disk / "out")
        options = ["--min-images", 5, "--val", 2, "--resize", 32]
        options += ["--shards", settings.shards] if settings.shards else []
        run = labelkit("prepare", source, disk / "out", *options)
        assert f"No space left on device: '{disk / 'out'}'. Free some space and run" in run.err
        assert not (disk / "out" / "manifest.json").exists()
        subprocess.run(["mount", "-o", "remount,size=9m", str(disk)], check=True)
        prepare(source, disk / "out", settings, workers=0)
        assert content(disk / "out") == content(tmp_path / "whole")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_write_that_fails_stops_the_run(tmp_path):
    """A limit on file sizes fails like a full disk."""
    source = many(tmp_path / "source")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            prepare(source, tmp_path / "out", PrepareSettings(5, 2), workers=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert prepare(source, tmp_path / "out", PrepareSettings(5, 2), workers=0).resumed == 0


def test_changed_settings_are_refused_with_the_difference(tmp_path):
    source = many(tmp_path / "source")
    stop_after_one_class(source, tmp_path / "out")
    other = PrepareSettings(min_images=5, val=3, resize=48)
    with pytest.raises(LabelkitError, match="val is 2 there, 3 here; resize is 32 there, 48 here"):
        prepare(source, tmp_path / "out", other, workers=0)
    prepare(source, tmp_path / "out", SETTINGS, workers=0)
    with pytest.raises(LabelkitError, match="val is 2 there, 3 here; resize is 32 there, 48 here"):
        prepare(source, tmp_path / "out", other, workers=0)
    assert prepare(source, tmp_path / "out", SETTINGS, workers=0).existed


def stop_after_one_class(source: Path, out: Path) -> None:
    """A run that is interrupted while it writes its third class."""

    def stop(_stage: str, done: int, _total: int) -> None:
        if done > 80:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(source, out, SETTINGS, workers=0, on_progress=stop)


def test_a_source_that_changed_is_refused(tmp_path):
    source = many(tmp_path / "source")
    stop_after_one_class(source, tmp_path / "out")
    (source / "n00" / "new.jpg").write_bytes(photo(1))
    with pytest.raises(LabelkitError, match="n00 has changed"):
        prepare(source, tmp_path / "out", SETTINGS, workers=0)
    shutil.rmtree(source / "n00")
    with pytest.raises(LabelkitError, match=r"n00 in .* no longer in"):
        prepare(source, tmp_path / "out", SETTINGS, workers=0)


def test_images_that_come_while_their_class_is_in_work_are_noticed(tmp_path):
    source = many(tmp_path / "source")

    def add(_stage: str, done: int, _total: int) -> None:
        (source / "n00" / "zz.jpg").write_bytes(photo(1))
        if done > 80:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(source, tmp_path / "out", SETTINGS, workers=0, on_progress=add)
    with pytest.raises(LabelkitError, match="n00 has changed"):
        prepare(source, tmp_path / "out", SETTINGS, workers=0)


def test_a_folder_that_is_in_the_way_is_not_touched(tmp_path):
    source = many(tmp_path / "source")
    stop_after_one_class(source, tmp_path / "out")
    mine = tmp_path / "out" / "train" / "n05"
    mine.mkdir()
    (mine / "mine.jpg").write_bytes(photo(1))
    with pytest.raises(OSError, match="n05"):
        prepare(source, tmp_path / "out", SETTINGS, workers=0)
    assert content(mine) == {"mine.jpg": photo(1)}


def test_two_runs_at_once_are_refused(tmp_path):
    source = many(tmp_path / "source")

    def again(_stage: str, _done: int, _total: int) -> None:
        with pytest.raises(LabelkitError, match="in use by another run"):
            prepare(source, tmp_path / "out", SETTINGS, workers=0)

    prepare(source, tmp_path / "out", SETTINGS, workers=0, on_progress=again)


def test_a_line_of_the_journal_that_was_cut_short_is_ignored(tmp_path):
    source = many(tmp_path / "source")
    stop_after_one_class(source, tmp_path / "out")
    journal = tmp_path / "out" / ".labelkit" / "journal.jsonl"
    lines = journal.read_bytes()
    journal.write_bytes(lines + lines[:50])
    result = prepare(source, tmp_path / "out", SETTINGS, workers=0)
    assert result.resumed == lines.count(b"\n") > 0
    prepare(source, tmp_path / "whole", SETTINGS, workers=0)
    assert content(tmp_path / "out") == content(tmp_path / "whole")
