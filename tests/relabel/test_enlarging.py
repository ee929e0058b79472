"""The advice for images that are much smaller than the teacher's input."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from labelkit.relabel import size_for_small_images
from labelkit.sources import open_source
from tests.clusters.support import CARD, write_card
from tests.command import labelkit


def draw(folder: Path, *sizes: tuple[int, int]) -> None:
    folder.mkdir()
    for number, size in enumerate(sizes):
        Image.new("RGB", size, (number, 90, 30)).save(folder / f"{number}.png")


def test_the_median_shorter_side_counts(tmp_path: Path):
    draw(tmp_path / "photos", (64, 900), (300, 64), (64, 64), (800, 900), (20, 30))
    source = open_source(tmp_path / "photos")
    assert size_for_small_images(source, [320]) == (64, 160)
    assert size_for_small_images(source, [320, 448]) == (64, 160)
    assert size_for_small_images(source, [225]) == (64, 160)
    assert size_for_small_images(source, [224]) is None  # 3.5 times
    assert size_for_small_images(source, [160, 448]) is None


def test_a_size_is_a_multiple_of_32_and_never_0(tmp_path: Path):
    draw(tmp_path / "photos", (1, 1))
    assert size_for_small_images(open_source(tmp_path / "photos"), [64]) == (1, 32)


def test_images_that_cannot_be_read_do_not_count(tmp_path: Path):
    draw(tmp_path / "photos", (32, 40))
    for number in range(5):
        (tmp_path / "photos" / f"broken{number}.png").write_bytes(b"")
    source = open_source(tmp_path / "photos")
    assert size_for_small_images(source, [320]) == (32, 64)
    (tmp_path / "photos" / "0.png").unlink()
    assert size_for_small_images(open_source(tmp_path / "photos"), [320]) is None


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_the_command_warns_unless_a_size_was_chosen(
    dry: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "photos", (16, 20), (16, 16))
    write_card(tmp_path / "card")
    Path("card/tiny.toml").write_text(CARD.replace("size = 32", "size = 64"))
    command = ["relabel", "photos", "--teacher", "card/tiny.toml", "--no-calibration", *dry]
    warned = labelkit(*command, "-o", "a.h5")
    assert warned.code == 0, warned.err
    warning = "side of at most 16 pixels, and the teacher sees them enlarged to 64. --size 32"
    assert warning in warned.text
    chosen = labelkit(*command, "-o", "b.h5", "--size", "64")
    assert chosen.code == 0, chosen.err
    assert "enlarged" not in chosen.text
