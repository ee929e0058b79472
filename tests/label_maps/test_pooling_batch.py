"""Pooling a batch, on any device, equals pooling its crops one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from labelkit.geometry import CropBox
from labelkit.label_maps import (
    LabelMap,
    LabelMaps,
    MapBatch,
    MapForm,
    ProbabilityBatch,
    pool,
    pool_batch,
    pool_batch_by_zoom,
    pool_by_zoom,
)
from labelkit.targets import SparseLogitsBatch, SparseProbabilities
from tests.label_maps.random_boxes import ANY_BOX
from tests.label_maps.support.random_maps import random_map, random_maps
from tests.oracles.pooling import dense_logits, roi_align_means

CLASSES = 20
FORMS = [
    {"top_k": 3},
    {"top_k": 3, "background": 5},
    {"top_k": 20, "background": 20},
    {"selection": "image", "top_k": 3},
    {"selection": "image", "top_k": 3, "background": 5},
    {"selection": "image", "top_k": 3, "background": 5, "patterns": 2},
]
GRIDS = [(15, 15), (1, 1), (7, 12)]


def maps_of(form: dict[str, object], grid: tuple[int, int], count: int = 6) -> LabelMaps:
    """Random maps of one form."""
    return random_maps(np.random.default_rng(0), count, MapForm(**form, grid=grid), CLASSES)


def maps_with_log_sum_exp(form: dict[str, object], grid: tuple[int, int]) -> LabelMaps:
    """The same with the log-sum-exp of their dense logits."""
    maps = maps_of(form, grid)
    lse = [torch.from_numpy(each.dense(CLASSES)).logsumexp(0).numpy() for each in maps]
    return replace(maps, log_sum_exp=np.stack(lse))


def tensor_of(boxes: list[CropBox]) -> torch.Tensor:
    """Crops as (B, 4)."""
    return torch.tensor([[box.left, box.top, box.right, box.bottom] for box in boxes])


@settings(deadline=None, max_examples=150)
@given(
    st.lists(ANY_BOX, min_size=6, max_size=6),
    st.sampled_from(FORMS),
    st.sampled_from(GRIDS),
)
def test_a_batch_equals_roi_align_and_one_by_one(boxes, form, grid):
    maps = maps_of(form, grid)
    found = pool_batch(MapBatch.stack(maps), tensor_of(boxes)).dense(CLASSES)
    for row, label_map, box in zip(found, maps, boxes, strict=True):
        slow = roi_align_means(dense_logits(label_map, CLASSES), box)[:, 0, 0]
        torch.testing.assert_close(row, slow, rtol=1e-5, atol=2e-5)
        single = pool(label_map, box).dense(CLASSES)
        np.testing.assert_allclose(row, single, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("form", FORMS)
def test_absent_zeros_ignores_the_background(form):
    maps = maps_of(form, (5, 6))
    boxes = [CropBox(0.1, 0.2, 0.9, 0.7)] * len(maps)
    found = pool_batch(MapBatch.stack(maps, absent="zeros"), tensor_of(boxes)).dense(CLASSES)
    for row, label_map, box in zip(found, maps, boxes, strict=True):
        expected = pool(label_map, box, absent="zeros").dense(CLASSES)
        np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(ANY_BOX, min_size=6, max_size=6),
    st.sampled_from(FORMS),
    st.sampled_from(GRIDS),
    st.sampled_from(["background", "zeros"]),
)
def test_a_batch_of_probabilities_equals_one_by_one(boxes, form, grid, absent):
    maps = maps_with_log_sum_exp(form, grid)
    batch = ProbabilityBatch.stack(maps, absent=absent)
    found = pool_batch(batch, tensor_of(boxes)).dense(CLASSES)
    for row, label_map, box in zip(found, maps, boxes, strict=True):
        single = pool(label_map, box, method="probability", absent=absent)
        np.testing.assert_allclose(row, np.exp(single.dense(CLASSES)), rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(ANY_BOX, min_size=6, max_size=6),
    st.sampled_from([(0.7,), (1.0, 2.0), (0.5, 1.0, 2.5)]),
    st.sampled_from(FORMS),
    st.sampled_from(["relabel", "probability"]),
)
def test_maps_of_several_zooms_mix_as_one_by_one(boxes, zooms, form, method):
    grids = [(5, 5), (9, 8), (15, 15)][: len(zooms)]
    every = [maps_with_log_sum_exp(form, grid) for grid in grids]
    kind = MapBatch if method == "relabel" else ProbabilityBatch
    batches = [kind.stack(maps) for maps in every]
    found = pool_batch_by_zoom(batches, zooms, tensor_of(boxes)).dense(CLASSES)
    for row, box, *maps in zip(found, boxes, *every, strict=True):
        single = pool_by_zoom(maps, zooms, box, method=method).dense(CLASSES)
        expected = single if method == "relabel" else np.exp(single)
        np.testing.assert_allclose(row, expected, rtol=2e-5, atol=5e-5)


@pytest.mark.parametrize("method", ["relabel", "probability"])
def test_the_type_of_the_result_says_what_it_holds(method):
    maps = maps_with_log_sum_exp(FORMS[4], (5, 6))
    boxes = torch.tensor([[0.1, 0.2, 0.9, 0.7]]).expand(6, 4)
    logits, probabilities = MapBatch.stack(maps), ProbabilityBatch.stack(maps)
    expected = SparseLogitsBatch if method == "relabel" else SparseProbabilities
    batch = logits if method == "relabel" else probabilities
    assert type(pool_batch(batch, boxes)) is expected
    assert type(pool_batch_by_zoom([batch, batch], (1.0, 2.0), boxes)) is expected
    with pytest.raises(TypeError, match="cannot be mixed"):
        pool_batch_by_zoom([logits, probabilities], (1.0, 2.0), boxes)


@pytest.mark.parametrize("form", FORMS[3:])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_softmax_of_a_batch_is_that_of_its_dense_logits(form, temperature):
    boxes = torch.tensor([[0.1, 0.2, 0.9, 0.7]]).expand(6, 4)
    logits = pool_batch(MapBatch.stack(maps_of(form, (5, 6))), boxes)
    found = logits.softmax(CLASSES, temperature)
    assert type(found) is SparseProbabilities
    expected = (logits.dense(CLASSES) / temperature).softmax(dim=1)
    torch.testing.assert_close(found.dense(CLASSES), expected, rtol=0, atol=1e-6)


def test_zooms_must_be_one_per_map_and_ascending():
    batch = MapBatch.stack(maps_of(FORMS[0], (3, 3)))
    for maps, zooms in (([batch], [1.0, 2.0]), ([batch] * 2, [2.0, 1.0]), ([], [])):
        with pytest.raises(ValueError, match="one per map, positive and ascending"):
            pool_batch_by_zoom(maps, zooms, torch.zeros(6, 4))


def test_a_probability_batch_needs_the_log_sum_exp():
    with pytest.raises(ValueError, match="--log-sum-exp"):
        ProbabilityBatch.stack(maps_of(FORMS[1], (3, 3)))


def test_scores_above_their_log_sum_exp_stay_finite():
    maps = maps_with_log_sum_exp(FORMS[1], (3, 3))
    wrong = replace(maps, score=maps.score + 1e6)
    pooled = pool_batch(ProbabilityBatch.stack(wrong), torch.tensor([[0.0, 0, 1, 1]] * 6))
    assert pooled.excess.isfinite().all()


@pytest.mark.parametrize("form", FORMS)
def test_autocast_rounds_nothing(form):
    batch = MapBatch.stack(maps_of(form, (5, 6)))
    boxes = torch.tensor([[0.1, 0.2, 0.9, 0.7]]).expand(6, 4)
    plain = pool_batch(batch, boxes)
    with torch.autocast("cpu", torch.bfloat16):
        inside = pool_batch(batch, boxes)
    assert torch.equal(inside.excess, plain.excess)
    assert torch.equal(inside.rest, plain.rest)


@pytest.mark.parametrize("side", [1e3, 1e6, 1e30, 3e38])
def test_a_crop_far_larger_than_the_image_costs_no_more(side):
    """Nor does it disturb its neighbours in the batch."""
    maps = maps_of(FORMS[1], (3, 3), 2)
    boxes = torch.tensor([[-side, 0.1, side, 0.9], [0.1, 0.2, 0.9, 0.7]])
    found = pool_batch(MapBatch.stack(maps), boxes).dense(CLASSES)
    assert found[0].abs().max() < 100 / side
    expected = pool(maps[1], CropBox(0.1, 0.2, 0.9, 0.7)).dense(CLASSES)
    np.testing.assert_allclose(found[1], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("form", FORMS)
def test_a_gpu_gives_the_same_result(form):
    batch = MapBatch.stack(maps_of(form, (15, 15)))
    left, side = torch.rand(2, 6, 2, generator=torch.Generator().manual_seed(0))
    boxes = torch.cat([left - 0.2, left + side], dim=1)
    found = pool_batch(batch.to("cuda"), boxes.cuda())
    assert {part.device.type for part in found} == {"cuda"}
    expected = pool_batch(batch, boxes).dense(CLASSES)
    torch.testing.assert_close(found.dense(CLASSES).cpu(), expected, rtol=1e-5, atol=2e-5)


def test_all_parts_of_a_batch_move_to_the_device():
    batch = MapBatch.stack(maps_of(FORMS[5], (3, 3))).to("meta")
    assert isinstance(batch, MapBatch)
    *tensors, calibration = batch
    assert {part.device.type for part in tensors} == {"meta"}
    assert calibration is None


@pytest.mark.parametrize(
    ("maps", "found"),
    [
        ([], "0 maps of 0 forms"),
        ([random_map(0), random_map(0, top_k=4)], "2 maps of 2 forms"),
        ([random_map(0), random_map(0, background=2)], "2 maps of 2 forms"),
        ([random_map(0, background=3), random_map(0, background=2)], "2 maps of 2 forms"),
    ],
)
def test_stacking_maps_of_several_forms_is_refused(maps: list[LabelMap], found: str):
    with pytest.raises(ValueError, match=found):
        MapBatch.stack(maps)


def test_boxes_must_be_one_per_map():
    batch = MapBatch.stack(maps_of(FORMS[0], (3, 3), 2))
    with pytest.raises(ValueError, match=r"boxes have shape \(3, 4\), expected \(2, 4\)"):
        pool_batch(batch, torch.zeros(3, 4))


@pytest.mark.parametrize(("left", "right"), [(-20.0, 21.0), (-20.0, 0.5), (0.4, 15.0), (-9.3, 3.1)])
def test_a_crop_that_starts_or_ends_far_outside_equals_roi_align(left, right):
    """Only the points near the grid are computed, and none beyond the end of the crop."""
    maps, box = maps_of({"top_k": 20}, (7, 12), 1), CropBox(left, 0.1, right, 0.6)
    expected = roi_align_means(dense_logits(maps[0], CLASSES), box)[:, 0, 0]
    batch = pool_batch(MapBatch.stack(maps), tensor_of([box])).dense(CLASSES)[0]
    torch.testing.assert_close(batch, expected, rtol=1e-4, atol=1e-5)
    found = torch.from_numpy(pool(maps[0], box).dense(CLASSES))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
