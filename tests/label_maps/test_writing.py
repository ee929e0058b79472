"""Shards are written once, completely or not at all; a full disk or ``kill -9`` loses nothing."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from labelkit.errors import LabelMapError
from labelkit.hierarchy import ClassList
from labelkit.label_maps import LabelMapFile, LabelMapWriter, MapForm
from tests.label_maps.support.small_files import CLASSES, FORM, make, maps_of, writer_of

BAD = {"bad.jpg": "torn"}
KEYS = [f"b/{n:02d}.jpg" for n in range(7)] + ["a/é.png", "a/z.jpg", "bad.jpg"]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "maps.h5"


def writer(path: Path, keys: list[str] = KEYS, **facts: object) -> LabelMapWriter:
    return writer_of(path, keys, **facts)


def write(path: Path, **facts: object) -> LabelMapFile:
    return make(path, KEYS, unreadable=BAD, **facts)


def commit(made: LabelMapWriter, number: int) -> None:
    """Commit the first, second, ... of the pending shards."""
    shard = made.pending()[number]
    keys = made.keys[shard.start : shard.stop]
    readable = [key for key in keys if key not in BAD]
    made.commit(shard, [maps_of(readable)], {key: BAD[key] for key in keys if key in BAD})


def test_the_file_does_not_depend_on_the_order_of_keys_or_shards(tmp_path):
    first = write(tmp_path / "a.h5").path.read_bytes()
    made = writer(tmp_path / "b.h5", keys=KEYS[::-1])
    while made.pending():
        commit(made, -1)
    assert made.finalize().path.read_bytes() == first


def test_the_shard_size_does_not_change_the_file(tmp_path):
    first = write(tmp_path / "a.h5").path.read_bytes()
    for rows in (1, 3, 100):
        assert write(tmp_path / f"{rows}.h5", shard_rows=rows).path.read_bytes() == first


def test_a_second_run_makes_only_what_is_missing(path):
    commit(writer(path), 1)
    assert [shard.number for shard in writer(path).pending()] == [0, 2]
    assert [len(KEYS[shard.start : shard.stop]) for shard in writer(path).shards] == [4, 4, 2]


def test_a_shard_of_unreadable_images_is_complete(path):
    torn = {f"b/{n:02d}.jpg": "torn" for n in range(2, 6)}  # the second of three shards
    with make(path, KEYS, unreadable=BAD | torn) as file:
        assert set(file) == set(KEYS) - torn.keys() - BAD.keys()
        assert file.unreadable == BAD | torn


def test_a_shard_that_another_writer_committed_is_kept(path):
    """Two writers of one output: the first one wins, the second one's maps are discarded."""
    one, other = writer(path), writer(path)
    shard = one.pending()[0]
    keys = one.keys[shard.start : shard.stop]
    one.commit(shard, [maps_of(keys)], {})
    first = (one.parts / "000000.h5").stat()
    other.commit(shard, [maps_of(keys, seed=1)], {})
    assert (one.parts / "000000.h5").stat() == first
    for number in (1, 2):
        assert [shard.number for shard in other.pending()] == [*range(number, 3)]
        commit(other, 0)
    one.finalize().close()
    with pytest.raises(FileExistsError, match="exists: choose another name"):
        other.finalize()
    assert path.read_bytes() == write(path.with_name("alone.h5")).path.read_bytes()


def test_maps_that_do_not_match_the_shard_are_refused(path):
    made = writer(path)
    shard = made.pending()[0]
    keys = made.keys[shard.start : shard.stop]
    with pytest.raises(ValueError, match="3 maps for the shard's 4 readable images"):
        made.commit(shard, [maps_of(keys[1:])], {})
    with pytest.raises(ValueError, match="4 maps for the shard's 3 readable images"):
        made.commit(shard, [maps_of(keys)], {keys[0]: "torn"})
    with pytest.raises(ValueError, match="maps of 2 forms, expected 1"):
        made.commit(shard, [maps_of(keys)] * 2, {})
    assert len(made.pending()) == 3


