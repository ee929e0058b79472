"""What ``labelkit inspect`` prints: summaries, one label map as letters, and drawings of a tree."""

from __future__ import annotations

import shlex
import string
from itertools import count
from typing import TYPE_CHECKING, ClassVar, TypeVar

import msgspec
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from labelkit.cli.output import (
    classes_line,
    console,
    facts,
    plain_table,
    print_heading,
    print_json,
    print_table,
)
from labelkit.hierarchy import class_names
from labelkit.inspection import (
    AREA_NOTE,
    PALETTE,
    class_colours,
    class_shares,
    drawn_children,
    hexadecimal,
    other_index,
    shown_name,
    sorted_children,
    stored_presence,
)
from labelkit.wording import counted, file_size, percent, printable, readable, short_digests

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from rich.table import Table
    from rich.tree import GuideType

    from labelkit.hierarchy import ClassList, SemanticTree
    from labelkit.inspection import LabelMapSummary, TreeSummary
    from labelkit.label_maps import LabelMap

_MAX_CLASSES = 12
_CERTAIN, _LIKELY = 0.5, 0.1
_MAX_ROWS = 200
_LONGEST_CHAIN = 24  # of a longer one, both ends are shown
_SHORTEST_DEFINITION = 16
_WIDE = 100_000
_FLAT = (
    "No class is above another one.\n"
    "labelkit build-tree --inner adds levels, if the taxonomy has any."
)

Item = TypeVar("Item")


def print_summary_json(summary: TreeSummary | LabelMapSummary) -> None:
    """Print all facts of a summary as JSON."""
    document = msgspec.to_builtins(summary, enc_hook=str)
    for name in ("settings", "source", "unreadable_examples"):
        if name in document:  # pairs of a name and a value
            document[name] = dict(document[name])
    print_json(document)


def print_label_maps(summary: LabelMapSummary, images: Path | None) -> None:
    """Print a label-map file's summary, and what to do next."""
    screen = console()
    print_heading(screen, "Label maps", summary.path)
    per_image = f", {file_size(summary.bytes_per_image)} per image" if summary.images else ""
    rows = [
        ("images", f"{summary.images:,}"),
        ("unreadable", _unreadable(summary)),
        *(("", f"{key}: {reason}") for key, reason in summary.unreadable_examples),
        *_labelled("example keys", summary.example_keys),
        *summary.form_facts,
        ("classes", classes_line(summary.classes_name, summary.num_classes, summary.digest)),
        ("file size", f"{file_size(summary.file_bytes)}{per_image}"),
        *summary.provenance,
    ]
    print_table(screen, facts(rows))
    screen.print()
    if summary.frequent:
        screen.print(f"Classes with the largest area, in {summary.sample_name}", style="bold")
        print_table(screen, _frequent_table(summary))
        screen.print(AREA_NOTE, style="dim", soft_wrap=True)
        screen.print()
    command = shlex.join(["labelkit", "inspect", printable(str(summary.path)), "--images"])
    folder = shlex.quote(printable(str(images))) if images else "FOLDER"
    screen.print(f"Next: {command} {folder} -o report.html", soft_wrap=True)
    if not images:
        screen.print("      FOLDER: the images that the label maps were made from", style="dim")


def print_label_map(label_map: LabelMap, classes: ClassList, key: str) -> None:
    """Print one image's classes, most present first, and a grid of where the first few are."""
    screen = console()
    names = class_names(classes)
    shares = class_shares(label_map, len(classes))
    lettered = [share.class_index for share in shares[: len(PALETTE)]]
    colours = class_colours(lettered, len(classes), other_index(names))
    letters = {
        each: (letter, hexadecimal(colours[each]))
        for each, letter in zip(lettered, string.ascii_uppercase, strict=False)
    }
    table = plain_table("", "class", "id", numbers=("area", "presence"))
    for share in shares[:_MAX_CLASSES]:
        letter, colour = letters.get(share.class_index, ("", ""))
        table.add_row(
            Text(letter, style=f"bold {colour}"),
            Text(shown_name(names[share.class_index]), overflow="fold"),
            Text(printable(classes[share.class_index]), overflow="fold"),
            percent(share.area),
            percent(share.presence),
        )
    screen.print(Text(printable(key), style="bold"))
    print_table(screen, table)
    if len(shares) > _MAX_CLASSES:
        weaker = counted(len(shares) - _MAX_CLASSES, "weaker class", "weaker classes")
        screen.print(f"and {weaker}", style="dim")
    for line in _letter_grid(label_map, len(classes), letters):
        screen.print(line, no_wrap=True, overflow="ignore", crop=False)
    screen.print(
        "Area: the share of cells in which no other class is stronger.\n"
        "Presence: the class's mean probability over all cells.\n"
        "Grid: the strongest class of each cell. A: at least 50 % probable; a: at least 10 %;\n"
        "+: a class without a letter; dot: less than 10 %.",
        style="dim",
        soft_wrap=True,
    )


