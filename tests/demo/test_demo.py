"""The demo writes what it lists, and its label maps locate the objects."""

from __future__ import annotations

import shlex

import numpy as np
import pytest
from PIL import Image

from labelkit.cli import demo
from labelkit.demo import crop_dataset, train_student
from labelkit.demo.pages import QUARTERS
from labelkit.hierarchy import SemanticTree
from labelkit.label_maps import LabelMapFile, pool
from tests.command import labelkit

KNOWN = {  # acceptable classes for each photo
    "cat": {"n02124075", "n02123159", "n02123045"},  # Egyptian cat, tiger cat, tabby
    "coffee": {"n07920052", "n03063599", "n07930864"},  # espresso, coffee mug, cup
    "motorcycle": {"n03785016", "n03791053"},  # moped, motor scooter
    "dahlia": {"n11939491", "n02206856"},  # daisy, bee: the class list has no dahlia
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One demo with a few training steps, for all tests."""
    path = tmp_path_factory.mktemp("demo") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "QUICK_STEPS", 4)
        run = labelkit("demo", "--quick", "-o", path)
    assert run.code == 0, run.text
    (path / "printed.txt").write_text(run.out)
    return path


def test_everything_in_the_summary_exists(folder):
    printed = (folder / "printed.txt").read_text()
    for name in ("index.html", "pictures/", "maps.h5", "tree.json", "photos/"):
        assert f"{folder}/{name}" in printed
        assert (folder / name).exists()
    assert "302 1,378 2,100 2,605 2,204 1,371 716 290 146 82 26 1" in printed
    assert "domestic cat > Egyptian cat" in printed
    assert len(SemanticTree.load(folder / "tree.json").classes) == 11_221
    assert len(LabelMapFile.open(folder / "maps.h5")) == 12


def test_the_suggested_commands_run(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # one of them writes a picture
    suggested = [line for line in demo._next_commands(folder) if "YOUR_PHOTOS" not in line]
    assert len(suggested) == 4
    for line in suggested:
        run = labelkit(*shlex.split(line)[1:])
        assert run.code == 0, run.text


def test_every_photo_has_a_picture_and_the_page_shows_it(folder):
    pictures = sorted((folder / "pictures").glob("*.png"))
    assert len(pictures) == 12
    for picture in pictures:
        with Image.open(picture) as image:
            assert min(image.size) > 100
    page = (folder / "index.html").read_text()
    assert page.count("composite/four.jpg") >= 5
    assert "Egyptian cat" in page


def test_each_class_peaks_in_the_quarter_of_its_photo(folder):
    """Four photos in a square: each one's class peaks there and is the strongest there."""
    maps = LabelMapFile.open(folder / "maps.h5")
    label_map = maps["composite/four.jpg"]
    dense = label_map.dense(1000)
    for names, box in zip(KNOWN.values(), QUARTERS, strict=True):
        columns = [maps.classes.index[wnid] for wnid in names]
        rows, width = label_map.grid
        row, column = np.unravel_index(dense[columns].max(axis=0).argmax(), (rows, width))
        assert box.top <= (row + 0.5) / rows <= box.bottom
        assert box.left <= (column + 0.5) / width <= box.right
        pooled = pool(label_map, box).dense(1000)
        assert maps.classes[int(pooled.argmax())] in names


def test_the_student_approaches_the_targets(folder):
    dataset = crop_dataset(folder / "photos", folder / "maps.h5")
    divergences = list(train_student(dataset, 12))
    assert np.mean(divergences[-3:]) < np.mean(divergences[:3]) - 0.3


def test_a_second_demo_reuses_its_folder(folder, monkeypatch):
    monkeypatch.setattr(demo, "QUICK_STEPS", 1)
    run = labelkit("demo", "--quick", "-o", folder, "--quiet")
    assert (run.code, run.out) == (0, "")


def test_a_folder_with_other_files_is_not_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    run = labelkit("demo", "-o", tmp_path)
    assert run.code == 1
    assert "is not empty: choose another folder" in run.text
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
