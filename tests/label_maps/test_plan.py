"""Finished shards stay usable if images are added or removed before a run has finished.

The maps of an image are always the same here, so the expected file is that of an undisturbed run
over the images as they are at the end.
"""

from __future__ import annotations

import shutil
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pytest

from labelkit.errors import LabelMapError
from labelkit.label_maps import LabelMapFile, LabelMapWriter
from tests.label_maps.support.killing import deaths
from tests.label_maps.support.small_files import damage, make, maps_of, writer_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

KEYS = [f"{'abc'[n % 3]}/{n:02d}.jpg" for n in range(14)]
CHANGED = sorted([*KEYS[:3], *KEYS[5:], "a/00b.jpg", "d/new.jpg"])


def open_writer(path: Path, keys: Sequence[str], **facts: object) -> LabelMapWriter:
    return writer_of(path, keys, **({"shard_rows": 2, "folder": "photos"} | facts))


def commit(writer: LabelMapWriter, count: int, torn: Sequence[str] = ()) -> None:
    """Write the next shards, as many as there are."""
    for shard in writer.pending()[:count]:
        keys = writer.keys[shard.start : shard.stop]
        skipped = {key: "torn" for key in keys if key in torn}
        writer.commit(shard, [maps_of([key for key in keys if key not in skipped])], skipped)


def finish(writer: LabelMapWriter) -> bytes:
    commit(writer, 1000)
    writer.finalize().close()
    return writer.path.read_bytes()


def clean(tmp_path: Path, keys: Sequence[str]) -> bytes:
    """The file of an undisturbed run."""
    return make(tmp_path / "clean" / "maps.h5", keys).path.read_bytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "maps.h5"


@pytest.mark.parametrize("seed", range(12))
def test_a_run_over_a_changing_folder_makes_the_file_of_a_run_over_the_last_state(path, seed):
    """Images come and go several times; no finished row of an image that is there is made again."""
    rng = np.random.default_rng(seed)
    made: set[str] = set()
    for _ in range(4):
        keys = sorted(rng.choice(KEYS, rng.integers(1, len(KEYS) + 1), replace=False).tolist())
        writer = open_writer(path, keys)
        assert set(writer.keys) >= set(keys) - made
        assert writer.kept == len(set(keys)) - len(writer.keys)
        pending = writer.pending()
        todo = [key for shard in pending for key in writer.keys[shard.start : shard.stop]]
        assert set(todo) == set(keys) - made
        chosen = int(rng.integers(0, len(pending) + 1))
        made |= {key for s in pending[:chosen] for key in writer.keys[s.start : s.stop]}
        commit(writer, chosen)
    assert finish(open_writer(path, keys)) == clean(path.parent, keys)
    assert not writer.parts.exists()


def test_images_that_could_not_be_read_are_tried_again_once_the_folder_has_changed(path):
    """Perhaps they were being copied when the first run read them."""
    commit(open_writer(path, KEYS), 3, torn=[KEYS[0], KEYS[3]])
    writer = open_writer(path, CHANGED)
    assert KEYS[0] in writer.keys
    assert finish(writer) == clean(path.parent, CHANGED)


def test_a_run_over_a_changed_folder_that_is_killed_after_any_step_is_resumed(path):
    """``kill -9`` after each step that changes the disk, and once more while it is resumed."""
    expected = clean(path.parent, CHANGED)
    start = path.parent / "start"
    commit(open_writer(path, KEYS), 4)
    shutil.copytree(path.with_name("maps.h5.parts"), start)
    kept = 0
    for number, _ in enumerate(deaths(lambda: finish(open_writer(path, CHANGED)))):
        if not path.exists():
            writer = open_writer(path, CHANGED)
            kept += writer.kept
            assert writer.kept >= 6
            if number % 4 == 0:
                again = deaths(lambda: finish(open_writer(path, CHANGED)))
                for _ in islice(again, 3):
                    pass
            if not path.exists():
                finish(open_writer(path, CHANGED))
        assert path.read_bytes() == expected
        path.unlink()
        shutil.rmtree(path.with_name("maps.h5.parts"), ignore_errors=True)
        shutil.copytree(start, path.with_name("maps.h5.parts"))
    assert kept > 100


def test_processes_that_see_the_same_images_share_the_new_plan(path):
    """Also while the process of the old plan goes on."""
    old = open_writer(path, KEYS)
    commit(old, 2)
    one, other = open_writer(path, CHANGED), open_writer(path, CHANGED)
    commit(old, 1)  # too late to be kept
    assert one.keys == other.keys
    assert one.shards == other.shards
    commit(one, 2)
    assert [shard.number for shard in other.pending()] == [s.number for s in one.shards[2:]]
    commit(old, 1)
    assert finish(other) == clean(path.parent, CHANGED)


@pytest.mark.parametrize("folder", ["", "elsewhere"])
def test_other_images_of_another_folder_are_refused(path, folder):
    """The same keys may be other images there."""
    commit(open_writer(path, KEYS, folder=folder), 1)
    with pytest.raises(LabelMapError, match=r"other settings \(keys: .* same keys with --reuse"):
        open_writer(path, CHANGED, folder="photos" if folder else "")
    assert open_writer(path, KEYS, folder="moved").kept == 0
    assert len(open_writer(path, KEYS, folder="moved").pending()) == 6


