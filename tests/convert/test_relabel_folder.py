"""ReLabel folders to label-map files and back: nothing is lost, no axes are swapped."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torchvision.ops import roi_align

from labelkit.convert import (
    RelabelFolder,
    export_relabel_folder,
    import_relabel_folder,
    relabel_import,
)
from labelkit.convert.relabel_export import require_distinct, strongest
from labelkit.errors import LabelMapError
from labelkit.geometry import CropBox
from labelkit.label_maps import LabelMap, MapForm, merge, pool
from tests.convert.support import CLASSES, KEYS, PLAIN, loose_tensor, write_file, write_folder

if TYPE_CHECKING:
    from labelkit.convert.relabel_format import Axes

IMAGE = MapForm(selection="image", top_k=4, grid=(4, 6), background=9, patterns=2)
CELL = MapForm(top_k=3, grid=(4, 6), background=9)
LEFTOVERS = (".a.pt.0123456789abcdef.tmp", "cat/.b.pt.fedcba9876543210.tmp")


def _opened(folder: Path, axes: Axes = "rows-first") -> RelabelFolder:
    return RelabelFolder(folder, CLASSES, axes, "float32")


@pytest.mark.parametrize("axes", ["rows-first", "columns-first"])
def test_a_file_of_a_folder_pools_as_its_tensors_do(tmp_path: Path, axes: Axes) -> None:
    """The published loader gives RoIAlign (top, left, bottom, right) for (x1, y1, x2, y2)."""
    tensors = write_folder(tmp_path / "loose")
    file = import_relabel_folder(_opened(tmp_path / "loose", axes), KEYS, tmp_path / "a.h5")
    box = CropBox(0.1, 0.35, 0.55, 0.95)
    for key, tensor in tensors.items():
        dense = torch.zeros(1, len(CLASSES), 4, 6).scatter_(
            1, tensor[1:].long(), tensor[:1]
        )  # a 4x6 grid reveals swapped axes
        x, y = (box.left, box.right), (box.top, box.bottom)
        if axes == "columns-first":
            x, y = y, x
        corners = [x[0] * 6, y[0] * 4, x[1] * 6, y[1] * 4]
        boxes = torch.tensor([[0.5, *corners]]) - 0.5
        expected = roi_align(dense, boxes, (1, 1)).flatten()
        np.testing.assert_allclose(
            pool(file[key], box).dense(len(CLASSES)), expected, atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("axes", ["rows-first", "columns-first"])
def test_an_export_of_an_import_is_the_same_folder(tmp_path: Path, axes: Axes) -> None:
    tensors = write_folder(tmp_path / "loose")
    file = import_relabel_folder(_opened(tmp_path / "loose", axes), KEYS, tmp_path / "a.h5")
    done = export_relabel_folder(file, tmp_path / "back", axes)
    assert (done.top_k, done.written, done.kept) == (3, 5, 0)
    for key, tensor in tensors.items():
        path = (tmp_path / "back" / key).with_suffix(".pt")
        assert torch.equal(torch.load(path, weights_only=True), tensor)


def test_steps_of_uint8_lose_at_most_half_a_step(tmp_path: Path) -> None:
    tensors = write_folder(tmp_path / "loose")
    folder = RelabelFolder(tmp_path / "loose", CLASSES, "rows-first")
    file = import_relabel_folder(folder, KEYS, tmp_path / "a.h5")
    assert file.forms == (PLAIN,)
    for key, (score, index) in tensors.items():
        assert np.array_equal(file[key].index, index)
        step = float(score.max() - score.min()) / 255
        assert np.abs(file[key].score - score.numpy()).max() <= step * 0.501


def test_bad_files_are_recorded_and_the_others_imported(tmp_path: Path) -> None:
    folder = tmp_path / "loose"
    write_folder(folder)
    (folder / "cat/b.pt").write_bytes(b"")
    torch.save(loose_tensor(top_k=2), folder / "dog/a.pt")
    file = import_relabel_folder(_opened(folder), KEYS, tmp_path / "a.h5")
    assert list(file) == ["cat/a.JPEG", "cat/b2.JPEG", "dog/old/a.JPEG"]
    assert file.unreadable["cat/b.JPEG"] == "cat/b.pt: empty (0 bytes)"
    assert (
        "has 2 classes per cell on a 4x6 grid, but most files have 3"
        in file.unreadable["dog/a.JPEG"]
    )


def test_scores_that_the_number_type_cannot_hold_are_recorded(tmp_path: Path) -> None:
    tensors = write_folder(tmp_path / "loose")
    tensors["cat/b.JPEG"][0, 0, 0, 0] = 1e5
    torch.save(tensors["cat/b.JPEG"], tmp_path / "loose/cat/b.pt")
    folder = RelabelFolder(tmp_path / "loose", CLASSES, "rows-first", "float16")
    file = import_relabel_folder(folder, KEYS, tmp_path / "a.h5")
    assert list(file.unreadable) == ["cat/b.JPEG"]
    assert "--scores float32" in file.unreadable["cat/b.JPEG"]


def test_a_folder_of_other_files_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    write_folder(tmp_path / "loose")
    for path in (tmp_path / "loose").rglob("*.pt"):
        torch.save({"model": 1}, path)
    with pytest.raises(LabelMapError, match=r"none of 5 sampled files.*cat/a.pt: holds a dict"):
        import_relabel_folder(_opened(tmp_path / "loose"), KEYS, tmp_path / "a.h5")
    assert not list(tmp_path.glob("a.h5*"))


def test_an_interrupted_import_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "loose"
    write_folder(folder)
    whole = import_relabel_folder(_opened(folder), KEYS, tmp_path / "whole.h5")
    monkeypatch.setattr(relabel_import, "SHARD_ROWS", 2)

    def interrupt(done: int, total: int) -> None:
        assert total == len(KEYS)
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_relabel_folder(_opened(folder), KEYS, tmp_path / "a.h5", interrupt)
    torch.save(loose_tensor(), folder / "cat/c.pt")  # not a key
    with pytest.raises(LabelMapError, match="made with other settings"):
        import_relabel_folder(_opened(folder, "columns-first"), KEYS, tmp_path / "a.h5")
    seen: list[int] = []
    file = import_relabel_folder(
        _opened(folder), KEYS, tmp_path / "a.h5", lambda done, _total: seen.append(done)
    )
    assert file.digest == whole.digest
    assert (min(seen), seen[-1]) == (4, 5)


def test_it_does_not_go_on_with_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "a" / "loose", tmp_path / "b" / "loose"
    write_folder(first)
    shutil.copytree(first, second)  # with sizes and times
    monkeypatch.setattr(relabel_import, "SHARD_ROWS", 2)

    def interrupt(done: int, _total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_relabel_folder(_opened(first), KEYS, tmp_path / "a.h5", interrupt)
    with pytest.raises(LabelMapError, match=r"/a/loose.* there, .*/b/loose.* now"):
        import_relabel_folder(_opened(second), KEYS, tmp_path / "a.h5")
    monkeypatch.chdir(first.parent)
    before = (first / "cat/a.pt").stat()
    torch.save(loose_tensor(9), first / "cat/a.pt")
    with pytest.raises(LabelMapError, match="Repeat the first command"):
        import_relabel_folder(_opened(Path("loose")), KEYS, tmp_path / "a.h5")
    torch.save(loose_tensor(0), first / "cat/a.pt")
    os.utime(first / "cat/a.pt", ns=(before.st_atime_ns, before.st_mtime_ns))
    file = import_relabel_folder(_opened(Path("loose")), KEYS, tmp_path / "a.h5")
    assert len(file) == len(KEYS)


def test_a_missing_file_or_an_undecodable_folder_name_does_no_harm(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"loose\xff")
    write_folder(folder)
    (folder / "cat/b.pt").unlink()
    file = import_relabel_folder(_opened(folder), KEYS, tmp_path / "a.h5")
    assert list(file.unreadable) == ["cat/b.JPEG"]


def test_files_of_two_folders_are_not_merged(tmp_path: Path) -> None:
    """Each folder may come from another teacher, and the files do not record it."""
    files = []
    for number, name in enumerate(("b7", "r50", "again/b7")):
        keys = [f"{number}/{key}" for key in KEYS]
        write_folder(tmp_path / name, keys)
        folder = _opened(tmp_path / name)
        files.append(import_relabel_folder(folder, keys, tmp_path / f"{number}.h5"))
    message = r"0\.h5 and .*1\.h5 .*'b7' and 'r50'.*one name and convert"
    with pytest.raises(LabelMapError, match=message):
        merge(files[:2], tmp_path / "m.h5")
    assert not (tmp_path / "m.h5").exists()
    merged = merge(files[::2], tmp_path / "m.h5")
    assert (len(merged), merged.made_with["folder"]) == (2 * len(KEYS), "b7")
    with pytest.raises(LabelMapError, match="one name"):
        merge([merged, files[1]], tmp_path / "n.h5")


@pytest.mark.parametrize("form", [CELL, IMAGE])
def test_the_strongest_classes_are_those_of_the_dense_map_minus_the_rest(
    tmp_path: Path, form: MapForm
) -> None:
    for label_map in map(write_file(tmp_path / "a.h5", [form]).at, range(len(KEYS))):
        assert label_map.background is not None
        dense = label_map.dense(len(CLASSES)) - label_map.background.rest
        for top_k in (1, 5, len(CLASSES)):
            index, score = strongest(label_map, top_k, len(CLASSES))
            np.testing.assert_allclose(score, -np.sort(-dense, axis=0)[:top_k], atol=1e-6, rtol=0)
            np.testing.assert_array_equal(np.take_along_axis(dense, index, axis=0), score)
            assert (np.diff(np.sort(index, axis=0), axis=0) > 0).all()


def test_the_strongest_classes_are_found_whatever_the_order() -> None:
    index, score = np.array([[[3]], [[8]], [[5]]]), np.array([[[1.0]], [[3]], [[2]]], np.float32)
    found = strongest(LabelMap(index, score), 2, len(CLASSES))
    assert [plane.ravel().tolist() for plane in found] == [[8, 5], [3.0, 2.0]]


def test_a_second_run_writes_only_missing_and_damaged_files(tmp_path: Path) -> None:
    file, folder = write_file(tmp_path / "a.h5", [CELL]), tmp_path / "loose"
    export_relabel_folder(file, folder, "rows-first")
    before = {path: path.read_bytes() for path in folder.rglob("*.pt")}
    (folder / "cat/a.pt").unlink()
    (folder / "cat/b.pt").write_bytes(before[folder / "cat/b.pt"][:-9])
    for leftover in LEFTOVERS:
        (folder / leftover).write_bytes(b"half")
    (folder / "cat/.mine.tmp").touch()
    done = export_relabel_folder(file, folder, "rows-first")
    assert (done.top_k, done.written, done.kept) == (5, 2, 3)
    assert {path: path.read_bytes() for path in folder.rglob("*.pt")} == before
    assert not any((folder / leftover).exists() for leftover in LEFTOVERS)
    assert (folder / "cat/.mine.tmp").exists()


def test_other_settings_and_other_folders_are_refused(tmp_path: Path) -> None:
    file, folder = write_file(tmp_path / "a.h5"), tmp_path / "loose"
    export_relabel_folder(file, folder, "rows-first")
    with pytest.raises(LabelMapError, match="other settings"):
        export_relabel_folder(file, folder, "columns-first")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(LabelMapError, match="not empty"):
        export_relabel_folder(file, tmp_path / "mine", "rows-first")
    with (folder / "labelkit.json").open() as record:
        fcntl.flock(record, fcntl.LOCK_EX)
        with pytest.raises(LabelMapError, match="another command is writing"):
            export_relabel_folder(file, folder, "rows-first")


def test_several_maps_per_image_and_too_many_classes_are_refused(tmp_path: Path) -> None:
    two = [MapForm(top_k=2, grid=(3, 3), zoom=1), MapForm(top_k=2, grid=(5, 5), zoom=2)]
    with pytest.raises(LabelMapError, match=r"has 2 maps per image .3x3 at zoom 1, 5x5 at"):
        export_relabel_folder(write_file(tmp_path / "two.h5", two), tmp_path / "b", "rows-first")
    with pytest.raises(ValueError, match="4 classes per cell: there are 3"):
        export_relabel_folder(write_file(tmp_path / "a.h5"), tmp_path / "b", "rows-first", 4)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    "keys", [["a/x.jpg", "a/x.k.png", "a/x.png"], ["a/x", "a/x!.png", "a/x.jpg"]]
)
def test_two_images_with_the_same_map_path_are_refused(tmp_path: Path, keys: list[str]) -> None:
    with pytest.raises(LabelMapError, match=r"would both be a/x.pt"):
        export_relabel_folder(
            write_file(tmp_path / "a.h5", keys=keys), tmp_path / "b", "rows-first"
        )
    assert not (tmp_path / "b").exists()
    require_distinct(["a.png", "a/b.jpg", "a/b/c.jpg", "a/b0.jpg", "a0/b.jpg", "b.jpg"])


def test_an_empty_record_of_a_killed_run_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "labelkit.json").touch()
    file = write_file(tmp_path / "a.h5")
    assert export_relabel_folder(file, tmp_path / "b", "rows-first").written == len(KEYS)
