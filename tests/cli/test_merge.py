"""``labelkit merge``, as a user calls it."""

from __future__ import annotations

import pytest

from labelkit.label_maps import LabelMapFile
from tests.command import labelkit
from tests.label_maps.small_files import SOURCE, damage, make

KEYS = [f"a/{n:02d}.jpg" for n in range(10)]
OTHER = SOURCE | {"teacher": {"name": "other"}}


@pytest.fixture
def parts(tmp_path):
    first = make(tmp_path / "a.h5", KEYS[:6], unreadable={KEYS[0]: "torn\x1b[2J"})
    return [first.path, make(tmp_path / "b.h5", KEYS[5:]).path]


def test_parts_become_one_file(parts, tmp_path):
    run = labelkit("merge", *parts, "-o", tmp_path / "m.h5")
    assert run.code == 0, run
    assert "m.h5 made: 9 label maps" in run.text
    assert "the rows of 2 files" in run.text
    assert "In more than one file, and the same there: 1 rows" in run.text
    assert "Without a map, for no file could read them: 1 images" in run.text
    assert "\x1b[2J" not in run.out
    assert run.out.splitlines()[-1] == f"Next: labelkit verify {tmp_path}/m.h5"
    assert len(LabelMapFile.open(tmp_path / "m.h5")) == 9


def test_teachers_become_their_average(tmp_path):
    files = [
        make(tmp_path / "a.h5", KEYS, seed=0).path,
        make(tmp_path / "b.h5", KEYS[:7], seed=1, source=OTHER).path,
    ]
    run = labelkit("merge", *files, "-o", tmp_path / "m.h5")
    assert run.code == 1
    assert "--average" in run.text
    run = labelkit("merge", "--average", *files, "-o", tmp_path / "m.h5")
    assert run.code == 1
    assert "b.h5 lacks 3" in run.text
    assert "--common" in run.text
    asked = ("merge", "--average", "--common", "--space", "probability", *files, "-o")
    run = labelkit(*asked, tmp_path / "m.h5")
    assert run.code == 0, run
    assert "7 label maps" in run.text
    assert "the average of 2 files" in run.text
    assert "Left out, for a file lacks them: 3 images or more" in run.text
    assert LabelMapFile.open(tmp_path / "m.h5").attrs["average"] == "probability"
    assert labelkit(*asked, tmp_path / "m.h5").code == 0  # it is there already, the same


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["a.h5"], "give two files or more"),
        (["a.h5", "b.h5", "--common"], "--common needs --average"),
        (["a.h5", "b.h5", "--space", "logit"], "--space needs --average"),
        (["a.h5", "none.h5"], "does not exist"),
    ],
)
def test_wrong_usage_is_told(parts, tmp_path, monkeypatch, arguments, told):
    assert [path.name for path in parts] == ["a.h5", "b.h5"]
    monkeypatch.chdir(tmp_path)
    run = labelkit("merge", *arguments, "-o", "m.h5")
    assert run.code == 2
    assert told in run.text
    assert not (tmp_path / "m.h5").exists()


def test_no_file_is_replaced(parts):
    run = labelkit("merge", *parts, "-o", parts[0])
    assert run.code == 1
    assert "exists: choose another name" in run.text
    assert len(LabelMapFile.open(parts[0])) == 5


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
    assert "c.h5 is not a whole HDF5 file" in run.text
