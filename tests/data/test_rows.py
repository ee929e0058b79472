"""Images whose keys begin elsewhere than the file's, or are spelled in another way."""

from __future__ import annotations

import unicodedata

import pytest
import torch
from PIL import Image
from timm.data import ImageDataset, create_dataset
from torch.utils.data import Subset
from torchvision import datasets
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from labelkit.data import LabelMapDataset, LabelMapIterable, TargetOptions
from labelkit.errors import LabelMapError
from labelkit.inspection import find_label_map, open_photo
from labelkit.label_maps import LabelMapFile
from tests.data.support import write_maps

PIXELS = v2.PILToTensor()
WNIDS = ("n01440764", "n02102040")


def write_images(root, keys):
    """Images of 8 x 8 pixels; returns the keys."""
    for key in keys:
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / key)
    return list(keys)


def imagenet(root):
    """The folders of torchvision's ``ImageNet``, with two classes."""
    torch.save((dict.fromkeys(WNIDS, ("name",)), list(WNIDS)), root / "meta.bin")


LAYOUTS = {
    "ImageNet": ("train", imagenet, lambda root: datasets.ImageNet(root, "train")),
    "timm": (
        "train",
        imagenet,
        lambda root: create_dataset("torch/imagenet", root, split="train"),
    ),
    "EuroSAT": ("eurosat/2750", None, datasets.EuroSAT),
    "Country211": (
        "country211/train",
        None,
        lambda root: datasets.Country211(root, split="train"),
    ),
    "timm's own folder": ("train", None, lambda root: ImageDataset(str(root))),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_maps_of_the_class_folders_serve_a_data_set_of_the_folder_above(tmp_path, layout):
    inner, prepare, make = LAYOUTS[layout]
    root = tmp_path / "data"
    keys = write_images(root / inner, [f"{wnid}/{n}.png" for wnid in WNIDS for n in range(2)])
    if prepare:
        prepare(root)
    maps = write_maps(tmp_path / "maps.h5", keys)
    dataset = make(root)
    ours = LabelMapDataset(dataset, maps, PIXELS)
    assert ours.keys == keys
    assert LabelMapDataset(Subset(dataset, [3, 0]), maps, PIXELS).keys == [keys[3], keys[0]]


def test_the_labels_of_torchvisions_imagenet_are_found_too(tmp_path):
    keys = write_images(tmp_path / "data/train", [f"{wnid}/1.png" for wnid in WNIDS])
    imagenet(tmp_path / "data")
    maps = write_maps(tmp_path / "maps.h5", keys, classes=[*WNIDS[::-1], "n02979186"])
    inner = datasets.ImageNet(tmp_path / "data", "train")
    ours = LabelMapDataset(inner, maps, PIXELS, options=TargetOptions(label="original"))
    assert [int(target.argmax()) for _, target in map(ours.__getitem__, range(2))] == [1, 0]


def test_maps_of_the_folder_above_serve_one_of_its_splits(tmp_path):
    keys = write_images(tmp_path / "data", ["train/a/1.png", "train/b/1.png", "val/a/1.png"])
    maps = write_maps(tmp_path / "maps.h5", keys)
    assert LabelMapDataset(ImageFolder(tmp_path / "data/train"), maps, PIXELS).keys == keys[:2]
    assert LabelMapDataset(ImageFolder(tmp_path / "data/val"), maps, PIXELS).keys == keys[2:]


def test_keys_that_fit_need_no_other_root(tmp_path):
    """The file has both ``a/a/1.png`` and ``a/1.png``."""
    keys = write_images(tmp_path / "data", ["a/1.png", "a/a/1.png"])
    maps = write_maps(tmp_path / "maps.h5", keys)
    assert LabelMapDataset(ImageFolder(tmp_path / "data"), maps, PIXELS).keys == keys


def test_two_roots_that_fit_are_refused_with_both_keys(tmp_path):
    write_images(tmp_path / "data", ["train/a/1.png"])
    maps = write_maps(tmp_path / "maps.h5", ["a/1.png", "data/train/a/1.png"])
    with pytest.raises(LabelMapError, match=r"has 'a/1\.png' and 'data/train/a/1\.png', .* key="):
        LabelMapDataset(ImageFolder(tmp_path / "data"), maps, PIXELS)


def test_without_a_fitting_root_the_message_shows_both_forms_of_keys(tmp_path):
    write_images(tmp_path / "data", ["train/a/1.png"])
    maps = write_maps(tmp_path / "maps.h5", ["x/y.png"])
    with pytest.raises(LabelMapError, match=r"1 of 1 .*train/a/1\.png.: .*look like 'x/y\.png'"):
        LabelMapDataset(ImageFolder(tmp_path / "data"), maps, PIXELS)


def test_keys_that_a_user_gives_are_not_moved(tmp_path):
    write_images(tmp_path / "data", ["a/1.png"])
    maps = write_maps(tmp_path / "maps.h5", ["a/1.png"])
    inner = ImageFolder(tmp_path / "data")
    with pytest.raises(LabelMapError, match="train/a/1"):
        LabelMapDataset(inner, maps, PIXELS, key=lambda _: "train/a/1.png")


def spelled(form, keys):
    return [unicodedata.normalize(form, key) for key in keys]


ACCENTS = ["caf\u00e9/\u00e9t\u00e9.png", "caf\u00e9/plain.png", "plain/\u00fc.png"]
FORMS = {
    "a Mac's maps": ("NFD", "NFC"),
    "a Mac's images": ("NFC", "NFD"),
}


@pytest.mark.parametrize("case", FORMS)
def test_a_key_in_another_unicode_form_finds_its_row(tmp_path, case):
    of_maps, of_images = FORMS[case]
    keys = spelled(of_maps, ACCENTS)
    write_images(tmp_path / "data", spelled(of_images, ACCENTS))
    maps = write_maps(tmp_path / "maps.h5", keys)
    ours = LabelMapDataset(ImageFolder(tmp_path / "data"), maps, PIXELS)
    assert sorted(ours.keys) == sorted(keys)
    with LabelMapFile.open(maps) as file:
        for at, key in enumerate(ours.keys):
            expected = LabelMapDataset(
                ImageFolder(tmp_path / "data"), file, PIXELS, key=lambda _, key=key: key
            )
            assert torch.equal(ours[at][1], expected[0][1])


def test_a_key_whose_folder_and_name_have_different_forms_finds_its_row(tmp_path):
    """As after unpacking a Mac's zip below a folder that was made on Linux."""
    (key,) = spelled("NFC", ACCENTS[:1])
    folder, name = key.split("/")
    mixed = f"{folder}/{unicodedata.normalize('NFD', name)}"
    write_images(tmp_path / "data", [key])
    maps = write_maps(tmp_path / "maps.h5", [mixed])
    assert LabelMapDataset(ImageFolder(tmp_path / "data"), maps, PIXELS).keys == [mixed]


@pytest.mark.parametrize(
    ("of_maps", "of_images"), [("a/b/1.png", "a\\b\\1.png"), ("a\\b/1.png", "a/b/1.png")]
)
def test_backslashes_of_a_list_from_windows_are_slashes(tmp_path, of_maps, of_images):
    write_images(tmp_path / "data", ["a/b/1.png"])
    maps = write_maps(tmp_path / "maps.h5", [of_maps])
    inner = ImageFolder(tmp_path / "data")
    ours = LabelMapDataset(inner, maps, PIXELS, key=lambda _: of_images)
    assert ours.keys == [of_maps]
    image = Image.new("RGB", (8, 8))
    stream = LabelMapIterable([(of_images, image)], maps, PIXELS)
    assert torch.equal(next(iter(stream))[1], ours[0][1])


def test_two_files_that_differ_in_their_unicode_form_are_never_taken_for_each_other(tmp_path):
    """On Linux both can exist; the one without a map must not get the other's."""
    both = [*spelled("NFC", ACCENTS[:1]), *spelled("NFD", ACCENTS[:1])]
    write_images(tmp_path / "data", both)
    for keys in (both[:1], both[1:]):
        maps = write_maps(tmp_path / f"{len(keys[0])}.h5", keys)
        with pytest.raises(LabelMapError, match=r"1 of 2 images.* Unicode normalisation \(NFC"):
            LabelMapDataset(ImageFolder(tmp_path / "data"), maps, PIXELS)


def test_a_key_that_two_rows_may_mean_is_refused_with_the_cause(tmp_path):
    folder, name = ACCENTS[0].split("/")
    rows = [
        f"{unicodedata.normalize(a, folder)}/{unicodedata.normalize(b, name)}"
        for a, b in (("NFD", "NFD"), ("NFD", "NFC"))
    ]
    (key,) = spelled("NFC", ACCENTS[:1])
    maps = write_maps(tmp_path / "maps.h5", rows)
    stream = LabelMapIterable([(key, Image.new("RGB", (8, 8)))], maps, PIXELS)
    with pytest.raises(LabelMapError, match=r"up to Unicode normalisation .* Rename the images"):
        next(iter(stream))


def test_inspect_finds_the_map_and_the_photo_of_a_key_in_another_form(tmp_path):
    (of_maps,) = spelled("NFD", ACCENTS[:1])
    write_images(tmp_path / "data", spelled("NFC", ACCENTS[:1]))
    maps = write_maps(tmp_path / "maps.h5", [of_maps])
    with LabelMapFile.open(maps) as file:
        for key in (of_maps, *spelled("NFC", ACCENTS[:1])):
            assert find_label_map(file, key).grid == file[of_maps].grid
            assert open_photo(tmp_path / "data", key).size == (8, 8)
