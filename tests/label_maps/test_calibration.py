"""Calibrated pooling equals its definition, for one crop, in a batch, and by zoom."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy.special import softmax
from torch.utils.data import DataLoader

from labelkit.geometry import CropBox
from labelkit.label_maps import (
    Background,
    Calibration,
    LabelMaps,
    MapBatch,
    MapForm,
    pool,
    pool_batch,
    pool_batch_by_zoom,
    pool_by_zoom,
)
from tests.label_maps.random_boxes import ANY_BOX
from tests.label_maps.support.random_maps import random_maps
from tests.label_maps.test_pooling_batch import CLASSES, FORMS, GRIDS, tensor_of
from tests.oracles.calibration import calibrated_logits
from tests.oracles.pooling import pooled_logits

ONE = Calibration(scale=(0.4, 0.3), compression=0.8, mixing=((0.0, 0.0),), classes=CLASSES)
MIXING = ((0.0, 0.0), (0.3, -2.0), (-0.5, -4.0))
BOXES = [CropBox(0.1, 0.2, 0.9, 0.7), CropBox(0.3, 0.3, 0.45, 0.4), CropBox.whole()] * 2

_number = st.floats(-16, 16).map(lambda number: round(number, 3))
calibrations = st.one_of(
    st.just(ONE),
    st.builds(
        lambda scale, compression: msgspec.structs.replace(
            ONE, scale=scale, compression=compression
        ),
        st.one_of(st.tuples(st.floats(-1, 2), st.floats(-1, 1)), st.tuples(_number, _number)),
        st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)),
    ),
)


def maps_of(
    form: dict[str, object], grid: tuple[int, int], calibration: Calibration | None = ONE
) -> LabelMaps:
    """The maps of six images."""
    made = random_maps(np.random.default_rng(0), 6, MapForm(**form, grid=grid), CLASSES)
    return replace(made, calibration=calibration)


def mean_logits(label_map, box) -> np.ndarray:
    """Without calibration, from the dense map and RoIAlign."""
    return pooled_logits(label_map, box, CLASSES).numpy()


def assert_same_target(found: np.ndarray, logits: np.ndarray, atol: float) -> None:
    """Compare softmax targets: a factor of e^12 magnifies the rounding of logits."""
    np.testing.assert_allclose(
        softmax(found.astype(np.float64)), softmax(logits), rtol=0, atol=atol
    )


@settings(deadline=None, max_examples=200)
@given(
    st.lists(ANY_BOX, min_size=6, max_size=6),
    st.sampled_from(FORMS),
    st.sampled_from(GRIDS),
    st.sampled_from([0.0, 0.8, 1.0]),
)
def test_one_crop_and_a_batch_equal_the_definition(boxes, form, grid, compression):
    calibration = msgspec.structs.replace(ONE, compression=compression)
    maps = maps_of(form, grid, calibration)
    batch = pool_batch(MapBatch.stack(maps), tensor_of(boxes)).dense(CLASSES).numpy()
    for row, label_map, box in zip(batch, maps, boxes, strict=True):
        expected = calibrated_logits([mean_logits(label_map, box)], box, calibration)
        single = pool(label_map, box).dense(CLASSES)
        scale = 1 + np.abs(expected).max()
        # A crop that shows almost nothing has almost no spread, and its rounding is magnified.
        np.testing.assert_allclose(single / scale, expected / scale, rtol=0, atol=5e-4)
        np.testing.assert_allclose(row / scale, single / scale, rtol=0, atol=5e-4)
        assert_same_target(single, expected, 5e-4)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(ANY_BOX.map(CropBox.inside), min_size=6, max_size=6),
    st.sampled_from(FORMS),
    st.sampled_from(GRIDS),
)
def test_inside_the_image_targets_are_the_definition_to_the_last_digits(boxes, form, grid):
    maps = maps_of(form, grid)
    batch = pool_batch(MapBatch.stack(maps), tensor_of(boxes)).dense(CLASSES).softmax(1).numpy()
    for row, label_map, box in zip(batch, maps, boxes, strict=True):
        expected = softmax(calibrated_logits([mean_logits(label_map, box)], box, ONE))
        found = pool(label_map, box).probabilities(CLASSES)
        np.testing.assert_allclose(found, expected, rtol=0, atol=4e-6)
        np.testing.assert_allclose(row, expected, rtol=0, atol=4e-6)


@settings(deadline=None, max_examples=80)
@given(
    st.lists(ANY_BOX.map(CropBox.inside), min_size=6, max_size=6),
    st.sampled_from([(0.7,), (1.0, 2.0), (0.5, 1.0, 2.5)]),
    st.sampled_from(FORMS),
)
def test_several_maps_are_mixed_as_the_calibration_says(boxes, zooms, form):
    calibration = msgspec.structs.replace(ONE, mixing=MIXING[: len(zooms)])
    grids = [(5, 5), (9, 8), (15, 15)][: len(zooms)]
    every = [maps_of(form, grid, calibration) for grid in grids]
    batches = [MapBatch.stack(maps) for maps in every]
    batch = pool_batch_by_zoom(batches, zooms, tensor_of(boxes)).dense(CLASSES)
    for row, box, *maps in zip(batch.softmax(1).numpy(), boxes, *every, strict=True):
        means = [mean_logits(each, box) for each in maps]
        expected = softmax(calibrated_logits(means, box, calibration))
        found = pool_by_zoom(maps, zooms, box).probabilities(CLASSES)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(row, expected, rtol=0, atol=1e-5)


def test_the_numbers_do_what_their_names_say():
    """By hand: four classes, one cell, logits 3, -1, -1, -1, and a crop of a quarter."""
    index = np.zeros((1, 1, 1, 1), np.uint16)
    background = Background(np.zeros((1, 0), np.int64), np.zeros((1, 0), np.float32), -np.ones(1))
    quarter = CropBox(0, 0, 0.5, 0.5)
    spread = ((3**4 + 3) / 4) ** 0.25
    for scale, compression, factor in (
        ((0.0, 0.0), 0.0, 1.0),
        ((np.log(2), 0.0), 0.0, 2.0),
        ((0.0, 1.0), 0.0, 0.5),
        ((0.0, -2.0), 0.0, 4.0),
        ((0.0, 0.0), 1.0, 1 / spread),
        ((np.log(2), 1.0), 0.5, spread**-0.5),
    ):
        calibration = Calibration(
            scale=scale, compression=compression, mixing=((0.0, 0.0),), classes=4
        )
        maps = LabelMaps(index, np.full((1, 1, 1, 1), 3, np.float32), background, None, calibration)
        expected = np.array([3, -1, -1, -1]) * factor
        np.testing.assert_allclose(pool(maps[0], quarter).dense(4), expected, rtol=1e-6)
        batch = pool_batch(MapBatch.stack(maps), tensor_of([quarter])).dense(4)[0]
        np.testing.assert_allclose(batch, expected, rtol=1e-6)


@settings(deadline=None, max_examples=300)
@given(
    calibrations,
    ANY_BOX,
    st.sampled_from(FORMS),
    st.sampled_from([0.0, 1e-9, 1.0, 1e4, 1e12, 1e30]),
)
def test_no_calibration_that_a_file_may_hold_makes_a_target_that_is_not_finite(
    calibration, box, form, size
):
    """Not even for constant logits, or for the largest ones that a record can hold."""
    calibration.check(1, CLASSES)
    maps = maps_of(form, (3, 4), calibration)
    background = maps.background
    if background is not None:
        background = replace(
            background,
            logits=background.logits * np.float32(size),
            rest=np.asarray(background.rest) * np.float32(size),
            coefficients=None
            if background.coefficients is None
            else background.coefficients * np.float32(size),
        )
    maps = replace(maps, score=maps.score * np.float32(size), background=background)
    target = pool(maps[0], box).probabilities(CLASSES)
    batch = pool_batch(MapBatch.stack(maps), tensor_of([box] * 6)).dense(CLASSES).softmax(1)
    assert np.isfinite(target).all()
    assert batch.isfinite().all()
    if size == 0:
        np.testing.assert_allclose(target, 1 / CLASSES, rtol=1e-6)
        np.testing.assert_allclose(batch, 1 / CLASSES, rtol=1e-6)


@pytest.mark.parametrize("scale", [(16.0, -16.0), (-16.0, 16.0), (12.5, 0.0), (0.0, -4.0)])
@pytest.mark.parametrize("form", FORMS)
def test_the_exponent_has_limits(scale, form):
    """Of 12 either side, whatever the numbers and the crop."""
    calibration = msgspec.structs.replace(ONE, scale=scale)
    maps, box = maps_of(form, (5, 6), calibration), CropBox(0.3, 0.4, 0.301, 0.401)
    batch = pool_batch(MapBatch.stack(maps), tensor_of([box] * 6)).dense(CLASSES)
    for row, label_map in zip(batch, maps, strict=True):
        plain = label_map.dense(CLASSES)[:, 1:4, 1:4]  # all cells that the crop could touch
        single = pool(label_map, box).dense(CLASSES)
        expected = calibrated_logits([mean_logits(label_map, box)], box, calibration)
        np.testing.assert_allclose(single, expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(row, single, rtol=1e-4, atol=1e-6)
        assert np.abs(single).max() <= np.abs(plain).max() * np.exp(12) * 1.001


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("grid", GRIDS)
def test_without_calibration_nothing_changes_by_a_bit(form, grid):
    maps, plain = maps_of(form, grid), maps_of(form, grid, None)
    for one, other, box in zip(maps, plain, BOXES, strict=True):
        found, expected = pool(one, box, calibrated=False), pool(other, box)
        assert np.array_equal(found.logits, expected.logits)
        assert found.rest == expected.rest
        assert not np.array_equal(pool(one, box).logits, expected.logits)
        mixed = pool_by_zoom([one, one], (1.0, 2.0), box, calibrated=False)
        assert np.array_equal(mixed.logits, pool_by_zoom([other, other], (1, 2), box).logits)
    boxes = tensor_of(BOXES)
    found = pool_batch(MapBatch.stack(maps, calibrated=False), boxes)
    expected = pool_batch(MapBatch.stack(plain), boxes)
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("options", [{"absent": "zeros"}, {"method": "probability"}], ids=str)
def test_what_the_calibration_is_not_fitted_to_goes_without(options):
    form = {"top_k": 3, "background": 5, "log_sum_exp": True}
    maps, plain = maps_of(form, (7, 8)), maps_of(form, (7, 8), None)
    for one, other, box in zip(maps, plain, BOXES, strict=True):
        assert np.array_equal(pool(one, box, **options).logits, pool(other, box, **options).logits)
        found, expected = (
            pool_by_zoom([each] * 2, (1, 2), box, **options) for each in (one, other)
        )
        assert np.array_equal(found.logits, expected.logits)
    if options == {"absent": "zeros"}:
        assert MapBatch.stack(maps, **options).calibration is None


def test_zeros_are_the_background_of_maps_without_one():
    maps = maps_of(FORMS[0], (5, 6))
    found = pool(maps[0], BOXES[0], absent="zeros")
    assert np.array_equal(found.logits, pool(maps[0], BOXES[0]).logits)
    assert MapBatch.stack(maps, absent="zeros").calibration == ONE


def test_a_class_that_one_cell_stores_and_the_background_lists_counts_once():
    """In a map of one cell, as many entries as planes may list a class twice."""
    background = Background(
        np.array([[0, 1]]), np.array([[2.0, -1.0]], np.float32), np.zeros(1, np.float32)
    )
    index, score = np.array([[[[0]], [[3]]]]), np.array([[[[5.0]], [[4.0]]]], np.float32)
    maps = LabelMaps(index, score, background, None, ONE)
    box = CropBox(0.1, 0.2, 0.6, 0.9)
    expected = calibrated_logits([maps[0].dense(CLASSES)[:, 0, 0]], box, ONE)
    batch = pool_batch(MapBatch.stack(maps), tensor_of([box])).dense(CLASSES)[0]
    np.testing.assert_allclose(batch, expected, rtol=1e-5)
    np.testing.assert_allclose(pool(maps[0], box).dense(CLASSES), expected, rtol=1e-5)


def test_a_flip_changes_no_target_and_the_zoom_is_that_of_the_area():
    label_map = maps_of(FORMS[5], (7, 12))[0]
    box = CropBox(0.1, 0.2, 0.7, 0.5)
    shown = pool(label_map, replace(box, flipped=True, transposed=True))
    assert np.array_equal(shown.logits, pool(label_map, box).logits)
    # The same cells (fewer than one high and wide are widened to one) at other zooms.
    tiny, thin = (CropBox(0.5, 0.5, 0.5 + side, 0.5 + side) for side in (1e-3, 5e-3))
    assert np.allclose(pool(label_map, tiny).logits, pool(label_map, thin).logits, atol=0.1)


@pytest.mark.parametrize("form", FORMS)
def test_autocast_rounds_nothing(form):
    batch = MapBatch.stack(maps_of(form, (5, 6)))
    boxes = tensor_of(BOXES)
    plain = pool_batch(batch, boxes), pool_batch_by_zoom([batch], (1.0,), boxes)
    with torch.autocast("cpu", torch.bfloat16):
        inside = pool_batch(batch, boxes), pool_batch_by_zoom([batch], (1.0,), boxes)
    for one, other in zip(plain, inside, strict=True):
        assert all(map(torch.equal, one, other))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("form", FORMS)
def test_a_gpu_gives_the_same_result(form):
    batch, boxes = MapBatch.stack(maps_of(form, (15, 15))), tensor_of(BOXES)
    found = pool_batch(batch.to("cuda"), boxes.cuda())
    mixed = pool_batch_by_zoom([batch.to("cuda")], (1.0,), boxes.cuda())
    expected = pool_batch(batch, boxes).dense(CLASSES)
    torch.testing.assert_close(found.dense(CLASSES).cpu(), expected, rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(mixed.dense(CLASSES).cpu(), expected, rtol=1e-5, atol=2e-5)


def test_a_batch_keeps_its_calibration_on_other_devices_and_when_pickled():
    batch = MapBatch.stack(maps_of(FORMS[5], (3, 3)))
    for same in (batch.to("meta"), pickle.loads(pickle.dumps(batch)), copy.deepcopy(batch)):  # noqa: S301 -- ours
        assert isinstance(same, MapBatch)
        assert same.calibration == ONE


class Batches(torch.utils.data.Dataset):
    """Stacked maps, as a data set that pools on the device passes them."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int) -> MapBatch:
        return MapBatch.stack(maps_of(FORMS[number], (4, 4)))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    "pin",
    [
        False,
        pytest.param(
            True,
            marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ),
    ],
)
def test_a_data_loader_passes_the_calibration_along(workers, pin):
    loader = DataLoader(Batches(), batch_size=None, num_workers=workers, pin_memory=pin)
    for number, batch in enumerate(loader):
        assert isinstance(batch, MapBatch)
        found, expected = (
            pool_batch(each, tensor_of(BOXES)) for each in (batch, Batches()[number])
        )
        assert all(map(torch.equal, found, expected))


