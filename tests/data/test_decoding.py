"""Formats under wrong names, and pixels of more than 8 bits."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image
from skimage import data
from timm.data import ImageDataset
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import default_loader
from torchvision.transforms import v2

from labelkit.data import LabelMapDataset, open_image
from labelkit.errors import DatasetError
from tests.data.support import write_maps

LEVELS = np.array([[0, 0x00FF, 0x0100, 0x1234], [0x7FFF, 0x8000, 0xFF00, 0xFFFF]], np.uint16)
HIGH_BYTES = [[0, 0, 1, 0x12], [0x7F, 0x80, 0xFF, 0xFF]]


def grey(path):
    """The red channel, which equals the others."""
    pixels = np.asarray(open_image(path))
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0].tolist()


def write_tiff(path, content, *, bits=16, photometric=1, sample_format=1):
    """An uncompressed grey TIFF of 4 x 2 pixels, after TIFF 6.0, section 3."""
    tags = {
        256: 4,  # width
        257: 2,  # height
        258: bits,
        259: 1,  # not compressed
        262: photometric,
        273: 8,  # where the pixels begin
        277: 1,  # samples per pixel
        278: 2,  # rows
        279: len(content),
        339: sample_format,
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    header = struct.pack("<2sHI", b"II", 42, 8 + len(content))
    path.write_bytes(header + content + struct.pack("<H", len(tags)) + entries + bytes(4))


def write_pgm(path):
    path.write_bytes(b"P5 4 2 65535\n" + LEVELS.astype(">u2").tobytes())


DEEP = {
    "g.png": lambda path: Image.fromarray(LEVELS).save(path),
    "g.tif": lambda path: Image.fromarray(LEVELS).save(path),
    "big.tif": lambda path: Image.fromarray(LEVELS.astype(">u2")).save(path),
    "g.pgm": write_pgm,
    "j.jpg": lambda path: Image.fromarray(LEVELS).save(path, "JPEG2000"),
}


@pytest.mark.parametrize("name", DEEP)
def test_grey_of_16_bits_becomes_its_high_byte(tmp_path, name):
    """Pillow's own conversion clips everything above 255 to white."""
    DEEP[name](tmp_path / name)
    assert grey(tmp_path / name) == HIGH_BYTES


def test_grey_of_12_bits_fills_the_8_bits(tmp_path):
    """Two pixels in three bytes: 0x000 0xFFF, 0x800 0x123, and again."""
    write_tiff(tmp_path / "g.tif", bytes.fromhex("000FFF800123" * 2), bits=12)
    assert grey(tmp_path / "g.tif") == [[0, 0xFF, 0x80, 0x12]] * 2


def test_white_may_be_zero(tmp_path):
    write_tiff(tmp_path / "g.tif", LEVELS.astype("<u2").tobytes(), photometric=0)
    assert grey(tmp_path / "g.tif") == [[255 - level for level in row] for row in HIGH_BYTES]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (np.int32, "32-bit signed"),
        (np.int16, "16-bit signed"),
        (np.int8, "8-bit signed"),
        (np.float32, "32-bit floating-point"),
        (np.uint32, "32-bit unsigned"),
    ],
)
def test_numbers_without_a_known_range_are_refused_by_name(tmp_path, kind, words):
    """A float may go up to 1, 255 or 65,535, and an elevation below 0."""
    path, zero = tmp_path / "g.tif", np.zeros((2, 4), kind)
    sample_format = {"i": 2, "u": 1, "f": 3}[zero.dtype.kind]
    write_tiff(path, zero.tobytes(), bits=8 * zero.itemsize, sample_format=sample_format)
    with pytest.raises(DatasetError, match=f"{words} numbers, .* save them as 8 bits"):
        open_image(path)


def test_a_float_map_is_refused(tmp_path):
    path = tmp_path / "g.ppm"
    path.write_bytes(b"Pf 1 1\n-1.0\n" + struct.pack("<f", 0.5))
    with pytest.raises(DatasetError, match="floating-point"):
        open_image(path)


@pytest.mark.parametrize("inner", [ImageFolder, lambda root: ImageDataset(str(root))])
def test_training_sees_the_pixels_that_label_maps_see(tmp_path, inner):
    """Torchvision's and timm's own reading of this file is white."""
    path = tmp_path / "photos" / "deep" / "g.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(LEVELS).save(path)
    maps = write_maps(tmp_path / "maps.h5", ["deep/g.png"])
    image, _ = LabelMapDataset(inner(path.parents[1]), maps, v2.PILToTensor())[0]
    assert image[0].tolist() == HIGH_BYTES


def test_timm_images_in_grey_are_scaled_too(tmp_path):
    path = tmp_path / "photos" / "deep" / "g.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(LEVELS).save(path)
    maps = write_maps(tmp_path / "maps.h5", ["deep/g.png"])
    folder = ImageDataset(str(path.parents[1]), input_img_mode="L")
    assert LabelMapDataset(folder, maps, v2.PILToTensor())[0][0][0].tolist() == HIGH_BYTES


@pytest.mark.parametrize("form", ["GIF", "AVIF", "JPEG2000", "WEBP", "BMP", "PNG", "TIFF", "MPO"])
def test_the_content_decides_not_the_ending(tmp_path, form):
    path = tmp_path / "scraped.jpg"
    try:
        Image.fromarray(data.chelsea()).save(path, form)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow cannot write {form}")
    assert np.array_equal(np.asarray(open_image(path)), np.asarray(default_loader(path)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_orientation_is_that_of_torchvision(tmp_path, ending, orientation):
    """Pillow applies the tag in TIFF only."""
    path, tag = tmp_path / f"cat.{ending}", Image.Exif()
    tag[0x0112] = orientation
    Image.fromarray(data.chelsea()[:30, :40]).save(path, exif=tag)
    ours = np.asarray(open_image(path))
    assert np.array_equal(ours, np.asarray(default_loader(path)))
    turned = ending == "tif" and orientation > 4
    assert ours.shape == ((40, 30, 3) if turned else (30, 40, 3))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"\n<!DOCTYPE html><title>404", "content is an HTML page: expected JPEG"),
        (b"<svg xmlns='x'>", "content is SVG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", r"content is HEIF \(.heic\)"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "content is a video"),
        (b"\xff\x0a\xff\x07", "content is JPEG XL"),
        (b"%PDF-1.7", "content is PDF"),
        (b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS"),
        (b"8BPS\0\x01", "content is PSD"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "content is EPS"),
        (b"\0\0\x01\0\x01\0", "content is ICO"),
        (b"hello", "not an image, or damaged at its beginning: expected JPEG, .*GIF"),
    ],
)
def test_what_is_no_image_is_called_by_its_name(tmp_path, content, words):
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(DatasetError, match=words):
        open_image(tmp_path / "x.jpg")
