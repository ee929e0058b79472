"""Name files: the tab-separated file in which a user chooses the synset of each class name.

Lines of ``class TAB wnid TAB note`` in UTF-8, one per class. A wnid of ``?`` is still to be chosen;
the candidates follow as comments, which start with ``#``. ``under`` and a wnid make the class a new
child of that synset. Notes are for people only. Cells may be quoted, as spreadsheets quote those
that contain a quote or a comma.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from labelkit.errors import TaxonomyError
from labelkit.file_kinds import known_kind
from labelkit.files import read_utf8, replace_file
from labelkit.hierarchy.class_list import ClassList
from labelkit.hierarchy.class_sources import definitions
from labelkit.hierarchy.wordnet.graph import packaged_graph
from labelkit.hierarchy.wordnet.names import match_names, settled
from labelkit.wording import clipped, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.hierarchy.taxonomy import Taxonomy
    from labelkit.hierarchy.wordnet.names import Candidate, NameMatch

UNDECIDED = "?"
UNDER = "under"
NO_SYNSET = "write 'under' and the wnid of a more general synset, such as under n07557434 (dish)"
SUGGESTED = 5  # synsets for a word in place of a wnid
QUOTED = re.compile(r'"((?:[^"]|"")*)"')
HEADER = "class\twnid\tnote"
EXPLANATION = """\
# The meaning of each class name in WordNet 3.0. Replace every ? with a wnid: one of those below it,
# or any other noun's. If WordNet has no word for a class, or another class already has it, write
# 'under' and the wnid of a more general synset. Notes and lines that start with # are ignored.
"""


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


def write_name_file(
    path: str | Path, matches: Sequence[NameMatch], *, overwrite: bool = False
) -> None:
    """Write a name file: settled classes with their wnid, all others with ``?``.

    Args:
        path: the file to write.
        matches: the classes and their candidates.
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
    chosen = settled(matches)
    meanings = definitions(candidate.wnid for match in matches for candidate in match.candidates)
    lines = [EXPLANATION + HEADER]
    for match in matches:
        _check_class(match.class_id, path)
        wnid = chosen.get(match.class_id, UNDECIDED)
        lines.append(_line(match.class_id, wnid, _note(match, wnid)))
        if wnid == UNDECIDED:
            lines += (_comment(each, meanings.get(each.wnid)) for each in match.candidates)
    replace_file(Path(path), ("\n".join(lines) + "\n").encode())


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


def _note(match: NameMatch, wnid: str) -> str:
    if wnid != UNDECIDED:
        return f"{match.candidates[0].how}: {' < '.join(match.candidates[0].chain)}"
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
    names = ClassNames({}, {}, str(path))
    class_of: dict[str, str] = {}
    undecided: list[str] = []
    text = read_utf8(Path(path), TaxonomyError)
    if kind := known_kind(text.encode()):
        raise TaxonomyError(f"{path}, which should be a name file from match-names, {kind}")
    for number, line in enumerate(text.split("\n"), start=1):
        cells = _cells(line)
        if not any(cells) or cells[0].startswith("#") or cells[:2] == ["class", "wnid"]:
            continue
        where = f"{path}, line {number}"
        class_id, under, wnid = _row(cells, where)
        if class_id in names.synsets or class_id in names.under:
            raise TaxonomyError(f"{where}: duplicate class {class_id!r}: remove one")
        (names.under if under else names.synsets)[class_id] = wnid
        if wnid == UNDECIDED:
            undecided.append(class_id)
        elif not under and class_of.setdefault(wnid, class_id) != class_id:
            raise TaxonomyError(
                f"{where}: {class_id!r} and {class_of[wnid]!r} are both {wnid}, but a synset can "
                f"be only one class: change one, or write 'under {wnid}' to make it a child"
            )
    if undecided:
        raise TaxonomyError(_still_undecided(names, undecided))
    return names


def _still_undecided(names: ClassNames, undecided: list[str]) -> str:
    shown = ", ".join(undecided[:5]) + (", ..." if len(undecided) > 5 else "")
    return (
        f"{names.name}: {len(undecided):,} of {len(names.synsets) + len(names.under):,} classes "
        f"still have a ? for a wnid ({shown}): replace each with a wnid, or with 'under' and a wnid"
    )


def _row(cells: list[str], where: str) -> tuple[str, bool, str]:
    """The class, whether it is a child of a synset rather than the synset itself, and the wnid."""
    class_id, *rest = cells
    if not class_id or not rest:
        line = "\t".join(cells)
        raise TaxonomyError(f"{where}: expected 'class TAB wnid TAB note', found {line[:60]!r}")
    word, _, after = rest[0].partition(" ")
    under = word == UNDER
    wnid = after.strip() if under else rest[0]
    if wnid not in packaged_graph().index and (under or wnid != UNDECIDED):
        raise TaxonomyError(f"{where}: class {clipped(class_id)} {_not_a_wnid(wnid, under=under)}")
    return class_id, under, wnid


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
