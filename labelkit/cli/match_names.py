"""``labelkit match-names``: turn plain class names into a file of synsets to choose from."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labelkit.cli.options import (
    json_option,
    output_option,
    overwrite_option,
    quiet_option,
    read_class_argument,
    require_writable,
)
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
@output_option("Name file to write (.tsv, tab-separated text).")
@overwrite_option
@json_option
@quiet_option
def command(source: str, output: Path, *, overwrite: bool, as_json: bool) -> None:
    """Match plain English class names to WordNet synsets.

    CLASSES is a text file with one name per line, a folder with one folder per class, or a named
    list. A name with one meaning gets its WordNet id. For all others, the file lists the candidates
    below a question mark, for you to choose from; pass the file to build-tree and relabel as
    --names.
    """
    require_writable(output, overwrite=overwrite, suffixes=(".tsv", ".txt"))
    classes = read_class_argument(source)

    from labelkit.hierarchy import match_names, settled, write_name_file

    matches = match_names(classes)
    write_name_file(output, matches, overwrite=overwrite)
    chosen = settled(matches)
    if as_json:
        _print_json(matches, chosen, output)
        return
    _print_summary(matches, chosen, source, output)


def _print_json(matches: Sequence[NameMatch], chosen: Mapping[str, str], output: Path) -> None:
    from labelkit.cli.output import print_json

    print_json(
        {
            "file": str(output),
            "classes": len(matches),
            "settled": dict(chosen),
            "to_choose": {
                match.class_id: [candidate.wnid for candidate in match.candidates]
                for match in matches
                if match.candidates and match.class_id not in chosen
            },
            "no_candidate": [match.class_id for match in matches if not match.candidates],
        }
    )


def _print_summary(
    matches: Sequence[NameMatch], chosen: Mapping[str, str], source: str, output: Path
) -> None:
    from labelkit.cli.output import console, facts, print_lines, print_table

    without = [match.class_id for match in matches if not match.candidates]
    undecided = [match for match in matches if match.candidates and match.class_id not in chosen]
    rows = [
        ("classes", f"{len(matches):,}"),
        ("settled", f"{len(chosen):,} have one meaning"),
        ("to choose", f"{len(undecided):,} have several, or match by some of their words only"),
        ("no candidate", f"{len(without):,}{': ' if without else ''}{', '.join(without)}"),
        ("file", str(output)),
    ]
    screen = console()
    print_table(screen, facts(rows))
    for match in undecided[:SHOWN_CLASSES]:
        _print_match(match, screen)
    if len(undecided) > SHOWN_CLASSES:
        screen.print(
            f"and {len(undecided) - SHOWN_CLASSES:,} more to choose in {printable(str(output))}"
        )
    if remark := _remark_on_indices(matches):
        screen.print(printable(remark), style="bold yellow")
    to_choose = len(matches) - len(chosen)
    print_lines(screen, _next(printable(source), printable(str(output)), to_choose))


def _remark_on_indices(matches: Sequence[NameMatch]) -> str:
    """What to do about classes that are numbers; empty if there are none."""
    from labelkit.hierarchy import advice_on_indices

    numbers = [match.class_id for match in matches if advice_on_indices([match.class_id])]
    if not numbers:
        return ""
    shown = ", ".join(numbers[:4]) + (", ..." if len(numbers) > 4 else "")
    return (
        f"{len(numbers):,} of {len(matches):,} classes are numbers: {shown}. "
        f"{advice_on_indices(numbers)}. If "
        "they do mean numbers, such as digits, replace each ? with its wnid."
    )


def _next(source: str, output: str, to_choose: int) -> Iterator[str]:
    """The commands that use the name file."""
    images = source if Path(source).is_dir() else "DATA"
    yield f"Next: edit {shlex.quote(output)}, then" if to_choose else "Next:"
    for words in (
        ("build-tree", source, "--names", output, "-o", "tree.json"),
        ("relabel", images, "--classes", source, "--names", output, "-o", "maps.h5"),
    ):
        yield f"  {shlex.join(['labelkit', *words])}"


def _print_match(match: NameMatch, screen: Console) -> None:
    from rich.text import Text

    screen.print(Text(f"\n{printable(match.class_id)} ?", style="bold"))
    for candidate in match.candidates[:SHOWN_CANDIDATES]:
        line = Text(f"  {candidate.wnid}  {candidate.how}: {' < '.join(candidate.chain)}")
        screen.print(line, no_wrap=True, overflow="ellipsis")
    if len(match.candidates) > SHOWN_CANDIDATES:
        screen.print(f"  and {len(match.candidates) - SHOWN_CANDIDATES} more")