def test_finalize_counts_missing_shards(path):
    made = writer(path)
    commit(made, 1)
    with pytest.raises(LabelMapError, match="2 of 3 shards not made yet"):
        made.finalize()


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"source": {"seed": 1}}, "header.source.input_size: 320 there, None now"),
        ({"keys": KEYS[:-1]}, "count: 10 there, 9 now"),
        ({"keys": [*KEYS[:-1], "other"]}, "keys: [0-9a-f]+ there, [0-9a-f]+ now"),
        ({"shard_rows": 5}, "shard_rows: 4 there, 5 now"),
        ({"forms": [FORM, FORM]}, "header.maps: "),
        ({"forms": [MapForm(top_k=3, grid=(4, 5))]}, "maps.0.background: 4 there, 0 now"),
        ({"forms": [MapForm(top_k=3, grid=(4, 5), background=4, zoom=1.0)]}, "maps.0.zoom: 0.0 th"),
        ({"classes": ClassList(CLASSES.ids[::-1])}, "header.classes_digest"),
    ],
)
def test_other_settings_do_not_mix_with_earlier_shards(path, facts, message):
    commit(writer(path), 0)
    with pytest.raises(LabelMapError, match=message):
        writer(path, **({"keys": KEYS} | facts))
    assert len(writer(path).pending()) == 2


def test_versions_and_the_name_of_the_class_list_are_not_part_of_the_plan(path):
    """An upgrade in the middle of a long job must not cost the finished shards."""
    commit(writer(path, made_with={"torch": "1"}), 0)
    renamed = ClassList(CLASSES.ids, "another name")
    assert len(writer(path, made_with={"torch": "2"}, classes=renamed).pending()) == 2


def test_an_existing_file_is_not_overwritten_by_default(path):
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="exists"):
        writer(path)
    assert path.read_text() == "mine"


def test_a_file_that_appears_meanwhile_is_not_overwritten(path):
    made = writer(path)
    while made.pending():
        commit(made, 0)
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="exists"):
        made.finalize()
    assert path.read_text() == "mine"
    path.unlink()
    assert len(made.finalize()) == 9


def test_a_dangling_link_counts_as_an_existing_file(path):
    path.symlink_to(path.with_name("nowhere"))
    with pytest.raises(FileExistsError, match="exists"):
        writer(path)


@pytest.mark.parametrize(
    "key", ["../x.jpg", "/x.jpg", "a/../../x.jpg", "a\0b", "", "\udcff.jpg", "é" * 2049]
)
def test_keys_that_point_outside_the_folder_are_refused(path, key):
    with pytest.raises(LabelMapError):
        writer(path, keys=[key])


def test_unusual_keys_are_kept(path):
    keys = ["é" * 2048, "..a/..b..", "a b\n\t", "\x01", "\U0010ffff", "."]
    with make(path, keys) as file:
        assert list(file) == sorted(keys, key=str.encode)
        assert not file.missing(keys)


def test_a_duplicate_key_is_refused(path):
    with pytest.raises(LabelMapError, match=r"duplicate key 'a\.jpg'"):
        writer(path, keys=["a.jpg", "b.jpg", "a.jpg"])


def test_a_damaged_shard_is_removed_and_made_again(path):
    made = writer(path)
    while made.pending():
        commit(made, 0)
    shard = made.parts / "000001.h5"
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(LabelMapError, match="Run the same command again"):
        made.finalize()
    assert [shard.number for shard in writer(path).pending()] == [1]
    assert len(write(path)) == 9


def test_an_incomplete_shard_without_a_marker_is_made_again(path):
    made = writer(path)
    (made.parts / "000000.h5").write_bytes(b"torn")
    commit(made, 0)
    assert len(write(path)) == 9


def test_a_damaged_marker_is_refused_with_what_to_do_next(path):
    made = writer(path)
    commit(made, 0)
    (made.parts / "000000.json").write_text("{")
    with pytest.raises(LabelMapError, match=r"000000.json is damaged .*: remove it and run again"):
        made.pending()


