"""The options of ``labelkit convert`` that are for label maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    Command: TypeAlias = Callable[..., object]

AXES = (
    "ReLabel folders: which of a tensor's last two axes runs down the image, the first "
    "(rows-first) or the second (columns-first). The files do not say it. The loader published "
    "with ReLabel reads them columns-first."
)

OPTIONS: tuple[Callable[[Command], Command], ...] = (
    click.option("--axes", type=click.Choice(["rows-first", "columns-first"]), help=AXES),
    click.option(
        "--classes",
        metavar="LIST",
        help="From a ReLabel folder: the class list of its indices. A text file, a folder "
        "of class folders, or a named list.",
    ),
    click.option(
        "--images",
        metavar="DATA",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="From a ReLabel folder: the folder of images, to find the one of each map: the same "
        "path, but for the ending.",
    ),
    click.option(
        "--suffix",
        metavar=".JPEG",
        help="From a ReLabel folder, without --images: how the images' names all end.",
    ),
    click.option(
        "--scores",
        type=click.Choice(["uint8", "float16", "float32"]),
        help="From a ReLabel folder: how to store a score; uint8 is a step of 1/255 of the image's "
        "own range. [default: uint8]",
    ),
    click.option(
        "--format",
        "layout",
        type=click.Choice(["relabel"]),
        help="From a label-map file: into a folder of .pt files as ReLabel's.",
    ),
    click.option(
        "--topk",
        "top_k",
        type=click.IntRange(1),
        help="With --format relabel: classes in each cell. [default: those stored in it, or 5]",
    ),
)


@dataclass(frozen=True, kw_only=True)
class MapOptions:
    """The options that belong to label maps, by the names of the command's parameters."""

    axes: Literal["rows-first", "columns-first"] | None
    classes: str | None
    images: Path | None
    suffix: str | None
    scores: Literal["uint8", "float16", "float32"] | None
    layout: str | None
    top_k: int | None

    def require_only(self, allowed: set[str], what: str) -> None:
        """Raise if an option is given that does not belong to what is to be done.

        Raises:
            click.UsageError: the message names the option.
        """
        names = {"layout": "format", "top_k": "topk"}
        given = [names.get(name, name) for name, value in vars(self).items() if value is not None]
        wrong = [f"--{name}" for name in given if name not in allowed]
        if wrong:
            raise click.UsageError(f"{', '.join(wrong)} is not for {what}")


def map_options(command: Command) -> Command:
    """Give a command all of them."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command
