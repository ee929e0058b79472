"""Records hold classes exactly and scores to within half a step of the image's range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelkit.label_maps.codec import RecordLayout
from tests.label_maps.random_maps import random_arrays


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 6),
    st.tuples(st.integers(1, 16), st.integers(1, 16)),
    st.sampled_from([6, 300, 1000]),
)
def test_a_record_gives_back_classes_exactly_and_scores_to_half_a_step(seed, top_k, grid, classes):
    index, score = random_arrays(np.random.default_rng(seed), 3, top_k, grid, classes)
    layout = RecordLayout(top_k, grid, classes)
    records = layout.encode(index, score)
    assert records.shape == (3, layout.nbytes)
    for n in range(3):
        label_map = layout.decode(records[n].tobytes())
        assert np.array_equal(label_map.index, index[n])
        half_step = (score[n].max() - score[n].min()) / 510
        assert np.abs(label_map.score - score[n]).max() <= half_step * 1.01 + 1e-6


def test_class_ids_above_65535_survive():
    """Published formats keep ids in half floats, which are exact to 2,048 only."""
    layout = RecordLayout(1, (1, 2), 200_000)
    index = np.array([[[[65_535, 199_999]]]])
    label_map = layout.decode(layout.encode(index, np.ones((1, 1, 1, 2)))[0].tobytes())
    assert label_map.index.ravel().tolist() == [65_535, 199_999]


def test_equal_scores_survive():
    layout = RecordLayout(1, (2, 2), 5)
    record = layout.encode(np.zeros((1, 1, 2, 2), int), np.full((1, 1, 2, 2), -3.25))[0]
    assert np.array_equal(layout.decode(record.tobytes()).score, np.full((1, 2, 2), -3.25))


@pytest.mark.parametrize(
    ("index", "score", "message"),
    [
        (np.zeros((1, 1, 2, 2), int), np.full((1, 1, 2, 2), np.nan), "not a finite number"),
        (np.full((1, 1, 2, 2), 5), np.zeros((1, 1, 2, 2)), "outside the list"),
        (np.full((1, 1, 2, 2), -1), np.zeros((1, 1, 2, 2)), "outside the list"),
        (np.zeros((1, 1, 2, 3), int), np.zeros((1, 1, 2, 3)), "expected arrays of shape"),
    ],
)
def test_what_does_not_fit_is_refused(index, score, message):
    with pytest.raises(ValueError, match=message):
        RecordLayout(1, (2, 2), 5).encode(index, score)


def test_a_damaged_record_is_refused():
    layout = RecordLayout(1, (2, 2), 5)
    record = layout.encode(np.zeros((1, 1, 2, 2), int), np.ones((1, 1, 2, 2)))[0].tobytes()
    with pytest.raises(ValueError, match="bytes, expected"):
        layout.decode(record[:-1])
    with pytest.raises(ValueError, match="class 255 of a list of 5"):
        layout.decode(record[:-8] + b"\xff" + record[-7:])
    with pytest.raises(ValueError, match="score range"):
        layout.decode(b"\x00\x00\xc0\x7f" + record[4:])
