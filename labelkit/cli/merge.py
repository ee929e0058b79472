"""``labelkit merge``: several label-map files as one."""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from labelkit.cli.options import (
    FILE,
    LABEL_MAP_SUFFIXES,
    output_option,
    overwrite_option,
    quiet_option,
    require_writable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from labelkit.label_maps import LabelMapFile

EPILOG = """\b
Examples:
  labelkit merge machine1.h5 machine2.h5 -o maps.h5
  labelkit merge machine*.h5 -o maps.h5 --overwrite --quiet
"""


@click.command("merge", epilog=EPILOG)
@click.argument("paths", metavar="FILE FILE...", nargs=-1, required=True, type=FILE)
@output_option("Label-map file to write (.h5).")
@overwrite_option
@quiet_option
def command(
    paths: tuple[Path, ...],
    output: Path,
    overwrite: bool,  # noqa: FBT001 -- a flag of the command line
) -> None:
    """Merge label-map files that were made in parts, for example on several machines.

    All files must share one class list, one form and one source. Every row is checked, then copied
    unchanged; the order of the files does not matter. To average several teachers, pass several
    --teacher to labelkit relabel.
    """
    if len(paths) < 2:
        raise click.UsageError("pass at least two files")
    require_writable(output, overwrite=overwrite, suffixes=LABEL_MAP_SUFFIXES, may_be_input=True)

    from labelkit.cli.output import console, print_lines
    from labelkit.cli.progress import progress_bar
    from labelkit.label_maps import LabelMapFile, merge

    screen = console()
    with ExitStack() as opened:
        files = [opened.enter_context(LabelMapFile.open(path)) for path in paths]
        with progress_bar(screen, "Merge", "rows") as advance:
            merged = merge(files, output, advance, overwrite=overwrite)
        print_lines(screen, _summary(files, merged, output))


def _summary(files: Sequence[LabelMapFile], merged: LabelMapFile, output: Path) -> Iterator[str]:
    """What was written, what was skipped, and what to do next."""
    from labelkit.wording import counted, file_size, printable

    size = file_size(merged.path.stat().st_size)
    maps = counted(len(merged), "label map", "label maps")
    yield f"Wrote {printable(str(output))}: {maps} from {len(files)} files, {size}"
    repeated = sum(map(len, files)) - len(merged)
    if repeated:
        yield f"Identical in more than one file: {counted(repeated, 'row', 'rows')}"
    if merged.unreadable:
        key, reason = next(iter(merged.unreadable.items()))
        images = counted(len(merged.unreadable), "image", "images")
        yield (
            f"Without a label map, unreadable in every file: {images} "
            f"({printable(key)}: {printable(reason)})"
        )
    yield f"Next: {shlex.join(['labelkit', 'verify', printable(str(output))])}"
