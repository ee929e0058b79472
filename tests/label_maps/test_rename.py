"""Rows keep their maps under new keys."""

from __future__ import annotations

import json

import numpy as np
import pytest

from labelkit.errors import LabelMapError
from labelkit.label_maps import LabelMapFile, rename
from tests.command import labelkit
from tests.data.support import write_maps

KEYS = ["a/1.jpg", "a/2.jpg", "b/1.jpg"]
NEW = {"a/1.jpg": "z/1.jpg", "b/1.jpg": "a/1.jpg"}


@pytest.fixture
def maps(tmp_path):
    return write_maps(tmp_path / "maps.h5", KEYS)


def test_maps_move_with_their_keys(maps, tmp_path):
    """Also where one key takes another's place, which changes the order of the rows."""
    with LabelMapFile.open(maps) as old, rename(old, NEW, tmp_path / "new.h5") as new:
        assert list(new) == ["a/1.jpg", "a/2.jpg", "z/1.jpg"]
        for key in KEYS:
            before, after = old[key], new[NEW.get(key, key)]
            assert np.array_equal(before.score, after.score)
            assert np.array_equal(before.index, after.index)
        new.check_rows()
        back = {moved: key for key, moved in NEW.items()}
        with rename(new, back, tmp_path / "back.h5") as again:
            assert again.digest == old.digest


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"c.jpg": "d.jpg"}, "has no image c.jpg"),
        ({"a/1.jpg": "a/2.jpg"}, "would have the key 'a/2.jpg'"),
        ({"a/1.jpg": "../2.jpg"}, "points outside"),
    ],
)
def test_impossible_renames_write_nothing(maps, tmp_path, keys, message):
    with LabelMapFile.open(maps) as old, pytest.raises(LabelMapError, match=message):
        rename(old, keys, tmp_path / "new.h5")
    assert not (tmp_path / "new.h5").exists()


def test_what_verify_writes_can_be_applied(maps, tmp_path, monkeypatch):
    """Images were moved to other folders: names that stay pair old and new keys."""
    monkeypatch.chdir(tmp_path)
    for key in ("moved/a/1.jpg", "moved/a/2.jpg", "moved/b/1.jpg"):
        path = tmp_path / "photos" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = labelkit(
        *("verify", maps, "--images", tmp_path / "photos", "--renames", tmp_path / "new.json")
    )
    assert found.code == 1
    assert f"labelkit rename {maps} --keys {tmp_path / 'new.json'} -o renamed.h5" in found.out
    assert "--renames" not in found.out
    assert json.loads((tmp_path / "new.json").read_text()) == {key: f"moved/{key}" for key in KEYS}
    done = labelkit("rename", maps, "--keys", "new.json", "-o", "new.h5")
    assert done.code == 0
    assert done.out.startswith("Wrote new.h5: 3 label maps")
    assert "new keys for 3 images" in done.out
    assert labelkit("verify", tmp_path / "new.h5", "--images", tmp_path / "photos").code == 0
    assert labelkit("verify", maps, "--renames", tmp_path / "x.json").code == 2
