"""``labelkit prepare``: what it prints, its options, and progress without a terminal."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from labelkit.cli.progress import ProgressBars
from tests.command import labelkit
from tests.prepare.support import as_folder, as_tar_of_tars, content, dump

OPTIONS = ("--min-images", "5", "--val", "2", "--resize", "32", "--workers", "0")


@pytest.fixture
def source(tmp_path):
    return as_tar_of_tars(dump(), tmp_path / "source")


def test_it_lists_what_was_made_dropped_broken_and_what_to_do_next(tmp_path, source):
    run = labelkit("prepare", source, tmp_path / "out", *OPTIONS)
    assert run.code == 0, run.err
    assert run.out.splitlines()[:2] == [
        f"Wrote {tmp_path / 'out'}: 3 classes, 15 + 6 images",
        "Dropped 2 classes (4 images):",
    ]
    assert "  few: 4 images, fewer than 5 images" in run.out
    assert "3 files could not be read:" in run.out
    assert "  n02/n02_7.JPEG: the file is empty" in run.out
    assert f"Next: labelkit match-names {tmp_path / 'out' / 'classes.txt'} -o names" in run.out
    again = labelkit("prepare", source, tmp_path / "out", *OPTIONS)
    assert again.out.startswith(f"{tmp_path / 'out'} is already complete, nothing to do: 3 classes")


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path, source):
    before = content(tmp_path)
    run = labelkit("prepare", source, tmp_path / "out", *OPTIONS, "--dry-run")
    assert run.code == 0, run.err
    assert run.out.startswith(
        f"{source} (a tar of class tars) would give 3 classes, 18 + 6 images\n"
    )
    assert content(tmp_path) == before


def test_json_is_the_manifest_and_the_difference(tmp_path, source):
    run = labelkit("prepare", source, tmp_path / "out", *OPTIONS, "--json", "--expect", "winter21")
    found = json.loads(run.out)
    assert found["manifest"] == json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert found["published"]["counts"]["val"] == [6, 522_500]


def test_the_difference_to_the_published_counts_is_printed(tmp_path):
    """Two published classes, one of them with exactly 500 images."""
    files = {f"{number}.jpg": b"" for number in range(501)}
    fewer = dict(list(files.items())[:500])
    source = as_folder({"n00005787": files, "n00006484": fewer, "other": files}, tmp_path / "s")
    run = labelkit("prepare", source, tmp_path / "out", "--dry-run", "--expect", "fall11")
    *lines, last = run.out.splitlines()[1:]
    assert last.endswith("the paper keeps them, its script drops them: n00006484")
    assert lines == [
        "Published for fall11:",
        "  classes: 11,221, here 3 (-11,218)",
        "  train: 11,797,632, here 1,352 (-11,796,280)",
        "  val: 561,052, here 150 (-560,902)",
        "  11,219 published classes are missing: n00007846, n00015388, n00017222 and 11,216 more",
        "  1 classes are not published: other",
    ]


def test_wrong_use_is_one_line(tmp_path, source):
    run = labelkit("prepare", source, tmp_path / "out", "--min-images", "5")
    assert run.code == 2
    assert "a class must have more images than go to validation" in run.text
    run = labelkit("prepare", tmp_path / "nothing", tmp_path / "out")
    assert (run.code, run.err) == (
        1,
        f"Error: no such folder, tar or shards: {tmp_path / 'nothing'}\n",
    )


def test_without_a_terminal_progress_is_lines_at_intervals(monkeypatch):
    clock = iter([0.0, 0.0, 10.0, 30.0, 31.0, 61.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    screen = io.StringIO()
    stages = {"images": ("Images", "images")}
    with ProgressBars(Console(file=screen, width=40), stages) as progress:
        for done in (10, 100, 300, 310, 610):
            progress("images", done, 1210)
    lines = [line for line in screen.getvalue().splitlines() if line.startswith("Images:")]
    assert lines == [  # 290 images in 30 seconds, 600 in 61
        "Images: 300 of 1,210 images, 9.7 images/s, 94 s left",
        "Images: 610 of 1,210 images, 9.8 images/s, 61 s left",
    ]


def test_the_rate_does_not_count_the_time_before_the_first_image(monkeypatch):
    clock = iter([0.0, 100.0, 130.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    screen = io.StringIO()
    with ProgressBars(Console(file=screen, width=40), {"images": ("Images", "images")}) as progress:
        for done in (500, 800):
            progress("images", done, 1100)
    lines = [line for line in screen.getvalue().splitlines() if line.startswith("Images:")]
    assert lines == [
        "Images: 500 of 1,100 images",
        "Images: 800 of 1,100 images, 10.0 images/s, 30 s left",
    ]
