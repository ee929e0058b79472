"""A study's plot: mean and spread over seeds, as lines along one axis."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from labelkit.errors import StudyError
from labelkit.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labelkit.studies.plan import Study
    from labelkit.studies.table import Cell

_WIDTH, _HEIGHT = 4.6, 3.6  # of a panel, in inches

_CROWDED = 40  # letters of all names along x, above which they are turned


def draw_study(study: Study, cells: Sequence[Cell], path: Path) -> None:
    """Draw the finished combinations; bars show the standard deviation over seeds.

    Points are joined where the x axis has numbers.

    Axes of the study that are neither x, lines nor panels add lines.

    Args:
        study: has ``plot``.
        cells: from ``study_cells``.
        path: the PNG to create or replace.

    Raises:
        StudyError: the study has no ``plot``, no run is finished, or matplotlib is missing.
        OSError: the file cannot be written.
    """
    plot = study.file.plot
    if plot is None:
        raise StudyError(f"{study.folder}/study.toml has no [plot]: set x, an axis")
    if not any(cell.values for cell in cells):
        raise StudyError(
            f"{study.results} has no finished run to draw: labelkit study {study.folder}"
        )
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise StudyError("plots need matplotlib: pip install 'labelkit[study]'") from error
    panels = list(study.file.axes[plot.panels]) if plot.panels else [""]
    panels = [each for each in panels if _of(cells, plot.panels, each)]
    figure = Figure((_WIDTH * len(panels) + 1, _HEIGHT), layout="constrained")
    drawn: Any = figure.subplots(1, len(panels), sharex=True, squeeze=False)
    # Of all panels, so that a line has its colour also where another one has no runs.
    lines = list(dict.fromkeys(_line(study, cell) for cell in cells if cell.values))
    for axes, panel in zip(drawn[0], panels, strict=True):
        _draw_panel(study, _of(cells, plot.panels, panel), lines, axes)
        axes.set_title(f"{plot.panels}: {panel}" if plot.panels else study.file.title)
    drawn[0][0].set_ylabel(f"{study.file.metric}: mean, and standard deviation over seeds")
    if lines != [()]:
        named = [axes.get_legend_handles_labels() for axes in drawn[0]]
        handles = {name: each for pair in named for each, name in zip(*pair, strict=True)}
        names = [", ".join(line) for line in lines]
        drawn[0][-1].legend(
            [handles[name] for name in names],
            names,
            frameon=False,
            title=", ".join(_lines(study)),
            loc="center left",
            bbox_to_anchor=(1, 0.5),
        )
    if plot.panels:
        figure.suptitle(study.file.title)
    replace_file(path, lambda temporary: figure.savefig(temporary, format="png", dpi=150))


def _of(cells: Sequence[Cell], axis: str | None, value: str) -> list[Cell]:
    return [cell for cell in cells if axis is None or cell.axes[axis] == value]


def _lines(study: Study) -> list[str]:
    """The axes whose values are lines."""
    plot = study.file.plot
    return [axis for axis in study.file.axes if plot and axis not in {plot.x, plot.panels}]


def _line(study: Study, cell: Cell) -> tuple[str, ...]:
    """Which line a cell is on."""
    return tuple(cell.axes[axis] for axis in _lines(study))


def _draw_panel(
    study: Study,
    cells: Sequence[Cell],
    lines: Sequence[tuple[str, ...]],
    axes: Any,  # noqa: ANN401 -- matplotlib's
) -> None:
    plot = study.file.plot
    assert plot is not None  # noqa: S101 -- draw_study has refused it
    names = list(study.file.axes[plot.x])
    numbers = [number for name in names if (number := _number(name)) is not None]
    numeric = len(numbers) == len(names)
    places = dict(zip(names, numbers if numeric else map(float, range(len(names))), strict=True))
    width = max(places.values()) - min(places.values()) or 1
    for at, label in enumerate(lines):
        line = [cell for cell in cells if cell.values and _line(study, cell) == label]
        if not line:
            continue
        # Side by side, so that no line hides another's bars.
        shift = 0.012 * width * (at - (len(lines) - 1) / 2)
        axes.errorbar(
            [places[cell.axes[plot.x]] + shift for cell in line],
            [cell.mean for cell in line],
            [math.nan if cell.std is None else cell.std for cell in line],
            marker="o",
            linestyle="-" if numeric else "none",  # names have no order, so no trend
            capsize=3,
            color=f"C{at}",
            label=", ".join(label),
        )
    crowded = not numeric and sum(map(len, names)) > _CROWDED
    turned: dict[str, Any] = {"rotation": 25, "ha": "right"} if crowded else {}
    axes.set_xticks(list(places.values()), names, **turned)
    axes.set_xlabel(plot.x)
    axes.spines[["top", "right"]].set_visible(False)


def _number(name: str) -> float | None:
    try:
        return float(name)
    except ValueError:
        return None
