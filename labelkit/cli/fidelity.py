"""``labelkit fidelity``: how close pooled targets come to the teacher's prediction for crops."""

from __future__ import annotations

import math
import shlex
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from labelkit.cli.options import (
    SOURCE,
    classes_option,
    device_option,
    json_option,
    names_option,
    open_images,
    output_option,
    overwrite_option,
    quiet_option,
    read_classes,
    require_writable,
    seed_option,
    source_options,
    teachers_option,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.console import Console

    from labelkit.relabel import Fidelity
    from labelkit.teachers import Teacher

_LEAST_GAIN = 0.01
_BARS = {"images": ("Measure", "images"), "calibrations": ("Calibrate", "kinds")}
EPILOG = """\b
Examples:
  labelkit fidelity photos/train --teacher efficientnet-lite0
  labelkit fidelity photos/train --sizes 288,320 --sample 250 -o fidelity.html
  labelkit fidelity photos/train --classes photos/train --names names.tsv
  labelkit fidelity photos/train --json > fidelity.json
"""


def _parse_sizes(value: str) -> tuple[int, ...]:
    try:
        numbers = sorted({int(part) for part in value.split(",")})
    except ValueError:
        raise click.BadParameter(f"{value!r}: expected numbers separated by commas") from None
    if numbers[0] <= 0:
        raise click.BadParameter(f"{value!r}: expected numbers above 0")
    return tuple(numbers)


@click.command("fidelity", epilog=EPILOG)
@click.argument("data", type=SOURCE)
@source_options
@teachers_option
@classes_option
@names_option
@click.option(
    "--sizes",
    metavar="PIXELS,...",
    callback=lambda _context, _option, value: _parse_sizes(value) if value else (),
    help="Input sides to try. [default: from the teacher's native size to twice that]",
)
@click.option(
    "--sample",
    metavar="N",
    type=click.IntRange(2),
    default=100,
    show_default=True,
    help="Images to measure, evenly spaced over DATA.",
)
@click.option(
    "--crops", type=click.IntRange(1), default=8, show_default=True, help="Random crops per image."
)
@seed_option
@click.option(
    "--budget",
    metavar="BYTES",
    type=click.IntRange(1),
    default=2400,
    show_default=True,
    help="Bytes per image that recommended maps may take.",
)
@device_option
@output_option("Page to write, with a plot and all figures (.html).", required=False)
@overwrite_option
@json_option
@quiet_option
def command(  # noqa: PLR0913 -- one per option
    data: Path,
    *,
    teachers: tuple[str, ...],
    classes: str | None,
    names: Path | None,
    sizes: tuple[int, ...],
    sample: int,
    crops: int,
    seed: int,
    budget: int,
    device: str,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Measure which label maps come closest to the teacher's prediction for random crops of DATA.

    The teacher sees each crop at its native size. Its prediction is compared with the target pooled
    from the image's label map: KL in nats (lower is better), and how often both name the same
    class. Several input sizes and kinds of maps are compared on the same crops, between two limits:
    the prediction for the mirrored crop, and maps that store all logits. Targets are calibrated as
    `labelkit relabel` does it, with what is fitted on the other half of the images. Nothing is
    trained, and no label-map file is written.
    """
    if output:
        require_writable(output, overwrite=overwrite, suffixes=(".html",))
    source = open_images(data)  # loading a teacher takes seconds: wrong input is reported before
    wanted, synsets = read_classes(classes, names)

    from labelkit.cli.fidelity_report import write_report
    from labelkit.cli.output import console, print_json, print_lines
    from labelkit.cli.progress import ProgressBars, announce_teachers

    teachers = tuple(dict.fromkeys(teachers))
    announce_teachers(teachers)
    from labelkit.relabel import Settings, default_configurations, default_sizes, measure_fidelity
    from labelkit.teachers import load_teacher

    screen = console(stderr=as_json)
    loaded = [load_teacher(name, device=device) for name in teachers]
    num_classes = len(wanted or loaded[0].classes)
    with ProgressBars(screen, _BARS) as bars:
        results = measure_fidelity(
            source,
            loaded,
            default_configurations(sizes or default_sizes(loaded[0].card.native_size), num_classes),
            shared=Settings(classes=wanted, synsets=synsets),
            sample=sample,
            crops=crops,
            seed=seed,
            on_progress=partial(bars, "images"),
            on_calibration=partial(bars, "calibrations"),
        )
    relabel = ["labelkit", "relabel", str(data)]
    for option, values in (("--teacher", teachers), ("--classes", [classes]), ("--names", [names])):
        relabel += [word for value in values if value for word in (option, str(value))]
    if as_json:
        print_json({"teachers": teachers, **_facts(results, budget, relabel)})
    else:
        _print_tables(screen, results, loaded)
        print_lines(screen, _advice(results, budget, relabel, crops))
    if output:
        write_report(output, results, " and ".join(each.card.name for each in loaded))
        print_lines(screen, [f"All figures: {output}"])


def _facts(results: Sequence[Fidelity], budget: int, relabel: list[str]) -> dict[str, Any]:
    """What ``--json`` prints."""
    from labelkit.relabel import recommend

    found = recommend(results, budget)
    certain = found is not None and found.certain
    return {
        "results": [_figures(each) for each in results],
        "images": len(results[0].by_image),
        "recommended": _figures(found.chosen) if found and certain else None,
        "command": _relabel_command(found.chosen, relabel) if found and certain else None,
        "images_needed": found.images if found and not certain else None,
    }


def _figures(result: Fidelity) -> dict[str, Any]:
    figures = asdict(result)
    del figures["by_image"]
    return figures


def _print_tables(screen: Console, results: Sequence[Fidelity], teachers: list[Teacher]) -> None:
    """The figures of each size, and of each kind of maps at the best size."""
    from labelkit.cli.fidelity_report import COLUMNS, cells
    from labelkit.cli.output import plain_table, print_table

    floor, *others = results
    one_default = [
        each
        for each in others
        if each.configuration.name == "default" and len(each.configuration.sizes) == 1
    ]
    best = min(one_default, key=lambda each: each.divergence).configuration.sizes
    compared = {"all logits", "default", "default, not calibrated", "as published"}
    by_size = [each for each in others if each.configuration.name in compared]
    by_kind = [
        each for each in others if each.configuration.settings and each.configuration.sizes == best
    ]
    for each in teachers:
        screen.print(f"{each.card.name}, native size {each.card.native_size} px", style="bold")
    top = floor.teacher_top_probability
    screen.print(f"Mean top probability of its predictions for these crops: {top:.2f}")
    for title, rows in (("By input size", [floor, *by_size]), (f"At {best[0]} px", by_kind)):
        table = plain_table(*COLUMNS[:2], numbers=COLUMNS[2:])
        table.title, table.title_justify = title, "left"
        for each in sorted(rows, key=lambda row: row.divergence):
            table.add_row(*cells(each))
        print_table(screen, table)


def _advice(
    results: Sequence[Fidelity], budget: int, relabel: list[str], crops: int
) -> Iterator[str]:
    """The recommended maps and the command that makes them, or how many images it takes to tell."""
    from labelkit.relabel import recommend

    found = recommend(results, budget)
    if found is None:
        yield f"No maps fit {budget:,} bytes: raise --budget."
        return
    chosen, rival = found.chosen, found.rival
    if rival and not found.certain:
        yield (
            f"Too few to tell, with {len(chosen.by_image):,} images x {crops} crops: "
            f"{_named(chosen)} has KL {chosen.divergence:.3f}, but {_named(rival)}, with "
            f"{rival.divergence:.3f}, may be up to {found.margin:.3f} better (95 % confidence). It "
            f"takes about {found.images:,} images to tell: pass --sample {found.images}, or more "
            "--crops."
        )
        return
    yield (
        f"Recommended: {_named(chosen)}: KL {chosen.divergence:.3f}, {chosen.record_bytes:,.0f} "
        f"bytes. Nothing measured within {budget:,} bytes is {_better(found.margin)} (95 % "
        "confidence)."
    )
    yield from _better_above(results, chosen, budget)
    yield f"Next: {_relabel_command(chosen, relabel)}"


def _better(margin: float) -> str:
    """By how much KL nothing else is better, in words."""
    return f"better by more than {margin:.3f}" if margin >= 0.0005 else "better"


def _better_above(results: Sequence[Fidelity], chosen: Fidelity, budget: int) -> Iterator[str]:
    """The closest maps that take more than the budget, if they are better."""
    above = [
        each
        for each in results
        if each.record_bytes > budget and each.configuration.method == "relabel"
    ]
    best = min(above, key=lambda each: each.divergence, default=chosen)
    if best.divergence < chosen.divergence - _LEAST_GAIN:
        yield (
            f"Above the budget, {_named(best)} reaches KL {best.divergence:.3f} in "
            f"{best.record_bytes:,.0f} bytes (--budget {math.ceil(best.record_bytes)})."
        )


def _named(result: Fidelity) -> str:
    sizes = " and ".join(map(str, result.configuration.sizes))
    return f"{result.configuration.name} at {sizes} px"


def _relabel_command(chosen: Fidelity, relabel: list[str]) -> str:
    """The command that makes these maps."""
    from labelkit.cli.fidelity_report import relabel_options

    return shlex.join([*relabel, *relabel_options(chosen.configuration), "-o", "maps.h5"])
