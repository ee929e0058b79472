"""Records hold classes exactly and scores to within half a step of the image's range."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelkit.label_maps import Background, LabelMap
from labelkit.label_maps.codec import RecordLayout
from labelkit.label_maps.hdf5 import compress
from tests.label_maps.random_maps import random_arrays, random_background


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


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.sampled_from([9, 300, 70_000]))
def test_a_background_comes_back_beside_the_map(seed, size, classes):
    rng = np.random.default_rng(seed)
    index, score = random_arrays(rng, 2, 2, (3, 4), min(classes, 300))
    background = random_background(rng, 2, size, classes)
    layout = RecordLayout(2, (3, 4), classes, size)
    records = layout.encode(index, score, background)
    for n in range(2):
        label_map = layout.decode(records[n].tobytes())
        assert np.array_equal(label_map.index, index[n])
        assert np.array_equal(label_map.background.classes, background.classes[n])
        half_step = np.ptp(background.logits[n]) / 510
        error = np.abs(label_map.background.logits - background.logits[n]).max()
        assert error <= half_step * 1.01 + 1e-6
        assert label_map.background.rest == background.rest[n]
        assert (
            zlib.decompress(compress(records[n].tobytes(), layout.breaks)) == records[n].tobytes()
        )


def test_a_background_that_does_not_fit_is_refused():
    rng = np.random.default_rng(0)
    index, score = random_arrays(rng, 2, 1, (2, 2), 9)
    good = random_background(rng, 2, 3, 9)
    layout = RecordLayout(1, (2, 2), 9, 3)
    wrong = {
        "background of 3 classes is missing": None,
        "of shape": random_background(rng, 2, 4, 9),
        "do not ascend": Background(good.classes[:, ::-1], good.logits, good.rest),
        "not a finite number": Background(good.classes, good.logits * np.inf, good.rest),
    }
    for message, background in wrong.items():
        with pytest.raises(ValueError, match=message):
            layout.encode(index, score, background)
    with pytest.raises(ValueError, match=r"shape \(2, 3\), expected \(2, 0\)"):
        RecordLayout(1, (2, 2), 9).encode(index, score, good)
    with pytest.raises(ValueError, match="background=10 is not between 0 and 9"):
        RecordLayout(1, (2, 2), 9, 10)
    record = layout.encode(index, score, good)[0].tobytes()
    with pytest.raises(ValueError, match="a background that is none"):
        layout.decode(record[:20] + b"\x00\x00\xc0\x7f" + record[24:])


def test_the_background_shows_where_nothing_is_stored():
    label_map = LabelMap(
        np.array([[[0, 1]]], np.uint16),
        np.array([[[5.0, 4.0]]], np.float32),
        Background(np.array([0, 2]), np.array([1.0, -3.0], np.float32), 0.5),
    )
    assert label_map.dense(3).tolist() == [[[5.0, 1.0]], [[0.5, 4.0]], [[-3.0, -3.0]]]


def test_no_images_make_no_records():
    index, score = np.empty((0, 2, 3, 4), int), np.empty((0, 2, 3, 4))
    one = random_background(np.random.default_rng(0), 1, 3, 9)
    background = Background(one.classes[:0], one.logits[:0], one.rest[:0])
    for layout, behind in (
        (RecordLayout(2, (3, 4), 9), None),
        (RecordLayout(2, (3, 4), 9, 3), background),
    ):
        assert layout.encode(index, score, behind).shape == (0, layout.nbytes)


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
    index = np.array([3, 1, 3, 1]).reshape(1, 1, 2, 2)
    record = layout.encode(index, np.ones((1, 1, 2, 2)))[0].tobytes()
    assert record[8:12] == b"\x02\x00\x00\x00"  # two classes
    assert record[16:24] == b"\x01\x00\x01\x00" + b"\x01\x02\x00\x00"  # places; 1, then 2 more
    wrong = {
        "bytes, expected": record[:-1],
        "score range": b"\x00\x00\xc0\x7f" + record[4:],
        "a palette of 257 classes": record[:8] + b"\x01\x01" + record[10:],
        "a place outside the palette of 2": record[:16] + b"\x02" + record[17:],
        "class 5 of a list of 5": record[:21] + b"\x04" + record[22:],
        "class 255 of a list of 5": record[:8] + bytes(8) + b"\xff" + bytes(len(record) - 17),
    }
    for message, damaged in wrong.items():
        with pytest.raises(ValueError, match=message):
            layout.decode(damaged)


@pytest.mark.parametrize("classes", [256, 257, 70_000])
def test_an_image_of_very_many_classes_has_no_palette(classes):
    """A cell of 257 different classes: one more than a byte can tell apart."""
    layout = RecordLayout(257, (1, 1), 70_000)
    chosen = np.linspace(0, 69_999, 257).astype(int)
    chosen[classes:] = chosen[0]
    index = np.random.default_rng(0).permutation(chosen).reshape(1, 257, 1, 1)
    record = layout.encode(index, -np.arange(257.0).reshape(1, 257, 1, 1))[0].tobytes()
    assert int.from_bytes(record[8:12], "little") == (256 if classes == 256 else 0)
    label_map = layout.decode(record)
    assert np.array_equal(label_map.index, index[0])
    assert np.abs(label_map.score[:, 0, 0] + np.arange(257)).max() < 256 / 509


def test_a_record_compresses_to_one_stream_that_any_zlib_reads():
    layout = RecordLayout(3, (15, 15), 1000)
    index, score = random_arrays(np.random.default_rng(0), 1, 3, (15, 15), 40)
    record = layout.encode(index, score)[0].tobytes()
    assert zlib.decompress(compress(record, layout.breaks)) == record
    assert layout.breaks == (12 + 225, 12 + 675, 12 + 1350)
    tiny = RecordLayout(1, (1, 1), 2)
    record = tiny.encode(np.ones((1, 1, 1, 1), int), np.ones((1, 1, 1, 1)))[0].tobytes()
    assert zlib.decompress(compress(record, tiny.breaks)) == record
