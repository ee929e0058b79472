"""``labelkit build-tree``: a class list in, a tree file out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from labelkit.hierarchy.class_sources import NAMED_LISTS, identify, read_class_list

if TYPE_CHECKING:
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
"""


@click.command(epilog=EPILOG)
@click.argument("source", metavar="CLASSES")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Tree file to write (JSON). A tree that is there is replaced, any other file is not.",
)
@click.option(
    "--order",
    type=click.Choice(["given", "level"]),
    default="given",
    show_default=True,
    help="'level' re-orders the class list itself, depth 0 first: the semantic losses are "
    "fastest so, but a model and its data must then use the order in the tree file.",
)
def command(source: str, output: Path, order: str) -> None:
    """Turn a class list into a semantic tree.

    CLASSES is a text file with one WordNet id (such as n01440764) a line, a folder with one folder
    per class, or a named list from below. Each class is placed under its nearest ancestor that is
    a class too, as ImageNet's own tree has it. WordNet comes with labelkit.
    """
    try:
        classes = read_class_list(source)
    except FileNotFoundError as error:
        raise click.BadParameter(str(error), param_hint="CLASSES") from error
    _check_output(output)

    from labelkit.hierarchy import SemanticTree, Taxonomy

    tree = SemanticTree.build(classes, Taxonomy.wordnet())
    if order == "level":
        tree = tree.ordered_by_level()
    tree.save(output)
    _summarise(tree, classes, output)


def _check_output(output: Path) -> None:
    if not output.parent.is_dir():
        raise click.BadParameter(f"no folder {str(output.parent)!r}", param_hint="--output")
    if output.exists():
        from labelkit.hierarchy import is_tree_file

        if not is_tree_file(output):
            raise click.ClickException(
                f"{output} is there and is no labelkit tree: it stays as it is. "
                "Give another name, or remove it first"
            )


def _summarise(tree: SemanticTree, given: ClassList, output: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    name = identify(given)
    also = f", the same as {name}" if name and name != given.name else ""
    deepest = tree.chain(int(tree.depth.argmax()))
    table = Table.grid(padding=(0, 2))
    rows = [
        ("classes", f"{tree.classes}{also}"),
        ("levels", str(len(tree.counts))),
        ("classes by depth", "  ".join(map(str, tree.counts))),
        ("roots", f"{tree.counts[0]:,} classes have no class above them"),
        ("deepest chain", " > ".join(tree.names[at] for at in deepest)),
        ("file", f"{output} ({output.stat().st_size / 1024:,.0f} KB)"),
    ]
    for label, value in rows:
        table.add_row(Text(label, style="bold"), Text(value, overflow="fold"))
    console = Console(highlight=False, markup=False, soft_wrap=False)
    console.print(table)
    if len(tree.counts) == 1:
        console.print("No class lies under another: there is one level, and no tree to speak of.")
    if tree.classes.ids != given.ids:
        console.print(
            "The class list is re-ordered: class k is no longer the k-th of CLASSES. Models and "
            "data must use the order in the tree file (SemanticTree.load(...).classes).",
            style="bold yellow",
        )
    console.print(f"Next: labelkit inspect {output}", soft_wrap=True)
