"""``labelkit coarsen``: fewer, coarser classes, and the coarse class of each fine one."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from labelkit.cli.options import (
    FILE,
    json_option,
    output_option,
    overwrite_option,
    quiet_option,
    require_writable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.table import Table

    from labelkit.hierarchy import ClassList, Coarsening, SemanticTree

EPILOG = """\b
Examples:
  labelkit coarsen tree.json --depth 2 -o coarse.json
  labelkit coarsen tree.json --classes 50 -o coarse.json
  labelkit coarsen tree.json --rank family -o coarse.json
"""


MOST_SHOWN = 10


@click.command("coarsen", epilog=EPILOG)
@click.argument("path", metavar="TREE", type=FILE)
@click.option(
    "--depth", metavar="N", type=click.IntRange(0), help="Each class's ancestor at depth N."
)
@click.option(
    "--classes",
    metavar="N",
    type=click.IntRange(1),
    help="At most N coarse classes of approximately equal size.",
)
@click.option("--rank", metavar="NAME", help="A rank of the tree (from build-tree --ranks).")
@output_option("Coarsening to write (.json).")
@overwrite_option
@json_option
@quiet_option
def command(  # noqa: PLR0913 -- one per command-line option
    path: Path,
    depth: int | None,
    classes: int | None,
    rank: str | None,
    output: Path,
    *,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Map the classes of a tree to fewer, coarser ones: their ancestors.

    The output holds the coarse classes and the coarse class of each fine one. build-tree and
    relabel --classes take it as a class list, a recipe's data.coarsening trains on the coarse
    classes, and in Python load_coarsening("coarse.json").for_folders(DATA) is a target_transform.
    """
    given = {"--depth": depth, "--classes": classes, "--rank": rank}
    chosen = [name for name, value in given.items() if value is not None]
    if len(chosen) != 1:
        raise click.UsageError("pass just one of --depth, --classes and --rank")
    require_writable(output, overwrite=overwrite, suffixes=(".json",))

    from labelkit.hierarchy import SemanticTree, save_coarsening

    tree = SemanticTree.load(path)
    try:
        coarsening = _coarsened(tree, depth, classes, rank)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=chosen[0]) from error
    save_coarsening(coarsening, output)
    if as_json:
        print_coarsening_json(output, coarsening)
    else:
        print_coarsening(output, coarsening)


def _coarsened(
    tree: SemanticTree, depth: int | None, classes: int | None, rank: str | None
) -> Coarsening:
    """The coarsening that the options choose.

    Raises:
        ValueError: the tree has no such depth or rank, or more roots than ``classes``.
    """
    from labelkit.hierarchy import coarsen, coarsen_to_depth

    if rank is not None:
        return tree.at_rank(rank)
    if classes is not None:
        return coarsen(tree, classes)
    deepest = int(tree.depth.max())
    if depth is None or depth > deepest:
        raise ValueError(f"the tree of {tree.classes} has the depths 0 to {deepest}, not {depth}")
    return coarsen_to_depth(tree, depth)


def print_coarsening_json(path: Path, coarsening: Coarsening) -> None:
    """Print what a coarsening holds as JSON."""
    from labelkit.cli.output import print_json

    fine, coarse = coarsening.tree.classes, coarsening.classes
    print_json(
        {
            "file": str(path),
            "how": coarsening.how,
            "class_list": {"name": coarse.name, "digest": coarse.digest},
            "tree": {"name": fine.name, "digest": fine.digest},
            "classes": len(coarse),
            "ranks": coarsening.ranks,
            "sizes": dict(zip(coarse, coarsening.sizes, strict=True)),
            "names": dict(zip(coarse, coarsening.names, strict=True)),
            "left_out": list(coarsening.left_out),
        }
    )


def print_coarsening(path: Path, coarsening: Coarsening) -> None:
    """Print what a coarsening holds, and what to do next."""
    from labelkit.cli.output import (
        classes_line,
        console,
        facts,
        print_heading,
        print_lines,
        print_table,
    )

    fine, coarse, sizes = coarsening.tree.classes, coarsening.classes, coarsening.sizes
    left_out = coarsening.left_out
    rows = [
        ("fine classes", classes_line(fine.name, sum(sizes) + len(left_out), fine.digest)),
        ("coarse classes", f"{len(coarse):,} ({coarsening.how}; digest {coarse.digest[:6]})"),
        *([("ranks", _counts(coarsening.ranks))] if coarsening.ranks else []),
        ("sizes", _span(sizes)),
        *([("left out", _some(left_out))] if left_out else []),
    ]
    screen = console()
    print_heading(screen, "Coarsening", path)
    print_table(screen, facts(rows))
    screen.print()
    print_table(screen, _largest(coarsening))
    screen.print()
    if max(sizes) == 1:
        screen.print(_nothing_merged(coarsening), style="bold yellow")
    print_lines(screen, _next(path, coarse))


def _largest(coarsening: Coarsening) -> Table:
    """The coarse classes with the most fine ones."""
    from rich.text import Text

    from labelkit.cli.output import plain_table
    from labelkit.wording import printable, readable

    rows = zip(coarsening.sizes, coarsening.names, coarsening.classes, strict=True)
    table = plain_table("largest coarse classes", "id", numbers=("classes",))
    for size, name, class_id in sorted(rows, key=lambda row: -row[0])[:MOST_SHOWN]:
        shown = (Text(text, overflow="fold") for text in (readable(name), printable(class_id)))
        table.add_row(*shown, f"{size:,}")
    if len(coarsening.classes) > MOST_SHOWN:
        table.add_row(f"and {len(coarsening.classes) - MOST_SHOWN:,} more")
    return table


def _span(sizes: Sequence[int]) -> str:
    """The smallest and the largest size, in words."""
    from labelkit.wording import counted

    largest = counted(max(sizes), "class", "classes")
    return f"{largest} each" if min(sizes) == max(sizes) else f"{min(sizes):,} to {largest}"


def _nothing_merged(coarsening: Coarsening) -> str:
    """What to do if each class is alone in its coarse class."""
    remedy = "Choose fewer classes or a smaller depth"
    if coarsening.how.startswith("rank "):
        remedy = f"Choose a coarser rank of {', '.join(coarsening.tree.ranks)}"
    elif not len(coarsening.tree.inner):
        remedy += (
            "; for a list in which no class is above another, build the tree with --inner-levels "
            "all, or with --ranks"
        )
    return f"No two classes share a coarse class. {remedy}."


def _counts(ranks: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} of {rank}" for rank, count in ranks.items())


def _some(ids: Sequence[str]) -> str:
    shown = ", ".join(ids[:MOST_SHOWN]) + (", ..." if len(ids) > MOST_SHOWN else "")
    return f"{len(ids):,} below none of the coarse classes: {shown}"


def _next(path: Path, coarse: ClassList) -> Iterator[str]:
    """The commands that use the file, and the line of Python that does."""
    from labelkit.hierarchy import are_wnids
    from labelkit.wording import printable

    file = printable(str(path))
    setting = shlex.quote(f"data.coarsening={file}")
    yield f"Next: labelkit train RECIPE --set {setting}"
    if are_wnids(coarse):
        yield f"      labelkit relabel DATA --classes {shlex.quote(file)} -o maps.h5"
    yield f"      in Python: load_coarsening({file!r}).for_folders(DATA), a target_transform"
