"""What ``labelkit inspect`` prints of label maps: a summary; one map as a grid of letters."""

from __future__ import annotations

import shlex
import string
from typing import TYPE_CHECKING

from rich.text import Text

from labelkit.cli.output import (
    classes_line,
    console,
    facts,
    plain_table,
    print_heading,
    print_table,
)
from labelkit.hierarchy import class_names
from labelkit.inspection import AREA_NOTE, PALETTE, class_shares, hexadecimal, stored_presence
from labelkit.wording import counted, file_size, percent, printable, readable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rich.table import Table

    from labelkit.hierarchy import ClassList
    from labelkit.inspection import LabelMapSummary
    from labelkit.label_maps import LabelMap

_MOST_ROWS = 12
_CERTAIN, _LIKELY = 0.5, 0.1


def print_label_maps(summary: LabelMapSummary, images: Path | None) -> None:
    """Print a label-map file's summary, and what can be done with it next."""
    screen = console()
    print_heading(screen, "Label maps", summary.path)
    each = f", {file_size(summary.bytes_per_image)} an image" if summary.images else ""
    print_table(
        screen,
        facts(
            [
                ("images", f"{summary.images:,}"),
                ("unreadable", _unreadable(summary)),
                *(("", f"{key}: {reason}") for key, reason in summary.unreadable_examples),
                *(("keys such as" if not n else "", k) for n, k in enumerate(summary.example_keys)),
                *summary.form_facts,
                (
                    "classes",
                    classes_line(summary.classes_name, summary.num_classes, summary.digest),
                ),
                ("file size", f"{file_size(summary.file_bytes)}{each}"),
                *summary.provenance,
            ]
        ),
    )
    screen.print()
    if summary.frequent:
        screen.print(f"Classes with the largest area, in {summary.looked_at}", style="bold")
        print_table(screen, _frequent(summary))
        screen.print(AREA_NOTE, style="dim", soft_wrap=True)
        screen.print()
    where = shlex.join(["labelkit", "inspect", str(summary.path), "--images"])
    folder = shlex.quote(printable(str(images))) if images else "DATA"
    screen.print(f"Next: {where} {folder} -o report.html", soft_wrap=True)
    if not images:
        screen.print("      DATA: the folder that they were made from", style="dim")


def print_label_map(label_map: LabelMap, classes: ClassList, key: str) -> None:
    """Print one image's classes, most present first, and where the first few of them are."""
    screen = console()
    names = class_names(classes)
    shares = class_shares(label_map, len(classes))
    letters = {
        share.class_index: (letter, hexadecimal(colour))
        for share, letter, colour in zip(shares, string.ascii_uppercase, PALETTE, strict=False)
    }
    table = plain_table("", "class", "id", numbers=("area", "presence"))
    for share in shares[:_MOST_ROWS]:
        letter, colour = letters.get(share.class_index, ("", ""))
        table.add_row(
            Text(letter, style=f"bold {colour}"),
            Text(readable(names[share.class_index]), overflow="fold"),
            Text(printable(classes[share.class_index]), overflow="fold"),
            percent(share.area),
            percent(share.presence),
        )
    screen.print(Text(printable(key), style="bold"))
    print_table(screen, table)
    if len(shares) > _MOST_ROWS:
        screen.print(f"and {len(shares) - _MOST_ROWS:,} classes with less", style="dim")
    for line in _letter_grid(label_map, len(classes), letters):
        screen.print(line, no_wrap=True, overflow="ignore", crop=False)
    screen.print(
        "Area: the share of cells in which no other class is stronger.\n"
        "Presence: the class's mean probability over all cells.\n"
        "In every cell its strongest class. A: at least 50 % probable, a: at least 10 %,\n"
        "+: a class without a letter, dot: none is likely.",
        style="dim",
        soft_wrap=True,
    )


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
            else:
                shown = letter if share >= _CERTAIN else letter.lower()
                line.append(f"{shown} ", style=f"{'bold ' if share >= _CERTAIN else ''}{colour}")
        line.rstrip()
        yield line


def _frequent(summary: LabelMapSummary) -> Table:
    table = plain_table("class", "id", numbers=("area", "largest in"))
    for kind in summary.frequent:
        name = Text(kind.name, overflow="fold")
        identity = Text(printable(kind.class_id), overflow="fold")
        table.add_row(name, identity, percent(kind.area), f"{kind.images:,}")
    return table


def _unreadable(summary: LabelMapSummary) -> str:
    left_out = summary.unreadable - len(summary.unreadable_examples)
    images = counted(summary.unreadable, "image", "images")
    return f"{images}, the first {len(summary.unreadable_examples)}:" if left_out else images
