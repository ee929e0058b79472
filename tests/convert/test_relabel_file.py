"""One loose label map: read as it is, or refused with the reason; never executed."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from labelkit.convert.relabel_file import read_relabel_map, relabel_file
from labelkit.errors import LabelMapError
from tests.convert.loose_maps import CLASSES, loose_tensor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from labelkit.convert.relabel_file import Axes, Entries


def _read(path: Path, axes: Axes = "rows-first") -> Entries:
    return read_relabel_map(path, axes, len(CLASSES))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_planes_are_scores_and_classes(tmp_path: Path, dtype: torch.dtype, *, zipped: bool) -> None:
    tensor = loose_tensor().to(dtype)
    torch.save(tensor, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    index, score = _read(tmp_path / "a.pt")
    assert index.dtype == np.uint32
    assert np.array_equal(index, tensor[1].float().numpy())
    assert np.array_equal(score, tensor[0].float().numpy())


def test_columns_first_exchanges_the_axes_and_only_them(tmp_path: Path) -> None:
    tensor = loose_tensor()
    torch.save(tensor, tmp_path / "a.pt")
    index, score = _read(tmp_path / "a.pt", "columns-first")
    assert index.shape == (3, 6, 4)
    assert score[1, 5, 2] == tensor[0, 1, 2, 5]
    assert index[1, 5, 2] == tensor[1, 1, 2, 5]


@pytest.mark.parametrize("axes", ["rows-first", "columns-first"])
def test_there_and_back(tmp_path: Path, axes: Axes) -> None:
    torch.save(loose_tensor(), tmp_path / "a.pt")
    entries = _read(tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(relabel_file(*entries, axes))
    assert all(map(np.array_equal, _read(tmp_path / "b.pt", axes), entries))
    assert relabel_file(*entries, axes) == relabel_file(*entries, axes)


def test_each_cell_is_put_strongest_first(tmp_path: Path) -> None:
    tensor = loose_tensor()
    torch.save(tensor, tmp_path / "a.pt")
    torch.save(tensor.flip(1), tmp_path / "b.pt")
    assert all(map(np.array_equal, _read(tmp_path / "b.pt"), _read(tmp_path / "a.pt")))


def _with(plane: int, value: float, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    tensor = loose_tensor().to(dtype)
    tensor[plane, 0, 0, 0] = value
    return tensor


class _Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


REFUSED = {
    "a score that is not a number": (_with(0, torch.nan), "not a finite number"),
    "a score that is infinite": (_with(0, -torch.inf), "not a finite number"),
    "a score beyond float32": (_with(0, 1e300, torch.float64), "not a finite number"),
    "a class that is no whole number": (_with(1, 2.5), "planes exchanged"),
    "a class that is not a number": (_with(1, torch.nan), "not a whole number"),
    "a class of another list": (_with(1, 40), "reach from 0 to 40, the list has 40"),
    "a class below the list": (_with(1, -1), "is it the right list"),
    "an infinite class": (_with(1, torch.inf), "right list"),
    "a class twice": (loose_tensor()[:, [0, 0, 1]], "stores a class twice"),
    "a plane too few": (loose_tensor()[:1], r"shape \[1, 3, 4, 6\]"),
    "no grid": (loose_tensor()[:, :, 0], r"shape \[2, 3, 6\]"),
    "no cells": (loose_tensor()[:, :, :0], r"shape \[2, 3, 0, 6\]"),
    "whole numbers": (loose_tensor().int(), "int32 numbers"),
    "a dict": ({"a": loose_tensor()}, "holds a dict"),
    "an enormous grid without content": (
        torch.zeros(1, 1, 1, 1).expand(2, 5, 9999, 9999), "larger than any"
    ),
    "sparse numbers": (loose_tensor().to_sparse(), "torn, or holds|it is torn"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_label_map_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    content, reason = REFUSED[name]
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(LabelMapError, match=reason):
        _read(tmp_path / "a.pt")


@pytest.mark.parametrize(("dtype", "largest"), [(torch.float16, 2047), (torch.bfloat16, 255)])
def test_classes_that_their_type_rounds_are_refused(
    tmp_path: Path, dtype: torch.dtype, largest: int
) -> None:
    torch.save(_with(1, largest, dtype), tmp_path / "a.pt")
    assert read_relabel_map(tmp_path / "a.pt", "rows-first", 9999)[0].max() == largest
    torch.save(_with(1, largest + 2, dtype), tmp_path / "a.pt")  # which it stores as largest + 1
    with pytest.raises(LabelMapError, match=r"rounds larger ones\. Make the file anew in float32"):
        read_relabel_map(tmp_path / "a.pt", "rows-first", 9999)


def test_nothing_is_executed(tmp_path: Path) -> None:
    mark = tmp_path / "was-here"
    torch.save(_Hostile(mark), tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(_Hostile(mark)))
    for name in ("a.pt", "b.pt"):
        with pytest.raises(LabelMapError, match="run code"):
            _read(tmp_path / name)
    assert not mark.exists()


def test_a_file_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", b"\0" * (1 << 25))
    with pytest.raises(LabelMapError, match="more than 16,777,216 bytes"):
        _read(tmp_path / "a.pt")


def test_a_flipped_bit_or_a_missing_end_is_seen_wherever_it_is(tmp_path: Path) -> None:
    """Refused, or read as it was: never other numbers."""
    buffer = io.BytesIO()
    torch.save(loose_tensor(), buffer)
    content = buffer.getvalue()
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    whole = _read(path)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        torn = bytearray(content)
        if rng.random() < 0.3:
            torn = torn[: rng.integers(len(torn))]
        else:
            torn[rng.integers(len(torn))] ^= 1 << rng.integers(8)
        path.write_bytes(torn)
        try:
            assert all(map(np.array_equal, _read(path), whole))
        except LabelMapError:
            refused += 1
    assert refused > 150


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty.pt").touch()
    (tmp_path / "text.pt").write_text("n01440764")
    (tmp_path / "link.pt").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe.pt")
    for name, reason in {
        "empty": "0 bytes", "text": "no torch file", "link": "link to nothing",
        "pipe": "no plain file",
    }.items():  # fmt: skip
        with pytest.raises(LabelMapError, match=reason):
            _read(tmp_path / f"{name}.pt")
