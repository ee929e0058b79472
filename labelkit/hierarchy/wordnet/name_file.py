"""The file in which a user says which noun each class name means.

Lines of ``class TAB wnid TAB note`` in UTF-8, one for each class. A wnid of ``?`` waits for a
choice; the candidates follow as comments, which begin with ``#``. ``under`` and a wnid make the
class a new kind of that noun. The note is for people only. Cells may stand in quotes, as
spreadsheets write those that hold a quote or a comma.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from labelkit.errors import TaxonomyError
from labelkit.files import replace_file
from labelkit.hierarchy.class_list import ClassList
from labelkit.hierarchy.class_sources import definitions, read_text
from labelkit.hierarchy.wordnet.names import match_names, settled
from labelkit.hierarchy.wordnet.noun_graph import noun_graph
from labelkit.wording import clipped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.hierarchy.taxonomy import Taxonomy
    from labelkit.hierarchy.wordnet.names import Candidate, NameMatch

UNDECIDED = "?"
UNDER = "under"
WITHOUT_NOUN = "write 'under' and the wnid of what it is a kind of, such as under n07557434 (dish)"
SUGGESTED = 5  # nouns for a word that stands where a wnid should
QUOTED = re.compile(r'"((?:[^"]|"")*)"')
HEADING = "class\twnid\tnote"
EXPLANATION = """\
# What each class name means in WordNet 3.0. Put a wnid in place of every ?: one of those below it,
# or any other noun's. Where WordNet has no word for a class, or another class has taken it, write
# 'under' and the wnid of what it is a kind of. Notes and lines that begin with # do not count.
"""


@dataclass(frozen=True)
class ClassNames:
    """What class names mean.

    Attributes:
        synsets: class -> the wnid of the noun that it is.
        under: class -> the wnid of the noun that it is a kind of.
        name: the file, for messages only.
    """

    synsets: dict[str, str]
    under: dict[str, str]
    name: str = field(default="the name file", compare=False)

    def place(self, taxonomy: Taxonomy) -> Taxonomy:
        """The taxonomy with these classes in it, under their own names.

        Raises:
            TaxonomyError: the taxonomy has no such noun, or another node with a class's name.
        """
        return taxonomy.with_children(self.under).with_ids(self.synsets)

    def synsets_of(self, classes: ClassList) -> dict[str, str]:
        """The wnid by which a teacher's answers find each class: class -> noun.

        Classes that are no names but wnids themselves are left out.

        Raises:
            TaxonomyError: a class is only under a noun, so that no teacher has anything for it, or
                it is neither in the file nor a wnid; the message names such classes.
        """
        under = [class_id for class_id in classes if class_id in self.under]
        if under:
            raise TaxonomyError(
                f"{self.name} puts {_some(under, classes)} under a noun, which places it in a "
                "tree; a teacher has nothing for it. Write, in a copy of the file, a noun that the "
                "teacher knows, without 'under', or leave the class out of --classes"
            )
        known = noun_graph().index
        absent = [each for each in classes if each not in self.synsets and each not in known]
        if absent:
            raise TaxonomyError(
                f"{self.name} says nothing of {_some(absent, classes)}: add a line 'class TAB "
                "wnid' for each, or begin a new file: labelkit match-names CLASSES -o NEW"
            )
        return {each: self.synsets[each] for each in classes if each in self.synsets}


def _some(class_ids: Sequence[str], classes: ClassList) -> str:
    """How many classes of a list are meant, and the first of them."""
    shown = ", ".join(map(clipped, class_ids[:5])) + ", ..." * (len(class_ids) > 5)
    return f"{len(class_ids):,} of the {len(classes):,} classes of {classes.name} ({shown})"


def write_name_file(path: str | Path, matches: Sequence[NameMatch]) -> None:
    """Write a new name file: settled classes with their wnid, all others with ``?``.

    Raises:
        FileExistsError: the file is there; it may hold a user's choices, so it stays as it is.
        TaxonomyError: a class begins with ``#``, holds a tab or has blanks around it, so that no
            line can name it.
        OSError: the file cannot be written.
    """
    if Path(path).exists():
        raise FileExistsError(
            f"{path} is there and may hold choices made by hand: it stays as it is. Give another "
            "name, or remove it first"
        )
    chosen = settled(matches)
    meanings = definitions(candidate.wnid for match in matches for candidate in match.candidates)
    lines = [EXPLANATION + HEADING]
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
            f"class {class_id!r} begins with # or holds a tab, so it cannot stand in {path}: "
            "rename it"
        )
    if class_id != class_id.strip():
        raise TaxonomyError(
            f"class {class_id!r} begins or ends with a blank, which {path} cannot keep: rename it"
        )


def _line(*cells: str) -> str:
    """Cells with tabs between, in quotes where they hold any, as spreadsheets have it."""
    return "\t".join('"' + cell.replace('"', '""') + '"' if '"' in cell else cell for cell in cells)


def _cells(line: str) -> list[str]:
    """A line's cells, out of their quotes and without blanks around.

    A quote that does not go with another at the cell's other end belongs to the text.
    """
    quoted = ((cell, QUOTED.fullmatch(cell)) for cell in map(str.strip, line.split("\t")))
    return [found[1].replace('""', '"').strip() if found else cell for cell, found in quoted]


def _note(match: NameMatch, wnid: str) -> str:
    if wnid != UNDECIDED:
        return f"{match.candidates[0].how}: {' < '.join(match.candidates[0].chain)}"
    hows = dict.fromkeys(candidate.how for candidate in match.candidates)
    count = len(match.candidates)
    if not count:
        return f"0 candidates: {WITHOUT_NOUN}"
    return f"{count} candidate{'' if count == 1 else 's'}" + (
        f", by {', '.join(hows)}" * bool(hows)
    )


def _comment(candidate: Candidate, meaning: str | None) -> str:
    shown = f"{candidate.how}: {' < '.join(candidate.chain)}"
    return _line("#", candidate.wnid, shown, *([meaning] if meaning else []))


def read_name_file(path: str | Path) -> ClassNames:
    """Read what each class name means, in the order of the file.

    Raises:
        TaxonomyError: a line is malformed, a wnid is no noun of WordNet 3.0, a class or the wnid of
            one stands twice, or a ``?`` is left; the message names file, line and class.
        OSError: the file cannot be read.
    """
    lines = read_text(Path(path), TaxonomyError, "save it as UTF-8").split("\n")
    names = ClassNames({}, {}, str(path))
    class_of: dict[str, str] = {}
    undecided: list[str] = []
    for number, line in enumerate(lines, start=1):
        cells = _cells(line)
        if not any(cells) or cells[0].startswith("#") or cells[:2] == ["class", "wnid"]:
            continue
        where = f"{path}, line {number}"
        class_id, under, wnid = _row(cells, where)
        if class_id in names.synsets or class_id in names.under:
            raise TaxonomyError(f"{where}: class {class_id!r} stands twice: keep one")
        (names.under if under else names.synsets)[class_id] = wnid
        if wnid == UNDECIDED:
            undecided.append(class_id)
        elif not under and class_of.setdefault(wnid, class_id) != class_id:
            raise TaxonomyError(
                f"{where}: {class_id!r} and {class_of[wnid]!r} are both {wnid}: a noun can be one "
                f"class only, give one of them another, or write 'under {wnid}' for a kind of it"
            )
    if undecided:
        shown = ", ".join(undecided[:5]) + (", ..." if len(undecided) > 5 else "")
        raise TaxonomyError(
            f"{path}: {len(undecided):,} of {len(names.synsets) + len(names.under):,} classes "
            f"still have a ? for a wnid ({shown}): put a wnid in place of each, or 'under' "
            "and a wnid"
        )
    return names


def _row(cells: list[str], where: str) -> tuple[str, bool, str]:
    """The class, whether it is a kind of a noun and not the noun itself, and the noun's wnid."""
    class_id, *rest = cells
    if not class_id or not rest:
        line = "\t".join(cells)
        raise TaxonomyError(f"{where}: not 'class TAB wnid TAB note': {line[:60]!r}")
    word, _, after = rest[0].partition(" ")
    under = word == UNDER
    wnid = after.strip() if under else rest[0]
    if wnid not in noun_graph().index and (under or wnid != UNDECIDED):
        raise TaxonomyError(f"{where}: class {clipped(class_id)} {_no_wnid(wnid, under=under)}")
    return class_id, under, wnid


def _no_wnid(word: str, *, under: bool) -> str:
    """What is wrong with a word that stands where a wnid should, and which nouns it may mean."""
    word = " ".join(word.split())
    nouns = match_names(ClassList.of([word]))[0].candidates if word else ()
    if not nouns:
        return (
            f"has the wnid {clipped(word)}, which is no noun of WordNet 3.0: a wnid is n and eight "
            "digits"
        )
    shown = (f"{each.wnid} ({' < '.join(each.chain[:3])})" for each in nouns[:SUGGESTED])
    more = f", or {len(nouns) - SUGGESTED} more" if len(nouns) > SUGGESTED else ""
    return (
        f"has the word {clipped(word)} where a wnid belongs: write {'under and ' * under}the wnid "
        f"that is meant, such as {', '.join(shown)}{more}"
    )
