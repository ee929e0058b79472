"""Unreadable images are named together before the first epoch, or left out on request."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from labelkit.errors import DatasetError, LabelMapError, TrainingError
from labelkit.train import RunStarted, build_task, read_recipe, train
from labelkit.train.checked_images import check_images
from tests.train.support import draw_folders, recipe_text, save_maps

if TYPE_CHECKING:
    from pathlib import Path

    from labelkit.train import Event, Recipe


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return draw_folders(tmp_path / "data", train=6, val=2)


def recipe(root: Path, *changes: str, labels: str = 'kind = "hard"') -> Recipe:
    path = root.parent / "r.toml"
    path.write_text(recipe_text(root, labels, epochs=2))
    output = f"run.output={root.parent / 'run'}"
    return read_recipe(path, [output, "run.batch_size=4", *changes])


def damage(root: Path) -> list[Path]:
    """An empty file, a text, a JPEG and a PNG cut short, a broken link, and a pipe."""
    folder = root / "train" / "leaf"
    names = ("empty.jpg", "text.png", "cut.jpg", "cut.png", "link.jpg", "pipe.jpg")
    empty, text, jpeg, png, link, pipe = (folder / name for name in names)
    empty.write_bytes(b"")
    text.write_text("not an image")
    photo = Image.effect_noise((64, 64), 80).convert("RGB")
    for path in (jpeg, png):
        photo.save(path)
        path.write_bytes(path.read_bytes()[:-100])
    link.symlink_to(root / "nowhere.jpg")
    os.mkfifo(pipe)  # to open it would wait for somebody to write
    return [empty, text, jpeg, png, link, pipe]


def break_pixels(path: Path) -> None:
    """Damage the middle of a PNG: its header and its end stay whole."""
    Image.effect_noise((64, 64), 80).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("workers", [0, 2])
def test_all_are_named_before_anything_is_written(root: Path, workers: int) -> None:
    broken = damage(root)
    broken.append(root / "val" / "sky" / "text.jpg")
    broken[-1].write_text("no image either")
    with pytest.raises(DatasetError, match=r"7 images.*data\.unreadable=skip") as caught:
        train(recipe(root, f"data.workers={workers}"))
    assert all(str(path) in str(caught.value) for path in broken)
    assert not (root.parent / "run").exists()


def test_they_are_left_out_on_request(root: Path) -> None:
    damage(root)
    break_pixels(root / "train" / "sky" / "pixels.png")
    break_pixels(root / "val" / "sky" / "pixels.png")
    events: list[Event] = []
    found = train(recipe(root, "data.unreadable=skip"), on_event=events.append)
    assert isinstance(events[0], RunStarted)
    assert (events[0].images, events[0].skipped) == ((18, 6), (7, 1))
    assert len(found.classes) == 3
    lines = (root.parent / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["skipped"] for line in lines] == [8, 8]
    report = json.loads((root.parent / "run" / "images.json").read_text())
    assert len(report["unreadable"]) == 8


def test_the_results_are_those_without_the_damaged_files(root: Path) -> None:
    clean = train(recipe(root, f"run.output={root.parent / 'clean'}"))
    damage(root)
    skipped = train(recipe(root, "data.unreadable=skip"))
    assert [each.train_loss for each in skipped.records] == [
        each.train_loss for each in clean.records
    ]


def test_they_are_left_out_with_label_maps(root: Path) -> None:
    """Relabel makes no maps of unreadable images, so that the file lacks them."""
    maps = save_maps(root.parent / "maps.h5", root / "train")
    damage(root)
    labels = f'kind = "label-maps"\nmaps = "{maps}"'
    task = build_task(recipe(root, "data.unreadable=skip", labels=labels))
    assert len(task.train_set) == 18
    with pytest.raises(DatasetError, match="6 images"):
        build_task(recipe(root, labels=labels))
    Image.new("RGB", (8, 8)).save(root / "train" / "sky" / "new.png")
    with pytest.raises(LabelMapError, match=r"new\.png"):
        build_task(recipe(root, "data.unreadable=skip", labels=labels))


@pytest.mark.parametrize("workers", [0, 1])
def test_pixels_that_fail_later_are_named_together(root: Path, workers: int) -> None:
    broken = [root / "train" / "sky" / "a.png", root / "val" / "leaf" / "b.png"]
    for path in broken:
        break_pixels(path)
    with pytest.raises(DatasetError, match=r"2 images.*data\.unreadable=skip") as caught:
        train(recipe(root, f"data.workers={workers}"))
    assert all(str(path) in str(caught.value) for path in broken)


def test_a_folder_without_one_readable_image_is_refused(root: Path) -> None:
    for path in (root / "val").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DatasetError, match="val: none of the images can be read"):
        train(recipe(root, "data.unreadable=skip"))


def test_a_report_is_reused_only_for_the_same_files(root: Path) -> None:
    paths = sorted(map(str, (root / "train").rglob("*.png")))
    whole = check_images(paths, "pixels")
    assert not whole.unreadable
    break_pixels(root / "train" / "sky" / "000.png")
    broken = check_images(paths, "pixels")
    assert list(broken.unreadable) == [str(root / "train" / "sky" / "000.png")]
    assert check_images(paths, "header").digest != whole.digest != broken.digest


def test_a_damaged_report_is_no_obstacle(root: Path) -> None:
    chosen = recipe(root, "data.unreadable=skip")
    first = train(chosen)
    for content in (b"", b"[" * 100_000, b'{"digest": 3}', b"\xff"):
        (root.parent / "run" / "images.json").write_bytes(content)
        assert train(chosen) == first


def test_a_run_goes_on_only_with_the_same_images(root: Path) -> None:
    train(recipe(root))
    train(recipe(root, "data.unreadable=skip"))
    shutil.copy(root / "train" / "sky" / "000.png", root / "train" / "sky" / "more.png")
    with pytest.raises(TrainingError, match="other images"):
        train(recipe(root))
