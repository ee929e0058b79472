"""The selection from dense logits, against the same computed class by class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from labelkit.errors import LabelkitError
from labelkit.geometry import CropBox
from labelkit.label_maps import LabelMap, MapForm, pool
from labelkit.relabel import Settings
from labelkit.relabel.selection import select, select_log_probabilities


def logits_of(seed, classes=12, grid=(3, 4), batch=2):
    return 3 * torch.randn(batch, classes, *grid, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(0, 12))
def test_a_cell_stores_its_strongest_and_the_background_the_means_of_the_others(seed, top_k, size):
    logits = logits_of(seed)
    maps = select(logits, MapForm(top_k=top_k, grid=(3, 4), background=size))
    score, index = logits.topk(top_k, dim=1)
    assert np.array_equal(maps.index, index.numpy())
    assert np.array_equal(maps.score, score.numpy())
    assert (maps.background is None) == (size == 0)
    for image in range(2 if size else 0):
        means = logits[image].mean(dim=(1, 2))
        somewhere = [(index[image] != c).all(dim=0).any().item() for c in range(12)]
        by_strength = sorted(range(12), key=lambda c: (not somewhere[c], -means[c]))
        chosen = maps.background.classes[image].tolist()
        if sum(somewhere) >= size:
            assert chosen == sorted(by_strength[:size])
        others = []
        for c in range(12):
            absent = logits[image, c][(index[image] != c).all(dim=0)].tolist()
            if c in chosen:
                found = maps.background.logits[image][chosen.index(c)]
                assert np.isclose(found, np.mean(absent) if absent else 0, atol=1e-5)
            else:
                others += absent
        expected = np.mean(others) if others else 0
        assert np.isclose(maps.background.rest[image], expected, atol=1e-5)


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(0, 6))
def test_an_image_stores_its_strongest_classes_and_the_means_of_the_next(seed, top_k, size):
    logits = logits_of(seed)
    form = MapForm(selection="image", top_k=top_k, grid=(3, 4), background=size)
    maps = select(logits, form)
    for image in range(2):
        dense = logits[image].flatten(1).double()
        strength = dense.softmax(0).mean(1) + dense.mean(1).softmax(0)
        order = strength.argsort(descending=True).tolist()
        assert maps.index[image].tolist() == sorted(order[:top_k])
        if not size:
            expected = dense[sorted(order[:top_k])].numpy().reshape(top_k, 3, 4)
            assert np.allclose(maps.score[image], expected, atol=1e-5)
            continue
        next_classes = sorted(order[top_k : top_k + size])
        assert maps.background.classes[image].tolist() == next_classes
        mean = dense.mean(1)
        assert np.allclose(maps.background.logits[image], mean[next_classes], atol=1e-4)
        others = order[top_k + size :]
        rest = mean[others].mean() if others else 0
        assert np.isclose(maps.background.rest[image], rest, atol=1e-4)
        # One constant per cell is subtracted, and with it what the background has in common.
        kept = sorted(order[:top_k])
        shift = dense[kept].numpy().reshape(top_k, 3, 4) - maps.score[image]
        assert np.ptp(shift, axis=0).max() < 1e-4
        centred = dense[next_classes].numpy() - shift[0].reshape(1, 12)
        weight = mean[next_classes].softmax(0).numpy()[:, None]
        assert np.abs((weight * centred).sum(0) - (weight * centred).sum() / 12).max() < 1e-4


def test_all_patterns_together_give_the_dense_map():
    """Ten classes need at most ten: the pooled target of any crop is the dense map's."""
    logits = logits_of(0)
    form = MapForm(selection="image", top_k=2, grid=(3, 4), background=10, patterns=10)
    box = CropBox(0.1, 0.3, 0.6, 0.9)
    for image, label_map in enumerate(select(logits, form)):
        everything = LabelMap(
            np.broadcast_to(np.arange(12)[:, None, None], (12, 3, 4)), logits[image].numpy()
        )
        ours, dense = (pool(each, box).probabilities(12) for each in (label_map, everything))
        assert np.abs(ours - dense).max() < 1e-3


