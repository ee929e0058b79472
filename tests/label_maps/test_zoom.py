"""Several maps of an image are mixed by how far the crop zooms in."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from labelkit.geometry import CropBox
from labelkit.label_maps import LabelMap, MapForm, pool, pool_by_zoom
from tests.label_maps.support.random_maps import random_map, random_maps

CLASSES = 20
ZOOMS = (1.0, 2.0, 4.0)


def some_maps() -> list[LabelMap]:
    """Three maps of one image, of three forms and grids."""
    forms = [
        MapForm(top_k=2, grid=(7, 7)),
        MapForm(selection="image", top_k=3, grid=(14, 14), background=4, patterns=1),
        MapForm(top_k=1, grid=(28, 20), background=6),
    ]
    rng = np.random.default_rng(0)
    return [random_maps(rng, 1, form, CLASSES)[0] for form in forms]


def box_of(zoom: float) -> CropBox:
    """A crop that shows 1 / zoom of the image's side, not square."""
    return CropBox(0.02, 0.03, 0.02 + 0.8 / zoom, 0.03 + 1.25 / zoom)


@settings(deadline=None, max_examples=60)
@given(st.floats(0.3, 12.0))
def test_between_two_zooms_logits_are_mixed_by_the_logarithm(zoom):
    maps, box = some_maps(), box_of(zoom)
    place = math.log2(zoom)
    weights = [max(0.0, 1 - abs(min(max(place, 0), 2) - n)) for n in range(3)]
    assert sum(weights) == pytest.approx(1)
    expected = sum(
        weight * pool(label_map, box).dense(CLASSES)
        for weight, label_map in zip(weights, maps, strict=True)
    )
    found = pool_by_zoom(maps, ZOOMS, box).dense(CLASSES)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("zoom", "number"), [(0.4, 0), (1.0, 0), (2.0, 1), (4.0, 2), (9.0, 2)])
def test_at_a_zoom_and_beyond_the_last_one_a_single_map_counts(zoom, number):
    maps, box = some_maps(), box_of(zoom)
    alone = pool(maps[number], box)
    found = pool_by_zoom(maps, ZOOMS, box)
    np.testing.assert_allclose(found.dense(CLASSES), alone.dense(CLASSES), rtol=0, atol=1e-4)


def test_only_the_two_maps_around_the_zoom_of_the_crop_count():
    """The class of the third map is not listed between the first and the second zoom."""
    maps = [
        LabelMap(np.full((1, 1, 1), n, np.uint16), np.ones((1, 1, 1), np.float32)) for n in range(3)
    ]
    found = pool_by_zoom(maps, ZOOMS, CropBox(0, 0, 2**-0.5, 2**-0.5))
    assert found.classes.tolist() == [0, 1]
    np.testing.assert_allclose(found.logits, [0.5, 0.5], atol=1e-6)
    assert (np.diff(found.classes) > 0).all()


def test_a_single_map_is_pooled_unchanged():
    label_map, box = random_map(0), box_of(3)
    found, alone = pool_by_zoom([label_map], [0.7], box), pool(label_map, box)
    assert np.array_equal(found.dense(CLASSES), alone.dense(CLASSES))


@pytest.mark.parametrize(
    "zooms",
    [
        [],
        [1.0],
        [1.0, 2.0, 3.0],
        [2.0, 1.0],
        [1.0, 1.0],
        [0.0, 1.0],
        [-1.0, 1.0],
        [1.0, math.nan],
        [math.nan, 1.0],
        [1.0, math.inf],
    ],
)
def test_zooms_that_are_not_one_per_map_positive_and_ascending_are_refused(zooms):
    """A form of unknown zoom has zoom 0."""
    maps = [random_map(0), random_map(1)]
    with pytest.raises(
        ValueError, match="for 2 maps, expected one per map, positive and ascending"
    ):
        pool_by_zoom(maps, zooms, box_of(1))


def test_no_maps_are_refused():
    with pytest.raises(ValueError, match="for 0 maps, expected one per map"):
        pool_by_zoom([], [], box_of(1))
