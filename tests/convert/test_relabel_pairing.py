"""Which image each map of a ReLabel folder belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labelkit.convert import list_maps, pair_by_suffix, pair_with_images
from labelkit.convert.relabel_format import map_path
from labelkit.errors import LabelMapError

if TYPE_CHECKING:
    from pathlib import Path


def test_maps_are_found_at_any_depth_and_through_links(tmp_path: Path) -> None:
    for name in ("b/x.pt", "a.b/y.z.pt", "c/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "round").symlink_to(tmp_path)
    (tmp_path / "linked").symlink_to(tmp_path / "c")
    (tmp_path / "c" / "w.pt").touch()
    assert list_maps(tmp_path) == ["a.b/y.z", "b/x", "c/w", "linked/w"]


def test_a_folder_without_maps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelMapError, match="labelkit relabel"):
        list_maps(tmp_path)


def test_the_extension_starts_at_the_last_dot_of_the_name() -> None:
    paths = {"a/b.JPEG": "a/b.pt", "a.b/c": "a.b/c.pt", "a/b.c.png": "a/b.c.pt", "a/.x": "a/.x.pt"}
    assert {key: map_path(key) for key in paths} == paths


def test_images_and_maps_are_paired_whatever_their_extensions() -> None:
    stems = ["a/1", "a/1-b", "a/1-c", "a/1-d", "a/2", "b/9"]
    images = ["a/1-b.png", "a/1.jpg", "a/3.jpg", "a/2.JPEG", "0.jpg"]
    pairs = pair_with_images(stems, images)
    assert sorted(pairs.keys) == ["a/1-b.png", "a/1.jpg", "a/2.JPEG"]
    assert pairs.without_map == ["0.jpg", "a/3.jpg"]
    assert pairs.without_image == ["a/1-c.pt", "a/1-d.pt", "b/9.pt"]
    assert pair_by_suffix(stems[:2], ".JPEG").keys == ["a/1.JPEG", "a/1-b.JPEG"]


def test_ambiguous_and_unrelated_images_are_refused() -> None:
    with pytest.raises(LabelMapError, match=r"a/1.pt could belong to a/1.jpg or to a/1.png"):
        pair_with_images(["a/1"], ["a/1.png", "a/1.jpg"])
    assert pair_with_images(["a/2"], ["a/1.png", "a/1.jpg", "a/2.jpg"]).keys == ["a/2.jpg"]
    with pytest.raises(LabelMapError, match="same subfolders"):
        pair_with_images(["a/1"], ["train/a/1.jpg"])