def test_each_pattern_reduces_the_error():
    logits = logits_of(1, classes=60, grid=(6, 6), batch=8)
    left = []
    for patterns in (0, 1, 2, 4):
        form = MapForm(selection="image", top_k=4, grid=(6, 6), background=56, patterns=patterns)
        gaps = []
        for image, label_map in enumerate(select(logits, form)):
            next_classes = label_map.background.classes
            gap = logits[image].numpy() - label_map.dense(60)
            gap -= gap[label_map.classes].mean(axis=0)
            gaps.append(np.square(gap[next_classes]).mean())
        left.append(np.mean(gaps))
    assert left == sorted(left, reverse=True)
    # As good as a weighted decomposition would be: 6 x 6 cells of noise.
    assert left[3] < 0.86 * left[0]


def test_a_black_image_has_finite_patterns():
    """Equal logits in all cells: no deviation, and no division by zero."""
    logits = torch.arange(9.0).view(1, 9, 1, 1).expand(1, 9, 2, 2).contiguous()
    form = MapForm(selection="image", top_k=2, grid=(2, 2), background=4, patterns=2)
    (label_map,) = select(logits, form)
    assert np.isfinite(label_map.dense(9)).all()
    assert np.allclose(label_map.dense(9)[3:], logits[0, 3:], atol=1e-5)


@pytest.mark.parametrize("selection", ["cell", "image"])
def test_the_log_sum_exp_of_a_cell_is_of_all_its_logits(selection):
    """A stored score gives its probability in the cell, whatever was subtracted from both."""
    logits = logits_of(2)
    form = MapForm(selection=selection, top_k=3, grid=(3, 4), background=5, log_sum_exp=True)
    for image, label_map in enumerate(select(logits, form)):
        ours = np.exp(label_map.score - label_map.log_sum_exp)
        probabilities = logits[image].softmax(dim=0).numpy()
        expected = np.take_along_axis(probabilities, label_map.index.astype(int), axis=0)
        assert np.allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings("cell", patterns=1), "--patterns 1: these maps have room for at most 0"),
        (Settings(grid=(1, 2), patterns=2), "--patterns 2: these maps have room for at most 1"),
        (Settings(background=3), "--background 3: these maps have room for at most 2"),
        (Settings(top_k=11), "top-k 11 of a list of 10"),
    ],
    ids=str,
)
def test_settings_without_room_are_refused(settings, message):
    with pytest.raises(LabelkitError, match=message):
        settings.form(10, (3, 3), 1)


def test_defaults_shrink_to_the_room_there_is():
    form = Settings().form(10, (20, 3), 1)
    assert (form.top_k, form.background, form.patterns, form.grid) == (8, 2, 2, (15, 3))
    assert Settings().form(5, (1, 1), 1) == MapForm(selection="image", top_k=5, grid=(1, 1), zoom=1)


@given(st.integers(0, 10_000), st.integers(1, 11))
def test_classes_left_out_of_averaged_probabilities_have_mean_zero(seed, top_k):
    """Zero is what they count as in maps without a background; no softmax sees the shift."""
    logits = logits_of(seed).log_softmax(dim=1)
    form = MapForm(top_k=top_k, grid=(3, 4), scores="float32", log_sum_exp=True)
    maps = select_log_probabilities(logits, form)
    ordered = np.sort(logits.double().numpy(), axis=1)[:, ::-1]
    shift = ordered[:, top_k:].mean(axis=1)
    assert np.abs(maps.score - (ordered[:, :top_k] - shift[:, None])).max() < 1e-4
    assert np.abs(maps.log_sum_exp + shift).max() < 1e-4


@pytest.mark.parametrize("form", [{"background": 4}, {"top_k": 12}], ids=str)
def test_averaged_probabilities_are_not_shifted_where_no_class_counts_as_zero(form):
    logits = logits_of(0).log_softmax(dim=1)
    form = MapForm(**({"top_k": 3, "grid": (3, 4)} | form))
    assert np.array_equal(select_log_probabilities(logits, form).score, select(logits, form).score)
