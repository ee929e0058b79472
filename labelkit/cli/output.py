"""How commands print: lines and tables that can be copied and piped, JSON, or nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from labelkit.cli.options import is_quiet
from labelkit.wording import counted, printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rich.tree import Tree


def console(*, stderr: bool = False) -> Console:
    """Where to print; silent with ``--quiet``. Names are never read as markup.

    Args:
        stderr: print to stderr, as a command does when ``--json`` writes to stdout.
    """
    return Console(highlight=False, markup=False, quiet=is_quiet(), stderr=stderr)


def print_lines(screen: Console, lines: Iterable[str]) -> None:
    """Print lines that never wrap, so that paths and commands can be copied."""
    for line in lines:
        screen.print(line, soft_wrap=True)


def print_json(value: object) -> None:
    """Print one JSON document; what ``--json`` asks for."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def plain_table(*columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """A table without rules; ``numbers`` are columns aligned to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column)
    for column in numbers:
        table.add_column(column, justify="right")
    return table


def facts(rows: Iterable[tuple[str, str]]) -> Table:
    """A grid of labels and values."""
    table = Table.grid(padding=(0, 2))
    for label, value in rows:
        table.add_row(Text(printable(label), "bold"), Text(printable(value), overflow="fold"))
    return table


def classes_line(name: str, count: int, digest: str) -> str:
    """A class list's name, length and digest in one line."""
    classes = counted(count, "class", "classes")
    return f"{name or 'class list'} ({classes}, digest {digest[:6]})"


def print_table(screen: Console, table: Table | Tree, *, soft_wrap: bool = False) -> None:
    """Print a table or a tree; without trailing spaces if stdout is not a terminal."""
    if screen.is_terminal or screen.quiet:
        screen.print(table, soft_wrap=soft_wrap)
        return
    with screen.capture() as captured:
        screen.print(table, soft_wrap=soft_wrap)
    for line in captured.get().removesuffix("\n").split("\n"):
        screen.out(line.rstrip(), highlight=False)


def print_heading(screen: Console, what: str, path: Path) -> None:
    """Print one line that never wraps, so that the path can be copied."""
    screen.print(Text(f"{what} {printable(str(path))}", style="bold"), soft_wrap=True)
