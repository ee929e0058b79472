"""Name files: the tab-separated file in which a user chooses the synset of each class name.

Lines of ``class TAB wnid TAB note`` in UTF-8, one per class. A wnid of ``?`` is still to be chosen;
the candidates follow as comments, which start with ``#``. ``under`` and a wnid make the class a new
child of that synset. Notes are for people only. Cells may be quoted, as spreadsheets quote those
that contain a quote or a comma. Comments whose first cell is ``# was`` keep the choices of classes
that are no longer in the list.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from labelkit.errors import TaxonomyError
from labelkit.file_kinds import known_kind
from labelkit.files import read_utf8, replace_file
from labelkit.hierarchy.class_list import ClassList
from labelkit.hierarchy.class_sources import definitions
from labelkit.hierarchy.wordnet.graph import packaged_graph
from labelkit.hierarchy.wordnet.names import chain_of_names, is_number, match_names, settled
from labelkit.wording import clipped, counted

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from labelkit.hierarchy.taxonomy import Taxonomy
    from labelkit.hierarchy.wordnet.names import Candidate, NameMatch

UNDECIDED = "?"
UNDER = "under"
WAS = "# was"
NO_SYNSET = "write 'under' and the wnid of a more general synset, such as under n07557434 (dish)"
SUGGESTED = 5  # synsets for a word in place of a wnid
QUOTED = re.compile(r'"((?:[^"]|"")*)"')
HEADER = "class\twnid\tnote"
RETIRED = "# Classes that were in the list before, and the choices made for them."
EXPLANATION = """\
# The meaning of each class name in WordNet 3.0. Replace every ? with a wnid: one of those below it,
# or any other noun's. If WordNet has no word for a class, or another class already has it, write
# 'under' and the wnid of a more general synset. Notes and lines that start with # are ignored.
"""


@dataclass(frozen=True)
class NameChoice:
    """What a class name means.

    Attributes:
        wnid: a noun synset of WordNet 3.0.
        under: whether the class is a new child of the synset, not the synset itself.
        note: for people.
    """

    wnid: str
    under: bool = False
    note: str = field(default="", compare=False)

    def __str__(self) -> str:
        """The choice as a name file has it."""
        return f"{UNDER} {self.wnid}" if self.under else self.wnid

    @classmethod
    def with_chain(cls, wnid: str, why: str, *, under: bool = False) -> NameChoice:
        """A choice whose note gives the reason and the synset's hypernyms."""
        return cls(wnid, under, f"{why}: {' < '.join(chain_of_names(wnid))}")


NO_CHOICES: Mapping[str, NameChoice] = {}


@dataclass(frozen=True)
class ClassNames:
    """The synsets of class names.

    Attributes:
        synsets: class -> the wnid of its synset.
        under: class -> the wnid of the synset that it is a child of.
        name: the file, for messages only.
    """

    synsets: dict[str, str]
    under: dict[str, str]
    name: str = field(default="the name file", compare=False)

    def place(self, taxonomy: Taxonomy) -> Taxonomy:
        """The taxonomy with these classes in it, under their own names.

        Raises:
            TaxonomyError: the taxonomy has no such synset, or another node has a class's name.
        """
        return taxonomy.with_children(self.under).with_ids(self.synsets)

    def synsets_of(self, classes: ClassList) -> dict[str, str]:
        """The wnid that each class has in a teacher's class list: class -> wnid.

        Classes that are wnids themselves are left out.

        Raises:
            TaxonomyError: a class is only a child of a synset, so that no teacher knows it, or it
                is neither in the file nor a wnid; the message names such classes.
        """
        under = [class_id for class_id in classes if class_id in self.under]
        if under:
            raise TaxonomyError(
                f"{self.name} places {_some(under, classes)} under a synset. That is enough for a "
                "tree, but no teacher predicts it. In a copy of the file, write a synset that the "
                "teacher knows, without 'under', or remove the class from --classes"
            )
        known = packaged_graph().index
        absent = [each for each in classes if each not in self.synsets and each not in known]
        if absent:
            raise TaxonomyError(
                f"{self.name} does not contain {_some(absent, classes)}: add a line 'class TAB "
                "wnid' for each, or create a new file: labelkit match-names CLASSES -o NEW"
            )
        return {each: self.synsets[each] for each in classes if each in self.synsets}


def _some(class_ids: Sequence[str], classes: ClassList) -> str:
    """The number of classes of a list, and the first of them."""
    shown = ", ".join(map(clipped, class_ids[:5])) + (", ..." if len(class_ids) > 5 else "")
    return f"{len(class_ids):,} of the {len(classes):,} classes of {classes.name} ({shown})"


