"""``labelkit relabel``: every image of a folder gets a label map."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from labelkit.relabel import Outcome


@click.command(
    "relabel",
    epilog="Example: labelkit relabel photos/train --teacher efficientnet-lite0 -o maps.h5",
)
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--teacher",
    default="efficientnet-lite0",
    show_default=True,
    help="A card's name, a card's path (.toml), or a timm model.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="File to make (.h5).",
)
@click.option(
    "--topk",
    "top_k",
    type=click.IntRange(1),
    help="Classes kept in every cell. [default: 5, or all if there are fewer]",
)
@click.option("--grid", type=click.IntRange(1, 64), default=15, show_default=True)
@click.option(
    "--size", type=click.IntRange(16, 4096), help="Input side in pixels. [default: the teacher's]"
)
@click.option(
    "--classes",
    metavar="LIST",
    help="Keep these classes of the teacher only: a text file, a folder of class folders, or a "
    "named list.",
)
@click.option(
    "--background",
    type=click.IntRange(0),
    default=64,
    show_default=True,
    help="Of how many classes an image to keep the mean logit, for the cells that do not store "
    "them; 0 counts them as logit 0, as published.",
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
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, …")
def command(  # noqa: PLR0913, PLR0917 -- one a command-line option
    data: Path,
    teacher: str,
    output: Path,
    top_k: int | None,
    grid: int,
    size: int | None,
    classes: str | None,
    background: int,
    batch_size: int | None,
    workers: int | None,
    device: str,
) -> None:
    """Give every image of the folder DATA a label map, and write one file.

    A label map is a small grid (15x15) of the classes that a strong classifier sees in each part
    of the image. Images are found at any depth; a row's key is the path below DATA. Interrupted,
    the same command goes on where it was. Unreadable images are listed, never replaced.
    """
    from labelkit.data import EXTENSIONS, list_images
    from labelkit.hierarchy import read_class_list

    # What can be told at once is told before seconds of loading.
    list_images(data)
    if output.name.lower().endswith(EXTENSIONS):
        raise click.UsageError(f"{output} ends like an image: take a name such as maps.h5")
    try:
        subset = read_class_list(classes) if classes else None
    except FileNotFoundError as error:
        raise click.UsageError(str(error)) from error

    from rich.console import Console

    from labelkit.cli.progress import progress_bar
    from labelkit.relabel import Settings, relabel
    from labelkit.teachers import load_teacher

    console = Console()
    loaded = load_teacher(teacher, device=device)
    on_gpu = loaded.device.type == "cuda"
    settings = Settings(
        top_k=top_k or min(5, len(subset or loaded.classes)),
        grid=(grid, grid),
        size=size,
        classes=subset,
        background=background,
        batch_size=batch_size or (128 if on_gpu else 8),
        # With a GPU, decoding is what takes the time; on a CPU, the teacher wants the cores.
        workers=(min(8, os.cpu_count() or 1) if on_gpu else 1) if workers is None else workers,
    )
    with progress_bar(console, "Relabel") as advance:
        outcome = relabel(data, loaded, output, settings, advance)
    _report(console, outcome, data)


def _report(console: Console, outcome: Outcome, data: Path) -> None:
    """What was made, what could not be read, and what to do next."""
    from labelkit.inspection.wording import printable
    from labelkit.label_maps import LabelMapFile

    size = outcome.path.stat().st_size
    with LabelMapFile.open(outcome.path) as file:
        approximate = file.made_with["head"] == "approximate"
        unused, classes = file.attrs["unused_teacher_classes"], len(file.classes)
    state = "was there already, nothing to do" if outcome.existed else "made"
    lines = [f"{outcome.path} {state}: {outcome.images:,} label maps, {size / 1e6:,.2f} MB"]
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
        lines += [f"  {printable(key)}: {why}" for key, why in [*outcome.unreadable.items()][:5]]
        lines.append("Repair or remove them, remove the file and run again, to have it whole.")
    inspect = ["labelkit", "inspect", str(outcome.path), "--images", str(data), "-o", "report.html"]
    lines.append(f"Next: {shlex.join(inspect)}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