def print_tree(summary: TreeSummary) -> None:
    """Print a tree's summary, and what to do next."""
    screen = console()
    rows = [
        ("classes", classes_line(summary.classes_name, summary.num_classes, summary.digest)),
        *([("inner nodes", _inner_line(summary))] if summary.inner else []),
        ("levels", f"{len(summary.levels)}"),
        ("roots", f"{summary.roots:,}, with no class above them"),
        *_labelled("deepest chain", map(_chain_line, summary.deepest_chains)),
        *((name, short_digests(value)) for name, value in summary.source),
    ]
    print_heading(screen, "Tree", summary.path)
    print_table(screen, facts(rows))
    screen.print()
    print_table(screen, _level_table(summary))
    nodes = "classes and inner nodes" if summary.inner else "classes"
    note = f"Share: of all {nodes}.\nWeight: of the level in the semantic softmax loss."
    screen.print(note, style="dim", soft_wrap=True)
    screen.print()
    if len(summary.levels) > 1:
        print_table(screen, _root_table(summary))
    else:
        screen.print(_FLAT, soft_wrap=True)
    screen.print()
    command = shlex.join(["labelkit", "inspect", printable(str(summary.path))])
    example = shlex.quote(summary.deepest_chains[0][-1])
    screen.print(f"Next: {command} --path {example}", soft_wrap=True)
    screen.print(f"      {command} -o tree.html", soft_wrap=True)


def print_paths(tree: SemanticTree, classes: Iterable[int], definitions: Mapping[str, str]) -> None:
    """Draw the path from the root to each class, with as much of the definitions as fits."""
    inner, below = set(tree.inner.tolist()), tree.classes_below
    for index in classes:
        head, omitted, tail = _ends(tree.chain(index).tolist())
        labels = [_label(tree, node, inner, bold=node == index) for node in head + tail]
        meanings = [definitions.get(tree.classes[node], "") for node in head + tail]
        labels = [_with_definition(*each) for each in zip(labels, meanings, count())]
        if omitted:
            labels.insert(len(head), Text(f"... {omitted:,} more ...", "dim"))
        drawing = branch = _Drawing(labels[0], guide_style="dim")
        for label in labels[1:]:
            branch = branch.add(label)
        _draw(drawing)
        all_below, children = int(below[index]), int((tree.parent == index).sum())
        classes_below = counted(all_below, "class", "classes") if all_below else "no class"
        level = int(tree.level[index])
        rank = f" ({printable(tree.ranks[level])})" if tree.ranks else ""
        line = f"level {level}{rank}, {classes_below} below it"
        console().print(f"{line}, {children:,} directly" if all_below else line, style="dim")


def print_found(
    tree: SemanticTree, found: Sequence[int], definitions: Mapping[str, str], limit: int
) -> None:
    """Print the classes that a search found, at most ``limit``, each with its path."""
    screen, inner = console(), set(tree.inner.tolist())
    for index in found[:limit]:
        screen.print(_label(tree, index, inner, bold=True), soft_wrap=True)
        names = [readable(tree.names[node]) for node in tree.chain(index).tolist()]
        screen.print(Text(f"  {_chain_line(names)}"), soft_wrap=True)
        if meaning := definitions.get(tree.classes[index], ""):
            screen.print(Text(f"  {printable(meaning)}", "dim italic"), soft_wrap=True)
    line = counted(len(found), "class", "classes")
    if len(found) > limit:
        line += f" found, {limit:,} shown: --limit {len(found)} shows all"
    screen.print(line, style="dim", soft_wrap=True)


def print_subtree(tree: SemanticTree, top: int, depth: int) -> None:
    """Draw up to ``depth`` levels below a class, in at most 200 rows."""
    children, inner = sorted_children(tree), set(tree.inner.tolist())
    below: list[int] = tree.classes_below.tolist()

    def label(node: int) -> Text:
        text = _label(tree, node, inner, bold=node == top)
        return text.append(f"  {below[node]:,} below" if children[node] else "", "cyan")

    drawing = _Drawing(label(top), guide_style="dim")
    branches: dict[int, Tree] = {top: drawing}
    for node, drawn in drawn_children(children, top, depth, _MAX_ROWS).items():
        for child in drawn:
            branches[child] = branches[node].add(label(child))
        if len(drawn) < len(children[node]):
            branches[node].add(Text(f"... and {len(children[node]) - len(drawn):,} more", "dim"))
    _draw(drawing)
    shown = sum(node not in inner for node in branches) - (top not in inner)
    line = f"{counted(below[top], 'class', 'classes')} below {readable(tree.names[top])}"
    if shown < below[top]:
        line += f", {shown:,} shown: pass a larger --depth, or --subtree with one of them"
    console().print(line, style="dim", soft_wrap=True)


class _Drawing(Tree):
    """A tree with guides of two columns, so that nineteen levels fit on a screen."""

    TREE_GUIDES: ClassVar[list[GuideType]] = [("  ", "│ ", "├╴", "└╴")] * 3
    ASCII_GUIDES: ClassVar[GuideType] = ("  ", "| ", "+-", "`-")


