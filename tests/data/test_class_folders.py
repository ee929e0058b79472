"""Which folders are classes and which files are images: the same for every part of labelkit."""

from __future__ import annotations

import shutil

import pytest
from torch.utils.data import Subset
from torchvision.datasets import ImageFolder

from labelkit.data import ClassFolders, LabelMapDataset, TargetOptions, list_images
from labelkit.errors import LabelMapError
from labelkit.hierarchy import read_class_list
from labelkit.train.image_reading import open_folder
from tests.data.support import CENTRE, write_maps
from tests.photos import write_photos

HIDDEN = (
    ".ipynb_checkpoints/cat-checkpoint.jpg",
    "animals/.thumbs/cat.jpg",
    "animals/._cat.jpg",
    "things/deeper/.x/cat.jpg",
)


@pytest.fixture
def littered(tmp_path):
    """Photos with hidden files and folders among them, and the keys of the others."""
    root = tmp_path / "photos"
    keys = write_photos(root)
    for key in HIDDEN:
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / "animals/cat.jpg", root / key)
    return root, keys


@pytest.mark.parametrize("read", [ClassFolders, lambda root: open_folder(str(root), "data.train")])
def test_hidden_names_are_neither_classes_nor_images(littered, read):
    root, keys = littered
    folder = read(root)
    assert folder.classes == list(read_class_list(root)) == ["animals", "things"]
    assert [path.removeprefix(f"{root}/") for path, _ in folder.samples] == keys
    assert folder.targets == [0, 0, 1, 1]
    assert list_images(root) == keys


def test_a_hidden_folder_above_the_root_does_not_matter(tmp_path):
    root = tmp_path / ".cache" / "photos"
    keys = write_photos(root)
    assert list_images(root) == keys
    assert len(ClassFolders(root)) == 4


def test_without_hidden_names_it_is_torchvisions_folder_in_the_same_order(tmp_path):
    """Crops are drawn by position, so another order would change every run."""
    for key in (
        "b/z.jpg",
        "b/a/1.JPG",
        "b/a-/1.png",
        "b/a.jpg",
        "B/1.webp",
        "a/x/y/1.tif",
        "a/y.x",
    ):
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).touch()
    (tmp_path / "loose.jpg").touch()
    ours, theirs = ClassFolders(tmp_path), ImageFolder(tmp_path)
    assert ours.samples == theirs.samples
    assert ours.class_to_idx == theirs.class_to_idx


def test_folders_without_images_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no class folders"):
        ClassFolders(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".x.jpg").touch()
    with pytest.raises(FileNotFoundError, match="no images in the class folders a"):
        ClassFolders(tmp_path)


def test_an_image_folder_that_counts_hidden_folders_is_refused_with_the_reason(littered, tmp_path):
    root, keys = littered
    maps = write_maps(tmp_path / "maps.h5", keys)
    expected = r"4 of 8 images \(\.ipynb_checkpoints/.* hidden, .* labelkit\.data\.ClassFolders"
    with pytest.raises(LabelMapError, match=expected):
        LabelMapDataset(ImageFolder(root), maps, CENTRE)
    assert LabelMapDataset(ClassFolders(root), maps, CENTRE).keys == keys


def test_indices_that_hidden_folders_shift_still_mean_the_same_classes(littered, tmp_path):
    """Of an ImageFolder's three folders, the hidden one is no class; labels go by name."""
    root, keys = littered
    maps = write_maps(tmp_path / "maps.h5", keys)
    whole = ImageFolder(root)
    assert whole.class_to_idx["animals"] == 1
    kept = [n for n, (path, _) in enumerate(whole.samples) if "/." not in path]
    ours = LabelMapDataset(
        Subset(whole, kept), maps, CENTRE, options=TargetOptions(label="original")
    )
    names = [ours.classes[int(target.argmax())] for _, target in map(ours.__getitem__, range(4))]
    assert names == ["animals", "animals", "things", "things"]
