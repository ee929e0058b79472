"""What ``labelkit inspect`` prints of a tree: its numbers, and paths and subtrees as drawings."""

from __future__ import annotations

import shlex
from itertools import count
from typing import TYPE_CHECKING, ClassVar, TypeVar

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from labelkit.cli.output import (
    classes_line,
    console,
    facts,
    plain_table,
    print_heading,
    print_table,
)
from labelkit.inspection import drawn_children, sorted_children
from labelkit.wording import counted, percent, printable, readable, short_digests

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.table import Table
    from rich.tree import GuideType

    from labelkit.hierarchy import SemanticTree
    from labelkit.inspection import TreeSummary

_ROWS = 200
_LONGEST_CHAIN = 24  # of a longer one, the two ends
_SHORTEST_DEFINITION = 16
_WIDE = 100_000
_FLAT = (
    "No class lies under another.\n"
    "labelkit build-tree --inner adds levels above them, if the taxonomy has any."
)

Item = TypeVar("Item")


class _Drawing(Tree):
    """A tree with guides of two columns: nineteen levels must fit a screen."""

    TREE_GUIDES: ClassVar[list[GuideType]] = [("  ", "│ ", "├╴", "└╴")] * 3
    ASCII_GUIDES: ClassVar[GuideType] = ("  ", "| ", "+-", "`-")


def print_tree(summary: TreeSummary) -> None:
    """Print a tree's summary."""
    screen = console()
    rows = [
        ("classes", classes_line(summary.classes_name, summary.num_classes, summary.digest)),
        *([("inner nodes", _inner_line(summary))] if summary.inner else []),
        ("levels", f"{len(summary.levels)}"),
        ("roots", f"{summary.roots:,}, with nothing above them"),
        *_labelled("deepest chain", map(_chain_line, summary.deepest_chains)),
        *((what, short_digests(value)) for what, value in summary.source),
    ]
    print_heading(screen, "Tree", summary.path)
    print_table(screen, facts(rows))
    screen.print()
    print_table(screen, _level_table(summary))
    nodes = "classes and inner nodes" if summary.inner else "classes"
    note = f"Share: of all {nodes}.\nWeight: the level's in the semantic softmax loss."
    screen.print(note, style="dim", soft_wrap=True)
    screen.print()
    if len(summary.levels) > 1:
        print_table(screen, _root_table(summary))
    else:
        screen.print(_FLAT, soft_wrap=True)
    screen.print()
    where = shlex.join(["labelkit", "inspect", printable(str(summary.path))])
    example = shlex.quote(summary.deepest_chains[0][-1])
    screen.print(f"Next: {where} --path {example}", soft_wrap=True)
    screen.print(f"      {where} -o tree.html", soft_wrap=True)


def print_paths(tree: SemanticTree, classes: Iterable[int], definitions: Mapping[str, str]) -> None:
    """Draw the path from the root to each of some classes, with definitions as far as they fit."""
    inner, below = set(tree.inner.tolist()), tree.classes_below
    for index in classes:
        head, left_out, tail = _ends(tree.chain(index).tolist())
        labels = [_label(tree, at, inner, bold=at == index) for at in head + tail]
        meanings = [definitions.get(tree.classes[at], "") for at in head + tail]
        labels = [_with_definition(*each) for each in zip(labels, meanings, count())]
        if left_out:
            labels.insert(len(head), Text(f"... {left_out:,} more ...", "dim"))
        drawing = branch = _Drawing(labels[0], guide_style="dim")
        for label in labels[1:]:
            branch = branch.add(label)
        _draw(drawing)
        whole, direct = int(below[index]), int((tree.parent == index).sum())
        below_it = counted(whole, "class", "classes") if whole else "no class"
        line = f"level {tree.level[index]}, {below_it} below it"
        console().print(f"{line}, {direct:,} directly" if whole else line, style="dim")


def print_found(
    tree: SemanticTree, found: Sequence[int], definitions: Mapping[str, str], limit: int
) -> None:
    """Print the classes that were found, ``limit`` at most, each with its path."""
    screen, inner = console(), set(tree.inner.tolist())
    for index in found[:limit]:
        screen.print(_label(tree, index, inner, bold=True), soft_wrap=True)
        names = [readable(tree.names[at]) for at in tree.chain(index).tolist()]
        screen.print(Text(f"  {_chain_line(names)}"), soft_wrap=True)
        if meaning := definitions.get(tree.classes[index], ""):
            screen.print(Text(f"  {printable(meaning)}", "dim italic"), soft_wrap=True)
    line = counted(len(found), "class", "classes")
    if len(found) > limit:
        line += f" found, {limit:,} shown: --limit {len(found)} shows all"
    screen.print(line, style="dim", soft_wrap=True)


