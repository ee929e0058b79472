"""Pooling equals RoIAlign on the dense map."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from labelkit.geometry import CropBox
from labelkit.label_maps import Background, LabelMap, MapForm, pool
from labelkit.label_maps.file.codec import MapCodec
from labelkit.targets import SparseLogits
from tests.label_maps.support.random_maps import random_map, random_maps
from tests.oracles.pooling import pooled_logits, pooled_target

EDGE = st.floats(-1.5, 2.0)
SIDE = st.floats(1e-4, 2.5)
CLASSES = 20
FORMS = [
    {"top_k": 3},
    {"top_k": 3, "background": 1},
    {"top_k": 3, "background": 5},
    {"top_k": 3, "background": 20},
    {"top_k": 20, "background": 20},
    {"selection": "image", "top_k": 3},
    {"selection": "image", "top_k": 20},
    {"selection": "image", "top_k": 3, "background": 1},
    {"selection": "image", "top_k": 3, "background": 17},
    {"selection": "image", "top_k": 3, "background": 5, "patterns": 1},
    {"selection": "image", "top_k": 1, "background": 19, "patterns": 3},
]


def map_of(seed: int, form: MapForm) -> LabelMap:
    """A random map after encoding and decoding."""
    codec = MapCodec(form, CLASSES)
    maps = random_maps(np.random.default_rng(seed), 1, form, CLASSES)
    return codec.decode(codec.encode(maps))[0]


def assert_equals_roi_align(label_map: LabelMap, box: CropBox) -> None:
    target = pool(label_map, box)
    assert (np.diff(target.classes) > 0).all()
    ours = torch.from_numpy(target.dense(CLASSES))
    # RoIAlign sums up to 225 numbers near -12 in float32: its own error reaches 3e-5.
    torch.testing.assert_close(ours, pooled_logits(label_map, box, CLASSES), rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=300)
@given(
    EDGE,
    EDGE,
    SIDE,
    SIDE,
    st.integers(0, 9),
    st.sampled_from([(15, 15), (1, 1), (7, 12)]),
    st.sampled_from(FORMS),
)
def test_pooling_equals_roi_align_for_any_box(left, top, width, height, seed, grid, form):
    """Boxes inside, outside and across the image, thinner than a cell; maps of any form."""
    label_map = map_of(seed, MapForm(**form, grid=grid))
    assert_equals_roi_align(label_map, CropBox(left, top, left + width, top + height))


@pytest.mark.parametrize("form", FORMS)
def test_dense_logits_are_those_of_each_class_and_cell(form):
    label_map = map_of(3, MapForm(**form, grid=(4, 5)))
    dense = label_map.dense(CLASSES)
    for (i, j), _ in np.ndenumerate(dense[0]):
        cell = CropBox(j / 5, i / 4, (j + 1) / 5, (i + 1) / 4)  # one sampling point, in its middle
        expected = pooled_logits(label_map, cell, CLASSES)
        np.testing.assert_allclose(dense[:, i, j], expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("cells", range(1, 16))
def test_pooling_equals_roi_align_where_the_number_of_points_jumps(cells):
    """A crop of a whole number of cells: ceil() must fall on the same side as RoIAlign's."""
    label_map = random_map(cells)
    for left in (0.0, 1 / 15, 0.1, 1 / 3):
        box = CropBox(left, 0.2, left + cells / 15, 0.2 + cells / 15)
        assert_equals_roi_align(label_map, box)


def test_the_target_is_the_softmax_of_the_pooled_logits():
    label_map = random_map(1)
    box = CropBox(0.1, 0.3, 0.6, 0.9)
    ours = torch.from_numpy(pool(label_map, box).probabilities(CLASSES))
    torch.testing.assert_close(ours, pooled_target(label_map, box, CLASSES), rtol=0, atol=1e-5)
    assert ours.sum().item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_the_whole_image_is_the_mean_of_its_cells(form):
    """Fifteen sampling points in the middles of fifteen cells: each counts once."""
    label_map = map_of(1, MapForm(**form, grid=(15, 15)))
    mean = label_map.dense(CLASSES).mean(axis=(1, 2), dtype=float)
    found = pool(label_map, CropBox.whole()).dense(CLASSES)
    np.testing.assert_allclose(found, mean, rtol=0, atol=1e-5)


def test_a_crop_of_one_half_gets_the_class_of_that_half():
    """Class 3 fills the left half, class 7 the right half."""
    index = np.broadcast_to(np.where(np.arange(15) < 8, 3, 7), (1, 15, 15)).astype(np.uint16)
    label_map = LabelMap(index, np.full((1, 15, 15), 9.0, np.float32))
    left = pool(label_map, CropBox(0.0, 0.2, 0.45, 0.9)).probabilities(10)
    right = pool(label_map, CropBox(0.6, 0.2, 1.0, 0.9)).probabilities(10)
    assert left.argmax() == 3
    assert right.argmax() == 7


