"""What a crop's target does with *other*, the probability of classes outside the list."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from timm.data import Mixup
from timm.loss import SoftTargetCrossEntropy as TimmLoss
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from labelkit.data import (
    LabelMapDataset,
    LabelMapIterable,
    TargetOptions,
    collate_sparse,
    mix,
    require_soft_mixing,
)
from labelkit.errors import ClassListMismatch, DatasetError, LabelMapError
from labelkit.geometry import CropBox
from labelkit.losses import SoftTargetCrossEntropy
from tests.data.support import CELLS, CENTRE, CROP, FORM, SIZES, C, write_maps
from tests.oracles.pooling import pooled_logits

MODES = ["label", "even", "output", "weight", "drop"]
FORMS = {"image": FORM, "cell": CELLS, "sizes": SIZES}


@pytest.fixture(params=FORMS)
def maps(request, photos, tmp_path):
    return write_maps(tmp_path / "maps.h5", photos[1], FORMS[request.param], other=True)


def by_hand(probabilities, other, label):
    """A target from the probabilities of all C + 1 outputs, class by class."""
    target = {c: float(p) for c, p in enumerate(probabilities)}
    if other == "output":
        return [target[c] for c in range(C + 1)]
    outside = target.pop(C)
    known = 1 - outside
    for c in target:
        if other == "drop":
            target[c] /= known
        if other == "even":
            target[c] += outside / C
    if other == "label":
        target[label] += outside
    return [target[c] for c in range(C)]


def dense(target, columns):
    if isinstance(target, torch.Tensor):
        return target
    return target.dense(columns)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("original", [0.0, 0.3])
@pytest.mark.parametrize("other", MODES)
def test_each_choice_is_what_it_says(photos, maps, other, original, sparse):
    options = TargetOptions(other=other, original=original, temperature=3.0)
    folder = ImageFolder(photos[0])
    dataset = LabelMapDataset(folder, maps, CENTRE, options=options, sparse=sparse)
    columns = C + (other == "output")
    assert len(dataset.classes) == columns
    plain = TargetOptions(other="output", temperature=3.0)
    whole = LabelMapDataset(folder, maps, CENTRE, options=plain)
    if len(dataset.maps.forms) == 1:
        logits = pooled_logits(dataset.maps[dataset.keys[0]], CROP, C + 1)
        torch.testing.assert_close(whole[0][1], (logits / 3).softmax(0), rtol=0, atol=1e-5)
    for position in range(4):
        label = {"things": 0, "animals": 1}[folder.classes[folder.targets[position]]]
        soft = torch.tensor(by_hand(whole[position][1], other, label))
        hard = torch.nn.functional.one_hot(torch.tensor(label), columns)
        expected = (1 - original) * soft + original * hard
        found = dense(dataset[position][1], columns)
        torch.testing.assert_close(found, expected.float(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("other", MODES)
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("more", [{"method": "probability"}, {"label": "local-single"}], ids=str)
def test_pooled_probabilities_and_single_labels_follow(photos, maps, other, sparse, more):
    folder = ImageFolder(photos[0])
    dataset = LabelMapDataset(
        folder, maps, CENTRE, options=TargetOptions(other=other, **more), sparse=sparse
    )
    whole = LabelMapDataset(folder, maps, CENTRE, options=TargetOptions(other="output", **more))
    for position in range(4):
        full = whole[position][1]
        label = {"things": 0, "animals": 1}[folder.classes[folder.targets[position]]]
        found = dense(dataset[position][1], len(dataset.classes))
        if other == "drop" and full[C] > 0.99:  # the strongest of the others, then
            assert found.max() == found.sum() == 1
            continue
        expected = torch.tensor(by_hand(full, other, label))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("other", MODES)
def test_token_targets_follow(photos, maps, other):
    folder = ImageFolder(photos[0])
    options = TargetOptions(other=other, tokens=(2, 3))
    dataset = LabelMapDataset(folder, maps, CENTRE, options=options)
    whole = LabelMapDataset(folder, maps, CENTRE, options=replace(options, other="output"))
    (_, found), (_, full) = dataset[0][1], whole[0][1]
    assert found.shape == (len(dataset.classes), 2, 3)
    for row, column in np.ndindex(2, 3):
        expected = torch.tensor(by_hand(full[:, row, column], other, 1))  # the first is an animal
        torch.testing.assert_close(found[:, row, column], expected, rtol=0, atol=1e-5)


def test_a_crop_of_which_nothing_is_known_weighs_nothing(photos, tmp_path):
    """Where *other* is certain, ``weight`` leaves nothing, and ``drop`` makes up the rest."""
    maps = write_maps(tmp_path / "maps.h5", photos[1], CELLS, other=True)
    folder = ImageFolder(photos[0])
    options = {"temperature": 0.01}
    full = LabelMapDataset(folder, maps, CENTRE, options=TargetOptions(other="output", **options))
    weighed = LabelMapDataset(
        folder, maps, CENTRE, options=TargetOptions(other="weight", **options)
    )
    dropped = LabelMapDataset(folder, maps, CENTRE, options=TargetOptions(**options))
    for position in range(4):
        outside = float(full[position][1][C])
        assert weighed[position][1].sum() == pytest.approx(1 - outside, abs=1e-6)
        assert dropped[position][1].sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("other", MODES)
def test_a_file_without_other_is_as_before(photos, tmp_path, other):
    maps = write_maps(tmp_path / "plain.h5", photos[1])
    folder = ImageFolder(photos[0])
    if other == "output":
        with pytest.raises(LabelMapError, match="does not store the probability of other classes"):
            LabelMapDataset(folder, maps, CENTRE, options=TargetOptions(other=other))
        return
    dataset = LabelMapDataset(folder, maps, CENTRE, options=TargetOptions(other=other))
    before = pooled_logits(dataset.maps[dataset.keys[0]], CROP, C).softmax(0)
    torch.testing.assert_close(dataset[0][1], before, rtol=0, atol=1e-5)


def test_giving_it_to_the_label_needs_labels(photos, maps):
    options = TargetOptions(other="label")
    stream = [(key, ImageFolder(photos[0])[0][0]) for key in photos[1][:1]]
    with pytest.raises(ValueError, match="the data set does not say which"):
        LabelMapIterable(stream, maps, CENTRE, options=options)
    unlabelled = LabelMapIterable(stream, maps, CENTRE, options=options, classes=["things"])
    with pytest.raises(DatasetError, match="no class index, which its target needs"):
        next(iter(unlabelled))
    folder = ImageFolder(photos[0])
    with pytest.raises(ClassListMismatch, match="or choose options that need no original labels"):
        LabelMapDataset(folder, maps, CENTRE, options=options, classes=["things", "cars"])
    unknown = LabelMapDataset(folder, maps, CENTRE, classes=["things", "cars"])
    assert unknown[0][1].sum() == pytest.approx(1)


@pytest.mark.parametrize("missing", ["output", "weight"])
def test_an_image_without_a_map_keeps_its_label(photos, tmp_path, missing):
    maps = write_maps(tmp_path / "maps.h5", photos[1][1:], other=True)
    options = TargetOptions(other=missing)
    dataset = LabelMapDataset(ImageFolder(photos[0]), maps, CENTRE, options=options, missing="hard")
    at = dataset.keys.index(photos[1][0])
    assert dataset[at][1].sum() == dataset[at][1].max() == 1
    assert len(dataset[at][1]) == len(dataset.classes)


@pytest.mark.parametrize("other", MODES)
def test_mixers_mix_such_targets(photos, maps, other):
    folder, options = ImageFolder(photos[0]), TargetOptions(other=other)
    dataset = LabelMapDataset(folder, maps, CENTRE, options=options)
    sparse = LabelMapDataset(folder, maps, CENTRE, options=options, sparse=True)
    columns = len(dataset.classes)
    images, targets = next(iter(DataLoader(dataset, batch_size=4)))
    _, listed = next(iter(DataLoader(sparse, batch_size=4, collate_fn=collate_sparse)))
    timm = Mixup(0.8, 1.0, num_classes=columns, label_smoothing=0.1)
    for mixer in (v2.CutMix(num_classes=columns), v2.MixUp(), timm):
        made = []
        for each in (targets, listed):
            torch.manual_seed(1)
            np.random.seed(1)  # noqa: NPY002 -- timm's mixer draws from it
            made.append(mix(mixer, images.clone().float(), each)[1])
        torch.testing.assert_close(made[1].dense(columns), made[0], rtol=0, atol=1e-6)
    ready = Mixup(num_classes=columns, label_smoothing=0.0, multi_label=True)
    require_soft_mixing(ready, columns)
    with pytest.raises(ValueError, match=f"was built for {columns - 1} classes"):
        mix(v2.CutMix(num_classes=columns - 1), images.float(), listed)


def test_weighted_targets_scale_the_loss_and_its_gradient(photos, maps):
    """The mean is over all samples, so a sample counts by the probability of its classes."""
    dropped = LabelMapDataset(ImageFolder(photos[0]), maps, CENTRE)
    dataset = LabelMapDataset(
        ImageFolder(photos[0]), maps, CENTRE, options=TargetOptions(other="weight")
    )
    target = torch.stack([dataset[at][1] for at in range(4)])
    whole = torch.stack([dropped[at][1] for at in range(4)])
    weights = target.sum(1)
    torch.testing.assert_close(target, whole * weights[:, None], rtol=0, atol=1e-5)
    logits = torch.randn(4, C, generator=torch.Generator().manual_seed(0), requires_grad=True)
    per_sample = -(whole * logits.log_softmax(1)).sum(1)
    expected = (weights * per_sample).sum() / 4
    (slope,) = torch.autograd.grad(expected, logits, retain_graph=True)
    for loss in (SoftTargetCrossEntropy(), TimmLoss(), torch.nn.functional.cross_entropy):
        found = loss(logits, target)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(torch.autograd.grad(found, logits)[0], slope)


def test_a_crop_outside_the_image_knows_nothing(maps):
    """All C + 1 outputs are equally probable; ``weight`` keeps C of C + 1."""
    from labelkit.data.targets import CropTargets
    from labelkit.label_maps import LabelMapFile

    outside = [CropBox(1.5, 0.1, 1.9, 0.4)]
    for other, share in (("weight", 1 / (C + 1)), ("drop", 1 / C)):
        options = TargetOptions(other=other)
        targets = CropTargets(LabelMapFile.open(maps), options, sparse=False)
        (target,) = targets([0], outside, [0])
        torch.testing.assert_close(target, torch.full((C,), share))


def test_a_crop_that_shows_other_alone_leaves_all_classes_alike(tmp_path):
    """Cells that store nothing but *other*, and probability 0 for what they do not store."""
    from labelkit.data.targets import CropTargets
    from labelkit.hierarchy import ClassList
    from labelkit.label_maps import LabelMapFile, LabelMaps, LabelMapWriter, MapForm

    form = MapForm(top_k=1, grid=(2, 2), log_sum_exp=True)
    writer = LabelMapWriter(
        tmp_path / "maps.h5",
        classes=ClassList.of(["cat", "dog"]),
        keys=["a.jpg"],
        forms=[form],
        source={},
        other=True,
    )
    (shard,) = writer.pending()
    score = np.ones((1, 1, 2, 2), np.float32)
    maps = LabelMaps(np.full((1, 1, 2, 2), 2), score, log_sum_exp=score[:, 0] + 1)
    writer.commit(shard, [maps], {})
    writer.finalize().close()
    file = LabelMapFile.open(tmp_path / "maps.h5")
    for other, expected in (("drop", [0.5, 0.5]), ("even", [0.5, 0.5]), ("weight", [0.0, 0.0])):
        options = TargetOptions(method="probability", absent="zeros", other=other)
        (target,) = CropTargets(file, options, sparse=False)([0], [CropBox.whole()], [0])
        assert target.tolist() == pytest.approx(expected)