def test_other_settings_are_refused_whatever_the_images(path):
    commit(open_writer(path, KEYS), 1)
    with pytest.raises(LabelMapError, match=r"shards made with other settings \(shard_rows: 2"):
        open_writer(path, CHANGED, shard_rows=3)
    with pytest.raises(LabelMapError, match=r"\(header.source.by: None there, me now\)"):
        open_writer(path, CHANGED, source={"by": "me"})


def test_a_kept_shard_that_is_damaged_is_removed_and_its_images_are_made_again(path):
    commit(open_writer(path, KEYS), 3)
    writer = open_writer(path, CHANGED)
    commit(writer, 100)
    damage(LabelMapFile.open(writer.parts / "000001.h5"), sorted(KEYS)[2])
    with pytest.raises(LabelMapError, match="Run the same command again to recreate it"):
        writer.finalize()
    again = open_writer(path, CHANGED)
    assert set(again.keys) == set(sorted(KEYS)[2:4]) & set(CHANGED)
    assert finish(again) == clean(path.parent, CHANGED)


@pytest.mark.parametrize("content", [b"", bytes(3000)], ids=["empty", "zeros"])
def test_a_kept_shard_that_cannot_be_opened_is_removed_and_made_again(path, content):
    """As a power cut leaves it; the folder heals itself with the next run."""
    commit(open_writer(path, KEYS), 2)
    writer = open_writer(path, CHANGED)
    (writer.parts / "000001.h5").write_bytes(content)
    with pytest.raises(LabelMapError, match=r"removed\. Run the same command again to recreate it"):
        open_writer(path, CHANGED)
    assert finish(open_writer(path, CHANGED)) == clean(path.parent, CHANGED)


TORN = {"empty": b"", "cut": b'{"header":{', "deep": b'{"header":' + b"[" * 200_000, "other": b"{}"}


@pytest.mark.parametrize("content", TORN.values(), ids=TORN)
@pytest.mark.parametrize("name", ["plan.json", "plan-1.json"])
def test_a_torn_plan_without_shards_is_a_fresh_start(path, content, name):
    parts = path.with_name("maps.h5.parts")
    parts.mkdir()
    (parts / name).write_bytes(content)
    assert finish(open_writer(path, KEYS)) == clean(path.parent, KEYS)


@pytest.mark.parametrize("content", [*TORN.values(), None], ids=[*TORN, "lost"])
@pytest.mark.parametrize("name", ["plan.json", "plan-1.json"])
def test_a_torn_or_lost_plan_beside_shards_is_refused_unless_they_are_reused(path, content, name):
    """Nothing says then which images they are of."""
    writer = open_writer(path, KEYS)
    commit(writer, 2)
    if name == "plan-1.json":
        commit(open_writer(path, CHANGED), 1)
        (writer.parts / "plan.json").unlink()
    if content is None:
        (writer.parts / name).unlink()
    else:
        (writer.parts / name).write_bytes(content)
    refused = "lost its plan" if content is None else rf"{name} is damaged \("
    with pytest.raises(LabelMapError, match=rf"{refused}.*keep its finished shards with --reuse"):
        open_writer(path, CHANGED)
    rescued = open_writer(path, CHANGED, reuse=writer.parts)
    assert rescued.kept == len(CHANGED) - len(rescued.keys) >= 2
    assert finish(open_writer(path, CHANGED)) == clean(path.parent, CHANGED)


def test_the_shards_of_an_unfinished_run_are_copied_once(path, tmp_path):
    """What happens to that run later does not matter."""
    old = open_writer(tmp_path / "old.h5", KEYS, folder="elsewhere")
    commit(old, 3)
    writer = open_writer(path, CHANGED, reuse=old.parts)
    assert writer.kept == len(set(sorted(KEYS)[:6]) & set(CHANGED))
    commit(writer, 1)
    commit(old, 1)
    assert len(open_writer(path, CHANGED, reuse=old.parts).pending()) == len(writer.pending())
    shutil.rmtree(old.parts)
    assert finish(open_writer(path, CHANGED, reuse=old.parts)) == clean(tmp_path, CHANGED)


def test_a_folder_without_finished_shards_cannot_be_reused(path, tmp_path):
    (tmp_path / "old.h5.parts").mkdir()
    with pytest.raises(LabelMapError, match=r"old\.h5\.parts has no finished shards to reuse"):
        open_writer(path, KEYS, reuse=tmp_path / "old.h5.parts")


def test_a_run_that_also_reuses_a_file_keeps_its_shards(path, tmp_path):
    """Rows come from the old file, from kept shards, and from new ones; damaged rows too."""
    old = make(tmp_path / "old.h5", KEYS[:6])
    old = damage(damage(old, KEYS[1]), KEYS[4])
    first = open_writer(path, KEYS, reuse=old)
    commit(first, 3)
    commit_last = first.pending()[-1]
    keys = first.keys[commit_last.start : commit_last.stop]
    assert set(keys) == {KEYS[1], KEYS[4]}
    first.commit(commit_last, [maps_of(keys)], {})
    writer = open_writer(path, CHANGED, reuse=old)
    assert (writer.reused, writer.kept) == (3, 7 - len(set(KEYS[3:5]) & set(CHANGED)))
    assert finish(writer) == clean(tmp_path, CHANGED)
