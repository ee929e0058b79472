"""``labelkit pack``, as a user calls it."""

from __future__ import annotations

import pytest

from labelkit.label_maps import LabelMapFile
from tests.command import labelkit
from tests.label_maps.small_files import make

KEYS = [f"a/{n:02d}.jpg" for n in range(10)]


@pytest.fixture
def packed(tmp_path):
    return make(tmp_path / "maps.h5", KEYS)


def test_the_raw_form_is_written_and_both_sizes_are_told(packed, tmp_path):
    run = labelkit("pack", packed.path, "--raw", "-o", tmp_path / "raw.h5")
    assert run.code == 0, run
    raw = LabelMapFile.open(tmp_path / "raw.h5")
    assert raw.digest == packed.digest
    assert "raw.h5 made: 10 rows" in run.text
    assert f"{packed.record_bytes / 10:,.0f} bytes a row" in run.text
    assert f"{raw.record_bytes / 10:,.0f} bytes a row" in run.text
    assert "Next: labelkit verify" in run.text
    assert labelkit("verify", raw.path).code == 0


@pytest.mark.parametrize("options", [["--raw"], []])
def test_a_raw_file_is_not_packed_again(packed, tmp_path, options):
    labelkit("pack", packed.path, "--raw", "-o", tmp_path / "raw.h5")
    run = labelkit("pack", tmp_path / "raw.h5", *options, "-o", tmp_path / "again.h5")
    assert run.code == 1
    assert "keep the packed file that it was made from" in run.text
    assert not (tmp_path / "again.h5").exists()


def test_a_packed_file_needs_the_option(packed, tmp_path):
    run = labelkit("pack", packed.path, "-o", tmp_path / "raw.h5")
    assert run.code == 2
    assert "--raw writes its raw form" in run.text


def test_no_file_is_replaced_and_folders_are_not_made(packed, tmp_path):
    run = labelkit("pack", packed.path, "--raw", "-o", packed.path)
    assert run.code == 1
    assert "exists: choose another name" in run.text
    run = labelkit("pack", packed.path, "--raw", "-o", tmp_path / "none" / "raw.h5")
    assert run.code == 1
    assert "no folder" in run.text
    assert not LabelMapFile.open(packed.path).raw