def print_subtree(tree: SemanticTree, top: int, depth: int) -> None:
    """Draw what lies below a class, ``depth`` levels of it and some 200 rows at most."""
    children, inner = sorted_children(tree), set(tree.inner.tolist())
    below: list[int] = tree.classes_below.tolist()

    def label(at: int) -> Text:
        text = _label(tree, at, inner, bold=at == top)
        return text.append(f"  {below[at]:,} below" if children[at] else "", "cyan")

    drawing = _Drawing(label(top), guide_style="dim")
    branches: dict[int, Tree] = {top: drawing}
    for at, kids in drawn_children(children, top, depth, _ROWS).items():
        for kid in kids:
            branches[kid] = branches[at].add(label(kid))
        if len(kids) < len(children[at]):
            branches[at].add(Text(f"... and {len(children[at]) - len(kids):,} more", "dim"))
    _draw(drawing)
    whole = counted(below[top], "class", "classes")
    shown = sum(at not in inner for at in branches) - (top not in inner)
    line = f"{whole} below {readable(tree.names[top])}"
    if shown < below[top]:
        line += f", {shown:,} of them drawn: more with a --subtree further down, or more --depth"
    console().print(line, style="dim", soft_wrap=True)


def _label(tree: SemanticTree, at: int, inner: set[int], *, bold: bool) -> Text:
    """A node's name, its id if that is another word, and whether it is an inner node."""
    name, identity = readable(tree.names[at]), printable(tree.classes[at])
    text = Text(name, "bold" if bold else "dim" if at in inner else "")
    text.append(f"  {identity}" if identity != name else "", "dim not bold")
    return text.append("  (inner)" if at in inner else "", "dim not bold italic")


def _with_definition(label: Text, definition: str, column: int) -> Text:
    """The label and as much of the definition as its row has place for."""
    screen = console()
    place = screen.width - 2 * column - label.cell_len - 3 if screen.is_terminal else _WIDE
    if not definition or place < _SHORTEST_DEFINITION:
        return label
    meaning = Text(f"  {printable(definition)}", "dim italic")
    meaning.truncate(place, overflow="ellipsis")
    return label.append_text(meaning)


def _draw(drawing: Tree) -> None:
    """Print a drawing without breaking or cutting its rows."""
    wide = Console(highlight=False, markup=False, width=_WIDE)
    print_table(wide, drawing, soft_wrap=True)


def _ends(chain: Sequence[Item]) -> tuple[list[Item], int, list[Item]]:
    """The two ends of a chain and how many lie between them; a short one has but one end."""
    if len(chain) <= _LONGEST_CHAIN:
        return list(chain), 0, []
    half = _LONGEST_CHAIN // 2
    return list(chain[:half]), len(chain) - 2 * half, list(chain[-half:])


def _chain_line(names: Sequence[str]) -> str:
    head, left_out, tail = _ends(names)
    gap = [f"... {left_out:,} more ..."] if left_out else []
    return " > ".join(head + gap + tail)


def _inner_line(summary: TreeSummary) -> str:
    own = counted(summary.num_classes - summary.inner, "class", "classes")
    return f"{summary.inner:,} of them, added for their levels; {own} of the data"


def _labelled(label: str, values: Iterable[str]) -> list[tuple[str, str]]:
    return [(label if not n else "", value) for n, value in enumerate(values)]


def _level_table(summary: TreeSummary) -> Table:
    added = ("inner",) if summary.inner else ()
    levels = plain_table(numbers=("level", "classes", *added, "share", "weight"))
    head, left_out, tail = _ends(summary.levels)
    for level in head + tail:
        inner = (f"{level.inner:,}",) if summary.inner else ()
        classes = f"{level.nodes - level.inner:,}"
        levels.add_row(
            f"{level.level}", classes, *inner, percent(level.share), f"{level.weight:.2f}"
        )
        if left_out and level is head[-1]:
            levels.add_row("...", f"{left_out:,} more")
    return levels


def _root_table(summary: TreeSummary) -> Table:
    roots = plain_table("largest roots", "id", numbers=("classes below",))
    for root in summary.largest_roots:
        name = Text(root.name, overflow="fold")
        roots.add_row(name, Text(printable(root.class_id), overflow="fold"), f"{root.below:,}")
    return roots
