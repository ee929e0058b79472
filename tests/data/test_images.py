"""Listing and reading images."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image
from skimage import data

from labelkit.data import list_images, read_image
from labelkit.errors import DatasetError
from tests.photos import write_photos


def test_keys_are_sorted_relative_paths_of_images_only(tmp_path):
    keys = write_photos(tmp_path)
    (tmp_path / "things" / "notes.txt").write_text("no image")
    (tmp_path / "things" / "maps.h5").write_text("no image")
    assert list_images(tmp_path) == keys


def test_links_to_folders_are_followed_but_not_in_cycles(tmp_path):
    write_photos(tmp_path / "real")
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").symlink_to(tmp_path / "real")
    (root / "b").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "loop").symlink_to(root)
    keys = list_images(root)
    assert {f"{link}/animals/cat.jpg" for link in "ab"} <= set(keys)
    assert not [key for key in keys if key.count("loop") > 1]


def test_a_folder_and_a_link_to_it_are_both_listed(tmp_path):
    """ImageFolder reads both, so each key needs a label map."""
    keys = write_photos(tmp_path / "z")
    (tmp_path / "a").symlink_to(tmp_path / "z")
    assert list_images(tmp_path) == [f"{folder}/{key}" for folder in "az" for key in keys]


def test_a_damaged_image_and_a_failing_disk_are_different_errors(tmp_path):
    """A broken link or a pipe counts as a damaged image; a missing file does not."""
    (tmp_path / "link.jpg").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(DatasetError, match="broken link"):
        read_image(tmp_path / "link.jpg")
    with pytest.raises(DatasetError, match="not a regular file"):
        read_image(tmp_path / "pipe.jpg")
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "vanished.jpg")


def test_a_folder_without_images_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DatasetError, match=f"{tmp_path} holds no images"):
        list_images(tmp_path)
    with pytest.raises(NotADirectoryError, match="no such folder"):
        list_images(tmp_path / "none")


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "bmp", "tif", "ppm"])
def test_pixels_equal_those_that_training_loads(tmp_path, ending):
    """Torchvision's default loader opens images with Pillow and converts them to RGB."""
    path = tmp_path / f"cat.{ending}"
    Image.fromarray(data.chelsea()).save(path)
    ours = read_image(path).permute(1, 2, 0).numpy()
    with Image.open(path) as image:
        assert np.array_equal(ours, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P", "I;16", "1"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    if mode == "I;16":
        image = Image.fromarray(data.camera().astype(np.uint16) * 257)
    else:
        image = Image.fromarray(data.chelsea()).convert(mode)
    image.save(path)
    assert read_image(path).shape[0] == 3


def test_orientation_tags_are_ignored(tmp_path):
    """Training loaders ignore them, and label maps must match the pixels that training sees."""
    path = tmp_path / "cat.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(data.chelsea()).save(path, exif=exif)
    assert read_image(path).shape == (3, 300, 451)


def _truncate(path):
    Image.fromarray(data.chelsea()).save(path)
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("hello"),
        lambda path: path.write_bytes(os.urandom(2000)),
        lambda path: path.write_bytes(b"\xff\xd8\xff\xe0" + b"\0" * 50),
        _truncate,
        lambda path: path.mkdir(),
    ],
    ids=["empty", "text", "noise", "header", "truncated", "folder"],
)
@pytest.mark.parametrize("name", ["x.jpg", "x.png"])
def test_a_damaged_image_is_an_error_with_a_reason(tmp_path, damage, name):
    damage(tmp_path / name)
    with pytest.raises(DatasetError, match=r"\w"):
        read_image(tmp_path / name)


def test_a_pixel_bomb_is_refused(tmp_path):
    """A PNG of a few hundred kilobytes that would decode to 900 MB."""
    path = tmp_path / "bomb.png"
    Image.new("L", (30_000, 30_000)).save(path)
    with pytest.raises(DatasetError, match="pixels"):
        read_image(path)
