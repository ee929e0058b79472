"""Pooling with RoIAlign's options, of probabilities, and to a grid of tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from labelkit.geometry import CropBox
from labelkit.label_maps import LabelMap, MapForm, pool, pool_by_zoom, pool_tokens
from tests.label_maps.random_boxes import ANY_BOX
from tests.label_maps.support.random_maps import random_maps
from tests.oracles.pooling import dense_logits, dense_probabilities, roi_align_means

CLASSES = 20
FORMS = [
    {"top_k": 3},
    {"top_k": 3, "background": 5},
    {"selection": "image", "top_k": 3},
    {"selection": "image", "top_k": 3, "background": 5, "patterns": 2},
]
GRIDS = st.sampled_from([(15, 15), (1, 1), (7, 12)])
FORM = st.sampled_from(FORMS)
SEED = st.integers(0, 9)
OUTSIDE = CropBox(2.0, 2.0, 3.0, 3.0)


def some_map(seed: int, form: dict[str, object], grid: tuple[int, int]) -> LabelMap:
    """A random map with the log-sum-exp of its dense logits."""
    shape = MapForm(**form, grid=grid, log_sum_exp=True)
    label_map = random_maps(np.random.default_rng(seed), 1, shape, CLASSES, spread=2.0)[0]
    lse = dense_logits(label_map, CLASSES).logsumexp(dim=0)
    return replace(label_map, log_sum_exp=lse.numpy())


@settings(deadline=None, max_examples=200)
@given(ANY_BOX, SEED, FORM, GRIDS)
def test_pooling_is_roi_align_for_any_box(box, seed, form, grid):
    label_map = some_map(seed, form, grid)
    found = pool(label_map, box).dense(CLASSES)
    expected = roi_align_means(dense_logits(label_map, CLASSES), box)[:, 0, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=200)
@given(
    ANY_BOX,
    SEED,
    FORM,
    GRIDS,
    st.sampled_from([(1, 1), (3, 4), (7, 7), (14, 2)]),
)
def test_tokens_are_roi_align_to_a_grid(box, seed, form, grid, size):
    label_map = some_map(seed, form, grid)
    tokens = pool_tokens(label_map, box, size)
    expected = roi_align_means(dense_logits(label_map, CLASSES), box, size)
    np.testing.assert_allclose(tokens.dense(CLASSES), expected, rtol=1e-5, atol=2e-5)
    shares = tokens.probabilities(CLASSES, temperature=2.0)
    np.testing.assert_allclose(shares, (expected / 2).softmax(dim=0), rtol=0, atol=1e-5)


def test_tokens_of_a_flipped_crop_are_flipped():
    index = np.broadcast_to(np.arange(4), (1, 1, 4)).astype(np.uint16)
    label_map = LabelMap(index, np.full((1, 1, 4), 9.0, np.float32))
    plain = pool_tokens(label_map, CropBox.whole(), (1, 4)).dense(4).argmax(axis=0)
    flipped = pool_tokens(label_map, CropBox(0, 0, 1, 1, flipped=True), (1, 4))
    assert plain.tolist() == [[0, 1, 2, 3]]
    assert flipped.dense(4).argmax(axis=0).tolist() == [[3, 2, 1, 0]]


@settings(deadline=None, max_examples=100)
@given(ANY_BOX, SEED, FORM, GRIDS, st.sampled_from(["background", "zeros"]))
def test_probabilities_are_averaged_cell_by_cell(box, seed, form, grid, absent):
    label_map = some_map(seed, form, grid)
    dense = dense_probabilities(label_map, CLASSES, zeros=absent == "zeros")
    for size in ((1, 1), (2, 3)):
        means = roi_align_means(dense, box, size)
        total = means.sum(dim=0)
        expected = (means / total).where(total > 0, 1 / CLASSES)
        tokens = pool_tokens(label_map, box, size, method="probability", absent=absent)
        np.testing.assert_allclose(tokens.probabilities(CLASSES), expected, rtol=0, atol=1e-5)
    single = pool(label_map, box, method="probability", absent=absent).probabilities(CLASSES)
    tokens = pool_tokens(label_map, box, (1, 1), method="probability", absent=absent)
    np.testing.assert_allclose(single, tokens.probabilities(CLASSES)[:, 0, 0], atol=1e-6)


def test_pooled_probabilities_are_the_means_before_they_are_rescaled():
    """exp() of the logits gives the means; they sum to 1 where the background is exact."""
    label_map = some_map(0, FORMS[3], (5, 5))
    target = pool(label_map, CropBox.whole(), method="probability")
    assert np.exp(target.dense(CLASSES)).sum() == pytest.approx(1, abs=1e-5)


def test_a_confident_cell_counts_more_among_probabilities():
    """One cell has class 1 at 20; three have class 0 at 0.1, and most probability elsewhere."""
    index = np.array([[[1, 0, 0, 0]]], np.uint16)
    score = np.array([[[20, 0.1, 0.1, 0.1]]], np.float32)
    lse = np.array([[20, 7, 7, 7]], np.float32)
    label_map = LabelMap(index, score, log_sum_exp=lse)
    zeros = pool(label_map, CropBox.whole(), method="probability", absent="zeros")
    assert zeros.rest == -np.inf
    shares = zeros.probabilities(3)
    assert shares[2] == 0
    assert shares[0] == pytest.approx(3 * np.exp(-6.9) / (1 + 3 * np.exp(-6.9)), abs=1e-6)
    softer = zeros.probabilities(3, temperature=2.0)
    np.testing.assert_allclose(softer, shares**0.5 / (shares**0.5).sum(), atol=1e-6)


@pytest.mark.parametrize("absent", ["background", "zeros"])
@pytest.mark.parametrize("method", ["relabel", "probability"])
def test_a_crop_that_shows_nothing_gives_all_classes_the_same_probability(method, absent):
    label_map = some_map(0, FORMS[3], (4, 4))
    found = pool(label_map, OUTSIDE, method=method, absent=absent)
    np.testing.assert_allclose(found.probabilities(CLASSES), 1 / CLASSES, rtol=1e-6)
    tokens = pool_tokens(label_map, CropBox(0.5, 0, 4, 1), (1, 3), method=method, absent=absent)
    np.testing.assert_allclose(tokens.probabilities(CLASSES)[:, 0, 2], 1 / CLASSES, rtol=1e-6)


def test_absent_zeros_ignores_the_background():
    label_map = some_map(0, FORMS[3], (4, 4))
    bare = replace(label_map, background=None)
    box = CropBox(0.1, 0.1, 0.8, 0.9)
    found = pool(label_map, box, absent="zeros")
    assert np.array_equal(found.dense(CLASSES), pool(bare, box).dense(CLASSES))
    tokens = pool_tokens(label_map, box, (2, 2), absent="zeros")
    assert np.array_equal(tokens.dense(CLASSES), pool_tokens(bare, box, (2, 2)).dense(CLASSES))


@pytest.mark.parametrize("absent", ["background", "zeros"])
def test_between_two_zooms_probabilities_are_mixed_not_their_logarithms(absent):
    """A class to which one map gives no probability keeps its share from the other."""
    maps = [some_map(seed, {"top_k": 2}, (3, 3)) for seed in (0, 1)]
    box = CropBox(0.0, 0.0, 2**-0.25, 2**-0.25)
    first, second = (
        np.exp(pool(each, box, method="probability", absent=absent).dense(CLASSES)) for each in maps
    )
    mixed = pool_by_zoom(maps, (1.0, 2.0), box, method="probability", absent=absent)
    np.testing.assert_allclose(
        np.exp(mixed.dense(CLASSES)), 0.75 * first + 0.25 * second, atol=1e-6
    )
    assert np.isfinite(mixed.probabilities(CLASSES)).all()


def test_maps_and_options_that_cannot_be_pooled_are_refused():
    label_map = replace(some_map(0, FORMS[0], (3, 3)), log_sum_exp=None)
    whole = CropBox.whole()
    with pytest.raises(ValueError, match="relabel with --log-sum-exp"):
        pool(label_map, whole, method="probability")
    with pytest.raises(ValueError, match="method is 'mean', expected relabel or probability"):
        pool(label_map, whole, method="mean")
    with pytest.raises(ValueError, match="absent is 'none', expected background or zeros"):
        pool_tokens(label_map, whole, (1, 1), absent="none")
    with pytest.raises(ValueError, match="the grid is 0x2 tokens"):
        pool_tokens(label_map, whole, (0, 2))
