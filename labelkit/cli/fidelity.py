"""``labelkit fidelity``: how close pooled targets come to the teacher's prediction for crops."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from labelkit.cli.options import (
    FOLDER,
    device_option,
    json_option,
    output_option,
    overwrite_option,
    quiet_option,
    require_writable,
    seed_option,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.console import Console

    from labelkit.relabel import Fidelity
    from labelkit.teachers import Teacher

_LEAST_GAIN = 0.01
EPILOG = """\b
Examples:
  labelkit fidelity photos/train --teacher efficientnet-lite0
  labelkit fidelity photos/train --sizes 288,320 --sample 250 -o fidelity.html
  labelkit fidelity photos/train --json > fidelity.json
"""


def _parse_numbers(value: str, kind: type[int | float]) -> tuple[int | float, ...]:
    try:
        numbers = sorted({kind(part) for part in value.split(",")})
    except ValueError:
        raise click.BadParameter(f"{value!r}: expected numbers separated by commas") from None
    if numbers[0] <= 0:
        raise click.BadParameter(f"{value!r}: expected numbers above 0")
    return tuple(numbers)


@click.command("fidelity", epilog=EPILOG)
@click.argument("data", type=FOLDER)
@click.option(
    "--teacher",
    metavar="NAME",
    default="efficientnet-lite0",
    show_default=True,
    help="A card's name, the path of a card (.toml), or a timm model.",
)
@click.option(
    "--sizes",
    metavar="PIXELS,...",
    callback=lambda _context, _option, value: _parse_numbers(value, int) if value else (),
    help="Input sides to try. [default: from the teacher's native size to twice that]",
)
@click.option(
    "--temperatures",
    metavar="T,...",
    default="0.9,1,1.1",
    show_default=True,
    callback=lambda _context, _option, value: _parse_numbers(value, float),
    help="What to divide pooled logits by; training does not do so unless asked.",
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
    teacher: str,
    sizes: tuple[int, ...],
    temperatures: tuple[float, ...],
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
    the prediction for the mirrored crop, and maps that store all logits. Nothing is trained, and no
    label-map file is written.
    """
    if output:
        require_writable(output, overwrite=overwrite, suffixes=(".html",))
    from labelkit.data import list_images

    list_images(data)  # loading a teacher takes seconds: wrong input is reported before

    from labelkit.cli.fidelity_report import write_report
    from labelkit.cli.output import console, print_json, print_lines
    from labelkit.cli.progress import announce_teachers, progress_bar

    announce_teachers([teacher])
    from labelkit.relabel import default_configurations, default_sizes, measure_fidelity
    from labelkit.teachers import load_teacher

    screen = console(stderr=as_json)
    loaded = load_teacher(teacher, device=device)
    native = loaded.card.native_size
    with progress_bar(screen, "Measure") as advance:
        results = measure_fidelity(
            data,
            loaded,
            default_configurations(
                sizes or default_sizes(native), published=round(15 / 7 * native / 32) * 32
            ),
            temperatures=tuple(sorted({1.0, *temperatures})),
            sample=sample,
            crops=crops,
            seed=seed,
            on_progress=advance,
        )
    if as_json:
        print_json(_facts(results, budget, data, teacher))
    else:
        _print_tables(screen, results, loaded)
        print_lines(screen, _advice(results, budget, data, teacher))
    if output:
        write_report(output, results, loaded.card.name)
        print_lines(screen, [f"All figures: {output}"])


def _facts(results: Sequence[Fidelity], budget: int, data: Path, teacher: str) -> dict[str, Any]:
    """What ``--json`` prints."""
    from labelkit.relabel import recommend

    chosen = recommend(results, budget)
    return {
        "teacher": teacher,
        "results": [asdict(each) for each in results],
        "recommended": chosen and asdict(chosen),
        "command": chosen and _relabel_command(chosen, data, teacher),
    }


def _print_tables(screen: Console, results: Sequence[Fidelity], teacher: Teacher) -> None:
    """The figures at temperature 1: of each size, and of each kind of maps at the best size."""
    from labelkit.cli.fidelity_report import COLUMNS, cells
    from labelkit.cli.output import plain_table, print_table

    floor, *others = [each for each in results if each.temperature == 1]
    names = [each.configuration.name for each in others]
    sizes = [each.configuration.sizes for each in others]
    one_default = [
        each
        for each, name, sides in zip(others, names, sizes, strict=True)
        if name == "default" and len(sides) == 1
    ]
    best = min(one_default, key=lambda each: each.divergence).configuration.sizes
    compared = {"all logits", "default", "as published"}
    by_size = [each for each, name in zip(others, names, strict=True) if name in compared]
    by_kind = [
        each
        for each, sides in zip(others, sizes, strict=True)
        if each.configuration.settings and sides == best
    ]
    screen.print(f"{teacher.card.name}, native size {teacher.card.native_size} px", style="bold")
    for title, rows in (("By input size", [floor, *by_size]), (f"At {best[0]} px", by_kind)):
        table = plain_table(*COLUMNS[:2], numbers=COLUMNS[2:])
        table.title, table.title_justify = title, "left"
        for each in sorted(rows, key=lambda row: row.divergence):
            table.add_row(*cells(each))
        print_table(screen, table)


def _advice(results: Sequence[Fidelity], budget: int, data: Path, teacher: str) -> Iterator[str]:
    """The recommended maps, and the command that makes them."""
    from labelkit.relabel import recommend

    chosen = recommend(results, budget)
    if chosen is None:
        yield f"No maps fit {budget:,} bytes: raise --budget."
        return
    same = [each for each in results if each.configuration == chosen.configuration]
    best = min(same, key=lambda each: each.divergence)
    yield (
        f"Recommended: {chosen.configuration.name}, {_pixels(chosen)}: KL {chosen.divergence:.3f}, "
        f"{chosen.record_bytes:,.0f} bytes. With pooled logits, nothing within {budget:,} bytes is "
        f"{_LEAST_GAIN} better."
    )
    if best.temperature != 1 and best.divergence < chosen.divergence - _LEAST_GAIN:
        yield f"Dividing its logits by {best.temperature:g} would give {best.divergence:.3f}."
    fitting = [
        each
        for each in results
        if each.configuration.method == "probability"
        and each.configuration.settings
        and each.record_bytes <= budget
    ]
    other = min(fitting, key=lambda each: each.divergence, default=chosen)
    if other.divergence < min(chosen.divergence, best.divergence) - _LEAST_GAIN:
        yield (
            f"With pooled probabilities, {_pixels(other)} divided by {other.temperature:g} would "
            f"give {other.divergence:.3f}: make the maps with --log-sum-exp, and train with "
            "TargetOptions(method='probability')."
        )
    yield f"Next: {_relabel_command(chosen, data, teacher)}"


def _pixels(result: Fidelity) -> str:
    return f"{' and '.join(map(str, result.configuration.sizes))} px"


def _relabel_command(chosen: Fidelity, data: Path, teacher: str) -> str:
    """The command that makes these maps."""
    from labelkit.cli.fidelity_report import relabel_options

    options = relabel_options(chosen.configuration)
    return shlex.join(
        ["labelkit", "relabel", str(data), "--teacher", teacher, *options, "-o", "maps.h5"]
    )
