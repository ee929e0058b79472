"""Progress bars, what is announced before them, and what an interruption leaves."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from labelkit.cli.options import is_quiet
from labelkit.wording import duration, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping
    from pathlib import Path

    from rich.console import Console

    from labelkit.relabel import Stages

_LINE_SECONDS = 30.0


def announce_teachers(names: Iterable[str]) -> None:
    """Name the teachers on a terminal, before the seconds that loading them takes."""
    if sys.stderr.isatty() and not is_quiet():
        shown = " and ".join(names) or "that the file names"
        click.echo(f"Loading the teacher {shown}", err=True)


@contextmanager
def report_kept_shards(output: Path) -> Generator[None]:
    """On an interruption, report how many finished shards of ``output`` are kept."""
    try:
        yield
    except KeyboardInterrupt as error:
        count = len([*output.with_name(f"{output.name}.parts").glob("[0-9]*.json")])
        if not count:
            raise click.Abort(
                "No shard was finished: the same command starts from the beginning."
            ) from error
        kept = "1 finished shard is" if count == 1 else f"{count:,} finished shards are"
        raise click.Abort(f"{kept} kept: run the same command again to resume.") from error


class _Rate(ProgressColumn):
    """Steps per second of this run, from its start."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(
            f"{speed:,.{1 if speed < 10 else 0}f} {self.unit}/s" if speed else "",
            style="progress.data.speed",
        )


class _Waiting(ProgressColumn):
    """The share of the time in which the device waited for images."""

    def __init__(self, stages: Stages) -> None:
        super().__init__()
        self.stages = stages

    def render(self, task: Task) -> Text:
        del task
        return Text(f"waiting {percent(self.stages.waiting_share)}" if self.stages.images else "")


class _Lines:
    """A line about the progress now and then, where no bar can be drawn."""

    def __init__(self, console: Console, title: str, unit: str, stages: Stages | None) -> None:
        self._console, self._title, self._unit, self._stages = console, title, unit, stages
        self._start = self._last = time.monotonic()
        self._first: int | None = None

    def __call__(self, done: int, total: int) -> None:
        """Print a line if the last one is a while ago."""
        now = time.monotonic()
        if self._first is None:
            self._first, self._start = done, now
        if self._console.is_terminal or now - self._last < _LINE_SECONDS:
            return
        self._last = now
        new, seconds = done - self._first, now - self._start
        pace = ""
        if new:
            left = duration((total - done) * seconds / new)
            pace = f", {new / seconds:,.1f} {self._unit}/s, {left} left"
        waiting = f", waiting {percent(self._stages.waiting_share)}" if self._stages else ""
        self._console.print(
            f"{self._title}: {done:,} of {total:,} {self._unit}{pace}{waiting}",
            soft_wrap=True,
        )


@contextmanager
def progress_bar(
    console: Console, title: str, unit: str = "images", stages: Stages | None = None
) -> Generator[Callable[[int, int], None]]:
    """A progress bar on ``console``, or lines; yields a function that takes (done, total)."""
    lines = _Lines(console, title, unit, stages)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        *([_Waiting(stages)] if stages else []),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=None)

        def advance(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)
            lines(done, total)

        try:
            yield advance
        finally:
            if not progress.tasks[0].total:  # the work was refused: no bar above the error
                progress.update(task, visible=False)


class ProgressBars(ExitStack):
    """A progress bar for each stage of a command, one after the other.

    Args:
        console: where they are drawn.
        stages: the title of each bar, and what it counts.
    """

    def __init__(self, console: Console, stages: Mapping[str, tuple[str, str]]) -> None:
        super().__init__()
        self._console, self._stages = console, stages
        self._stage = ""
        self._advance: Callable[[int, int], None]

    def begin(self, stage: str, times: Stages | None = None) -> None:
        """Close the bar of the stage before, and show that of this one.

        Args:
            stage: which one.
            times: where the time of this stage goes, if that is known.
        """
        self.close()
        self._stage = stage
        self._advance = self.enter_context(progress_bar(self._console, *self._stages[stage], times))

    def __call__(self, stage: str, done: int, total: int, times: Stages | None = None) -> None:
        """Advance the bar of a stage; the first call begins it, with its ``times``."""
        if stage != self._stage:
            self.begin(stage, times)
        self._advance(done, total)