def test_maps_of_two_calibrations_are_not_stacked():
    one, other = maps_of(FORMS[0], (3, 3))[0], maps_of(FORMS[0], (3, 3), None)[0]
    with pytest.raises(ValueError, match="files with different calibrations"):
        LabelMaps.stack([one, other])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": (17.0, 0.0)}, r"the number 17, expected at most \+-16"),
        ({"scale": (0.0, float("nan"))}, "the number nan"),
        ({"mixing": ((0.0, float("-inf")),)}, "the number -inf"),
        ({"compression": 1.01}, r"compression=1\.01 is not between 0 and 1"),
        ({"compression": -0.1}, r"compression=-0\.1"),
        ({"mixing": MIXING[:2]}, "mixes 2 maps, expected 1"),
        ({"mixing": ()}, "mixes 0 maps, expected 1"),
        ({"classes": CLASSES + 1}, "is of 21 classes, not 20"),
        ({"images": -1}, "images are not between"),
        ({"crops": 1 << 53}, "crops are not between"),
        ({"seed": -1}, "seed are not between"),
        ({"divergence": (0.5, float("inf"))}, "is not two finite numbers"),
        ({"divergence": (-0.5, 0.2)}, "is not two finite numbers"),
    ],
)
def test_impossible_numbers_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        msgspec.structs.replace(ONE, **change).check(1, CLASSES)


def test_the_limits_are_accepted():
    for scale in ((16.0, -16.0), (-16, 16)):
        for compression in (0, 1):
            msgspec.structs.replace(ONE, scale=scale, compression=compression).check(1, CLASSES)
