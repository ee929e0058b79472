"""The golden files of version 1 still read as they did when they were written."""

from __future__ import annotations

import hashlib
import json

import msgspec
import numpy as np
import pytest

from labelkit.label_maps import LabelMapFile, MapBatch, pool, pool_batch, pool_by_zoom
from tests.label_maps.make_golden import BOXES, FILES, GOLDEN, KEYS, arrays_of, digest_of, main
from tests.label_maps.support.page_reader import page_reader, page_target
from tests.label_maps.test_pooling_batch import tensor_of

EXPECTED = json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))


def expected_arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def test_the_golden_files_are_unchanged():
    assert {path.stem for path in GOLDEN.glob("*.h5")} == EXPECTED.keys()
    for name, expected in EXPECTED.items():
        content = (GOLDEN / f"{name}.h5").read_bytes()
        assert hashlib.sha256(content).hexdigest() == expected["sha256"], name
        assert len(content) < 6000


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_golden_file_reads_as_expected(name):
    with LabelMapFile.open(GOLDEN / f"{name}.h5") as file:
        assert list(file) == KEYS
        assert file.digest == EXPECTED[name]["digest"] == digest_of(file)
        assert json.loads(msgspec.json.encode(file.forms)) == EXPECTED[name]["forms"]
        assert (len(file.classes), file.classes.name) == (300, "golden")
        assert (file.classes.ids[0], file.classes.ids[299]) == ("n00000000", "é 299")
        assert file.attrs == {"teacher": {"name": "none"}}
        assert file.made_with == {"labelkit": "0.1.0"}
        assert file.unreadable == {"torn.jpg": "cut off"}
        _, other, calibration = FILES.get(name, ((), False, None))
        assert file.outputs[300:] == ("*other*",) * other
        assert file.calibration == calibration
        found, expected = arrays_of(file), expected_arrays(name)
        assert found.keys() == expected.keys()
        for part, array in expected.items():
            assert found[part].shape == array.shape, part
            np.testing.assert_allclose(found[part], array, rtol=1e-6, err_msg=part)
            if array.dtype.kind in "iu":
                assert np.array_equal(found[part], array)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_reader_of_the_docs_reads_a_golden_file(name):
    read = page_reader()
    with LabelMapFile.open(GOLDEN / f"{name}.h5") as file:
        for key in KEYS:
            maps = zip(read(GOLDEN / f"{name}.h5", key), file.maps(key), strict=True)
            for (logits, lse), label_map in maps:
                dense = label_map.dense(len(file.outputs))
                np.testing.assert_allclose(logits, dense, rtol=1e-5, atol=1e-5)
                if label_map.log_sum_exp is not None:
                    np.testing.assert_allclose(lse, label_map.log_sum_exp, rtol=1e-5, atol=1e-5)


TARGETS = dict(np.load(GOLDEN / "targets.npz", allow_pickle=False))


@pytest.mark.parametrize("name", sorted(EXPECTED.keys() - {"two-forms"}))
def test_a_golden_file_gives_the_expected_targets(name):
    """By labelkit for one crop, by zoom and in a batch, and by the reader of the docs."""
    target, path = page_target(), GOLDEN / f"{name}.h5"
    with LabelMapFile.open(path) as file:
        outputs, zooms = len(file.outputs), [form.zoom or 1.0 for form in file.forms]
        assert TARGETS[name].shape == (len(KEYS), len(BOXES), outputs)
        for key, rows in zip(KEYS, TARGETS[name], strict=True):
            maps = file.maps(key)
            for box, expected in zip(BOXES, rows, strict=True):
                corners = (box.left, box.top, box.right, box.bottom)
                found = [
                    pool_by_zoom(maps, zooms, box).probabilities(outputs),
                    target(path, key, corners),
                ]
                if len(maps) == 1:
                    batch = pool_batch(MapBatch.stack(maps), tensor_of([box]))
                    found.append(batch.dense(outputs)[0].softmax(dim=0))
                    found.append(pool(maps[0], box).probabilities(outputs))
                for each in found:
                    np.testing.assert_allclose(each, expected, rtol=0, atol=2e-6)


def test_every_golden_file_has_targets_but_the_one_whose_mixing_is_not_specified():
    assert TARGETS.keys() == EXPECTED.keys() - {"two-forms"}


def test_the_files_can_be_made_again(tmp_path):
    main(tmp_path)
    again = json.loads((tmp_path / "expected.json").read_text(encoding="utf-8"))
    for name in FILES:
        assert again[name]["digest"] == EXPECTED[name]["digest"]
        with np.load(tmp_path / f"{name}.npz") as made:
            expected = expected_arrays(name)
            assert made.keys() == expected.keys()
            assert all(np.array_equal(made[part], expected[part]) for part in expected)