def decide(
    matches: Sequence[NameMatch], choices: Mapping[str, NameChoice] = NO_CHOICES
) -> dict[str, NameChoice]:
    """The classes that need no choice any more: those with one, and those that are ``settled``.

    A class whose only meaning was chosen for another class needs a choice; of two classes with the
    same choice, the second does.
    """
    listed = {match.class_id for match in matches}
    chosen: dict[str, NameChoice] = {}
    taken: set[str] = set()
    for class_id, choice in choices.items():
        if class_id in listed and (choice.under or choice.wnid not in taken):
            chosen[class_id] = choice
            taken |= set() if choice.under else {choice.wnid}
    found = settled(matches)
    for match in matches:
        wnid = found.get(match.class_id)
        if wnid is not None and match.class_id not in chosen and wnid not in taken:
            chosen[match.class_id] = NameChoice.with_chain(wnid, match.candidates[0].how)
    return chosen


def accept_first(
    matches: Sequence[NameMatch], choices: Mapping[str, NameChoice] = NO_CHOICES
) -> dict[str, NameChoice]:
    """The first candidate of each class that needs a choice.

    Left out are numbers, and classes whose first candidate is also another class's.
    """
    decided = decide(matches, choices)
    first = {
        match.class_id: match.candidates[0]
        for match in matches
        if match.candidates and match.class_id not in decided and not is_number(match.class_id)
    }
    uses = Counter(candidate.wnid for candidate in first.values())
    uses.update(choice.wnid for choice in decided.values() if not choice.under)
    return {
        class_id: NameChoice.with_chain(candidate.wnid, f"first candidate, {candidate.how}")
        for class_id, candidate in first.items()
        if uses[candidate.wnid] == 1
    }


def write_name_file(
    path: str | Path,
    matches: Sequence[NameMatch],
    *,
    choices: Mapping[str, NameChoice] = NO_CHOICES,
    overwrite: bool = False,
) -> None:
    """Write a name file: settled classes with their wnid, all others with ``?``.

    Args:
        path: the file to write.
        matches: the classes and their candidates.
        choices: those already made, by class; those of other classes are kept as comments.
        overwrite: whether to replace an existing file and any choices made in it.

    Raises:
        FileExistsError: the file exists and ``overwrite`` is false.
        TaxonomyError: a class starts with ``#``, contains a tab or has whitespace around it, so
            that no line can name it.
        OSError: the file cannot be written.
    """
    if Path(path).exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists and may contain choices made by hand: choose another name, or remove "
            "it first"
        )
    chosen = decide(matches, choices)
    meanings = definitions(candidate.wnid for match in matches for candidate in match.candidates)
    lines = [EXPLANATION + HEADER]
    for match in matches:
        _check_class(match.class_id, path)
        choice = chosen.get(match.class_id)
        if choice is not None:
            lines.append(_line(match.class_id, str(choice), choice.note))
        else:
            lines.append(_line(match.class_id, UNDECIDED, _note(match)))
            lines += (_comment(each, meanings.get(each.wnid)) for each in match.candidates)
    lines += _retired(choices, {match.class_id for match in matches})
    replace_file(Path(path), ("\n".join(lines) + "\n").encode())


def _retired(choices: Mapping[str, NameChoice], present: Container[str]) -> Iterator[str]:
    """Comments with the choices of classes that are not in the list."""
    rows = [(class_id, each) for class_id, each in choices.items() if class_id not in present]
    if rows:
        yield RETIRED
    for class_id, choice in rows:
        yield _line(WAS, class_id, str(choice), choice.note)


def _check_class(class_id: str, path: str | Path) -> None:
    if class_id.startswith("#") or "\t" in class_id:
        raise TaxonomyError(
            f"class {class_id!r} starts with # or contains a tab, which {path} cannot represent: "
            "rename it"
        )
    if class_id != class_id.strip():
        raise TaxonomyError(
            f"class {class_id!r} starts or ends with whitespace, which {path} cannot represent: "
            "rename it"
        )


def _line(*cells: str) -> str:
    """Cells joined by tabs, quoted as spreadsheets do if they contain a quote."""
    return "\t".join('"' + cell.replace('"', '""') + '"' if '"' in cell else cell for cell in cells)


def _cells(line: str) -> list[str]:
    """A line's cells, without their quotes and surrounding whitespace.

    A quote without a match at the other end of the cell is part of the text.
    """
    quoted = ((cell, QUOTED.fullmatch(cell)) for cell in map(str.strip, line.split("\t")))
    return [found[1].replace('""', '"').strip() if found else cell for cell, found in quoted]


def _note(match: NameMatch) -> str:
    count = counted(len(match.candidates), "candidate", "candidates")
    if not match.candidates:
        return f"{count}: {NO_SYNSET}"
    return f"{count}, by {', '.join(dict.fromkeys(each.how for each in match.candidates))}"


def _comment(candidate: Candidate, meaning: str | None) -> str:
    shown = f"{candidate.how}: {' < '.join(candidate.chain)}"
    return _line("#", candidate.wnid, shown, *([meaning] if meaning else []))


