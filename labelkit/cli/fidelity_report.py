"""The figures of ``labelkit fidelity`` as table cells and as a page with a plot."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labelkit.relabel import Configuration, Fidelity

COLUMNS = ("maps", "pixels", "KL", "±", "agreement", "top", "bytes", "cost")

_PLOT = (
    "Each mark is one kind of map at one input size. Lower is closer to the teacher's prediction, "
    "further left takes less disk space. Point at a mark for its figures."
)
_KINDS = (
    "The options of labelkit relabel for each kind, besides --size. The rows without a file show "
    "how close maps could come at best."
)
_FLOOR = "no map: the teacher's prediction for the mirrored crop"
_FIGURES = (
    "KL: nats from the teacher's prediction for a crop, shown at its native size, to the target "
    "pooled from the image's label map; ± is its standard error. Agreement: how often both name "
    "the same class. Top: the mean probability of the target's most probable class. Bytes: an "
    "image's record; empty if no file holds the maps. Cost: the teacher's operations for the maps, "
    "relative to one image at its native size. Calibrated targets are measured on images that "
    "their calibration was not fitted on: half of the images are measured with what was fitted on "
    "the other half."
)


def cells(result: Fidelity) -> tuple[str, ...]:
    """One result as the cells of a row under ``COLUMNS``."""
    return (
        result.configuration.name,
        " + ".join(map(str, result.configuration.sizes)),
        f"{result.divergence:.3f}",
        f"{result.error:.3f}",
        f"{100 * result.agreement:.1f} %",
        f"{result.top_probability:.2f}",
        f"{result.record_bytes:,.0f}" if result.record_bytes else "",
        f"{result.cost:.1f}x" if result.cost else "",
    )


def relabel_options(configuration: Configuration) -> list[str]:
    """The options of ``labelkit relabel`` that make a configuration's maps."""
    from labelkit.relabel import Settings

    options = ["--size", ",".join(map(str, configuration.sizes))]
    settings = configuration.settings
    if settings is None:
        return options
    if settings.selection != "image":
        options += ["--selection", settings.selection]
    if settings.grid:
        options += ["--grid", str(settings.grid[0])]
    for name, value in (
        ("--topk", settings.top_k),
        ("--background", settings.background),
        ("--patterns", settings.patterns),
    ):
        if value is not None:
            options += [name, str(value)]
    if settings.scores != Settings.scores:
        options += ["--scores", settings.scores]
    if settings.log_sum_exp:
        options.append("--log-sum-exp")
    if not configuration.calibrated and configuration.method == "relabel":
        options.append("--no-calibration")
    return options


def write_report(path: Path, results: Sequence[Fidelity], teacher: str) -> None:
    """Write all figures as an HTML page.

    Raises:
        OSError: the file cannot be written.
    """
    from labelkit import __version__
    from labelkit.inspection import DataTable, Page, Paragraph, Scatter, Section, write_page

    points = tuple(
        (each.record_bytes, each.divergence, each.configuration.name, _hover_text(each))
        for each in results
        if each.configuration.settings
    )
    ordered = sorted(results, key=lambda each: each.divergence)
    figures = tuple(map(cells, ordered))
    floor, *others = (each.configuration for each in results)
    kinds = {floor.name: _FLOOR} | {each.name: _how_made(each) for each in others}
    scatter = Scatter(points, ("bytes per image", "KL in nats"))
    table = DataTable(COLUMNS, figures, "Lowest KL first")
    _, first, *_ = results
    crops = (
        f"{teacher} gives the most probable class of these crops a mean probability of "
        f"{first.teacher_top_probability:.2f}, on {len(first.by_image):,} images."
    )
    sections = (
        Section("Error against size", (Paragraph(_PLOT), Paragraph(crops), scatter)),
        Section(
            "The maps",
            (Paragraph(_KINDS), DataTable(("maps", "how they are made"), tuple(kinds.items()))),
        ),
        Section("All figures", (Paragraph(_FIGURES), table)),
    )
    lead = f"How close targets from label maps come to what {teacher} predicts for random crops."
    write_page(path, Page(f"Crop fidelity: {teacher}", sections, lead, f"labelkit {__version__}"))


def _how_made(configuration: Configuration) -> str:
    """How the maps of a configuration are made, apart from their size."""
    probabilities = configuration.method == "probability"
    if not configuration.settings:
        dense = "no file: all logits of all cells"
        if probabilities:
            return f"{dense}; probabilities are pooled"
        return dense if configuration.calibrated else f"{dense}; not calibrated"
    options = shlex.join(relabel_options(configuration)[2:]) or "no options: these are the defaults"
    if probabilities:
        return f'{options}; probabilities are pooled: TargetOptions(method="probability")'
    return options


def _hover_text(result: Fidelity) -> str:
    name, pixels, divergence, *_ = cells(result)
    return f"{name}, {pixels} pixels: KL {divergence}, {result.record_bytes:,.0f} bytes"
