"""The figures of ``labelkit fidelity`` as table cells, as a page with a plot, and as JSON."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labelkit.relabel import Configuration, Fidelity

COLUMNS = ("maps", "pixels", "KL", "±", "agreement", "bytes", "cost")

_PLOT = (
    "Every mark is one kind of map at one input size, at temperature 1. Lower is closer to the "
    "teacher's answers, further left takes less disk. Point at a mark for its figures."
)
_KINDS = (
    "What to give labelkit relabel for each kind, besides --size. The rows without a file show how "
    "close maps could come at best."
)
_FLOOR = "no map: the teacher's answer to the mirrored crop"
_FIGURES = (
    "KL: nats from the teacher's answer to a crop, shown at its own size, to the target pooled "
    "from the image's label map; ± is its standard error. Agreement: how often both name the same "
    "class. Bytes: an image's record; empty where no file holds the maps. Cost: the teacher's "
    "operations for the maps, in images at its own size. Temperature: what pooled logits are "
    "divided by; training does not do that by itself."
)


def cells(result: Fidelity) -> tuple[str, ...]:
    """One result as the cells of a row under ``COLUMNS``."""
    return (
        result.configuration.name,
        " + ".join(map(str, result.configuration.sizes)),
        f"{result.divergence:.3f}",
        f"{result.error:.3f}",
        f"{100 * result.agreement:.1f} %",
        f"{result.record_bytes:,.0f}" if result.record_bytes else "",
        f"{result.cost:.1f}x" if result.cost else "",
    )


def relabel_options(configuration: Configuration) -> list[str]:
    """The options of ``labelkit relabel`` that make a configuration's maps."""
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
    return options + ["--log-sum-exp"] * settings.log_sum_exp


def write_report(path: Path, results: Sequence[Fidelity], teacher: str) -> None:
    """Write all figures as a page (.html) or as JSON.

    Raises:
        OSError: the file cannot be written.
    """
    if path.suffix.lower() == ".json":
        path.write_bytes(msgspec.json.format(msgspec.json.encode([*map(asdict, results)])))
        return
    from labelkit import __version__
    from labelkit.inspection import DataTable, Page, Paragraph, Scatter, Section, write_page

    plain = [each for each in results if each.temperature == 1]
    points = tuple(
        (each.record_bytes, each.divergence, each.configuration.name, _told(each))
        for each in plain
        if each.configuration.settings
    )
    columns = (*COLUMNS, "temperature")
    rows = tuple((*cells(each), f"{each.temperature:g}") for each in _ordered(results))
    lead = f"How well label maps tell what {teacher} says of random crops."
    floor, *others = (each.configuration for each in results)
    kinds = {floor.name: _FLOOR} | {
        configuration.name: _made(configuration) for configuration in others
    }
    scatter = Scatter(points, ("bytes an image", "KL in nats"))
    made = DataTable(("maps", "how they are made"), tuple(kinds.items()))
    sections = (
        Section("Error against size", (Paragraph(_PLOT), scatter)),
        Section("The maps", (Paragraph(_KINDS), made)),
        Section("All figures", (Paragraph(_FIGURES), DataTable(columns, rows, "Lowest KL first"))),
    )
    write_page(path, Page(f"Crop fidelity: {teacher}", sections, lead, f"labelkit {__version__}"))


def _made(configuration: Configuration) -> str:
    """How the maps of a configuration are made, apart from their size."""
    pools = configuration.method == "probability"
    if not configuration.settings:
        return "no file: all logits of all cells" + "; probabilities are pooled" * pools
    made = shlex.join(relabel_options(configuration)[2:]) or "nothing more: these are the defaults"
    return made + '; probabilities are pooled: TargetOptions(method="probability")' * pools


def _told(result: Fidelity) -> str:
    name, pixels, divergence, *_ = cells(result)
    return f"{name}, {pixels} pixels: KL {divergence}, {result.record_bytes:,.0f} bytes"


def _ordered(results: Sequence[Fidelity]) -> list[Fidelity]:
    return sorted(results, key=lambda each: each.divergence)
