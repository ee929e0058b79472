"""What ``labelkit inspect`` prints: summaries as tables, one label map as a grid of letters."""

from __future__ import annotations

import shlex
import string
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from labelkit.hierarchy import class_names
from labelkit.inspection import class_shares
from labelkit.inspection.palette import PALETTE, hexadecimal
from labelkit.inspection.presence import stored_presence
from labelkit.inspection.report import settings
from labelkit.inspection.wording import file_size, percent, printable, readable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from labelkit.hierarchy import ClassList, SemanticTree
    from labelkit.inspection import LabelMapSummary, TreeSummary
    from labelkit.label_maps import LabelMap

_MOST_ROWS = 12
_CERTAIN, _LIKELY = 0.5, 0.1


def print_tree(summary: TreeSummary) -> None:
    """Print a tree's summary."""
    console = _console()
    size = _counted(summary.largest_root_classes, "class", "classes")
    rows = [
        ("classes", _classes(summary.classes_name, summary.num_classes, summary.digest)),
        ("levels", f"{summary.levels}"),
        ("classes by depth", "  ".join(map(str, summary.counts))),
        ("roots", f"{summary.roots:,}, the largest is {summary.largest_root} with {size}"),
        ("deepest chain", " > ".join(summary.deepest_chain)),
    ]
    _print_heading(console, "Tree", summary.path)
    console.print(_facts([*rows, *summary.source]))
    example = shlex.join(["labelkit", "inspect", str(summary.path), "--key"])
    console.print(
        f"Next: {example} {shlex.quote(printable(summary.deepest_chain[-1]))}", soft_wrap=True
    )


def print_tree_path(tree: SemanticTree, class_index: int) -> None:
    """Print a class's path from its root, one class a line, deeper ones further right."""
    console = _console()
    below = int((tree.parent == class_index).sum())
    chain: list[int] = tree.chain(class_index).tolist()
    for depth, at in enumerate(chain):
        name = Text(readable(tree.names[at]), style="bold" if at == class_index else "")
        console.print(Text("   " * depth) + name + Text(f"  {printable(tree.classes[at])}", "dim"))
    direct = f"{_counted(below, 'class', 'classes')} directly below it"
    console.print(Text(f"depth {len(chain) - 1}, {direct}", style="dim"))


def print_label_maps(summary: LabelMapSummary, images: Path | None) -> None:
    """Print a label-map file's summary, and what can be done with it next."""
    console = _console()
    rows, columns = summary.grid
    _print_heading(console, "Label maps", summary.path)
    each = f"{file_size(summary.bytes_per_image)} an image"
    console.print(
        _facts(
            [
                ("images", f"{summary.images:,}"),
                ("grid", f"{rows} x {columns} cells, {summary.top_k} classes each"),
                ("classes", _classes(summary.classes_name, summary.num_classes, summary.digest)),
                ("file size", f"{file_size(summary.file_bytes)}, {each}"),
                *settings(summary),
                ("unreadable", _counted(summary.unreadable, "image", "images")),
                *(("", f"{key}: {reason}") for key, reason in summary.unreadable_examples),
                *(("keys such as" if not n else "", k) for n, k in enumerate(summary.example_keys)),
            ]
        )
    )
    if summary.frequent:
        console.print()
        console.print(_frequent(summary))
        console.print()
    where = shlex.join(["labelkit", "inspect", str(summary.path), "--images"])
    folder = shlex.quote(printable(str(images))) if images else "DATA"
    console.print(f"Next: {where} {folder} -o report.html", soft_wrap=True)


def print_label_map(label_map: LabelMap, classes: ClassList, key: str) -> None:
    """Print one image's classes, most present first, and where the first few of them are."""
    console = _console()
    names = class_names(classes)
    shares = class_shares(label_map, len(classes))
    letters = {
        share.class_index: (letter, hexadecimal(colour))
        for share, letter, colour in zip(shares, string.ascii_uppercase, PALETTE, strict=False)
    }
    table = _table("", "class", "id", numbers=("area", "presence"))
    for share in shares[:_MOST_ROWS]:
        letter, colour = letters.get(share.class_index, ("", ""))
        table.add_row(
            Text(letter, style=f"bold {colour}"),
            Text(readable(names[share.class_index]), overflow="fold"),
            Text(printable(classes[share.class_index]), overflow="fold"),
            percent(share.area),
            percent(share.presence),
        )
    console.print(Text(printable(key), style="bold"))
    console.print(table)
    if len(shares) > _MOST_ROWS:
        console.print(f"and {len(shares) - _MOST_ROWS:,} classes with less", style="dim")
    for line in _letter_grid(label_map, len(classes), letters):
        console.print(line, no_wrap=True, overflow="ignore", crop=False)
    console.print(
        "Area: cells where it is strongest. Presence: its mean probability over the cells.\n"
        "A: at least 50 % in this cell, a: at least 10 %, +: another class, dot: none is likely.",
        style="dim",
    )


def _letter_grid(
    label_map: LabelMap, num_classes: int, letters: dict[int, tuple[str, str]]
) -> Iterable[Text]:
    """The strongest class of each cell as a letter in its colour, one line per row of the grid."""
    presence = stored_presence(label_map, num_classes)[0]
    strongest: list[list[int]] = label_map.index[0].tolist()
    for row, shares in zip(strongest, presence.tolist(), strict=True):
        line = Text("  ")
        for class_index, share in zip(row, shares, strict=True):
            letter, colour = letters.get(class_index, ("+", ""))
            if share < _LIKELY:
                line.append("· ", style="dim")
            else:
                shown = letter if share >= _CERTAIN else letter.lower()
                line.append(f"{shown} ", style=f"{'bold ' if share >= _CERTAIN else ''}{colour}")
        yield line


def _frequent(summary: LabelMapSummary) -> Table:
    table = _table("class", "id", numbers=("images", "mean area"))
    table.title = f"Classes with the largest area, in {summary.sampled:,} images"
    table.title_justify = "left"
    for kind in summary.frequent:
        name = Text(kind.name, overflow="fold")
        identity = Text(printable(kind.class_id), overflow="fold")
        table.add_row(name, identity, f"{kind.images:,}", percent(kind.area))
    return table


def _table(*columns: str, numbers: tuple[str, ...]) -> Table:
    """A plain table; ``numbers`` are columns that are set to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column)
    for column in numbers:
        table.add_column(column, justify="right")
    return table


def _facts(rows: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for label, value in rows:
        table.add_row(Text(printable(label), "bold"), Text(printable(value), overflow="fold"))
    return table


def _classes(name: str, count: int, digest: str) -> str:
    return f"{name or 'class list'} ({count:,} classes, digest {digest[:6]})"


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _print_heading(console: Console, what: str, path: Path) -> None:
    """One line that never breaks, so that the path can be copied."""
    console.print(Text(f"{what} {printable(str(path))}", style="bold"), soft_wrap=True)


def _console() -> Console:
    return Console(highlight=False, markup=False)
