"""``labelkit match-names``: turn plain class names into a file of synsets to choose from."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labelkit.cli.options import (
    is_quiet,
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

    from labelkit.hierarchy import ClassList, NameChoice, NameMatch

SHOWN_CLASSES = 3
SHOWN_CANDIDATES = 4
EPILOG = """\b
Examples:
  labelkit match-names classes.txt -o names.tsv
  labelkit match-names photos/train -o names.tsv
  labelkit match-names photos/train -o names.tsv --interactive
  labelkit match-names photos/train -o names.tsv --update --accept-first
"""


@click.command(epilog=EPILOG)
@click.argument("source", metavar="CLASSES")
@output_option("Name file to write (.tsv, tab-separated text).")
@overwrite_option
@click.option(
    "--update",
    is_flag=True,
    help="Keep the choices already made in the output, and add the classes that it lacks.",
)
@click.option(
    "--interactive", is_flag=True, help="Ask for each class that needs a choice, at the terminal."
)
@click.option(
    "--accept-first",
    is_flag=True,
    help="Accept the first candidate of each class that needs a choice, and list them.",
)
@json_option
@quiet_option
def command(  # noqa: PLR0913 -- the options
    source: str,
    output: Path,
    *,
    overwrite: bool,
    update: bool,
    interactive: bool,
    accept_first: bool,
    as_json: bool,
) -> None:
    """Match plain English class names to WordNet synsets.

    CLASSES is a text file with one name per line, a folder with one folder per class, or a named
    list. A name with one meaning gets its WordNet id; a path such as food/pizza is matched by its
    last part. For all others, the file lists the candidates below a question mark, for you to
    choose from; pass the file to build-tree and relabel as --names.
    """
    if overwrite and update:
        raise click.UsageError("use just one of --overwrite and --update, which keeps your choices")
    if interactive:
        _require_terminal(accept_first=accept_first, as_json=as_json)
    if output.exists() and not (overwrite or update):
        raise click.UsageError(
            f"{output} exists: choose another name, or pass --overwrite to start again, or "
            "--update to keep the choices in it"
        )
    require_writable(output, overwrite=True, suffixes=(".tsv", ".txt"))
    classes = read_class_argument(source)
    result = _matched(classes, output, update=update, accept_first=accept_first)
    result.write()
    if interactive:
        _ask(result, as_json=as_json)
    if as_json:
        _print_json(result)
    else:
        _print_summary(result, source)


@dataclass
class Matches:
    """The classes of a list, and what is known about each.

    Attributes:
        matches: the classes and their candidates.
        output: the name file.
        earlier: the choices of an earlier run, also those of classes that are no longer listed.
        made: the choices of this run.
    """

    matches: Sequence[NameMatch]
    output: Path
    earlier: Mapping[str, NameChoice]
    made: dict[str, NameChoice]

    @property
    def choices(self) -> dict[str, NameChoice]:
        """The choices of this and of earlier runs."""
        return {**self.earlier, **self.made}

    @property
    def decided(self) -> dict[str, NameChoice]:
        """The classes that need no choice any more."""
        from labelkit.hierarchy import decide

        return decide(self.matches, self.choices)

    @property
    def undecided(self) -> list[NameMatch]:
        """The classes that need one."""
        decided = self.decided
        return [match for match in self.matches if match.class_id not in decided]

    def write(self) -> None:
        """Write the name file with all choices so far."""
        from labelkit.hierarchy import write_name_file

        write_name_file(self.output, self.matches, choices=self.choices, overwrite=True)


def _matched(classes: ClassList, output: Path, *, update: bool, accept_first: bool) -> Matches:
    from labelkit.hierarchy import accept_first as first, match_names, read_name_choices

    earlier = read_name_choices(output) if update and output.exists() else {}
    matches = match_names(classes)
    made = first(matches, earlier) if accept_first else {}
    return Matches(matches, output, earlier, made)


def _require_terminal(*, accept_first: bool, as_json: bool) -> None:
    if accept_first:
        raise click.UsageError("use just one of --interactive and --accept-first")
    if is_quiet():
        raise click.UsageError("--interactive asks questions, which --quiet would hide")
    screen = sys.stderr if as_json else sys.stdout
    streams = {"stdin": sys.stdin, "stderr" if as_json else "stdout": screen}
    closed = [name for name, stream in streams.items() if not stream.isatty()]
    if closed:
        raise click.UsageError(
            f"--interactive asks at a terminal, but {closed[0]} is not one: edit the file instead, "
            "or pass --accept-first"
        )


def _ask(result: Matches, *, as_json: bool) -> None:
    """Ask for the classes that need a choice; each answer is written at once."""
    from labelkit.cli.name_questions import ask_all
    from labelkit.cli.output import console

    def answered(class_id: str, choice: NameChoice) -> None:
        result.made[class_id] = choice
        result.write()

    try:
        ask_all(result.undecided, result.decided, answered, console(stderr=as_json))
    except (click.Abort, KeyboardInterrupt) as error:
        raise click.Abort(
            f"Your answers are in {result.output}: pass --update --interactive to go on."
        ) from error


def _print_json(result: Matches) -> None:
    from labelkit.cli.output import print_json

    undecided = result.undecided
    kept, retired = _earlier(result)
    print_json(
        {
            "file": str(result.output),
            "classes": len(result.matches),
            "settled": {class_id: str(choice) for class_id, choice in _settled(result).items()},
            "kept": {class_id: str(choice) for class_id, choice in kept.items()},
            "chosen": {class_id: str(choice) for class_id, choice in result.made.items()},
            "to_choose": {
                match.class_id: [candidate.wnid for candidate in match.candidates]
                for match in undecided
                if match.candidates
            },
            "no_candidate": [match.class_id for match in undecided if not match.candidates],
            "no_longer_listed": list(retired),
        }
    )


def _settled(result: Matches) -> dict[str, NameChoice]:
    """The classes that never needed a choice."""
    choices = result.choices
    return {name: choice for name, choice in result.decided.items() if name not in choices}


def _earlier(result: Matches) -> tuple[dict[str, NameChoice], dict[str, NameChoice]]:
    """The earlier choices that still count, and those of classes that are no longer listed."""
    decided = result.decided
    listed = {match.class_id for match in result.matches}
    kept = {name: each for name, each in result.earlier.items() if name in decided}
    return kept, {name: each for name, each in result.earlier.items() if name not in listed}


def _print_summary(result: Matches, source: str) -> None:
    from rich.text import Text

    from labelkit.cli.output import console, facts, print_lines, print_table

    without = [match.class_id for match in result.undecided if not match.candidates]
    undecided = [match for match in result.undecided if match.candidates]
    kept, retired = _earlier(result)
    output = printable(str(result.output))
    rows = [
        ("classes", f"{len(result.matches):,}"),
        *([("kept", f"{len(kept):,} from the earlier file")] if result.earlier else []),
        ("settled", f"{len(_settled(result)):,} with one meaning"),
        *([("chosen", f"{len(result.made):,} now")] if result.made else []),
        ("to choose", f"{len(undecided):,} have several, or match by some of their words only"),
        ("no candidate", f"{len(without):,}{': ' if without else ''}{', '.join(without)}"),
        *([("no longer listed", _retired_line(retired))] if retired else []),
        ("file", output),
    ]
    screen = console()
    print_table(screen, facts(rows))
    for class_id, choice in result.made.items():
        line = Text(printable(f"  {class_id}: {choice}  {choice.note}"))
        screen.print(line, no_wrap=True, overflow="ellipsis")
    for match in undecided[:SHOWN_CLASSES]:
        _print_match(match, screen)
    if len(undecided) > SHOWN_CLASSES:
        screen.print(f"and {len(undecided) - SHOWN_CLASSES:,} more to choose in {output}")
    if remark := _remark_on_indices(result.matches):
        screen.print(printable(remark), style="bold yellow")
    print_lines(screen, _next(printable(source), output, len(result.undecided)))


def _retired_line(retired: Mapping[str, NameChoice]) -> str:
    return f"{len(retired):,}, kept as comments: {', '.join(retired)}"


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
