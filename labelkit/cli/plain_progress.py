"""Progress as lines at intervals, for log files and pipes: what bars are on a terminal."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import TYPE_CHECKING

from labelkit.cli.output import print_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console


class PlainProgress(AbstractContextManager["PlainProgress"]):
    """Prints a line now and then: how much is done, the rate, the time left.

    Args:
        console: where.
        stages: the title of each stage, and what it counts.
        seconds: between lines.
    """

    def __init__(
        self, console: Console, stages: Mapping[str, tuple[str, str]], seconds: float = 30
    ) -> None:
        self._console, self._stages, self._seconds = console, stages, seconds
        self._stage = ""
        self._began = self._printed = time.monotonic()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note that ``done`` of ``total`` are done."""
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._began, self._printed = stage, now, now
        elif now - self._printed >= self._seconds:
            self._printed = now
            title, unit = self._stages[stage]
            rate = done / (now - self._began)
            left = timedelta(seconds=round((total - done) / rate))
            line = f"{title}: {done:,} of {total:,}, {rate:,.1f} {unit}/s, {left} left"
            print_lines(self._console, [line])

    def __exit__(self, *_error: object) -> None:
        """Nothing is left to close."""
