"""Records hold classes exactly and logits to within half a step of the image's range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from labelkit.label_maps import Background, LabelMap, LabelMaps, MapForm
from labelkit.label_maps.file.codec import MapCodec
from tests.label_maps.support.map_forms import CLASS_COUNTS, map_forms
from tests.label_maps.support.random_maps import decoded, random_maps


def records(codec: MapCodec, maps: LabelMaps) -> list[bytes]:
    return [record.tobytes() for record in codec.encode(maps)]


def assert_in_steps(found: np.ndarray, given: np.ndarray) -> None:
    """Within half of 1/255 of the range, plus float32's rounding."""
    slack = np.abs(given).max() * 2.0**-21
    assert np.abs(found - given).max() <= np.ptp(given) / 510 * 1.001 + slack


def assert_values(found: np.ndarray, given: np.ndarray, scores: str) -> None:
    assert found.dtype == np.float32
    assert found.shape == given.shape
    if scores == "uint8":
        assert_in_steps(found, given)
    else:
        assert np.array_equal(found, given.astype(scores).astype(np.float32))


def assert_background(found: Background, given: Background) -> None:
    assert np.array_equal(found.classes, given.classes)
    assert_in_steps(found.logits, given.logits)
    assert found.rest == given.rest
    if given.coefficients is None:
        assert found.coefficients is None
        assert found.patterns is None
        return
    shares = [
        np.einsum("pm,phw->pmhw", each.coefficients.astype(float), each.patterns.astype(float))
        for each in (found, given)
    ]
    # Each factor is off by 1/62 of the largest at most.
    largest = np.abs(given.coefficients).max() * np.abs(given.patterns).max()
    assert np.abs(shares[0] - shares[1]).max() <= largest * (2 / 62 + 1 / 62**2) * 1.001


def assert_same(found: LabelMap, given: LabelMap, form: MapForm) -> None:
    """A decoded map equals the encoded one, as exactly as its form allows."""
    assert np.array_equal(found.index, given.index)
    assert (found.classes is None) == (form.selection == "cell")
    if found.classes is not None:
        assert np.array_equal(found.classes, given.classes)
    assert_values(found.score, given.score, form.scores)
    assert (found.log_sum_exp is None) == (not form.log_sum_exp)
    if found.log_sum_exp is not None:
        assert_values(found.log_sum_exp, given.log_sum_exp, form.scores)
    assert (found.background is None) == (not form.background)
    if found.background is not None:
        assert_background(found.background, given.background)


@settings(deadline=None, max_examples=250)
@given(st.data())
def test_a_record_of_any_form_decodes_to_what_was_encoded(data):
    """Both selections, all number types, backgrounds and grids, 1 to 200,000 classes."""
    num_classes = data.draw(st.sampled_from(CLASS_COUNTS))
    form = data.draw(map_forms(num_classes))
    spread = data.draw(st.sampled_from([0.0, 1e-6, 4.0, 1000.0]))
    pool = data.draw(st.sampled_from([1, 300]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    maps = random_maps(rng, 2, form, num_classes, spread=spread, pool=pool)
    codec = MapCodec(form, num_classes)
    encoded = codec.encode(maps)
    assert encoded.shape == (2, codec.nbytes)
    assert encoded.dtype == np.uint8
    for record, label_map in zip(encoded, maps, strict=True):
        assert_same(decoded(codec, record.tobytes()), label_map, form)


@pytest.mark.parametrize(
    "form",
    [
        MapForm(top_k=2, grid=(3, 4)),
        MapForm(top_k=2, grid=(3, 4), scores="float16", background=3, log_sum_exp=True),
        MapForm(selection="image", top_k=2, grid=(3, 4), background=3, patterns=2),
    ],
)
def test_no_images_give_no_records(form):
    """A shard whose images are all unreadable."""
    codec = MapCodec(form, 9)
    assert codec.encode(LabelMaps.empty(form)).shape == (0, codec.nbytes)


def test_class_ids_above_65535_survive():
    """Published formats keep ids in half floats, which are exact to 2,048 only."""
    codec = MapCodec(MapForm(top_k=1, grid=(1, 2)), 200_000)
    maps = LabelMaps(np.array([[[[65_535, 199_999]]]]), np.ones((1, 1, 1, 2)))
    found = decoded(codec, records(codec, maps)[0])
    assert found.index.ravel().tolist() == [65_535, 199_999]


def test_class_indices_take_two_bytes_up_to_65536_classes():
    form = MapForm(selection="image", top_k=1, grid=(1, 1))
    assert MapCodec(form, 1 << 16).nbytes == 8 + 1 + 2
    assert MapCodec(form, (1 << 16) + 1).nbytes == 8 + 1 + 4


def test_equal_scores_survive():
    codec = MapCodec(MapForm(top_k=1, grid=(2, 2)), 5)
    maps = LabelMaps(np.zeros((1, 1, 2, 2), int), np.full((1, 1, 2, 2), -3.25))
    score = decoded(codec, records(codec, maps)[0]).score
    assert np.array_equal(score, np.full((1, 2, 2), -3.25))


@pytest.mark.parametrize("distinct", [255, 256, 257])
def test_an_image_of_very_many_classes_has_no_palette(distinct):
    """One class more than a byte can index."""
    form = MapForm(top_k=1, grid=(1, 257))
    codec = MapCodec(form, 70_000)
    chosen = np.linspace(0, 69_999, 257).astype(int)
    chosen[distinct:] = chosen[0]
    index = np.random.default_rng(0).permutation(chosen).reshape(1, 1, 1, 257)
    (record,) = records(codec, LabelMaps(index, -np.arange(257.0).reshape(1, 1, 1, 257)))
    start = 8 + 257
    assert int.from_bytes(record[start : start + 4], "little") == distinct % 257
    found = decoded(codec, record)
    assert np.array_equal(found.index, index[0])
    assert_in_steps(found.score[0, 0], -np.arange(257.0))


@pytest.mark.parametrize("low", [-1e30, 0.0])
def test_steps_cover_the_whole_range_of_logits(low):
    codec = MapCodec(MapForm(top_k=1, grid=(1, 3)), 5)
    score = np.array([low, low / 2 + 5e29, 1e30], np.float32)
    maps = LabelMaps(np.zeros((1, 1, 1, 3), int), score.reshape(1, 1, 1, 3))
    assert_in_steps(decoded(codec, records(codec, maps)[0]).score[0, 0], score)


def test_zero_patterns_survive():
    form = MapForm(selection="image", top_k=1, grid=(2, 2), background=2, patterns=1)
    maps = random_maps(np.random.default_rng(0), 1, form, 5, spread=0.0)
    assert not maps.background.coefficients.any()
    codec = MapCodec(form, 5)
    found = decoded(codec, records(codec, maps)[0])
    assert not found.background.coefficients.any()
    assert_same(found, maps[0], form)


def test_the_index_of_a_decoded_image_map_is_read_only():
    """All cells share the same few bytes: a write would change every cell."""
    form = MapForm(selection="image", top_k=2, grid=(3, 3))
    codec = MapCodec(form, 9)
    found = decoded(codec, records(codec, random_maps(np.random.default_rng(0), 1, form, 9))[0])
    with pytest.raises(ValueError, match="read-only"):
        found.index[0, 0, 0] = 1
