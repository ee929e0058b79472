"""An image is treated alike wherever it is stored, by everything that reads it."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torchvision.transforms import v2

from labelkit.data import LabelMapDataset, open_image
from labelkit.errors import DatasetError
from labelkit.inspection import open_photo
from labelkit.label_maps import LabelMapFile
from labelkit.relabel import Settings, relabel, verify
from labelkit.sources import Columns, FolderImages, open_source
from labelkit.train.checked_images import check_images
from labelkit.train.image_reading import ImageReader
from labelkit.train.readable import read_images
from tests.data.support import write_maps
from tests.sources.support import pack
from tests.teachers.support import random_teacher


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def images() -> dict[str, bytes]:
    """One image of each kind that the table in docs/sources.md names."""
    photo = Image.fromarray(data.chelsea()).resize((48, 32))
    turned = Image.Exif()
    turned[0x0112] = 6
    other = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return {
        "alpha.png": encoded(photo.convert("RGBA"), "PNG"),
        "animated.gif.png": encoded(photo, "GIF", save_all=True, append_images=[other]),
        "bomb.png": encoded(Image.new("1", (20_000, 20_000)), "PNG"),
        "cmyk.jpg": encoded(photo.convert("CMYK"), "JPEG"),
        "deep.png": encoded(Image.fromarray(data.camera().astype(np.uint16) * 257), "PNG"),
        "empty.jpg": b"",
        "exif.jpg": encoded(photo, "JPEG", exif=turned),
        "float.tif": encoded(Image.new("F", (8, 8)), "TIFF"),
        "html.jpg": b"<html>404",
        "one.png": encoded(photo.resize((1, 1)), "PNG"),
        "palette.png": encoded(photo.convert("P"), "PNG"),
        "thin.jpg": encoded(photo.resize((1000, 1)), "JPEG"),
        "truncated.jpg": encoded(photo, "JPEG")[:-200],
    }


BROKEN = {
    "bomb.png": "decompression bomb|exceeds limit",
    "empty.jpg": "the file is empty",
    "float.tif": "floating-point",
    "html.jpg": "an HTML page",
    "truncated.jpg": "truncated",
}
KINDS = ("folder", "tar", "parquet")


@pytest.fixture(scope="module", params=KINDS)
def source(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    contents = images()
    if request.param == "folder":
        for key, content in contents.items():
            (folder / key).write_bytes(content)
        return FolderImages(folder)
    if request.param == "tar":
        return open_source(pack(folder / "t.tar", contents.items()))
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"name": list(contents), "bytes": list(contents.values())})
    pq.write_table(table, folder / "t.parquet")
    return open_source(folder / "t.parquet", Columns(key="name"))


def reasons(source) -> dict[str, str]:
    found: dict[str, str] = {}
    for key in source.keys:
        try:
            open_image(source.file(key))
        except DatasetError as error:
            found[key] = str(error)
    return found


def test_what_cannot_be_read_is_said_in_the_same_words(source):
    assert source.keys == sorted(images())
    found = reasons(source)
    assert found.keys() == BROKEN.keys()
    for key, words in BROKEN.items():
        assert any(word in found[key].lower() for word in words.lower().split("|")), found[key]


def test_readable_images_have_the_stated_pixels(source):
    photo = np.asarray(Image.fromarray(data.chelsea()).resize((48, 32)))
    pixels = {key: np.asarray(open_image(source.file(key))) for key in {*source.keys} - {*BROKEN}}
    assert np.array_equal(pixels["alpha.png"], photo)
    assert pixels["exif.jpg"].shape == (32, 48, 3)
    assert np.array_equal(pixels["deep.png"][..., 0], data.camera())
    assert pixels["thin.jpg"].shape == (1, 1000, 3)
    assert pixels["one.png"].shape == (1, 1, 3)
    first = np.asarray(Image.fromarray(photo).quantize(256).convert("RGB"), np.int16)
    assert np.abs(pixels["animated.gif.png"] - first).mean() < 8


def test_relabel_verify_inspect_and_training_agree(source, tmp_path):
    """Each has its own loop around the one decoder."""
    expected = reasons(source)
    teacher = random_teacher("test_resnet")
    settings = Settings(sizes=(64,), workers=0, calibration=None)
    result = relabel(source, teacher, tmp_path / "maps.h5", settings)
    assert result.unreadable == expected
    with LabelMapFile.open(result.path) as file:
        found = verify(file, source)
        assert found.ok
        assert found.still_unreadable == expected
    for key, reason in expected.items():
        with pytest.raises(DatasetError) as error:
            open_photo(source, key)
        assert str(error.value).endswith(reason)
    resize = v2.Compose([v2.Resize((8, 8)), v2.ToDtype(torch.float32)])
    (batch,) = read_images(source, source.keys, resize, batch_size=99)
    assert {key: fault.reason for key, fault in batch.faults.items()} == expected
    reader = ImageReader({source.path: source})
    paths = [f"{source.path}/{key}" for key in source.keys]
    for depth in ("header", "pixels"):
        report = check_images(paths, depth, reader=reader)
        faults = {
            path.removeprefix(f"{source.path}/"): each for path, each in report.unreadable.items()
        }
        assert {key: fault.reason for key, fault in faults.items()} == expected


def test_a_data_set_over_a_source_names_what_it_cannot_read(source, tmp_path):
    maps = write_maps(tmp_path / "maps.h5", source.keys)
    train = LabelMapDataset(source, maps, v2.Compose([v2.Resize((8, 8)), v2.PILToTensor()]))
    assert train.keys == source.keys
    for at, key in enumerate(source.keys):
        if key in BROKEN:
            with pytest.raises(DatasetError, match="cannot be read"):
                train[at]
        else:
            assert train[at][0].shape == (3, 8, 8)
