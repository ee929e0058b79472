"""Relabelling any source gives the folder's file, and the file says how its keys were made."""

from __future__ import annotations

import pytest

from labelkit.label_maps import LabelMapFile
from labelkit.relabel import Settings, relabel, verify
from labelkit.sources import Columns, open_source
from tests.command import labelkit
from tests.sources.support import KEYS, KINDS, WITH_KEY_COLUMN, draw_photos, make_tar, pack
from tests.teachers.support import random_teacher

SETTINGS = Settings(sizes=(64,), workers=0, calibration=None)


@pytest.fixture(scope="module")
def teacher():
    return random_teacher("test_resnet")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return draw_photos(tmp_path_factory.mktemp("relabel") / "photos")


@pytest.fixture(scope="module")
def folder_maps(photos, teacher, tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "maps.h5"
    return relabel(photos, teacher, path, SETTINGS).path


@pytest.mark.parametrize("kind", KINDS)
def test_the_maps_are_those_of_the_folder(kind, photos, folder_maps, teacher, tmp_path):
    columns = Columns(key="key") if kind in WITH_KEY_COLUMN else None
    source = open_source(KINDS[kind](photos, tmp_path), columns)
    result = relabel(source, teacher, tmp_path / "maps.h5", SETTINGS)
    with LabelMapFile.open(result.path) as file, LabelMapFile.open(folder_maps) as folder:
        assert list(file) == list(folder) == KEYS
        assert file.digest == folder.digest
        assert file.made_with == folder.made_with | {"keys": source.rule}
        assert "keys" not in folder.made_with
        assert verify(file, source, [teacher], 2).ok


def test_two_workers_read_a_tar_as_one_process_does(photos, folder_maps, teacher, tmp_path):
    tar = make_tar(photos, tmp_path)
    settings = Settings(sizes=(64,), workers=2, calibration=None, batch_size=1)
    with LabelMapFile.open(relabel(tar, teacher, tmp_path / "maps.h5", settings).path) as file:
        assert list(file) == KEYS
        with LabelMapFile.open(folder_maps) as folder:
            assert verify(folder, tar, [teacher], 4).ok


def test_rows_of_the_folder_are_reused_for_a_tar_of_it(photos, folder_maps, teacher, tmp_path):
    members = [(key, (photos / key).read_bytes()) for key in KEYS]
    grown = [*members, ("things/new.jpg", members[0][1])]
    with LabelMapFile.open(folder_maps) as old:
        tar = pack(tmp_path / "grown.tar", grown)
        result = relabel(tar, teacher, tmp_path / "maps.h5", SETTINGS, reuse=old)
    assert (result.reused, result.processed) == (4, 1)


def test_verify_on_the_command_line_reads_a_table(photos, folder_maps, tmp_path):
    table = KINDS["parquet"](photos, tmp_path)
    arguments = ("verify", folder_maps, "--images", table)
    assert labelkit(*arguments, "--key-column", "key").code == 0
    wrong = labelkit(*arguments, "--key-column", "keys")
    assert wrong.code == 1
    assert "has no column 'keys'. The columns are key (string), image (struct" in wrong.text
