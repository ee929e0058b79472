"""One image's maps as .npz: readable by numpy alone, back to the same file, refused if hostile."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import numpy as np
import pytest

from labelkit.convert import ImageMaps, read_npz
from labelkit.errors import ClassListMismatch, LabelMapError
from labelkit.hierarchy import ClassList
from labelkit.label_maps import LabelMapWriter, MapForm
from tests.convert.loose_maps import CLASSES, KEYS, PLAIN, write_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from labelkit.label_maps import LabelMap

FORMS = {
    "cell": [PLAIN],
    "cell, floats, background": [
        MapForm(top_k=3, grid=(4, 6), scores="float16", background=9, log_sum_exp=True)
    ],
    "image": [MapForm(selection="image", top_k=4, grid=(1, 1))],
    "image, patterns": [
        MapForm(selection="image", top_k=4, grid=(4, 6), background=9, patterns=2, zoom=1.5)
    ],
    "several": [PLAIN, MapForm(selection="image", top_k=2, grid=(3, 3), background=1, zoom=2)],
}


def _numbers(label_map: LabelMap) -> list[Any]:
    behind = label_map.background
    parts = [label_map.index, label_map.score, label_map.log_sum_exp, label_map.classes]
    if behind:
        parts += [behind.classes, behind.logits, behind.coefficients, behind.patterns]
        parts.append(np.array(behind.rest))
    return [part for part in parts if part is not None]


@pytest.mark.parametrize("name", FORMS)
def test_there_and_back(tmp_path: Path, name: str) -> None:
    """Steps are the same; what they are worth may round otherwise in its last bit."""
    file = write_file(tmp_path / "a.h5", FORMS[name])
    ImageMaps.of(file, KEYS[1]).save(tmp_path / "one.npz")
    read = read_npz(tmp_path / "one.npz")
    assert (read.key, read.classes, read.forms) == (KEYS[1], CLASSES, file.forms)
    for own, stored in zip(read.maps, file.maps(KEYS[1]), strict=True):
        assert all(map(np.array_equal, _numbers(own), _numbers(stored)))
    back = read.write(tmp_path / "one.h5")
    assert (list(back), back.classes, back.forms) == ([KEYS[1]], CLASSES, file.forms)
    assert (back.attrs, back.classes.name) == (file.attrs, "forty")
    for own, stored in zip(back.maps(KEYS[1]), file.maps(KEYS[1]), strict=True):
        assert len(_numbers(own)) == len(_numbers(stored))
        for one, other in zip(_numbers(own), _numbers(stored), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-5)


def test_numpy_alone_reads_it(tmp_path: Path) -> None:
    file = write_file(tmp_path / "a.h5")
    ImageMaps.of(file, KEYS[0]).save(tmp_path / "one.npz")
    with np.load(tmp_path / "one.npz", allow_pickle=False) as arrays:
        strongest = arrays["classes"][arrays["index"][0]]
        assert strongest[2, 5] == CLASSES[int(file[KEYS[0]].strongest[2, 5])]
        assert str(arrays["key"]) == KEYS[0]


def _by_hand(**changes: object) -> dict[str, Any]:
    index = np.arange(24).reshape(2, 3, 4)
    arrays: dict[str, Any] = {"key": "a.jpg", "index": index, "score": -index / 7.0} | changes
    return {name: array for name, array in arrays.items() if array is not None}


def test_one_made_by_hand_needs_three_arrays_and_a_class_list(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", **_by_hand())
    with pytest.raises(LabelMapError, match="--classes"):
        read_npz(tmp_path / "one.npz")
    file = read_npz(tmp_path / "one.npz", CLASSES).write(tmp_path / "a.h5")
    assert file.forms == (MapForm(top_k=2, grid=(3, 4)),)
    assert np.array_equal(file["a.jpg"].index, np.arange(24).reshape(2, 3, 4))


def test_each_cell_is_put_strongest_first(tmp_path: Path) -> None:
    told = _by_hand()
    score = told["score"].copy()
    score[:, 1, 2] = score[::-1, 1, 2]
    np.savez(tmp_path / "one.npz", **_by_hand(score=score))
    expected = told["index"].copy()
    expected[:, 1, 2] = expected[::-1, 1, 2]
    read = read_npz(tmp_path / "one.npz", CLASSES)
    assert np.array_equal(read.maps[0].index, expected)
    assert np.array_equal(read.maps[0].score, told["score"])
    assert np.array_equal(read.write(tmp_path / "a.h5")["a.jpg"].index, expected)


def test_a_killed_run_does_not_go_on_with_another_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "one.npz", **_by_hand())
    with monkeypatch.context() as patch:
        patch.setattr(LabelMapWriter, "finalize", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            read_npz(tmp_path / "one.npz", CLASSES).write(tmp_path / "a.h5")
    np.savez(tmp_path / "one.npz", **_by_hand(index=np.arange(24)[::-1].reshape(2, 3, 4)))
    changed = read_npz(tmp_path / "one.npz", CLASSES)
    with pytest.raises(LabelMapError, match="remove the folder to start anew"):
        changed.write(tmp_path / "a.h5")
    np.savez(tmp_path / "one.npz", **_by_hand())
    file = read_npz(tmp_path / "one.npz", CLASSES).write(tmp_path / "a.h5")
    assert np.array_equal(file["a.jpg"].index, np.arange(24).reshape(2, 3, 4))


def test_another_class_list_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", **_by_hand(classes=np.array(CLASSES.ids)))
    assert read_npz(tmp_path / "one.npz", CLASSES).classes == CLASSES
    with pytest.raises(ClassListMismatch):
        read_npz(tmp_path / "one.npz", ClassList.of(CLASSES.ids[::-1]))


REFUSED = {
    "no key": (_by_hand(key=None), "no array 'key'"),
    "no scores": (_by_hand(score=None), "no array 'score'"),
    "classes that are floats": (_by_hand(index=np.zeros((2, 3, 4))), "expected whole numbers"),
    "another shape": (_by_hand(score=np.zeros((2, 4, 3))), "share one shape"),
    "two axes": (_by_hand(index=np.zeros((3, 4), int)), r"expected \(k, rows, columns\)"),
    "a class outside the list": (
        _by_hand(index=np.arange(17, 41).reshape(2, 3, 4)), "outside the list"
    ),
    "a class below it": (_by_hand(index=np.arange(-1, 23).reshape(2, 3, 4)), "outside the list"),
    "a class twice in a cell": (
        _by_hand(index=np.arange(24).reshape(2, 3, 4) % 12), "cell stores class 0 twice"
    ),
    "no number": (_by_hand(score=np.full((2, 3, 4), np.nan)), "not a finite number"),
    "objects": (_by_hand(extra=np.array([{}], object)), "holds object, expected numbers"),
    "a key that leaves": (_by_hand(key="../a.jpg"), "leaves the data set"),
    "forms that are none": (_by_hand(forms="[{}]"), "top_k"),
    "no forms": (_by_hand(forms="[]"), "forms is empty"),
    "a form of an image": (
        _by_hand(forms='[{"selection":"image","top_k":2,"grid":[3,4]}]'), "differs between cells"
    ),
    "a form of another grid": (_by_hand(forms='[{"top_k":2,"grid":[4,3]}]'), "expected"),
    "a form of nothing": (_by_hand(forms='[{"top_k":0,"grid":[3,4]}]'), "top_k=0"),
    "a background that is missing": (
        _by_hand(forms='[{"top_k":2,"grid":[3,4],"background":2}]'), "background_rest"
    ),
    "two keys": (_by_hand(key=np.array(["a", "b"])), "expected one text"),
    "source that is no object": (_by_hand(source="3"), "object"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_label_map_is_refused_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    arrays, reason = REFUSED[name]
    np.savez(tmp_path / "one.npz", **arrays)
    with pytest.raises(LabelMapError, match=reason):
        read_npz(tmp_path / "one.npz", CLASSES).write(tmp_path / "a.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["one.npz"]


def _claiming(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + bytes(64)


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "more is declared than is there": (lambda: _claiming((1 << 40,)), "holds something else"),
    "a bomb": (lambda: bytes(1 << 29), "more than 268,435,456 bytes"),
    "no array": (lambda: b"hello, hello, hello", "magic"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_sizes_are_bounded(tmp_path: Path, name: str) -> None:
    content, reason = HOSTILE[name]
    with zipfile.ZipFile(tmp_path / "one.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("score.npy", content())
    with pytest.raises(LabelMapError, match=reason):
        read_npz(tmp_path / "one.npz", CLASSES)


def test_a_damaged_file_is_refused_or_read_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "one.npz"
    file = write_file(tmp_path / "a.h5", FORMS["image, patterns"])
    ImageMaps.of(file, KEYS[0]).save(path)
    content, whole = path.read_bytes(), read_npz(path)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        torn = bytearray(content)
        torn[rng.integers(len(torn))] ^= 1 << rng.integers(8)
        path.write_bytes(torn[: rng.integers(len(torn))] if rng.random() < 0.2 else torn)
        try:
            read = read_npz(path)
            assert (read.key, read.forms, read.classes) == (whole.key, whole.forms, whole.classes)
            for own, stored in zip(read.maps, whole.maps, strict=True):
                assert all(map(np.array_equal, _numbers(own), _numbers(stored)))
        except LabelMapError:
            refused += 1
    assert refused > 100
