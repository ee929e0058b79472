"""What long commands print before their progress bar moves, and when they are interrupted."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import click
import pytest
from rich.console import Console
from rich.progress import Progress

from labelkit import cli
from labelkit.cli.progress import ProgressBars, report_kept_shards
from labelkit.relabel import Stages
from tests.command import labelkit
from tests.label_maps.support.small_files import FORM, make, maps_of, writer_of
from tests.photos import write_photos

if TYPE_CHECKING:
    from pathlib import Path


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        """Whether this is a terminal."""
        return True


def stderr_of(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    """What a command prints if stderr is a terminal."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Terminal())
        cli.run([str(argument) for argument in arguments])
        return sys.stderr.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_the_teacher_is_announced_before_it_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal; elsewhere stderr is for errors only."""
    write_photos(tmp_path / "photos")
    relabel = ("relabel", tmp_path / "photos", "-o", tmp_path / "x.h5", "--teacher", "resnet5")
    assert stderr_of(monkeypatch, *relabel).startswith(
        "Loading the teacher resnet5\nError: unknown"
    )
    assert labelkit(*relabel).err.startswith("Error: unknown")
    maps = make(tmp_path / "maps.h5", ["a.jpg"]).path
    verify = ("verify", maps, "--images", tmp_path / "photos", "--sample", 1)
    assert stderr_of(monkeypatch, *verify).startswith(
        "Loading the teacher that the file names\nError"
    )
    fidelity = ("fidelity", tmp_path / "photos", "--teacher", "resnet5")
    assert stderr_of(monkeypatch, *fidelity).startswith(
        "Loading the teacher resnet5\nError: unknown"
    )


def test_an_interrupted_relabel_reports_that_no_shard_was_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photos(tmp_path / "photos")

    def interrupt(*_: object, completed: int = 0, **__: object) -> None:
        if completed:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "update", interrupt)
    options = ("--size", 96, "--batch-size", 1, "--workers", 0)
    run = labelkit("relabel", tmp_path / "photos", "-o", tmp_path / "maps.h5", *options)
    assert run.code == 130
    assert (
        "Interrupted. No shard was finished: the same command starts from the beginning."
        in run.text
    )


@pytest.mark.parametrize(
    ("shards", "message"),
    [(0, "No shard was"), (1, "1 finished shard is kept"), (2, "2 finished shards are kept")],
)
def test_an_interruption_counts_the_shards_that_are_kept(
    tmp_path: Path, shards: int, message: str
) -> None:
    writer = writer_of(tmp_path / "maps.h5", [f"{number:02}.jpg" for number in range(10)])
    for shard in writer.pending()[:shards]:
        writer.commit(shard, [maps_of(writer.keys[shard.start : shard.stop], FORM)], {})
    with pytest.raises(click.Abort, match=message), report_kept_shards(tmp_path / "maps.h5"):
        raise KeyboardInterrupt


def test_only_the_bar_of_the_maps_says_how_long_the_device_waited() -> None:
    """The calibration has no stages of its own: the share of the maps would be a wrong one."""
    screen = Console(width=150, record=True, file=io.StringIO(), force_terminal=True)
    stages = Stages(images=9)
    with ProgressBars(
        screen, {"maps": ("Relabel", "images"), "fit": ("Calibrate", "images")}
    ) as bars:
        bars.begin("maps", stages)
        bars("maps", 9, 9)
        bars("fit", 4, 4)
    maps, fit = (
        line for line in screen.export_text().splitlines() if line.startswith(("Rel", "Cal"))
    )
    assert "waiting 0 %" in maps
    assert "4/4" in fit
    assert "waiting" not in fit