def test_a_lost_plan_is_refused_with_what_to_do_next(path):
    made = writer(path)
    commit(made, 0)
    (made.parts / "plan.json").unlink()
    with pytest.raises(LabelMapError, match=r"lost its plan\.json: remove the folder"):
        writer(path)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from tests.label_maps.test_writing import commit, writer

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
made, size = writer(Path(sys.argv[1])), int(sys.argv[2])
for limit in range(0, size, 53):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        commit(made, 0)
    except OSError as error:
        if "File too large. 1 of 3 shards are kept" not in str(error):
            raise
    else:
        sys.exit(f"a shard of {size} bytes fitted into {limit}")
"""

KILLED = """
import os, signal, sys
import labelkit.label_maps.file.hdf5_writer as hdf5
from pathlib import Path
from tests.label_maps.test_writing import commit, writer

made = writer(Path(sys.argv[1]))
commit(made, 0)
hdf5._Column.append = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
commit(made, 0)
"""


def run(program: str, path: Path, *arguments: object) -> int:
    command = [sys.executable, "-c", program, str(path), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def test_a_run_killed_inside_a_shard_is_resumed(path, tmp_path):
    """``kill -9`` inside HDF5: the finished shard is kept, the file equals an undisturbed one."""
    assert run(KILLED, path) == -signal.SIGKILL
    assert [shard.number for shard in writer(path).pending()] == [1, 2]
    assert write(path).path.read_bytes() == write(tmp_path / "unbroken.h5").path.read_bytes()


def test_a_disk_that_is_full_at_any_byte_loses_nothing(path):
    """A limit on file sizes simulates a full disk: one shard fails, the earlier one is kept.

    HDF5 crashes the process when it closes a file that it could not write.
    """
    for _ in range(2):
        commit(writer(path), 0)
    second = path.with_name("maps.h5.parts") / "000001.h5"
    size = second.stat().st_size
    second.unlink()
    second.with_suffix(".json").unlink()
    assert run(FULL_DISK, path, size) == 0
    assert not list(path.parent.glob("**/.*.tmp"))
    assert [shard.number for shard in writer(path).pending()] == [1, 2]
    assert len(write(path)) == 9


@pytest.mark.parametrize("facts", [{"source": {"by": "another"}}, {"shard_rows": 3}], ids=str)
def test_a_shard_of_another_plan_is_made_again(path, tmp_path, facts):
    """Copied there by hand, with or without its marker: another source, or fewer images."""
    foreign = writer(tmp_path / "foreign.h5", **facts)
    commit(foreign, 0)
    for suffixes in ((".h5",), (".h5", ".json")):
        made = writer(path)
        for suffix in suffixes:
            shutil.copy(foreign.parts / f"000000{suffix}", made.parts / f"000000{suffix}")
        assert [shard.number for shard in made.pending()] == [0, 1, 2]
        while made.pending():
            commit(made, 0)
        found = made.finalize()
        assert sorted([*found, *found.unreadable]) == sorted(KEYS)
        assert found.attrs == writer(tmp_path / "x.h5").header.source
        path.unlink()


def test_a_source_or_class_list_that_is_too_long_is_refused_before_the_first_shard(path):
    with pytest.raises(LabelMapError, match="more than a label-map file's 1,048,576"):
        writer(path, source={"long": "x" * (1 << 20)})
    ids = [f"{number:06d}" + "x" * 140 for number in range(200_000)]
    with pytest.raises(LabelMapError, match="exceed a label-map file's 24 MiB"):
        writer(path, classes=ClassList.of(ids))


def test_long_lists_of_long_ids_are_kept(path):
    """Longer than a reader allows a compressed list to expand to."""
    classes = ClassList.of([f"{number:06d}" + "x" * 100 for number in range(200_000)])
    with write(path, classes=classes) as file:
        assert file.classes == classes
        assert len(file) == len(KEYS) - 1
