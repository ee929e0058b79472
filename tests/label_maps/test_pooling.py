"""Pooling equals RoIAlign on the dense map."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labelkit.geometry import CropBox
from labelkit.label_maps import LabelMap, SparseTarget, pool
from tests.label_maps.random_maps import random_map
from tests.oracles.pooling import pooled_logits, pooled_target

EDGE = st.floats(-1.5, 2.0)
SIDE = st.floats(1e-4, 2.5)


@settings(deadline=None, max_examples=200)
@given(
    EDGE,
    EDGE,
    SIDE,
    SIDE,
    st.integers(0, 9),
    st.sampled_from([(15, 15), (1, 1), (7, 12)]),
    st.sampled_from([0, 1, 5, 20]),
)
def test_pooling_equals_roi_align_for_any_box(left, top, width, height, seed, grid, background):
    """Boxes inside, outside and across the image, thinner than a cell, with a background or not."""
    label_map = random_map(seed, grid=grid, background=background)
    box = CropBox(left, top, left + width, top + height)
    ours = torch.from_numpy(pool(label_map, box).dense(20))
    torch.testing.assert_close(ours, pooled_logits(label_map, box, 20), rtol=0, atol=1e-5)


@pytest.mark.parametrize("cells", range(1, 16))
def test_pooling_equals_roi_align_where_the_number_of_points_jumps(cells):
    """A crop of a whole number of cells: ceil() must fall on the same side as RoIAlign's."""
    label_map = random_map(cells)
    for left in (0.0, 1 / 15, 0.1, 1 / 3):
        box = CropBox(left, 0.2, left + cells / 15, 0.2 + cells / 15)
        ours = torch.from_numpy(pool(label_map, box).dense(20))
        torch.testing.assert_close(ours, pooled_logits(label_map, box, 20), rtol=0, atol=1e-5)


def test_the_target_is_the_softmax_of_the_pooled_logits():
    label_map = random_map(1)
    box = CropBox(0.1, 0.3, 0.6, 0.9)
    ours = torch.from_numpy(pool(label_map, box).probabilities(20))
    torch.testing.assert_close(ours, pooled_target(label_map, box, 20), rtol=0, atol=1e-5)
    assert ours.sum().item() == pytest.approx(1, abs=1e-6)


def test_a_crop_of_one_part_names_the_class_of_that_part():
    """Left half class 3, right half class 7: crops of either half say so."""
    index = np.broadcast_to(np.where(np.arange(15) < 8, 3, 7), (1, 15, 15)).astype(np.uint16)
    label_map = LabelMap(index, np.full((1, 15, 15), 9.0, np.float32))
    left = pool(label_map, CropBox(0.0, 0.2, 0.45, 0.9)).probabilities(10)
    right = pool(label_map, CropBox(0.6, 0.2, 1.0, 0.9)).probabilities(10)
    assert left.argmax() == 3
    assert right.argmax() == 7


def test_a_flip_does_not_change_the_mean():
    label_map = random_map(2)
    plain = pool(label_map, CropBox(0.1, 0.1, 0.7, 0.5))
    flipped = pool(label_map, CropBox(0.1, 0.1, 0.7, 0.5, flipped=True))
    assert np.array_equal(plain.dense(20), flipped.dense(20))


def test_a_target_with_a_class_outside_the_list_is_refused():
    target = SparseTarget(np.array([2, 30]), np.array([1.0, 2.0], np.float32))
    with pytest.raises(ValueError, match="class 30 is not one of 20"):
        target.dense(20)


def test_the_background_is_the_logit_of_all_other_classes():
    target = SparseTarget(np.array([1]), np.array([2.0], np.float32), background=-1.0)
    assert target.dense(3).tolist() == [-1.0, 2.0, -1.0]


def test_a_map_whose_arrays_differ_in_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(K, H, W\)"):
        LabelMap(np.zeros((1, 2, 2), np.uint16), np.zeros((1, 2, 3), np.float32))
