"""The reader of the docs, written from the specification alone, reads every form."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from msgspec import structs

from labelkit.geometry import CropBox
from labelkit.hierarchy import ClassList
from labelkit.label_maps import Calibration, LabelMapFile, LabelMapWriter, MapForm, pool_by_zoom
from tests.label_maps.support.map_forms import map_forms
from tests.label_maps.support.page_reader import page_reader, page_target
from tests.label_maps.support.random_maps import random_maps

LISTS = {
    count: ClassList(tuple(f"c{n}" for n in range(count)), "c") for count in (3, 300, 1000, 70_000)
}
READ, TARGET = page_reader(), page_target()


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_it_reads_what_labelkit_writes(tmp_path_factory, data):
    classes = LISTS[data.draw(st.sampled_from([3, 300, 1000]))]
    other = data.draw(st.booleans())
    forms = data.draw(st.lists(map_forms(len(classes) + other), min_size=1, max_size=2))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    check(tmp_path_factory.mktemp("page") / "maps.h5", classes, forms, rng, other=other)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_its_targets_are_those_of_labelkit(tmp_path_factory, data):
    """One map or several, calibrated; one map without calibration."""
    form = data.draw(map_forms(300))
    count = data.draw(st.integers(1, 3))
    forms = [structs.replace(form, zoom=float(n)) for n in range(1, count + 1)]
    number = st.floats(-2, 2)
    calibration = Calibration(
        scale=data.draw(st.tuples(number, number)),
        compression=data.draw(st.floats(0, 1)),
        mixing=tuple(data.draw(st.tuples(number, number)) for _ in forms),
        classes=300,
    )
    if count == 1:
        calibration = data.draw(st.sampled_from([None, calibration]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    path = tmp_path_factory.mktemp("page") / "maps.h5"
    check(path, LISTS[300], forms, rng, calibration=calibration)
    edges = st.tuples(*[st.floats(0, 0.9), st.floats(0, 0.9), *[st.floats(0.05, 1.0)] * 2])
    left, top, width, height = data.draw(edges)
    box = CropBox(left, top, min(left + width, 1.0), min(top + height, 1.0))
    with LabelMapFile.open(path) as file:
        pooled = pool_by_zoom(file.maps("b"), [form.zoom for form in forms], box)
    found = TARGET(path, "b", (box.left, box.top, box.right, box.bottom))
    np.testing.assert_allclose(found, pooled.probabilities(300), rtol=0, atol=2e-5)


def test_it_leaves_the_mixing_of_several_maps_without_calibration_to_its_reader(tmp_path):
    forms = [MapForm(top_k=2, grid=(2, 2), zoom=zoom) for zoom in (1.0, 2.0)]
    check(tmp_path / "maps.h5", LISTS[300], forms, np.random.default_rng(0))
    with pytest.raises(AssertionError, match="how to mix several maps"):
        TARGET(tmp_path / "maps.h5", "b", (0, 0, 1, 1))


@pytest.mark.parametrize(
    "form",
    [
        MapForm(top_k=3, grid=(2, 3), background=5, log_sum_exp=True),
        MapForm(top_k=257, grid=(1, 1), scores="float16"),
        MapForm(selection="image", top_k=3, grid=(3, 2), background=200, patterns=2),
    ],
)
def test_it_reads_long_class_lists(tmp_path, form):
    """An index takes four bytes; 257 classes are too many for a palette."""
    check(tmp_path / "maps.h5", LISTS[70_000], [form], np.random.default_rng(0))


def check(path, classes, forms, rng, *, other=False, calibration=None):
    """Write two images, and compare all logits of both readers."""
    outputs = len(classes) + other
    writer = LabelMapWriter(
        path, classes=classes, keys=["é/a", "b"], forms=forms, source={}, other=other
    )
    maps = [random_maps(rng, 2, form, outputs, other=other) for form in forms]
    writer.commit(writer.shards[0], maps, {})
    with writer.finalize(calibration) as file:
        for key in file:
            for (logits, lse), label_map in zip(READ(path, key), file.maps(key), strict=True):
                dense = label_map.dense(outputs)
                np.testing.assert_allclose(logits, dense, rtol=1e-5, atol=1e-4)
                assert (lse is None) == (label_map.log_sum_exp is None)
                if lse is not None:
                    np.testing.assert_allclose(lse, label_map.log_sum_exp, rtol=1e-5, atol=1e-5)


def test_it_refuses_a_changed_file(tmp_path):
    path = tmp_path / "maps.h5"
    check(path, LISTS[300], [MapForm(top_k=2, grid=(2, 2))], np.random.default_rng(0))
    with h5py.File(path, "r+") as file:
        file.attrs["header"] = np.bytes_(bytes(file.attrs["header"]).replace(b"cell", b"CELL"))
    with pytest.raises(AssertionError):
        READ(path, "b")
    other = tmp_path / "other.h5"
    check(other, LISTS[300], [MapForm(top_k=2, grid=(2, 2))], np.random.default_rng(0))
    with h5py.File(other, "r+") as file:
        rows = file["rows"][()]
        rows["crc32"] ^= 1
        file["rows"][...] = rows
    with pytest.raises(AssertionError):
        READ(other, "b")
