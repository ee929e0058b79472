"""The targets of a calibrated file are the calibrated pooled targets of the same boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from labelkit.data import LabelMapDataset, TargetOptions
from labelkit.data.targets import CropTargets
from labelkit.geometry import CropBox
from labelkit.label_maps import LabelMapFile, pool, pool_by_zoom
from labelkit.targets import SparseProbabilities
from tests.data.support import CELLS, FORM, SIZES, C, calibration_of, write_maps

FORMS = pytest.mark.parametrize("form", [FORM, CELLS, SIZES], ids=["image", "cell", "sizes"])
SPARSE = pytest.mark.parametrize("sparse", [False, True])
BOXES = [
    CropBox.whole(),
    CropBox(0.1, 0.2, 0.5, 0.9),
    CropBox(0.3, 0.3, 0.4, 0.45),
    CropBox(-0.2, 0.5, 0.4, 1.3),
    CropBox(1.5, 0.1, 1.9, 0.4),
]


def dense(targets):
    return [
        SparseProbabilities(*(part[None] for part in each)).dense(C)[0]
        if isinstance(each, SparseProbabilities)
        else each
        for each in targets
    ]


@pytest.fixture
def keys(photos):
    return photos[1]


def file_of(tmp_path, keys, form, *, calibrated=True):
    calibration = calibration_of(form) if calibrated else None
    name = "calibrated.h5" if calibrated else "plain.h5"
    return LabelMapFile.open(write_maps(tmp_path / name, keys, form, calibration=calibration))


def pooled(file, row, box, temperature=1.0, **options):
    """The target of one crop by the functions for one crop."""
    maps = file.maps_at(row)
    zooms = [form.zoom for form in file.forms]
    logits = (
        pool(maps[0], box, **options)
        if len(maps) == 1
        else pool_by_zoom(maps, zooms, box, **options)
    )
    return torch.from_numpy(logits.probabilities(C, temperature))


@FORMS
@SPARSE
@pytest.mark.parametrize("label", ["local-multi", "global-multi"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_soft_targets_equal_the_pooled_ones(tmp_path, keys, form, sparse, label, temperature):
    file = file_of(tmp_path, keys, form)
    options = TargetOptions(label=label, temperature=temperature)
    for boxes in (BOXES, BOXES[::-1], BOXES[1:2]):
        rows = [n % len(file) for n in range(len(boxes))]
        made = dense(CropTargets(file, options, sparse=sparse)(rows, boxes, [0] * len(rows)))
        for row, box, target in zip(rows, boxes, made, strict=True):
            area = box.inside() if label == "local-multi" else CropBox.whole()
            expected = pooled(file, row, area, temperature)
            torch.testing.assert_close(target, expected, rtol=0, atol=1e-6)


@FORMS
@SPARSE
def test_a_share_of_the_original_label_is_mixed_in_after_the_calibration(
    tmp_path, keys, form, sparse
):
    file = file_of(tmp_path, keys, form)
    made = CropTargets(file, TargetOptions(original=0.3), sparse=sparse)([1], BOXES[1:2], [7])
    expected = 0.7 * pooled(file, 1, BOXES[1])
    expected[7] += 0.3
    torch.testing.assert_close(dense(made)[0], expected, rtol=0, atol=1e-6)


@SPARSE
@pytest.mark.parametrize("label", ["local-single", "global-single"])
def test_the_strongest_class_is_that_of_the_calibrated_mixture(tmp_path, keys, label, sparse):
    """The first map counts for most here, and for nothing in small crops without calibration."""
    calibration = replace(calibration_of(SIZES), mixing=((0.0, 0.0), (-2.0, 0.0)))
    file = LabelMapFile.open(write_maps(tmp_path / "m.h5", keys, SIZES, calibration=calibration))
    targets = CropTargets(file, TargetOptions(label=label), sparse=sparse)
    plain = CropTargets(file, TargetOptions(label=label, calibrated=False), sparse=sparse)
    sides = np.random.default_rng(0).uniform(0.1, 0.5, (40, 4))
    boxes = [CropBox(x, y, x + width, y + height) for x, y, width, height in sides]
    rows = [n % len(file) for n in range(len(boxes))]
    made, others = (dense(each(rows, boxes, [0] * 40)) for each in (targets, plain))
    for row, box, target in zip(rows, boxes, made, strict=True):
        area = box if label == "local-single" else CropBox.whole()
        assert target.argmax() == pooled(file, row, area).argmax()
        assert target.max() == 1
    differ = [one.argmax() != other.argmax() for one, other in zip(made, others, strict=True)]
    assert any(differ) or label == "global-single"


@FORMS
@SPARSE
@pytest.mark.parametrize(
    "options",
    [{"calibrated": False}, {"absent": "zeros"}, {"method": "probability"}, {"label": "original"}],
    ids=str,
)
def test_without_calibration_targets_are_those_of_an_uncalibrated_file(
    tmp_path, keys, form, sparse, options
):
    file, plain = (
        file_of(tmp_path, keys, form, calibrated=calibrated) for calibrated in (True, False)
    )
    rows, originals = list(range(len(BOXES))), [3] * len(BOXES)
    rows = [row % len(file) for row in rows]
    options = TargetOptions(**options)
    pairs = zip(
        CropTargets(file, options, sparse=sparse)(rows, BOXES, originals),
        CropTargets(plain, options, sparse=sparse)(rows, BOXES, originals),
        strict=True,
    )
    for one, other in pairs:
        if sparse:
            assert all(map(torch.equal, one, other))
        else:
            assert torch.equal(one, other)


def test_token_targets_are_not_calibrated_but_the_target_of_the_crop_is(tmp_path, keys):
    options = TargetOptions(tokens=(3, 3))
    made, others = (
        CropTargets(file_of(tmp_path, keys, FORM, calibrated=each), options, sparse=False)(
            [0], BOXES[1:2], [0]
        )[0]
        for each in (True, False)
    )
    assert torch.equal(made[1], others[1])
    assert not torch.equal(made[0], others[0])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_set_in_workers_applies_the_calibration(photos, tmp_path, workers):
    """Worker processes open the file again; its digest covers the calibration."""
    file = file_of(tmp_path, photos[1], FORM)
    whole = v2.Compose([v2.Resize((32, 32)), v2.PILToTensor()])
    dataset = LabelMapDataset(ImageFolder(photos[0]), file, whole)
    context = "spawn" if workers else None
    loader = DataLoader(dataset, 2, num_workers=workers, multiprocessing_context=context)
    found = torch.cat([target for _, target in loader])
    rows = map(file.position, [key for key, _ in _samples(photos[0])])
    expected = torch.stack([pooled(file, row, CropBox.whole()) for row in rows])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def _samples(folder):
    return [
        (str(path).removeprefix(f"{folder}/"), label) for path, label in ImageFolder(folder).samples
    ]
