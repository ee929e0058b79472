"""The golden files of version 1 still read as they did when they were written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import msgspec
import numpy as np
import pytest

from labelkit.label_maps import LabelMapFile
from tests.label_maps.support.page_reader import page_reader

GOLDEN = Path(__file__).parents[2] / "label_maps" / "golden"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))
KEYS = ["a/1.jpg", "a/é.png", "b/日本.webp"]


def expected_arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def found_arrays(file: LabelMapFile) -> dict[str, np.ndarray]:
    """Every array of every map, named as in the ``.npz`` files."""
    found = {}
    for row, key in enumerate(KEYS):
        for form, label_map in enumerate(file.maps(key)):
            parts = asdict(label_map)
            background = parts.pop("background") or {}
            parts |= {f"background.{name}": part for name, part in background.items()}
            found |= {f"{row}.{form}.{name}": part for name, part in parts.items()}
    return {name: np.asarray(part) for name, part in found.items() if part is not None}


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
        assert file.digest == EXPECTED[name]["digest"]
        assert json.loads(msgspec.json.encode(file.forms)) == EXPECTED[name]["forms"]
        assert (len(file.classes), file.classes.name) == (300, "golden")
        assert (file.classes.ids[0], file.classes.ids[299]) == ("n00000000", "é 299")
        assert file.attrs == {"teacher": {"name": "none"}}
        assert file.made_with == {"labelkit": "0.1.0"}
        assert file.unreadable == {"torn.jpg": "cut off"}
        found, expected = found_arrays(file), expected_arrays(name)
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
                np.testing.assert_allclose(logits, label_map.dense(300), rtol=1e-5, atol=1e-5)
                if label_map.log_sum_exp is not None:
                    np.testing.assert_allclose(lse, label_map.log_sum_exp, rtol=1e-5, atol=1e-5)