def _letter_grid(
    label_map: LabelMap, num_classes: int, letters: dict[int, tuple[str, str]]
) -> Iterable[Text]:
    """The strongest class of each cell as a letter in its colour, one line per row of the grid."""
    presence = stored_presence(label_map, num_classes).max(axis=0)
    strongest: list[list[int]] = label_map.strongest.tolist()
    for row, shares in zip(strongest, presence.tolist(), strict=True):
        line = Text("  ")
        for class_index, share in zip(row, shares, strict=True):
            letter, colour = letters.get(class_index, ("+", ""))
            if share < _LIKELY:
                line.append("· ", style="dim")
            elif share < _CERTAIN:
                line.append(f"{letter.lower()} ", style=colour)
            else:
                line.append(f"{letter} ", style=f"bold {colour}")
        line.rstrip()
        yield line


def _frequent_table(summary: LabelMapSummary) -> Table:
    table = plain_table("class", "id", numbers=("area", "largest in"))
    for frequent in summary.frequent:
        name = Text(frequent.name, overflow="fold")
        class_id = Text(printable(frequent.class_id), overflow="fold")
        table.add_row(name, class_id, percent(frequent.area), f"{frequent.images:,}")
    return table


def _unreadable(summary: LabelMapSummary) -> str:
    shown = len(summary.unreadable_examples)
    images = counted(summary.unreadable, "image", "images")
    return f"{images}, the first {shown}:" if summary.unreadable > shown else images


def _label(tree: SemanticTree, node: int, inner: set[int], *, bold: bool) -> Text:
    """A node's name, its id if that differs, and whether it is an inner node."""
    name, class_id = readable(tree.names[node]), printable(tree.classes[node])
    text = Text(name, "bold" if bold else "dim" if node in inner else "")
    text.append(f"  {class_id}" if class_id != name else "", "dim not bold")
    return text.append("  (inner)" if node in inner else "", "dim not bold italic")


def _with_definition(label: Text, definition: str, column: int) -> Text:
    """The label, and as much of the definition as fits in its row."""
    screen = console()
    room = screen.width - 2 * column - label.cell_len - 3 if screen.is_terminal else _WIDE
    if not definition or room < _SHORTEST_DEFINITION:
        return label
    meaning = Text(f"  {printable(definition)}", "dim italic")
    meaning.truncate(room, overflow="ellipsis")
    return label.append_text(meaning)


def _draw(drawing: Tree) -> None:
    """Print a drawing without wrapping or cropping its rows."""
    screen = console()
    wide = Console(highlight=False, markup=False, width=_WIDE, quiet=screen.quiet)
    print_table(wide, drawing, soft_wrap=True)


def _ends(chain: Sequence[Item]) -> tuple[list[Item], int, list[Item]]:
    """Both ends of a chain and how many items are omitted between; a short one is one end."""
    if len(chain) <= _LONGEST_CHAIN:
        return list(chain), 0, []
    half = _LONGEST_CHAIN // 2
    return list(chain[:half]), len(chain) - 2 * half, list(chain[-half:])


def _chain_line(names: Sequence[str]) -> str:
    head, omitted, tail = _ends(names)
    gap = [f"... {omitted:,} more ..."] if omitted else []
    return " > ".join(head + gap + tail)


def _inner_line(summary: TreeSummary) -> str:
    classes = counted(summary.num_classes - summary.inner, "class", "classes")
    return f"{summary.inner:,} of these, added to give levels; the data has {classes}"


def _labelled(label: str, values: Iterable[str]) -> list[tuple[str, str]]:
    """Rows of which only the first has a label."""
    return [(label if not number else "", value) for number, value in enumerate(values)]


def _level_table(summary: TreeSummary) -> Table:
    added = ("inner",) if summary.inner else ()
    ranked = ("rank",) if summary.levels[0].rank else ()
    levels = plain_table(*ranked, numbers=("level", "classes", *added, "share", "weight"))
    head, omitted, tail = _ends(summary.levels)
    for level in head + tail:
        inner = (f"{level.inner:,}",) if summary.inner else ()
        classes = f"{level.nodes - level.inner:,}"
        rank = (Text(printable(level.rank), overflow="fold"),) if ranked else ()
        levels.add_row(
            *rank, f"{level.level}", classes, *inner, percent(level.share), f"{level.weight:.2f}"
        )
        if omitted and level is head[-1]:
            levels.add_row("...", *("" for _ in ranked), f"{omitted:,} more")
    return levels


def _root_table(summary: TreeSummary) -> Table:
    roots = plain_table("largest roots", "id", numbers=("classes below",))
    for root in summary.largest_roots:
        name = Text(root.name, overflow="fold")
        roots.add_row(name, Text(printable(root.class_id), overflow="fold"), f"{root.below:,}")
    return roots
