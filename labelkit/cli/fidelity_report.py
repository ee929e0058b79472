"""The figures of ``labelkit fidelity`` as table cells, as a page with a plot, and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labelkit.relabel import Fidelity, Way

COLUMNS = ("maps", "pixels", "KL", "+-", "agreement", "bytes", "cost")


def cells(result: Fidelity) -> tuple[str, ...]:
    """One result as the cells of a row under ``COLUMNS``."""
    return (
        result.way.name,
        " + ".join(map(str, result.way.sizes)),
        f"{result.divergence:.3f}",
        f"{result.error:.3f}",
        f"{100 * result.agreement:.1f} %",
        f"{result.record_bytes:,.0f}" if result.record_bytes else "",
        f"{result.cost:.1f}x" if result.cost else "",
    )


def relabel_options(way: Way) -> list[str]:
    """The options of ``labelkit relabel`` that make a way's maps."""
    options = ["--size", ",".join(map(str, way.sizes))]
    settings = way.settings
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
    from labelkit.inspection.blocks import Page, Paragraph, Scatter, Section, Table
    from labelkit.inspection.page import write_page

    plain = [each for each in results if each.temperature == 1]
    points = tuple(
        (each.record_bytes, each.divergence, each.way.name, _told(each))
        for each in plain
        if each.way.settings
    )
    columns = (*COLUMNS, "temperature")
    rows = tuple((*cells(each), f"{each.temperature:g}") for each in _ordered(results))
    lead = f"How well label maps tell what {teacher} says of random crops."
    about = (
        "KL in nats from the teacher's answer to a crop, shown at its own size, to the target "
        "pooled from the image's label map. Agreement: how often both name the same class. Bytes: "
        "an image's record. Cost: the teacher's operations for the maps, in images at its own "
        "size."
    )
    sections = (
        Section("Error against size", (Scatter(points, ("bytes an image", "KL in nats")),)),
        Section("All figures", (Paragraph(about), Table(columns, rows))),
    )
    write_page(path, Page(f"Crop fidelity: {teacher}", sections, lead, f"labelkit {__version__}"))


def _told(result: Fidelity) -> str:
    name, pixels, divergence, *_ = cells(result)
    return f"{name}, {pixels} pixels: KL {divergence}, {result.record_bytes:,.0f} bytes"


def _ordered(results: Sequence[Fidelity]) -> list[Fidelity]:
    return sorted(results, key=lambda each: each.divergence)
