"""``labelkit relabel``: every image of a folder gets a label map."""

from __future__ import annotations

import os
import shlex
import statistics
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from labelkit.cli.options import names_option, read_classes

if TYPE_CHECKING:
    from rich.console import Console

    from labelkit.relabel import RelabelResult


_SMALLEST, _LARGEST = 16, 4096
_SHOWN = 5
EPILOG = """\b
Examples:
  labelkit relabel photos/train -o maps.h5
  labelkit relabel photos/train -o maps.h5 --teacher efficientnet-lite2 --size 384
  labelkit relabel photos/train -o maps.h5 --teacher efficientnet-lite0 --size 256+352
  labelkit relabel photos/train -o maps.h5 --selection cell --grid 15 --background 0
  labelkit relabel photos/train -o more.h5 --reuse maps.h5
  labelkit relabel photos/train -o maps.h5 --classes photos/train --names names.tsv
"""


@click.command("relabel", epilog=EPILOG)
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--teacher",
    "teachers",
    metavar="NAME",
    multiple=True,
    default=["efficientnet-lite0"],
    show_default=True,
    help="A card's name, a card's path (.toml), or a timm model. Several are averaged.",
)
@click.option(
    "--average",
    type=click.Choice(["logit", "probability"]),
    default="logit",
    show_default=True,
    help="What several answers are averaged in: several teachers, sizes, or the mirrored image.",
)
@click.option("--flip", is_flag=True, help="Average with the answer to the mirrored image.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="File to make (.h5).",
)
@click.option(
    "--selection",
    type=click.Choice(["image", "cell"]),
    default="image",
    show_default=True,
    help="Which classes are kept: the image's strongest, in all cells; or those of each cell, as "
    "published.",
)
@click.option(
    "--topk",
    "top_k",
    type=click.IntRange(1),
    help="How many classes. [default: 8 of an image, 5 of a cell, or all if there are fewer]",
)
@click.option(
    "--grid",
    type=click.IntRange(1, 64),
    help="Rows and columns of a map. [default: the teacher's own grid, 15 at most]",
)
@click.option(
    "--size",
    "sizes",
    metavar="PIXELS",
    callback=lambda _context, _option, value: _sizes(value),
    help="Input side. 256+352 averages the answers at two sizes in one map; 224,448 gives each "
    "image two maps, and a crop takes those that suit its zoom. [default: the teacher's]",
)
@click.option(
    "--classes",
    metavar="LIST",
    help="Keep these classes of the teacher only: a text file, a folder of class folders, or a "
    "named list.",
)
@names_option
@click.option(
    "--background",
    type=click.IntRange(0),
    help="Of how many other classes to keep the mean logit, for the cells that do not store them; "
    "0 counts them as logit 0, as published. [default: 128, or 64 with --selection cell]",
)
@click.option(
    "--patterns",
    type=click.IntRange(0, 16),
    help="How many patterns over the grid these classes share. [default: 2; 0 with --selection "
    "cell]",
)
@click.option(
    "--scores",
    type=click.Choice(["uint8", "float16", "float32"]),
    default="uint8",
    show_default=True,
    help="How a logit is stored; uint8 is a step of 1/255 of the image's own range.",
)
@click.option(
    "--log-sum-exp",
    is_flag=True,
    help="Keep that of each cell's logits too, for targets with method='probability'.",
)
@click.option(
    "--reuse",
    metavar="OLD",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An earlier file, made with the same teacher and settings: take its maps over, and make "
    "those of new images only, and of rows that are damaged there.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    help="Images per forward pass. [default: 128 with a GPU, else 8]",
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    help="Processes that decode. [default: 8 at most with a GPU, else 1]",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help="What the teacher's features are computed in.",
)
@click.option(
    "--compile",
    "compiled",
    is_flag=True,
    help="Compile the teacher first: half a minute or more for each input size, and about 1.4 "
    "times as fast from then on (CPU). Needs a C++ compiler; scores change by rounding only.",
)
@click.option(
    "--force", is_flag=True, help="Take a teacher that answers from its class token all the same."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, …")
def command(  # noqa: PLR0913, PLR0917 -- one a command-line option
    data: Path,
    teachers: tuple[str, ...],
    average: Literal["logit", "probability"],
    flip: bool,  # noqa: FBT001 -- a flag of the command line
    output: Path,
    selection: Literal["image", "cell"],
    top_k: int | None,
    grid: int | None,
    sizes: tuple[tuple[int, ...], ...],
    classes: str | None,
    names: Path | None,
    background: int | None,
    patterns: int | None,
    scores: Literal["uint8", "float16", "float32"],
    log_sum_exp: bool,  # noqa: FBT001 -- a flag of the command line
    reuse: Path | None,
    batch_size: int | None,
    workers: int | None,
    precision: Literal["float32", "bfloat16", "float16"],
    compiled: bool,  # noqa: FBT001 -- a flag of the command line
    force: bool,  # noqa: FBT001 -- a flag of the command line
    device: str,
) -> None:
    """Give every image of the folder DATA a label map, and write one file.

    A label map is a small grid of the classes that a strong classifier sees in each part of the
    image. Images are found at any depth; a row's key is the path below DATA. Interrupted,
    the same command goes on where it was. Unreadable images are listed, never replaced.
    """
    from labelkit.data import EXTENSIONS, list_images

    # What can be told at once is told before seconds of loading.
    list_images(data)
    if output.name.lower().endswith(EXTENSIONS):
        raise click.UsageError(f"{output} ends like an image: take a name such as maps.h5")
    subset, synsets = read_classes(classes, names)

    from rich.console import Console

    from labelkit.cli.progress import announce_teachers, kept_shards_told, progress_bar

    announce_teachers(dict.fromkeys(teachers))
    from labelkit.label_maps import LabelMapFile
    from labelkit.relabel import Settings, relabel
    from labelkit.teachers import load_teacher

    console = Console()
    one_size = sizes[0][0] if len(sizes) == 1 == len(sizes[0]) else None
    loaded = [
        load_teacher(
            name,
            device=device,
            size=one_size,
            force=force,
            precision=precision,
            compiled=compiled,
        )
        for name in dict.fromkeys(teachers)
    ]
    on_gpu = loaded[0].device.type == "cuda"
    settings = Settings(
        selection=selection,
        top_k=top_k,
        grid=(grid, grid) if grid else None,
        sizes=sizes,
        flip=flip,
        average=average,
        classes=subset,
        synsets=synsets,
        background=background,
        patterns=patterns,
        scores=scores,
        log_sum_exp=log_sum_exp,
        batch_size=batch_size or (128 if on_gpu else 8),
        # With a GPU, decoding is what takes the time; on a CPU, the teacher wants the cores.
        workers=(min(8, os.cpu_count() or 1) if on_gpu else 1) if workers is None else workers,
    )
    with ExitStack() as stack:
        stack.enter_context(kept_shards_told(output))
        old = stack.enter_context(LabelMapFile.open(reuse)) if reuse else None
        advance = stack.enter_context(progress_bar(console, "Relabel"))
        outcome = relabel(data, loaded, output, settings, on_progress=advance, reuse=old)
    _report(console, outcome, output, data, reuse)


def _sizes(value: str | None) -> tuple[tuple[int, ...], ...]:
    """Input sides from ``224,448`` or ``256+352``, ascending."""
    try:
        maps = {tuple(sorted({*map(int, part.split("+"))})) for part in (value or "").split(",")}
    except ValueError:
        if not value:
            return ()
        raise click.BadParameter(
            f"{value!r}: whole numbers, such as 320, 224,448 or 256+352"
        ) from None
    for size in (size for sizes in maps for size in sizes):
        if not _SMALLEST <= size <= _LARGEST:
            raise click.BadParameter(f"{size} is not between {_SMALLEST} and {_LARGEST} pixels")
    return tuple(sorted(maps, key=statistics.geometric_mean))


def _report(
    console: Console, outcome: RelabelResult, output: Path, data: Path, reuse: Path | None
) -> None:
    """What was made, what could not be read, and what to do next."""
    from labelkit.label_maps import LabelMapFile
    from labelkit.wording import file_size, printable

    size = outcome.path.stat().st_size
    with LabelMapFile.open(outcome.path) as file:
        approximate = file.made_with.get("head") == "approximate"
        unused, classes = file.attrs["unused_teacher_classes"], len(file.classes)
    state = "was there already, nothing to do" if outcome.existed else "made"
    lines = [f"{outcome.path} {state}: {outcome.images:,} label maps, {file_size(size)}"]
    if outcome.reused or outcome.damaged:
        lines.append(
            f"Taken over as they were: {outcome.reused:,}. Made now: {outcome.processed:,}."
        )
    if outcome.damaged:
        shown = ", ".join(map(printable, [*outcome.damaged][:_SHOWN]))
        more = ", …" if len(outcome.damaged) > _SHOWN else ""
        lines.append(
            f"Damaged in {reuse}, so made anew: {len(outcome.damaged):,} ({shown}{more}). "
            "The disk or a copy may be at fault."
        )
    if approximate:
        lines.append(
            "The teacher's head is not linear after its pool: each cell is its answer to that cell "
            "alone, and their mean is not its answer to the image."
        )
    if unused:
        lines.append(
            f"{unused:,} classes of the teacher are none of the {classes:,} here and were left "
            "out: what it saw of them is shared out among these."
        )
    if outcome.unreadable:
        lines.append(f"{len(outcome.unreadable):,} images could not be read and have no map:")
        lines += [
            f"  {printable(key)}: {why}" for key, why in [*outcome.unreadable.items()][:_SHOWN]
        ]
        lines.append(
            f"Repair or remove them, then run again with -o another name and --reuse "
            f"{shlex.quote(str(outcome.path))}: only those are made."
        )
    inspect = ["labelkit", "inspect", output, "--images", data, "-o", "report.html"]
    lines.append(f"Next: {shlex.join(printable(str(word)) for word in inspect)}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
