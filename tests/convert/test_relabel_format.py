"""One ``.pt`` file: read exactly, or refused with the reason; never executed."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from labelkit.convert.relabel_format import read_relabel_map, relabel_bytes
from labelkit.errors import LabelMapError
from tests.convert.support import CLASSES, loose_tensor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from labelkit.convert.relabel_format import Axes, Entries


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


def test_columns_first_swaps_the_axes_and_nothing_else(tmp_path: Path) -> None:
    tensor = loose_tensor()
    torch.save(tensor, tmp_path / "a.pt")
    index, score = _read(tmp_path / "a.pt", "columns-first")
    assert index.shape == (3, 6, 4)
    assert score[1, 5, 2] == tensor[0, 1, 2, 5]
    assert index[1, 5, 2] == tensor[1, 1, 2, 5]


@pytest.mark.parametrize("axes", ["rows-first", "columns-first"])
def test_a_written_map_reads_back(tmp_path: Path, axes: Axes) -> None:
    torch.save(loose_tensor(), tmp_path / "a.pt")
    entries = _read(tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(relabel_bytes(*entries, axes))
    assert all(map(np.array_equal, _read(tmp_path / "b.pt", axes), entries))
    assert relabel_bytes(*entries, axes) == relabel_bytes(*entries, axes)


def test_each_cell_is_sorted_strongest_first(tmp_path: Path) -> None:
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
    "a score that is NaN": (_with(0, torch.nan), "not a finite number"),
    "a score that is infinite": (_with(0, -torch.inf), "not a finite number"),
    "a score beyond float32": (_with(0, 1e300, torch.float64), "not a finite number"),
    "a class that is not a whole number": (_with(1, 2.5), "planes swapped"),
    "a class that is NaN": (_with(1, torch.nan), "not a whole number"),
    "a class of another list": (_with(1, 40), "range from 0 to 40, the list has 40"),
    "a class below the list": (_with(1, -1), "is it the right list"),
    "an infinite class": (_with(1, torch.inf), "right list"),
    "a duplicate class": (loose_tensor()[:, [0, 0, 1]], "stores the same class twice"),
    "one plane": (loose_tensor()[:1], r"shape \[1, 3, 4, 6\]"),
    "no grid": (loose_tensor()[:, :, 0], r"shape \[2, 3, 6\]"),
    "no cells": (loose_tensor()[:, :, :0], r"shape \[2, 3, 0, 6\]"),
    "whole numbers": (loose_tensor().int(), "int32 numbers"),
    "a dict": ({"a": loose_tensor()}, "holds a dict"),
    "an enormous grid without content": (
        torch.zeros(1, 1, 1, 1).expand(2, 5, 9999, 9999), "too large for"
    ),
    "sparse numbers": (loose_tensor().to_sparse(), "holds a sparse tensor, expected a plain"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_other_content_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    content, reason = REFUSED[name]
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(LabelMapError, match=reason):
        _read(tmp_path / "a.pt")


@pytest.mark.parametrize(("dtype", "largest"), [(torch.float16, 2047), (torch.bfloat16, 255)])
def test_classes_that_the_number_type_rounds_are_refused(
    tmp_path: Path, dtype: torch.dtype, largest: int
) -> None:
    torch.save(_with(1, largest, dtype), tmp_path / "a.pt")
    assert read_relabel_map(tmp_path / "a.pt", "rows-first", 9999)[0].max() == largest
    torch.save(_with(1, largest + 2, dtype), tmp_path / "a.pt")  # which it stores as largest + 1
    with pytest.raises(
        LabelMapError, match=r"rounds whole numbers above .*\. Write the file again in float32"
    ):
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


def test_flipped_bits_and_missing_ends_never_change_a_number(tmp_path: Path) -> None:
    """A damaged file is refused, or reads as before."""
    buffer = io.BytesIO()
    torch.save(loose_tensor(), buffer)
    content = buffer.getvalue()
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    whole = _read(path)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        if rng.random() < 0.3:
            damaged = damaged[: rng.integers(len(damaged))]
        else:
            damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            assert all(map(np.array_equal, _read(path), whole))
        except LabelMapError:
            refused += 1
    assert refused > 150


def test_missing_empty_and_foreign_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pt").touch()
    (tmp_path / "text.pt").write_text("n01440764")
    (tmp_path / "link.pt").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe.pt")
    for name, reason in {
        "empty": "0 bytes", "text": "not a PyTorch file", "link": "broken link",
        "pipe": "not a regular file",
    }.items():  # fmt: skip
        with pytest.raises(LabelMapError, match=reason):
            _read(tmp_path / f"{name}.pt")
