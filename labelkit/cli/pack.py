"""``labelkit pack``: a label-map file in the form that is read at once."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labelkit.label_maps import LabelMapFile

EPILOG = """\b
Example:
  labelkit pack maps.h5 --raw -o maps-raw.h5
"""


@click.command("pack", epilog=EPILOG)
@click.argument(
    "path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--raw", is_flag=True, help="Write the raw form; the only one to choose.")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to make (.h5); never one that is there.",
)
def command(
    path: Path,
    raw: bool,  # noqa: FBT001 -- a flag of the command line
    output: Path,
) -> None:
    """Write the label-map file FILE in its raw form: larger, and read without unpacking.

    The maps are the same bit for bit, and so is the file's digest: training goes on with either.
    Keep the packed file: files are merged, appended to and copied in that form.
    """
    from rich.console import Console

    from labelkit.cli.progress import progress_bar
    from labelkit.errors import LabelkitError
    from labelkit.label_maps import LabelMapFile, write_raw

    console = Console()
    with LabelMapFile.open(path) as file:
        if file.raw:
            raise LabelkitError(
                f"{path} is a raw file, and a raw file is not packed again: keep the packed file "
                "that it was made from"
            )
        if not raw:
            raise click.UsageError(f"{path} is packed already: --raw writes its raw form")
        with progress_bar(console, "Unpack", "rows") as advance:
            made = write_raw(file, output, advance)
        lines = [*_summary(file, made, output)]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _summary(file: LabelMapFile, made: LabelMapFile, output: Path) -> Iterator[str]:
    """Both sizes, and what to do next."""
    from labelkit.wording import file_size, printable

    sizes = [each.path.stat().st_size for each in (file, made)]
    rows = max(len(made), 1)
    yield f"{made.path} made: {len(made):,} rows, read without unpacking"
    for name, each, size in zip(("Packed", "Raw"), (file, made), sizes, strict=True):
        yield f"{name}: {file_size(size)}, {each.record_bytes / rows:,.0f} bytes a row"
    yield f"Next: {shlex.join(['labelkit', 'verify', printable(str(output))])}"
