"""A study's plot: mean and spread over seeds, as lines along one axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labelkit.errors import StudyError
from labelkit.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labelkit.studies.plan import Study
    from labelkit.studies.table import Cell

_WIDTH, _HEIGHT = 4.6, 3.6  # of a panel, in inches


def draw_study(study: Study, cells: Sequence[Cell], path: Path) -> None:
    """Draw the finished combinations; bars show the standard deviation over seeds.

    Axes of the study that are neither x, lines nor panels add lines.

    Args:
        study: has ``plot``.
        cells: from ``study_cells``.
        path: the PNG to create or replace.

    Raises:
        StudyError: the study has no ``plot``, or matplotlib is missing.
        OSError: the file cannot be written.
    """
    plot = study.file.plot
    if plot is None:
        raise StudyError(f"{study.folder}/study.toml has no [plot]: set x, an axis")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise StudyError("plots need matplotlib: pip install 'labelkit[study]'") from error
    panels = list(study.file.axes[plot.panels]) if plot.panels else [""]
    panels = [each for each in panels if _of(cells, plot.panels, each)]
    figure = Figure((_WIDTH * len(panels) + 1, _HEIGHT), layout="constrained")
    drawn: Any = figure.subplots(1, len(panels), sharey=True, squeeze=False)
    for axes, panel in zip(drawn[0], panels, strict=True):
        _draw_panel(study, _of(cells, plot.panels, panel), axes)
        axes.set_title(f"{plot.panels}: {panel}" if plot.panels else study.file.title)
    drawn[0][0].set_ylabel(study.file.metric)
    if plot.panels:
        figure.suptitle(study.file.title)
    replace_file(path, lambda temporary: figure.savefig(temporary, format="png", dpi=150))


def _of(cells: Sequence[Cell], axis: str | None, value: str) -> list[Cell]:
    return [cell for cell in cells if axis is None or cell.axes[axis] == value]


def _draw_panel(study: Study, cells: Sequence[Cell], axes: Any) -> None:  # noqa: ANN401 -- matplotlib's
    plot = study.file.plot
    assert plot is not None  # noqa: S101 -- draw_study has refused it
    names = list(study.file.axes[plot.x])
    numbers = [_number(name) for name in names]
    numeric = all(number is not None for number in numbers)
    places = dict(zip(names, numbers if numeric else range(len(names)), strict=True))
    lines: dict[tuple[str, ...], list[Cell]] = {}
    others = [axis for axis in study.file.axes if axis not in {plot.x, plot.panels}]
    for cell in cells:
        if cell.values:
            lines.setdefault(tuple(cell.axes[axis] for axis in others), []).append(cell)
    for label, line in lines.items():
        axes.errorbar(
            [places[cell.axes[plot.x]] for cell in line],
            [cell.mean for cell in line],
            [cell.std or 0 for cell in line],
            marker="o",
            capsize=3,
            label=", ".join(label),
        )
    if not numeric:
        axes.set_xticks(range(len(names)), names)
    axes.set_xlabel(plot.x)
    axes.spines[["top", "right"]].set_visible(False)
    if others and lines:
        axes.legend(frameon=False)


def _number(name: str) -> float | None:
    try:
        return float(name)
    except ValueError:
        return None
