"""``labelkit build-tree``: a class list in, a tree file out."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

import click

from labelkit.cli.taxonomy_options import Origin, check_origin, open_taxonomy, taxonomy_options
from labelkit.hierarchy import NAMED_LISTS, identify, read_class_list

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.hierarchy import ClassList, SemanticTree

NAMES = "\n".join(
    f"  {name:<24} {known.length:>6,}  {known.about}" for name, known in NAMED_LISTS.items()
)
EPILOG = f"""\b
Named lists:
{NAMES}

\b
Examples:
  labelkit build-tree imagenet-21k-p -o tree.json
  labelkit build-tree photos/train -o tree.json
  labelkit build-tree imagenet-1k --inner -o tree.json
  labelkit build-tree --taxonomy species.csv -o tree.json
  labelkit build-tree cifar100.txt --names names.tsv -o tree.json
"""
DEFAULT_INNER_LEVELS = 4
MOST_SHOWN = 40


def _inner_levels(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> int | Literal["all"] | None:
    del ctx, param
    if value is None or value == "all":
        return value
    if value.isdecimal() and len(value) < 6 and int(value) > 0:
        return int(value)
    raise click.BadParameter(f"{value!r} is neither a number from 1 nor 'all'")


@click.command(epilog=EPILOG)
@click.argument("source", metavar="[CLASSES]", required=False)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Tree file to write (JSON). A tree that is there is replaced, any other file is not.",
)
@click.option(
    "--inner",
    is_flag=True,
    help="Add levels of inner nodes that are no classes, so that a list without any class under "
    f"another gets real levels; the same as --inner-levels {DEFAULT_INNER_LEVELS}.",
)
@click.option(
    "--inner-levels",
    metavar="N|all",
    callback=_inner_levels,
    help="How many levels of inner nodes to add at most; 'all' adds every node that parts classes.",
)
@click.option(
    "--order",
    type=click.Choice(["given", "level"]),
    default="given",
    show_default=True,
    help="'level' re-orders the class list itself, level 0 first: the semantic losses are "
    "fastest so, but a model and its data must then use the order in the tree file.",
)
@taxonomy_options
def command(
    source: str | None,
    output: Path,
    *,
    inner: bool,
    inner_levels: int | Literal["all"] | None,
    order: str,
    **origin: Unpack[Origin],
) -> None:
    """Turn a class list into a semantic tree.

    CLASSES is a text file with one WordNet id (such as n01440764) a line, a folder with one folder
    per class, or a named list from below. Each class is placed under its nearest ancestor that is
    a class too, as ImageNet's own tree has it. WordNet comes with labelkit; classes of other names
    need --names or a --taxonomy.
    """
    check_origin(origin)
    classes = _read_classes(source, origin)
    _check_output(output)

    from labelkit.hierarchy import SemanticTree

    taxonomy = open_taxonomy(origin)
    classes = classes or taxonomy.leaves()
    levels = inner_levels or (DEFAULT_INNER_LEVELS if inner else 0)
    tree = SemanticTree.build(classes, taxonomy, inner_levels=levels)
    if order == "level":
        tree = tree.ordered_by_level()
    tree.save(output)
    _summarise(tree, classes, output, wanted_inner=bool(levels))


def _read_classes(source: str | None, origin: Origin) -> ClassList | None:
    """The class list; None if the taxonomy's leaves are to be it."""
    if source is None:
        if origin["taxonomy"] is None:
            raise click.UsageError("give CLASSES, or a --taxonomy whose leaves are the classes")
        return None
    if not source.strip():
        raise click.BadParameter("it is empty", param_hint="CLASSES")
    try:
        return read_class_list(source)
    except FileNotFoundError as error:
        raise click.BadParameter(str(error), param_hint="CLASSES") from error


def _check_output(output: Path) -> None:
    if not output.parent.is_dir():
        raise click.BadParameter(f"no folder {str(output.parent)!r}", param_hint="--output")
    if output.exists() and not output.is_file():
        raise click.BadParameter(f"{str(output)!r} is no plain file", param_hint="--output")
    if output.exists():
        from labelkit.hierarchy import is_tree_file

        if not is_tree_file(output):
            raise click.ClickException(
                f"{output} is there and is no labelkit tree: it stays as it is. "
                "Give another name, or remove it first"
            )


