"""Ask at the terminal which synset each class name means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.text import Text

from labelkit.hierarchy import (
    ClassList,
    NameChoice,
    NameMatch,
    definitions as read_definitions,
    match_names,
)
from labelkit.wording import counted, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console

MOST_SHOWN = 12
SKIP, STOP, UNDER = "s", "q", "under "
HELP = (
    "Answer with a number or a wnid, or with 'under' and one of these if WordNet has no word for "
    "the class. Another word is looked up. s skips the class, q stops, and Enter gives the answer "
    "in brackets."
)


def ask_all(
    undecided: Sequence[NameMatch],
    decided: Mapping[str, NameChoice],
    answered: Callable[[str, NameChoice], object],
    screen: Console,
) -> None:
    """Ask for one class after the other, until all are answered or the user stops.

    Args:
        undecided: the classes to ask for.
        decided: the choices so far, whose synsets no other class may have.
        answered: takes each class and its choice, at once.
        screen: where to print.

    Raises:
        click.Abort: Ctrl-C, or the input has ended.
    """
    taken = {choice.wnid: name for name, choice in decided.items() if not choice.under}
    if undecided:
        screen.print(HELP, style="dim")
    else:
        screen.print("No class needs a choice.")
    for number, match in enumerate(undecided, start=1):
        screen.print(
            Text(f"\n{printable(match.class_id)}", "bold").append(
                f"  {number:,} of {len(undecided):,}", "dim not bold"
            )
        )
        choice = _ask(match, taken, screen)
        if choice == STOP:
            return
        if isinstance(choice, NameChoice):
            answered(match.class_id, choice)
            if not choice.under:
                taken[choice.wnid] = match.class_id


def _ask(match: NameMatch, taken: Mapping[str, str], screen: Console) -> NameChoice | str:
    """The choice for one class, or the letter that skips it or stops."""
    _show(match, taken, screen)
    while True:
        free = [
            number
            for number, each in enumerate(match.candidates, start=1)
            if each.wnid not in taken
        ]
        default = str(free[0]) if free else SKIP
        answer: str = click.prompt("Which", default=default, err=screen.stderr).strip()
        if answer.lower() in {SKIP, STOP}:
            return answer.lower()
        under = answer.lower().startswith(UNDER)
        word = answer[len(UNDER) :].strip() if under else answer
        wnid = _wnid(word, match)
        if wnid is None:
            match = _look_up(word, match, taken, screen)
        elif not under and wnid in taken:
            screen.print(
                f"{wnid} is already {printable(taken[wnid])}, and a synset can be only one class: "
                f"choose another, or 'under {word}'",
                style="yellow",
            )
        else:
            return NameChoice.with_chain(wnid, "chosen", under=under)


def _wnid(word: str, match: NameMatch) -> str | None:
    """The synset that an answer names, by its number in the list or its wnid."""
    if word.isdecimal() and 0 < int(word) <= len(match.candidates):
        return match.candidates[int(word) - 1].wnid
    found = match_names(ClassList.of([word]))[0].candidates if word else ()
    return word if [each.wnid for each in found] == [word] else None


def _look_up(word: str, match: NameMatch, taken: Mapping[str, str], screen: Console) -> NameMatch:
    """The candidates of another word, or of the class as before if there are none."""
    found = match_names(ClassList.of([word]))[0].candidates if word else ()
    if not found or word.isdecimal():
        what = "a number in the list" if word.isdecimal() else "a noun in WordNet 3.0"
        screen.print(f"{printable(word)!r} is not {what}: try again", style="yellow")
        return match
    other = NameMatch(match.class_id, found)
    _show(other, taken, screen)
    return other


def _show(match: NameMatch, taken: Mapping[str, str], screen: Console) -> None:
    """The numbered candidates with their hypernyms and definitions."""
    shown = match.candidates[:MOST_SHOWN]
    meanings = read_definitions(each.wnid for each in shown)
    if not shown:
        screen.print("  no candidate: type a word to look up, such as a more general one")
    for number, each in enumerate(shown, start=1):
        line = Text(f"{number:>3}  {each.wnid}  {each.how}: {' < '.join(each.chain)}")
        if each.wnid in taken:
            line = Text(
                f"{number:>3}  {each.wnid}  is already {printable(taken[each.wnid])}", "dim"
            )
        screen.print(line, no_wrap=True, overflow="ellipsis")
        if meaning := meanings.get(each.wnid):
            screen.print(
                Text(f"     {printable(meaning)}", "dim"), no_wrap=True, overflow="ellipsis"
            )
    if len(match.candidates) > MOST_SHOWN:
        more = counted(len(match.candidates) - MOST_SHOWN, "more candidate", "more candidates")
        screen.print(f"     and {more}: type a number, or a more precise word")
