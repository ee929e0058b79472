"""Every kind of source gives the keys, the bytes and the classes of the folder."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path

import pytest

from labelkit.data import open_image
from labelkit.sources import Columns, FolderImages, open_source
from tests.sources.support import KEYS, KINDS, WITH_KEY_COLUMN, draw_photos


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return draw_photos(tmp_path_factory.mktemp("kinds") / "photos")


@pytest.fixture(params=KINDS)
def source(request, photos, tmp_path):
    columns = Columns(key="key") if request.param in WITH_KEY_COLUMN else None
    return open_source(KINDS[request.param](photos, tmp_path), columns)


def content(source, key):
    file = source.file(key)
    return file.read_bytes() if isinstance(file, Path) else file.read()


def test_keys_and_bytes_are_those_of_the_folder(source, photos):
    assert source.keys == KEYS == FolderImages(photos).keys
    for key in KEYS:
        assert content(source, key) == (photos / key).read_bytes()


def test_classes_are_those_of_the_folder(source):
    found = source.labels
    assert found is not None
    names = [found.classes[number] for number in found.numbers]
    numbered = {"0": "things", "1": "animals"}  # a WebDataset's labels are numbers
    assert [numbered.get(name, name) for name in names] == [key.split("/")[0] for key in KEYS]


def test_a_stored_label_is_that_of_all_labels(source):
    found = source.stored_labels
    one_by_one = [source.stored_label(key) for key in KEYS]
    if found is None:
        assert one_by_one == [None] * len(KEYS)
    else:
        assert one_by_one == [found.classes[number] for number in found.numbers]
        assert source.labels == found


def test_keys_in_the_order_of_storage_are_all_keys(source):
    assert sorted(source.in_storage_order()) == KEYS


def test_a_missing_image_is_a_missing_file(source):
    assert source.find("animals/dog.jpg") is None
    assert source.find("animals\\cat.jpg") == "animals/cat.jpg"
    with pytest.raises(FileNotFoundError):
        open_image(source.file("animals/dog.jpg"))


def sizes(source):
    return [open_image(source.file(key)).size for key in source.keys]


def test_a_started_process_reads_the_same(source):
    """Handles are opened anew; a source that was read before can be sent too."""
    expected = sizes(source)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(sizes, (source,)) == expected


def test_what_is_sent_is_small(source):
    sizes(source)
    assert len(pickle.dumps(source)) < 10_000
