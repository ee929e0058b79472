"""``labelkit merge``: several label-map files as one."""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from labelkit.label_maps import LabelMapFile

EPILOG = """\b
Examples:
  labelkit merge machine1.h5 machine2.h5 -o maps.h5
  labelkit merge --average lite0.h5 lite2.h5 -o ensemble.h5
  labelkit merge --average --space probability --common a.h5 b.h5 -o ensemble.h5
"""
_INPUT = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("merge", epilog=EPILOG)
@click.argument("paths", metavar="FILE FILE...", nargs=-1, required=True, type=_INPUT)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to make (.h5); never one that is there.",
)
@click.option(
    "--average",
    "averaged",
    is_flag=True,
    help="Average several teachers' maps of the same images, in the first file's form.",
)
@click.option(
    "--space",
    type=click.Choice(["logit", "probability"]),
    help="With --average: what the mean is taken of.  [default: logit]",
)
@click.option("--common", is_flag=True, help="With --average: leave out images that a file lacks.")
def command(
    paths: tuple[Path, ...],
    output: Path,
    averaged: bool,  # noqa: FBT001 -- a flag of the command line
    space: Literal["logit", "probability"] | None,
    common: bool,  # noqa: FBT001 -- likewise
) -> None:
    """Join label-map files that were made in parts, on several machines say, into one.

    All must be of one class list, one form and one source. Rows are copied as they are, each one
    checked; the order of the files does not matter. With --average, the files are several teachers'
    maps of the same images, and the result is what the teachers say together; interrupted, the same
    command goes on where it was.
    """
    if len(paths) < 2:
        raise click.UsageError("give two files or more")
    if (space or common) and not averaged:
        raise click.UsageError(f"--{'space' if space else 'common'} needs --average")

    from rich.console import Console

    from labelkit.cli.progress import progress_bar
    from labelkit.label_maps import LabelMapFile, merge

    console = Console()
    with ExitStack() as opened:
        files = [opened.enter_context(LabelMapFile.open(path)) for path in paths]
        if averaged:
            from labelkit.relabel import average

            with progress_bar(console, "Average") as advance:
                made = average(
                    files, output, method=space or "logit", common=common, on_progress=advance
                )
        else:
            with progress_bar(console, "Merge", "rows") as advance:
                made = merge(files, output, advance)
        lines = [*_summary(files, made, output, averaged=averaged)]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _summary(
    files: Sequence[LabelMapFile], made: LabelMapFile, output: Path, *, averaged: bool
) -> Iterator[str]:
    """What was made, what was left out, and what to do next."""
    from labelkit.wording import file_size, printable

    size = file_size(made.path.stat().st_size)
    of = "average" if averaged else "rows"
    yield f"{made.path} made: {len(made):,} label maps, {size}, the {of} of {len(files)} files"
    repeated = sum(map(len, files)) - len(made)
    if averaged:
        left_out = max(map(len, files)) - len(made)
        if left_out:
            yield f"Left out, for a file lacks them: {left_out:,} images or more"
    elif repeated:
        yield f"In more than one file, and the same there: {repeated:,} rows"
    if made.unreadable:
        key, reason = next(iter(made.unreadable.items()))
        yield (
            f"Without a map, for no file could read them: {len(made.unreadable):,} images "
            f"({printable(key)}: {printable(reason)})"
        )
    yield f"Next: {shlex.join(['labelkit', 'verify', printable(str(output))])}"
