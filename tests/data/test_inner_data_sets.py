"""Data sets of users: subsets, streams, data sets with a key, missing labels, wrong arguments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import ImageDataset
from torch.utils.data import ConcatDataset, DataLoader, Subset, random_split
from torchvision.datasets import ImageFolder

from labelkit.data import LabelMapDataset, LabelMapIterable, TargetOptions
from labelkit.errors import DatasetError, LabelMapError
from labelkit.label_maps import MapForm
from tests.data.support import CENTRE, FORM, write_maps
from tests.data.test_targets import Loose

BARE = MapForm(top_k=5, grid=(8, 8))
MIXED = TargetOptions(original=0.5)
NAMES = ["animals", "things"]


class Given(Loose):
    """The photos, with the labels or in the samples that a test makes."""

    def __init__(self, photos, make):
        super().__init__(*photos)
        self.make = make

    def __getitem__(self, position):
        """The result of ``make`` for the image."""
        return self.make(super().__getitem__(position)[0])


def given(photos, maps, make, **options):
    def key(position):
        return photos[1][position]

    return LabelMapDataset(Given(photos, make), maps, CENTRE, key=key, classes=NAMES, **options)


def stream(photos, maps, make, **options):
    samples = [make(key, Loose(*photos)[at][0]) for at, key in enumerate(photos[1])]
    return LabelMapIterable(samples, maps, CENTRE, classes=NAMES, **options)


LABELS = {
    "none": (None, "animals/cat.jpg' has no class index"),
    "minus one": (-1, "animals/cat.jpg' has no class index"),
    "beyond": (2, "animals/cat.jpg' has the class index 2, .* has 2 classes"),
    "far below": (-2, "animals/cat.jpg' has the class index -2, .* has 2 classes"),
    "text": ("cat", "animals/cat.jpg' has the label 'cat', expected a class index"),
    "many": (torch.zeros(3), "animals/cat.jpg' has the label .*expected a class index"),
}


@pytest.mark.parametrize("label", LABELS)
def test_a_label_that_a_target_needs_but_no_class_has_is_refused(photos, maps, label):
    """It must not become another class, such as the last one."""
    value, message = LABELS[label]
    with pytest.raises(DatasetError, match=message):
        given(photos, maps, lambda image: (image, value), options=MIXED)[0]
    with pytest.raises(DatasetError, match=message):
        next(iter(stream(photos, maps, lambda key, image: (key, image, value), options=MIXED)))


def test_images_without_labels_cannot_be_mixed_with_them(photos, maps):
    with pytest.raises(DatasetError, match="has no class index"):
        given(photos, maps, lambda image: image, options=MIXED)[0]
    with pytest.raises(DatasetError, match="has no class index"):
        next(iter(stream(photos, maps, lambda key, image: (key, image), options=MIXED)))


def test_only_images_without_a_map_need_their_original_label(photos, tmp_path):
    some = write_maps(tmp_path / "some.h5", photos[1][:1])
    ours = given(photos, some, lambda image: image, missing="hard")
    assert ours[0][1].max() < 1
    with pytest.raises(DatasetError, match=photos[1][1]):
        ours[1]
    samples = stream(photos, some, lambda key, image: (key, image), missing="hard")
    with pytest.raises(DatasetError, match=photos[1][1]):
        list(samples)
    samples.dataset = samples.dataset[:1]
    assert next(iter(samples))[1].max() < 1


def test_timm_images_without_a_label_are_refused(photos, maps):
    inner = ImageDataset(str(photos[0]))
    inner.reader.samples = [(path, None) for path, _ in inner.reader.samples]
    with pytest.raises(DatasetError, match="has no class index"):
        LabelMapDataset(inner, maps, CENTRE, options=MIXED)[0]


def test_the_image_mode_of_timm_is_kept(photos, maps):
    for mode, channels in (("L", 1), ("RGB", 3), ("RGBA", 4), (None, 3)):
        ours = LabelMapDataset(ImageDataset(str(photos[0]), input_img_mode=mode), maps, CENTRE)
        assert ours[0][0].shape == (channels, 48, 48)
        with Image.open(photos[0] / photos[1][0]) as image:
            assert torch.equal(ours[0][0], CENTRE(image.convert(mode)))


@pytest.mark.parametrize("name", ["transform", "target_transform"])
def test_a_transform_deep_inside_is_refused(photos, maps, name):
    inner = ImageFolder(photos[0], **{name: lambda sample: sample})
    nested = [
        Subset(inner, [0, 1]),
        random_split(inner, [2, 2])[0],
        ConcatDataset([ImageFolder(photos[0]), Subset(inner, [0])]),
    ]
    for dataset in nested:
        message = "pass the transform to .* by ImageFolder"
        if name == "target_transform":
            message = "ImageFolder has a target_transform, .* relabel --classes"
        with pytest.raises(ValueError, match=message):
            LabelMapDataset(dataset, maps, CENTRE, key=lambda position: photos[1][position])


def test_subsets_without_a_transform_yield_the_same(photos, maps):
    whole = ImageFolder(photos[0])
    both = ConcatDataset([Subset(whole, [2, 0]), Subset(whole, [1])])
    ours = LabelMapDataset(both, maps, CENTRE, key=lambda position: photos[1][[2, 0, 1][position]])
    plain = LabelMapDataset(whole, maps, CENTRE)
    for position, same in enumerate([2, 0, 1]):
        torch.testing.assert_close(ours[position], plain[same])


@pytest.mark.parametrize("kind", [ImageFolder, lambda root: ImageDataset(str(root))])
def test_a_subset_needs_no_key(photos, maps, kind):
    whole, options = kind(photos[0]), TargetOptions(original=0.3)
    plain = LabelMapDataset(whole, maps, CENTRE, options=options)
    for subset in (Subset(whole, [2, 0]), Subset(Subset(whole, [1, 2, 0]), torch.tensor([1, 2]))):
        ours = LabelMapDataset(subset, maps, CENTRE, options=options)
        assert ours.keys == [plain.keys[2], plain.keys[0]]
        for sample, same in zip(ours.__getitems__([0, 1]), plain.__getitems__([2, 0]), strict=True):
            torch.testing.assert_close(sample, same)


class Mirrored(Subset):
    """A subset that changes its images."""

    def __getitem__(self, position):
        """The image flipped left to right."""
        image, label = super().__getitem__(position)
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), label

    def __getitems__(self, positions):
        """As torch requires of such a class."""
        return [self[position] for position in positions]


def test_a_subset_that_changes_its_images_is_read_through_itself(photos, maps):
    mirrored = Mirrored(ImageFolder(photos[0]), [2, 0])
    with pytest.raises(ValueError, match=r"Mirrored has no samples, .* key=lambda"):
        LabelMapDataset(mirrored, maps, CENTRE)
    ours = LabelMapDataset(mirrored, maps, CENTRE, key=lambda position: photos[1][position])
    assert torch.equal(ours[0][0], CENTRE(mirrored[0][0]))


def test_ids_take_precedence_over_names(photos, maps):
    """As torchvision's ImageNet has them: its classes are tuples of names."""
    folder = ImageFolder(photos[0])
    folder.classes, folder.wnids = [("cat", "photographer"), ("cup", "rocket")], NAMES
    ours = LabelMapDataset(folder, maps, CENTRE, options=TargetOptions(label="original"))
    assert ours[0][1].argmax() == 1  # animals, in the file's list


