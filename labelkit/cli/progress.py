"""The progress bar that long commands share."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rich.console import Console


class _Rate(ProgressColumn):
    """Steps per second of this run, from its own start."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(
            f"{speed:,.{1 if speed < 10 else 0}f} {self.unit}/s" if speed else "",
            style="progress.data.speed",
        )


@contextmanager
def progress_bar(
    console: Console, title: str, unit: str = "images"
) -> Generator[Callable[[int, int], None]]:
    """A bar on ``console``; yields a function that takes (done, in all)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=None)

        def advance(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        try:
            yield advance
        finally:
            if not progress.tasks[0].total:  # refused before it began: no bar stands above it
                progress.update(task, visible=False)
