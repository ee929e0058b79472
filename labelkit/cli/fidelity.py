"""``labelkit fidelity``: how well label maps tell what a teacher says of random crops."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from labelkit.relabel import Fidelity
    from labelkit.teachers import Teacher

_REPORTS = (".html", ".json")
EPILOG = """\b
Examples:
  labelkit fidelity photos/train --teacher efficientnet-lite0
  labelkit fidelity photos/train --sizes 288,320 --images 250 -o fidelity.html
"""


def _numbers(value: str, kind: type[int | float]) -> tuple[int | float, ...]:
    try:
        numbers = sorted({kind(part) for part in value.split(",")})
    except ValueError:
        raise click.BadParameter(f"{value!r}: numbers with commas between them") from None
    if numbers[0] <= 0:
        raise click.BadParameter(f"{value!r}: above zero")
    return tuple(numbers)


@click.command("fidelity", epilog=EPILOG)
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--teacher",
    default="efficientnet-lite0",
    show_default=True,
    help="A card's name, a card's path (.toml), or a timm model.",
)
@click.option(
    "--sizes",
    metavar="PIXELS,...",
    callback=lambda _context, _option, value: _numbers(value, int) if value else (),
    help="Input sides to try. [default: from the teacher's own to twice that]",
)
@click.option(
    "--temperatures",
    metavar="T,...",
    default="0.9,1,1.1",
    show_default=True,
    callback=lambda _context, _option, value: _numbers(value, float),
    help="What pooled logits are divided by; training does not do that by itself.",
)
@click.option("--images", type=click.IntRange(2), default=100, show_default=True)
@click.option(
    "--crops", type=click.IntRange(1), default=8, show_default=True, help="Of each image."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the crops.")
@click.option(
    "--budget",
    metavar="BYTES",
    type=click.IntRange(1),
    default=2400,
    show_default=True,
    help="What a map may take on disk to be recommended.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, …")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write all figures too: a page with a plot (.html), or .json.",
)
def command(  # noqa: PLR0913, PLR0917 -- one a command-line option
    data: Path,
    teacher: str,
    sizes: tuple[int, ...],
    temperatures: tuple[float, ...],
    images: int,
    crops: int,
    seed: int,
    budget: int,
    device: str,
    output: Path | None,
) -> None:
    """Measure which label maps tell best what a teacher says of random crops of DATA.

    The teacher is shown crops at its own size. Its answer is held against the target that is pooled
    from the image's label map: KL in nats (lower is better), and how often both name the same
    class. Several input sizes and kinds of maps are compared on the same crops, between two ends:
    the teacher's answer to the mirrored crop, and all logits kept. Nothing is trained, and no file
    is made but the report.
    """
    if output and output.suffix.lower() not in _REPORTS:
        raise click.UsageError(f"{output} must end in one of {', '.join(_REPORTS)}")
    if output and not output.absolute().parent.is_dir():
        raise click.UsageError(f"no folder {output.parent}")
    from labelkit.data import list_images

    list_images(data)  # what can be told at once is told before seconds of loading

    from rich.console import Console

    from labelkit.cli.fidelity_report import write_report
    from labelkit.cli.progress import announce_teachers, progress_bar

    announce_teachers([teacher])
    from labelkit.relabel import default_configurations, default_sizes, measure_fidelity
    from labelkit.teachers import load_teacher

    console = Console()
    loaded = load_teacher(teacher, device=device)
    native = loaded.card.native_size
    chosen = sizes or default_sizes(native)
    configurations = default_configurations(chosen, published=round(15 / 7 * native / 32) * 32)
    with progress_bar(console, "Crops") as advance:
        results = measure_fidelity(
            data,
            loaded,
            configurations,
            temperatures=tuple(sorted({1.0, *temperatures})),
            images=images,
            crops=crops,
            seed=seed,
            on_progress=advance,
        )
    _print(console, results, loaded)
    for line in _advice(results, budget, data, teacher):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if output:
        write_report(output, results, loaded.card.name)
        console.print(f"All figures: {output}", markup=False, highlight=False, soft_wrap=True)


def _print(console: Console, results: Sequence[Fidelity], teacher: Teacher) -> None:
    """What each size gives, and what each kind of maps gives at the best size, at temperature 1."""
    from labelkit.cli.fidelity_report import COLUMNS, cells
    from labelkit.cli.output import plain_table

    shown = [each for each in results if each.temperature == 1]
    defaults = [
        each
        for each in shown
        if each.configuration.name == "default" and len(each.configuration.sizes) == 1
    ]
    best = min(defaults, key=lambda each: each.divergence).configuration.sizes
    by_size = [each for each in shown if each.configuration.name in {"all logits", "default"}]
    by_kind = [
        each for each in shown if each.configuration.settings and each.configuration.sizes == best
    ]
    first, last = shown[0], [each for each in shown if each.configuration.name == "as published"]
    console.print(
        f"{teacher.card.name}, trained at {teacher.card.native_size} pixels", style="bold"
    )
    for title, rows in (
        ("By input size", [first, *by_size, *last]),
        (f"At {best[0]} pixels", by_kind),
    ):
        table = plain_table(*COLUMNS[:2], numbers=COLUMNS[2:])
        table.title, table.title_justify = title, "left"
        for each in sorted(rows, key=lambda row: row.divergence):
            table.add_row(*cells(each))
        console.print(table)


def _advice(results: Sequence[Fidelity], budget: int, data: Path, teacher: str) -> Iterator[str]:
    """What to take, and the command that does."""
    from labelkit.cli.fidelity_report import relabel_options
    from labelkit.relabel import recommend

    chosen = recommend(results, budget)
    if chosen is None:
        yield f"No map fits {budget:,} bytes: allow more with --budget."
        return
    best = min(
        (each for each in results if each.configuration == chosen.configuration),
        key=lambda r: r.divergence,
    )
    yield (
        f"Recommended: {chosen.configuration.name}, "
        f"{' and '.join(map(str, chosen.configuration.sizes))} pixels: KL "
        f"{chosen.divergence:.3f}, {chosen.record_bytes:,.0f} bytes. Of logits pooled, nothing "
        f"within {budget:,} bytes is 0.01 better."
    )
    if best.temperature != 1 and best.divergence < chosen.divergence - 0.01:
        yield f"Its logits divided by {best.temperature:g} would give {best.divergence:.3f}."
    surer = [
        each
        for each in results
        if each.configuration.method == "probability" and each.configuration.settings
    ]
    fitting = [each for each in surer if each.record_bytes <= budget]
    top = min(fitting, key=lambda each: each.divergence, default=chosen)
    if top.divergence < min(chosen.divergence, best.divergence) - 0.01:
        yield (
            f"Of probabilities pooled, {' and '.join(map(str, top.configuration.sizes))} pixels "
            "divided by "
            f"{top.temperature:g} would give {top.divergence:.3f}: make the maps with "
            "--log-sum-exp, and train with TargetOptions(method='probability')."
        )
    options = relabel_options(chosen.configuration)
    command = ["labelkit", "relabel", str(data), "--teacher", teacher, *options, "-o", "maps.h5"]
    yield f"Next: {shlex.join(command)}"
