"""The targets of a batch, as a data loader requests them, equal those of its samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from labelkit.data import LabelMapDataset, TargetOptions
from labelkit.data.targets import CropTargets, SoftTargets
from labelkit.geometry import CropBox
from labelkit.hierarchy import ClassList
from labelkit.label_maps import (
    Background,
    LabelMapFile,
    LabelMaps,
    LabelMapWriter,
    MapForm,
)
from labelkit.targets import SparseProbabilities
from tests.data.support import CELLS, CENTRE, FORM, SIZES, C, write_maps
from tests.label_maps.support.random_maps import random_maps

OPTIONS = [
    {},
    {"original": 0.3, "temperature": 2.0},
    {"label": "global-multi", "absent": "zeros"},
    {"label": "local-single"},
    {"label": "original"},
    {"label": "global-single", "original": 0.2},
    {"method": "probability"},
    {"method": "probability", "absent": "zeros", "temperature": 2.0},
    {"method": "probability", "label": "local-single"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("form", [FORM, CELLS, SIZES], ids=["image", "cell", "sizes"])
@pytest.mark.parametrize("sparse", [False, True])
def test_a_batch_equals_its_samples_one_by_one(photos, tmp_path, options, form, sparse):
    maps = write_maps(tmp_path / "maps.h5", photos[1][:3], form)
    dataset = LabelMapDataset(
        ImageFolder(photos[0]),
        maps,
        v2.Compose([v2.RandomResizedCrop(48), v2.PILToTensor()]),
        options=TargetOptions(**options),
        sparse=sparse,
        missing="hard",
    )
    for positions in ([0, 1, 2, 3], [2, 0, 2], [1]):
        torch.manual_seed(0)
        batch = dataset.__getitems__(positions)
        torch.manual_seed(0)
        for (image, target), position in zip(batch, positions, strict=True):
            same_image, same = dataset[position]
            assert torch.equal(image, same_image)
            pair = [target, same]
            if sparse:
                assert target.classes.shape <= same.classes.shape
                pair = [
                    SparseProbabilities(*(part[None] for part in each)).dense(C) for each in pair
                ]
            torch.testing.assert_close(*pair, rtol=0, atol=1e-6)


@pytest.mark.parametrize("label", ["local-multi", "local-single"])
@pytest.mark.parametrize("method", ["relabel", "probability"])
@pytest.mark.parametrize("sparse", [False, True])
def test_a_crop_outside_the_image_gives_all_classes_the_same_probability(
    maps, label, method, sparse
):
    options = TargetOptions(label=label, method=method)
    targets = CropTargets(LabelMapFile.open(maps), options, sparse=sparse)
    outside, within = CropBox(1.5, 0.1, 1.9, 0.4), CropBox(0.1, 0.1, 0.5, 0.5)
    for boxes in ([outside], [within, outside, within]):
        made = targets(range(len(boxes)), boxes, [0] * len(boxes))
        if sparse:
            made = [
                SparseProbabilities(*(part[None] for part in each)).dense(C)[0] for each in made
            ]
        for box, target in zip(boxes, made, strict=True):
            assert (target == target[0]).all() == (box is outside)
            assert target.sum() == pytest.approx(1, abs=1e-5)


def made_of(maps, options, *, sparse=False, distinct=False):
    """Targets of random crops of some maps, made in one batch, as dense rows."""
    sides = np.random.default_rng(0).uniform(0.1, 0.45, (len(maps), 4))
    boxes = [CropBox(x, y, x + width, y + height) for x, y, width, height in sides]
    targets = SoftTargets(options, [], C, sparse=sparse, distinct=distinct)
    made = targets([maps], boxes, [0] * len(maps))
    if sparse:
        made = [SparseProbabilities(*(part[None] for part in each)).dense(C)[0] for each in made]
    return torch.stack(made)


@pytest.mark.parametrize("form", [FORM, CELLS], ids=["image", "cell"])
def test_the_strongest_class_is_one_that_a_map_names(form):
    """Even where all logits are below the 0 of absent classes."""
    maps = random_maps(np.random.default_rng(0), 9, form, C)
    low = replace(maps, score=maps.score - 100)
    made = made_of(low, TargetOptions(label="local-single", absent="zeros"))
    named = [np.unique(index) for index in maps.index]
    assert all(int(target.argmax()) in classes for target, classes in zip(made, named, strict=True))


@pytest.mark.parametrize("form", [FORM, CELLS], ids=["image", "cell"])
def test_a_class_that_is_unlikely_everywhere_has_no_negative_probability(form):
    maps = random_maps(np.random.default_rng(0), 60, form, C)
    lowest = replace(maps, score=np.full_like(maps.score, -90))
    made = made_of(lowest, TargetOptions(method="probability", temperature=3.0))
    assert made.isfinite().all()
    torch.testing.assert_close(made.sum(1), torch.ones(60))


@pytest.mark.parametrize("distinct", [True, False])
def test_the_rest_counts_for_nothing_where_every_class_is_listed(distinct):
    form = MapForm(selection="image", top_k=5, grid=(8, 8), background=C - 5)
    maps = random_maps(np.random.default_rng(0), 9, form, C)
    assert maps.background is not None
    high = replace(maps, background=replace(maps.background, rest=np.full(9, 200, np.float32)))
    for chosen in ({"original": 0.1}, {"label": "global-multi"}):
        options = TargetOptions(**chosen)
        found = made_of(high, options, sparse=True, distinct=distinct)
        torch.testing.assert_close(found, made_of(maps, options), rtol=0, atol=1e-4)


class Numbered(LabelMapDataset):
    """A subclass that adds the position to each sample."""

    def __getitem__(self, position):
        """One more element."""
        return (*super().__getitem__(position), position)


def test_a_loader_yields_what_a_subclass_returns(photos, maps):
    loader = DataLoader(Numbered(ImageFolder(photos[0]), maps, CENTRE), 4)
    ((images, targets, numbers),) = loader
    assert numbers.tolist() == [0, 1, 2, 3]
    assert len(images) == len(targets) == 4


ALL = [
    MapForm(selection="image", top_k=3, grid=(4, 4), log_sum_exp=True),
    MapForm(selection="image", top_k=2, grid=(4, 4), background=1, log_sum_exp=True),
    MapForm(top_k=3, grid=(4, 4), log_sum_exp=True),
]


def few_targets(path, form, shift, options, *, sparse=False):
    """Targets over three named classes, the second of them certain: in a batch, and one by one.

    With a shift of 0 the scores are logarithms of probabilities.
    """
    rng = np.random.default_rng(0)
    scores = rng.normal(-9, 2, (8, 3, 4, 4)).astype(np.float32)
    scores[:, 1] = 0
    lse = np.log(np.exp(scores).sum(1))
    scores -= np.where(scores == 0, 0, 1)
    cells = form.selection == "cell"
    order = (-scores).argsort(1)
    index = order if cells else np.tile(np.arange(form.top_k), (8, 1))
    kept = np.take_along_axis(scores, order, 1) if cells else scores[:, : form.top_k]
    background = None
    if form.background:
        logits = scores[:, 2:].mean((2, 3)) + shift
        background = Background(np.full((8, 1), 2), logits, np.zeros(8, np.float32))
    maps = LabelMaps(index.astype(np.uint16), kept + np.float32(shift), background, lse + shift)
    keys = [f"{number}.jpg" for number in range(8)]
    classes = ClassList.of(["a", "b", "c"])
    writer = LabelMapWriter(path, classes=classes, keys=keys, forms=(form,), source={})
    writer.commit(writer.pending()[0], [maps], {})
    targets = CropTargets(writer.finalize(), options, sparse=sparse)
    sides = rng.uniform(0.05, 0.45, (8, 4))
    boxes = [CropBox(x, y, x + width, y + height) for x, y, width, height in sides]
    made = targets(range(8), boxes, [0] * 8)
    alone = [targets([at], [box], [0])[0] for at, box in enumerate(boxes)]
    return made, alone


@pytest.mark.parametrize("form", ALL, ids=["image", "background", "cell"])
@pytest.mark.parametrize("method", ["relabel", "probability"])
def test_a_certain_class_of_logit_zero_is_the_strongest(tmp_path, form, method):
    options = TargetOptions(label="local-single", method=method)
    for made in few_targets(tmp_path / "maps.h5", form, 0, options):
        assert [target.tolist() for target in made] == [[0, 1, 0]] * 8


@pytest.mark.parametrize("form", ALL, ids=["image", "background", "cell"])
@pytest.mark.parametrize("shift", [0, -10, -30, 30])
@pytest.mark.parametrize("temperature", [1.0, 10.0])
@pytest.mark.parametrize("method", ["relabel", "probability"])
def test_a_constant_added_to_all_logits_changes_nothing(tmp_path, form, shift, temperature, method):
    options = TargetOptions(temperature=temperature, method=method)
    made, alone = few_targets(tmp_path / "maps.h5", form, shift, options)
    _, plain = few_targets(tmp_path / "plain.h5", form, 0, options)
    for target, one, same in zip(made, alone, plain, strict=True):
        torch.testing.assert_close(target, one, rtol=0, atol=2e-6)
        torch.testing.assert_close(target, same, rtol=0, atol=2e-4)  # steps of another range


def test_probabilities_of_many_classes_sum_to_one():
    form = MapForm(selection="image", top_k=8, grid=(8, 8), background=128)
    maps = random_maps(np.random.default_rng(0), 4, form, 11_221)
    flat = replace(maps, score=maps.score * 0.01)
    targets = SoftTargets(TargetOptions(), [], 11_221, sparse=False, distinct=True)
    for target in targets([flat], [CropBox(0.1, 0.2, 0.7, 0.8)] * 4, [0] * 4):
        assert float(target.double().sum()) == pytest.approx(1, abs=1e-6)


def test_a_target_does_not_keep_its_batch_in_memory(photos, maps):
    for sparse in (False, True):
        dataset = LabelMapDataset(ImageFolder(photos[0]), maps, CENTRE, sparse=sparse)
        for _, target in dataset.__getitems__([0, 1, 2]):
            for part in target if sparse else [target]:
                assert part.untyped_storage().nbytes() == part.nbytes
    assert dataset.__getitems__([]) == []
