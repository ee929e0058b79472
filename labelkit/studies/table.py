"""A study's figures: mean and spread over seeds, and a Markdown table of them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labelkit.errors import StudyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labelkit.studies.plan import Study
    from labelkit.studies.results import RunResult


@dataclass(frozen=True)
class Cell:
    """A combination of the axes' values.

    Attributes:
        axes: the name of each axis' value.
        values: the study's metric after the last epoch, one per finished seed.
    """

    axes: Mapping[str, str]
    values: tuple[float, ...]

    @property
    def mean(self) -> float | None:
        """Of the values; None without any."""
        return statistics.mean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """The sample standard deviation; None for fewer than two values."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def __str__(self) -> str:
        if self.mean is None:
            return "not run"
        spread = "" if self.std is None else f" ± {self.std:.2f}"
        return f"{self.mean:.2f}{spread} ({len(self.values)})"


def study_cells(study: Study, results: Mapping[str, RunResult]) -> list[Cell]:
    """The last stage's combinations in the order of the study, with what is finished of each.

    Raises:
        StudyError: a finished run has no such metric; the message names those that it has.
    """
    last = study.file.chain[-1].name
    found: dict[tuple[str, ...], list[float]] = {}
    for run in study.runs:
        if run.stage != last:
            continue
        values = found.setdefault(tuple(run.axes[axis] for axis in study.file.axes), [])
        result = results.get(run.identity)
        if result is None or result.error:
            continue
        if study.file.metric not in result.final:
            known = ", ".join(result.final)
            raise StudyError(f"metric is {study.file.metric!r}, but {run.name} has only {known}")
        values.append(result.final[study.file.metric])
    return [
        Cell(dict(zip(study.file.axes, names, strict=True)), tuple(values))
        for names, values in found.items()
    ]


def markdown_table(study: Study, cells: Sequence[Cell]) -> str:
    """Mean ± standard deviation and, in brackets, the number of seeds of each combination.

    The values of the plot's x axis, or else of the last axis, are the columns. With a single axis
    they are the rows.
    """
    if len(study.file.axes) == 1:
        (only,) = study.file.axes
        rows = [(cell.axes[only], str(cell)) for cell in cells]
        return _markdown([only, study.file.metric], rows)
    across = study.file.plot.x if study.file.plot else list(study.file.axes)[-1]
    down = [axis for axis in study.file.axes if axis != across]
    columns = [
        name for name in study.file.axes[across] if any(cell.axes[across] == name for cell in cells)
    ]
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for cell in cells:
        row = found.setdefault(tuple(cell.axes[axis] for axis in down), {})
        row[cell.axes[across]] = str(cell)
    # All titles of columns name their axis, since "x2" or "10 %" alone says nothing.
    return _markdown(
        [*down, *(f"{across}: {name}" for name in columns)],
        [[*names, *(row.get(name, "") for name in columns)] for names, row in found.items()],
    )


def _markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(map(_escaped, line))} |\n" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
