"""``labelkit match-names``: plain class names in, a file of WordNet ids to choose from out."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labelkit.hierarchy import read_class_list
from labelkit.wording import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console

    from labelkit.hierarchy import NameMatch

SHOWN_CLASSES = 3
SHOWN_CANDIDATES = 4
EPILOG = """\b
Examples:
  labelkit match-names classes.txt -o names.tsv
  labelkit match-names photos/train -o names.tsv
"""


@click.command(epilog=EPILOG)
@click.argument("source", metavar="CLASSES")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Name file to write (tab-separated text). A file that is there is never overwritten.",
)
def command(source: str, output: Path) -> None:
    """Match plain English class names to WordNet's nouns.

    CLASSES is a text file with one name a line, a folder with one folder per class, or a named
    list. A name with one meaning gets its WordNet id. For all others the file shows the candidates
    below a question mark, for you to choose from; --names of build-tree and relabel takes it back.
    """
    try:
        classes = read_class_list(source)
    except FileNotFoundError as error:
        raise click.BadParameter(str(error), param_hint="CLASSES") from error
    if not output.parent.is_dir():
        raise click.BadParameter(f"no folder {str(output.parent)!r}", param_hint="--output")

    from labelkit.hierarchy import match_names, settled, write_name_file

    matches = match_names(classes)
    write_name_file(output, matches)
    _summarise(matches, settled(matches), output)
    for line in _next(
        printable(source), printable(str(output)), len(matches) - len(settled(matches))
    ):
        click.echo(line)


def _next(source: str, output: str, to_choose: int) -> Iterator[str]:
    """What the name file is for, as commands."""
    images = source if Path(source).is_dir() else "DATA"
    yield f"Next: edit {shlex.quote(output)}, then" if to_choose else "Next:"
    for words in (
        ("build-tree", source, "--names", output, "-o", "tree.json"),
        ("relabel", images, "--classes", source, "--names", output, "-o", "maps.h5"),
    ):
        yield f"  {shlex.join(['labelkit', *words])}"


def _summarise(matches: Sequence[NameMatch], chosen: Mapping[str, str], output: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    without = [match.class_id for match in matches if not match.candidates]
    undecided = [match for match in matches if match.candidates and match.class_id not in chosen]
    table = Table.grid(padding=(0, 2))
    rows = [
        ("classes", f"{len(matches):,}"),
        ("settled", f"{len(chosen):,} have one meaning"),
        ("to choose", f"{len(undecided):,} have several, or fit by some of their words only"),
        ("no candidate", f"{len(without):,}{': ' * bool(without)}{', '.join(without)}"),
        ("file", str(output)),
    ]
    for label, value in rows:
        table.add_row(Text(label, style="bold"), Text(printable(value), overflow="fold"))
    console = Console(highlight=False, markup=False, soft_wrap=False)
    console.print(table)
    for match in undecided[:SHOWN_CLASSES]:
        _show(match, console)
    if len(undecided) > SHOWN_CLASSES:
        console.print(
            f"and {len(undecided) - SHOWN_CLASSES:,} more to choose in {printable(str(output))}"
        )


def _show(match: NameMatch, console: Console) -> None:
    from rich.text import Text

    console.print(Text(f"\n{printable(match.class_id)} ?", style="bold"))
    for candidate in match.candidates[:SHOWN_CANDIDATES]:
        line = Text(f"  {candidate.wnid}  {candidate.how}: {' < '.join(candidate.chain)}")
        console.print(line, no_wrap=True, overflow="ellipsis")
    if len(match.candidates) > SHOWN_CANDIDATES:
        console.print(f"  and {len(match.candidates) - SHOWN_CANDIDATES} more")