def _summarise(tree: SemanticTree, given: ClassList, output: Path, *, wanted_inner: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from labelkit.wording import file_size, printable

    name = identify(given)
    order_kept = tree.classes.ids[: len(given)] == given.ids
    also = f", the same as {name}" if name and name != given.name else ""
    deepest = tree.chain(int(tree.depth.argmax()))
    table = Table.grid(padding=(0, 2))
    rows = [
        ("classes", f"{tree.classes}{also}"),
        ("levels", str(len(tree.counts))),
        *_level_rows(tree),
        *([("taxonomy read as", tree.source["read_as"])] if "read_as" in tree.source else []),
        ("roots", f"{(tree.parent < 0).sum():,} have nothing above them"),
        ("deepest chain", _shortened([tree.names[at] for at in deepest], " > ")),
        ("file", f"{output} ({file_size(output.stat().st_size)})"),
    ]
    for label, value in rows:
        table.add_row(Text(label, style="bold"), Text(printable(value), overflow="fold"))
    console = Console(highlight=False, markup=False, soft_wrap=False)
    console.print(table)
    for remark in _remarks(tree, given, wanted_inner=wanted_inner):
        console.print(printable(remark))
    if not order_kept:
        console.print(
            "The class list is re-ordered: class k is no longer the k-th of CLASSES. Models and "
            "data must use the order in the tree file (SemanticTree.load(...).classes).",
            style="bold yellow",
        )
    console.print(f"Next: labelkit inspect {shlex.quote(str(output))}", soft_wrap=True)


def _level_rows(tree: SemanticTree) -> list[tuple[str, str]]:
    if not len(tree.inner):
        return [("classes by level", _shortened(tree.counts))]
    import numpy as np

    inner = np.bincount(tree.level[tree.inner], minlength=len(tree.counts))
    own = np.array(tree.counts) - inner
    covered = (np.delete(tree.chain_table, tree.inner, axis=0) >= 0).sum(axis=0)
    return [
        ("classes by level", _shortened(own.tolist())),
        ("inner nodes by level", _shortened(inner.tolist())),
        ("classes with a target there", _shortened(covered.tolist())),
    ]


def _shortened(items: Sequence[object], between: str = "  ") -> str:
    """The items in a line; of very many the first and the last."""
    shown = list(map(str, items))
    if len(shown) > MOST_SHOWN:
        half = MOST_SHOWN // 2
        shown = [*shown[:half], f"... {len(shown) - 2 * half:,} more ...", *shown[-half:]]
    return between.join(shown)


def _remarks(tree: SemanticTree, given: ClassList, *, wanted_inner: bool) -> list[str]:
    """What a user would not expect of such a tree, and what to do about it."""
    remarks: list[str] = []
    pairs = [
        (child, int(tree.parent[child]))
        for child in range(len(tree.classes))
        if tree.parent[child] >= 0
    ]
    inner = set(tree.inner.tolist())
    nested = [(child, above) for child, above in pairs if not inner & {child, above}]
    if len(tree.counts) == 1:
        remarks.append(
            "No class lies under another, and no node above them parts them: there is one level. "
            "If the taxonomy is your own: is the child first, do its columns go from coarse to "
            "fine?"
            if wanted_inner
            else "No class lies under another: there is one level, and no tree to speak of. "
            "--inner adds levels above the classes."
        )
    elif wanted_inner and nested:
        shown = ", ".join(f"{tree.names[low]} < {tree.names[high]}" for low, high in nested[:4])
        more = ", ..." if len(nested) > 4 else ""
        remarks.append(
            f"{len(nested):,} classes lie under another class ({shown}{more}): levels are depths, "
            "classes of different levels share no softmax, and training reports no top-1. If your "
            "classes exclude each other, place the upper one beside the others: 'under WNID' in "
            "the file of labelkit match-names."
        )
    if inner:
        order_kept = tree.classes.ids[: len(given)] == given.ids
        remarks.append(
            f"A model needs {len(tree.classes):,} outputs: {len(given):,} for the classes"
            f"{', then' if order_kept else ' and'} {len(inner):,} for the inner nodes."
        )
    return remarks