def test_an_image_too_large_for_pillow_is_named(photos, maps, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for inner in (ImageFolder(photos[0]), ImageDataset(str(photos[0]))):
        with pytest.raises(DatasetError, match=r"animals/cat\.jpg cannot be read: Image size"):
            LabelMapDataset(inner, maps, CENTRE)[0]


def test_samples_of_another_form_are_refused(photos, maps):
    with pytest.raises(DatasetError, match=r"cat\.jpg: .* a dict of image, label, expected \(im"):
        given(photos, maps, lambda image: {"image": image, "label": 0})[0]
    for make, what in (
        (lambda key, image: {"__key__": key, "jpg": image}, "a dict"),
        (lambda key, image: (Path(key), image), "a tuple of PosixPath, Image"),
        (lambda key, _: [key], "a list of str"),
    ):
        with pytest.raises(DatasetError, match=rf"yields {what}, expected \(key, image\)"):
            next(iter(stream(photos, maps, make)))


@pytest.mark.parametrize("kind", [Path, str.encode], ids=["path", "bytes"])
def test_a_key_that_is_not_a_str_is_refused(photos, maps, kind):
    with pytest.raises(TypeError, match=r"key\(0\) is .*animals/cat\.jpg.*, expected a str"):
        LabelMapDataset(
            Loose(*photos), maps, CENTRE, key=lambda position: kind(photos[1][position])
        )


@pytest.mark.parametrize("make", [given, stream])
def test_arguments_of_the_wrong_kind_are_refused(photos, maps, make):
    for name in ("untraced", "missing"):
        with pytest.raises(ValueError, match=rf"{name} is 'typo', expected \w+ or \w+"):
            make(photos, maps, lambda *parts: parts, **{name: "typo"})
    with pytest.raises(TypeError, match=r"has type dict, expected labelkit\.data\.TargetOptions"):
        make(photos, maps, lambda *parts: parts, options={"temperature": 2.0})


def test_the_length_of_a_stream_is_that_of_its_data_set(photos, maps):
    ours = stream(photos, maps, lambda key, image: (key, image))
    assert len(ours) == 4
    assert len(DataLoader(ours, batch_size=3)) == 2
    endless = LabelMapIterable(iter([]), maps, CENTRE)
    with pytest.raises(TypeError, match="has no len"):
        len(DataLoader(endless))
    assert list(DataLoader(endless)) == []


PROBABILITIES = {"average": "probability"}


def test_absent_zeros_is_refused_for_log_probabilities(photos, tmp_path):
    maps = write_maps(tmp_path / "maps.h5", photos[1], FORM, PROBABILITIES)
    zeros = TargetOptions(absent="zeros")
    for make in (given, stream):
        with pytest.raises(
            LabelMapError, match=r"maps\.h5 stores log-probabilities .*'background'"
        ):
            make(photos, maps, lambda *parts: parts, options=zeros)


def test_absent_zeros_is_accepted_where_zero_means_unknown(photos, tmp_path):
    """For maps of logits, for maps shifted around zero, and for pooled probabilities."""
    averaged, zeros = PROBABILITIES, TargetOptions(absent="zeros")
    shares = TargetOptions(absent="zeros", method="probability")
    logits = {"average": "logit"}
    for number, (form, source, options) in enumerate(
        [(FORM, logits, zeros), (BARE, averaged, zeros), (FORM, averaged, shares)]
    ):
        maps = write_maps(tmp_path / f"{number}.h5", photos[1], form, source)
        target = given(photos, maps, lambda image: image, options=options)[0][1]
        assert np.isclose(float(target.sum()), 1)