def read_name_file(path: str | Path) -> ClassNames:
    """Read the synset of each class name, in the order of the file.

    Raises:
        TaxonomyError: a line is malformed, a wnid is not a noun synset of WordNet 3.0, a class or
            the wnid of one is duplicate, or a ``?`` is left; the message names file, line and
            class.
        OSError: the file cannot be read.
    """
    choices = _rows(_lines(path), path)
    undecided = [class_id for class_id, choice in choices.items() if choice.wnid == UNDECIDED]
    if undecided:
        raise TaxonomyError(_still_undecided(path, len(choices), undecided))
    return ClassNames(
        {class_id: choice.wnid for class_id, choice in choices.items() if not choice.under},
        {class_id: choice.wnid for class_id, choice in choices.items() if choice.under},
        str(path),
    )


def read_name_choices(path: str | Path) -> dict[str, NameChoice]:
    """Read the choices made in a name file so far, by class; ``?`` may be left.

    Those of classes that are no longer in the list come last.

    Raises:
        TaxonomyError: as ``read_name_file``, but not for a ``?``.
        OSError: the file cannot be read.
    """
    lines = _lines(path)
    rows = _rows(lines, path)
    made = {class_id: choice for class_id, choice in rows.items() if choice.wnid != UNDECIDED}
    was = {number: cells[1:] for number, cells in lines.items() if cells[0] == WAS}
    retired = (_row(cells, f"{path}, line {number}") for number, cells in was.items())
    return made | {class_id: choice for class_id, choice in retired if class_id not in rows}


def _lines(path: str | Path) -> dict[int, list[str]]:
    """The cells of each line that is not empty, by its number."""
    text = read_utf8(Path(path), TaxonomyError)
    if kind := known_kind(text.encode()):
        raise TaxonomyError(f"{path}, which should be a name file from match-names, {kind}")
    lines = ((number, _cells(line)) for number, line in enumerate(text.split("\n"), start=1))
    return {number: cells for number, cells in lines if any(cells)}


def _rows(lines: Mapping[int, list[str]], path: str | Path) -> dict[str, NameChoice]:
    """The choice of each class, with ``?`` for a wnid where there is none."""
    choices: dict[str, NameChoice] = {}
    class_of: dict[str, str] = {}
    for number, cells in lines.items():
        if cells[0].startswith("#") or cells[:2] == ["class", "wnid"]:
            continue
        where = f"{path}, line {number}"
        class_id, choice = _row(cells, where)
        if class_id in choices:
            raise TaxonomyError(f"{where}: duplicate class {class_id!r}: remove one")
        choices[class_id] = choice
        wnid = choice.wnid
        if wnid == UNDECIDED or choice.under:
            continue
        if class_of.setdefault(wnid, class_id) != class_id:
            raise TaxonomyError(
                f"{where}: {class_id!r} and {class_of[wnid]!r} are both {wnid}, but a synset can "
                f"be only one class: change one, or write 'under {wnid}' to make it a child"
            )
    return choices


def _still_undecided(path: str | Path, count: int, undecided: list[str]) -> str:
    shown = ", ".join(undecided[:5]) + (", ..." if len(undecided) > 5 else "")
    return (
        f"{path}: {len(undecided):,} of {count:,} classes "
        f"still have a ? for a wnid ({shown}): replace each with a wnid, or with 'under' and a wnid"
    )


def _row(cells: list[str], where: str) -> tuple[str, NameChoice]:
    """The class of a line, and its choice."""
    class_id, *rest = cells or [""]
    if not class_id or not rest:
        line = "\t".join(cells)
        raise TaxonomyError(f"{where}: expected 'class TAB wnid TAB note', found {line[:60]!r}")
    word, _, after = rest[0].partition(" ")
    under = word == UNDER
    wnid = after.strip() if under else rest[0]
    if wnid not in packaged_graph().index and (under or wnid != UNDECIDED):
        raise TaxonomyError(f"{where}: class {clipped(class_id)} {_not_a_wnid(wnid, under=under)}")
    return class_id, NameChoice(wnid, under, "\t".join(rest[1:]))


def _not_a_wnid(word: str, *, under: bool) -> str:
    """What is wrong with a word in place of a wnid, and the synsets that it may mean."""
    word = " ".join(word.split())
    synsets = match_names(ClassList.of([word]))[0].candidates if word else ()
    if not synsets:
        return (
            f"has the wnid {clipped(word)}, which is not a noun synset of WordNet 3.0: a wnid is n "
            "and eight digits"
        )
    shown = (f"{each.wnid} ({' < '.join(each.chain[:3])})" for each in synsets[:SUGGESTED])
    more = f", or {len(synsets) - SUGGESTED} more" if len(synsets) > SUGGESTED else ""
    return (
        f"has the word {clipped(word)} in place of a wnid: write "
        f"{'under and ' if under else ''}the wnid that you mean, such as {', '.join(shown)}{more}"
    )
