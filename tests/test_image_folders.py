"""Which names are hidden, and where a key's image is on a disk that spells names in another way."""

from __future__ import annotations

import unicodedata

import pytest

from labelkit.data import list_images
from labelkit.image_folders import class_folders, image_path, iterate_images
from labelkit.relabel.verification import likely_renames

KEY = "caf\u00e9/\u00e9t\u00e9.jpg"


def spelled(form: str, key: str = KEY) -> str:
    return unicodedata.normalize(form, key)


def touch(root, key):
    (root / key).parent.mkdir(parents=True, exist_ok=True)
    (root / key).touch()
    return root / key


def test_class_folders_are_folders_and_links_to_them_that_are_not_hidden(tmp_path):
    for name in ("b", "a", ".git", "Z"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "broken").symlink_to(tmp_path / "none")
    assert class_folders(tmp_path) == ["Z", "a", "b", "link"]


@pytest.mark.parametrize(("on_disk", "of_key"), [("NFD", "NFC"), ("NFC", "NFD"), ("NFC", "NFC")])
def test_an_image_is_found_in_any_unicode_form(tmp_path, on_disk, of_key):
    path = touch(tmp_path, spelled(on_disk))
    assert image_path(tmp_path, spelled(of_key)) == path
    assert image_path(tmp_path, spelled(of_key).replace("/", "\\")) == path


def test_an_image_whose_folder_and_name_have_different_forms_is_found(tmp_path):
    folder, name = KEY.split("/")
    path = touch(tmp_path, f"{spelled('NFD', folder)}/{spelled('NFC', name)}")
    for form in ("NFC", "NFD"):
        assert image_path(tmp_path, spelled(form)) == path


def test_nothing_is_guessed_between_two_images_or_outside_the_folder(tmp_path):
    folder, name = KEY.split("/")
    for form in ("NFC", "NFD"):
        touch(tmp_path / "photos", f"{spelled('NFD', folder)}/{spelled(form, name)}")
    root = tmp_path / "photos"
    assert image_path(root, KEY) == root / KEY
    touch(tmp_path, "secret.jpg")
    assert not image_path(root, "..\\secret.jpg").exists()


def test_verify_pairs_keys_of_a_list_from_windows():
    assert likely_renames(["a\\1.jpg", "b\\1.jpg"], ["a/1.jpg", "b/1.jpg"]) == {
        "a\\1.jpg": "a/1.jpg",
        "b\\1.jpg": "b/1.jpg",
    }


def test_images_are_iterated_in_the_order_of_sorted_keys(tmp_path):
    """Folders sort among files as their keys do; hidden names are left out; links may turn back."""
    keys = ["a/x.jpg", "a-b/x.png", "a.jpg", "a0.jpg", "a/b/c.PNG", "é.jpg", "Z/1.jpg", "z z/1.jpg"]
    for key in [*keys, ".hidden/x.jpg", "a/.x.jpg", "a/notes.txt"]:
        touch(tmp_path, key)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "Z")
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "none")
    found = list(iterate_images(tmp_path))
    assert found == sorted([*keys, "broken.jpg", "link/1.jpg"])
    assert found == list_images(tmp_path)


def test_iterating_no_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        next(iterate_images(tmp_path / "none"))
