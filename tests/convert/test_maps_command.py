"""``labelkit convert`` for label maps: both directions, and what to do after a refusal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from labelkit.label_maps import LabelMapFile, MapForm
from tests.command import labelkit
from tests.convert.support import KEYS, PLAIN, write_classes, write_file, write_folder
from tests.hierarchy.support.trees import PETS
from tests.label_maps.support.small_files import calibration_of, make

FROM = ("convert", "loose", "-o", "maps.h5", "--classes", "classes.txt", "--axes", "columns-first")


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_classes(tmp_path)
    write_folder(tmp_path / "loose")
    for key in (*KEYS[1:], "dog/new.png"):
        (tmp_path / "photos" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / key).touch()


def test_a_folder_becomes_a_file_and_a_folder_again(tmp_path: Path) -> None:
    run = labelkit(*FROM, "--suffix", ".JPEG", "--scores", "float32")
    assert run.code == 0, run.text
    assert "5 label maps with 3 classes per cell on a 6x4 grid" in run.text
    assert "labelkit inspect" in run.text
    with LabelMapFile.open("maps.h5") as file:
        assert list(file) == list(KEYS)
        assert file.forms[0].scores == "float32"
        assert file.attrs["axes"] == "columns-first"
    back = labelkit("convert", "maps.h5", "-o", "back", "--axes", "columns-first")
    assert "Wrote back: 5 label maps, float32 [2, 3, 4, 6], columns-first" in back.text
    for key in KEYS:
        paths = [(tmp_path / folder / key).with_suffix(".pt") for folder in ("loose", "back")]
        assert torch.equal(*(torch.load(path, weights_only=True) for path in paths))
    again = labelkit("convert", "back", "-o", "again.h5", "--suffix", ".JPEG")
    assert again.code == 0, again.text  # its labelkit.json records the axes and the classes
    with LabelMapFile.open("again.h5") as file:
        assert file.attrs["axes"] == "columns-first"
    wrong = labelkit("convert", "back", "-o", "c.h5", "--suffix", ".JPEG", "--axes", "rows-first")
    assert (wrong.code, "is columns-first, according to" in wrong.text) == (2, True)


def test_images_give_the_extensions_and_missing_ones_are_listed(tmp_path: Path) -> None:
    (tmp_path / "loose/cat/b.pt").write_bytes(b"damaged")
    run = labelkit(*FROM, "--images", "photos")
    assert run.code == 0, run.text
    assert "Skipped, with the reason recorded in the file: 1 cat/b.JPEG: cat/b.pt" in run.text
    assert "Images without a map in loose: 1 dog/new.png" in run.text
    assert "Maps without an image in photos: 1 cat/a.pt" in run.text
    assert "--images photos -o report.html" in run.text
    with LabelMapFile.open("maps.h5") as file:
        assert list(file) == ["cat/b2.JPEG", "dog/a.JPEG", "dog/old/a.JPEG"]


def test_losses_of_an_export_are_printed() -> None:
    write_file_here(
        "maps.h5",
        MapForm(selection="image", top_k=4, grid=(2, 2), background=3, log_sum_exp=True),
    )
    run = labelkit(
        "convert", "maps.h5", "-o", "b", "--axes", "rows-first", "--topk", "2",
    )  # fmt: skip
    assert run.code == 0, run.text
    for words in ("[2, 2, 2, 2]", "of all 40 classes", "background is lost", "log-sum-exp of each"):
        assert words in run.text
    assert "calibration is lost" not in run.text


def test_the_loss_of_a_calibration_is_printed(tmp_path: Path) -> None:
    make(tmp_path / "calibrated.h5", ["cat/a.jpg"], calibration=calibration_of()).close()
    run = labelkit("convert", "calibrated.h5", "-o", "b", "--axes", "rows-first")
    assert run.code == 0, run.text
    assert "The calibration is lost" in run.text


REFUSED = {
    "a folder without axes": (
        ["loose", "-o", "a.h5", "--suffix", ".JPEG", "--classes", "classes.txt"], "pass --axes"
    ),
    "a file without axes": (["maps.h5", "-o", "b"], "pass --axes"),
    "a folder without classes": (
        ["loose", "-o", "a.h5", "--suffix", ".JPEG", "--axes", "rows-first"], "pass --classes"
    ),
    "an unknown list": (
        ["loose", "-o", "a.h5",
         "--suffix", ".J", "--axes", "rows-first", "--classes", "imagenet-1"],
        "Did you mean imagenet-1k",
    ),
    "no names of images": (["loose", "-o", "a.h5"], "--images FOLDER"),
    "two sources of names": (
        ["loose", "-o", "a.h5", "--suffix", ".JPEG", "--images", "photos"], "either --images"
    ),
    "an extension without a dot": (
        ["loose", "-o", "a.h5", *FROM[4:], "--suffix", "JPEG"], "'JPEG' is not a file extension"
    ),
    "a folder into a tree": (["loose", "-o", "a.json"], "must end in .h5"),
    "a folder into a missing folder": (["loose", "-o", "nowhere/a.h5"], "no such folder: nowhere"),
    "a folder with a top k": (
        ["loose", "-o", "a.h5", "--topk", "2"], "--topk cannot be used with the folder"
    ),
    "label maps into a single map": (["maps.h5", "-o", "a.pt"], "name of a new folder"),
    "a file into a file": (
        ["maps.h5", "-o", "classes.txt", "--axes", "rows-first"], "classes.txt cannot be written"
    ),
    "too many a cell": (
        ["maps.h5", "-o", "b", "--axes", "rows-first", "--topk", "9"],
        "9 classes per cell: there are 3",
    ),
    "label maps over others": (
        ["maps.h5", "-o", "b", "--axes", "rows-first", "--overwrite"], "remove a ReLabel folder"
    ),
    "a tree into label maps": (["pets.json", "-o", "a.h5"], "is a tree"),
    "a tree with axes": (
        ["pets.json", "-o", "a.csv", "--axes", "rows-first"], "--axes cannot be used with the tree"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_contradictions_are_usage_errors(tmp_path: Path, name: str) -> None:
    write_file_here("maps.h5", PLAIN)
    PETS.save("pets.json")
    before = sorted(tmp_path.rglob("*"))
    arguments, reason = REFUSED[name]
    run = labelkit("convert", *arguments)
    assert (run.code, reason in run.text) == (2, True), run.text
    assert sorted(tmp_path.rglob("*")) == before


def test_failures_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.h5").write_bytes(b"PK nothing")
    bad = labelkit("convert", "bad.h5", "-o", "a", "--axes", "rows-first")
    none = labelkit("convert", "photos", *FROM[2:], "--suffix", ".JPEG")
    for run, reason in ((bad, "bad.h5"), (none, "photos has no .pt files")):
        assert run.code == 1
        assert reason in run.text
        assert run.err.count("\n") == 1


def test_trees_and_help_load_no_tensors() -> None:
    PETS.save("pets.json")
    code = (
        "import sys; from labelkit.cli import run; run(['convert', 'pets.json', '-o', 'a.csv']); "
        "sys.exit(', '.join({'torch', 'h5py'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_an_existing_file_is_replaced_only_with_overwrite(tmp_path: Path) -> None:
    (tmp_path / "maps.h5").write_bytes(b"mine")
    refused = labelkit(*FROM, "--suffix", ".JPEG")
    assert (refused.code, (tmp_path / "maps.h5").read_bytes()) == (2, b"mine")
    assert "maps.h5 exists: choose another name, or pass --overwrite" in refused.text
    run = labelkit(*FROM, "--suffix", ".JPEG", "--overwrite", "--quiet")
    assert (run.code, run.out, run.err) == (0, "", "")
    with LabelMapFile.open("maps.h5") as file:
        assert list(file) == list(KEYS)


def write_file_here(name: str, form: MapForm) -> None:
    write_file(Path(name), [form]).close()