def test_rows_run_from_the_top_and_columns_from_the_left():
    """Only the cell in row 0 and column 2 holds the class."""
    score = np.zeros((1, 3, 3), np.float32)
    score[0, 0, 2] = 9
    label_map = LabelMap(np.full((1, 3, 3), 1, np.uint16), score)
    corners = {
        (x, y): pool(label_map, CropBox(x / 3, y / 3, (x + 1) / 3, (y + 1) / 3)).dense(2)[1]
        for x in range(3)
        for y in range(3)
    }
    assert max(corners, key=corners.__getitem__) == (2, 0)
    assert corners[2, 0] == 9


def test_a_flip_does_not_change_the_mean():
    label_map = random_map(2)
    plain = pool(label_map, CropBox(0.1, 0.1, 0.7, 0.5))
    flipped = pool(label_map, CropBox(0.1, 0.1, 0.7, 0.5, flipped=True))
    assert np.array_equal(plain.dense(CLASSES), flipped.dense(CLASSES))


def test_only_classes_that_the_map_names_are_listed():
    image = map_of(0, MapForm(selection="image", top_k=3, grid=(4, 4), background=5, patterns=1))
    named = sorted({*image.classes.tolist(), *image.background.classes.tolist()})
    assert pool(image, CropBox.whole()).classes.tolist() == named
    assert len(pool(random_map(0, grid=(1, 1)), CropBox.whole()).classes) == 3


def test_a_target_with_a_class_outside_the_list_is_refused():
    target = SparseLogits(np.array([2, 30]), np.array([1.0, 2.0], np.float32))
    with pytest.raises(ValueError, match="class 30 is not one of 20"):
        target.dense(20)


def test_rest_is_the_logit_of_all_classes_that_are_not_listed():
    target = SparseLogits(np.array([1]), np.array([2.0], np.float32), rest=-1.0)
    assert target.dense(3).tolist() == [-1.0, 2.0, -1.0]


def test_dense_logits_fall_back_to_the_background():
    """Classes 0 and 1 are stored in one cell each; 0 and 2 have a background mean."""
    label_map = LabelMap(
        np.array([[[0, 1]]], np.uint16),
        np.array([[[5.0, 4.0]]], np.float32),
        Background(np.array([0, 2]), np.array([1.0, -3.0], np.float32), 0.5),
    )
    assert label_map.dense(3).tolist() == [[[5.0, 1.0]], [[0.5, 4.0]], [[-3.0, -3.0]]]
    assert label_map.strongest.tolist() == [[0, 1]]
    assert label_map.classes_by_area() == [(0, 0.5), (1, 0.5)]


def test_patterns_raise_and_lower_a_class_from_cell_to_cell():
    label_map = LabelMap(
        np.zeros((1, 1, 2), np.uint16),
        np.full((1, 1, 2), 5, np.float32),
        Background(
            np.array([1, 2]),
            np.array([1.0, -3.0], np.float32),
            0.5,
            np.array([[1.0, -2.0]], np.float32),
            np.array([[[2.0, 0.0]]], np.float32),
        ),
    )
    assert label_map.dense(4).tolist() == [[[5, 5]], [[3, 1]], [[-7, -3]], [[0.5, 0.5]]]


def test_the_strongest_class_of_an_image_map_is_the_highest_not_the_first():
    maps = random_maps(
        np.random.default_rng(0), 1, MapForm(selection="image", top_k=4, grid=(3, 3)), CLASSES
    )
    expected = maps.index[0][maps.score[0].argmax(axis=0)]
    assert np.array_equal(maps[0].strongest, expected)
    assert len(np.unique(expected)) > 1


@pytest.mark.parametrize("side", [1e3, 1e7, 1e30])
def test_a_crop_far_larger_than_the_image_costs_no_more(side):
    """Almost all of it is outside the image, so the mean vanishes."""
    label_map = random_map(0, grid=(3, 3))
    pooled = pool(label_map, CropBox(-side, 0.1, side, 0.9)).dense(20)
    assert np.isfinite(pooled).all()
    assert np.abs(pooled).max() < 100 / side


def test_a_crop_with_infinite_or_nan_edges_is_refused():
    for edge in (float("inf"), float("nan")):
        with pytest.raises(ValueError, match="finite"):
            CropBox(0, 0, edge, 1)
