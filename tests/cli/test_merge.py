"""``labelkit merge``, as a user calls it."""

from __future__ import annotations

import re
import shlex
import shutil

import pytest

from labelkit.label_maps import LabelMapFile
from tests.command import labelkit
from tests.label_maps.support.small_files import SOURCE, damage, make
from tests.photos import write_photos

KEYS = [f"a/{n:02d}.jpg" for n in range(10)]
OTHER = SOURCE | {"teacher": {"name": "other"}}


@pytest.fixture
def parts(tmp_path):
    first = make(tmp_path / "a.h5", KEYS[:6], unreadable={KEYS[0]: "torn\x1b[2J"})
    return [first.path, make(tmp_path / "b.h5", KEYS[5:]).path]


def test_parts_become_one_file(parts, tmp_path):
    run = labelkit("merge", *parts, "-o", tmp_path / "m.h5")
    assert run.code == 0, run
    assert f"Wrote {tmp_path}/m.h5: 9 label maps from 2 files, " in run.text
    assert "Identical in more than one file: 1 row\n" in run.out
    assert f"Without a label map, unreadable in every file: 1 image ({KEYS[0]}: torn" in run.out
    assert "\x1b[2J" not in run.out
    assert run.out.splitlines()[-1] == f"Next: labelkit verify {tmp_path}/m.h5"
    assert len(LabelMapFile.open(tmp_path / "m.h5")) == 9


def test_files_of_two_teachers_are_refused_with_what_to_do_next(tmp_path):
    files = [
        make(tmp_path / "a.h5", KEYS, seed=0).path,
        make(tmp_path / "b.h5", KEYS[:7], seed=1, source=OTHER).path,
    ]
    run = labelkit("merge", *files, "-o", tmp_path / "m.h5")
    assert run.code == 1
    assert "differ in teacher.name" in run.text
    assert "pass several --teacher to labelkit relabel" in run.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.h5"], "pass at least two files"),
        (["a.h5", "none.h5"], "does not exist"),
        (["a.h5", "b.h5", "-o", "none/m.h5"], "no such folder: none"),
        (["a.h5", "b.h5", "-o", "m.npz"], "m.npz must end in .h5 or .hdf5"),
        (["a.h5", "b.h5", "-o", "m"], "m must end in .h5 or .hdf5"),
    ],
)
def test_wrong_usage_is_refused(parts, tmp_path, monkeypatch, arguments, message):
    assert [path.name for path in parts] == ["a.h5", "b.h5"]
    monkeypatch.chdir(tmp_path)
    run = labelkit("merge", "-o", "m.h5", *arguments)
    assert run.code == 2
    assert message in run.text
    assert not (tmp_path / "m.h5").exists()


def test_an_existing_file_is_replaced_only_on_request(parts, tmp_path):
    output = make(tmp_path / "m.h5", ["other.jpg"]).path
    run = labelkit("merge", *parts, "-o", output)
    assert run.code == 2
    assert "m.h5 exists: choose another name, or pass --overwrite" in run.text
    assert list(LabelMapFile.open(output)) == ["other.jpg"]
    run = labelkit("merge", *parts, "-o", output, "--overwrite", "--quiet")
    assert (run.code, run.text) == (0, "")
    assert list(LabelMapFile.open(output)) == KEYS[1:]


def test_an_input_may_be_replaced_by_the_result(parts):
    assert labelkit("merge", *parts, "-o", parts[0], "--overwrite").code == 0
    assert list(LabelMapFile.open(parts[0])) == KEYS[1:]


def test_a_failed_merge_leaves_the_file_that_it_was_to_replace(parts, tmp_path):
    output = make(tmp_path / "m.h5", ["other.jpg"]).path
    damage(LabelMapFile.open(parts[1]), KEYS[7])
    assert labelkit("merge", *parts, "-o", output, "--overwrite").code == 1
    assert list(LabelMapFile.open(output)) == ["other.jpg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "b.h5", "m.h5"]


def test_a_damaged_row_is_one_line(parts, tmp_path):
    damage(LabelMapFile.open(parts[1]), KEYS[7])
    run = labelkit("merge", *parts, "-o", tmp_path / "m.h5")
    assert run.code == 1
    assert f"b.h5, row 2 ({KEYS[7]})" in run.text
    assert not (tmp_path / "m.h5").exists()


def test_a_file_of_something_else_is_told(parts, tmp_path):
    (tmp_path / "c.h5").write_text("no maps")
    run = labelkit("merge", *parts, tmp_path / "c.h5", "-o", tmp_path / "m.h5")
    assert run.code == 1
    assert "c.h5 is not a complete HDF5 file" in run.text


def test_a_file_without_calibration_is_calibrated_as_the_message_says(tmp_path, monkeypatch):
    """The command of the message, with its words in capitals filled in, and then the merge."""
    monkeypatch.chdir(tmp_path)
    settings = ["--teacher", "efficientnet-lite0", "--size", "96"]
    for name, left_out, more in (("a", "things", []), ("b part", "animals", ["--no-calibration"])):
        write_photos(tmp_path / name)
        shutil.rmtree(tmp_path / name / left_out)
        made = labelkit("relabel", name, *settings, "-o", f"{name}.h5", *more)
        assert made.code == 0, made
    run = labelkit("merge", "a.h5", "b part.h5", "-o", "m.h5")
    assert run.code == 1
    assert "a.h5 is calibrated and" in run.text
    (command,) = re.findall(r"made with: (labelkit .*)", run.text)
    _, *words = shlex.split(
        command.replace("IMAGES", "'b part'").replace("TEACHER", "efficientnet-lite0")
    )
    calibrated = labelkit(*words, "--size", "96")
    assert calibrated.code == 0, calibrated
    assert "Made now: 0" in calibrated.text
    merged = labelkit("merge", "a.h5", "calibrated.h5", "-o", "m.h5")
    assert merged.code == 0, merged
    with LabelMapFile.open("m.h5") as file:
        assert file.calibration is not None
        parts = [LabelMapFile.open(name).calibration for name in ("a.h5", "calibrated.h5")]
        assert file.calibration.images == sum(each.images for each in parts)
