"""Match plain English class names to WordNet 3.0's noun synsets: candidates to choose from.

``scripts/make_noun_lemmas.py`` packs the lemmas from WordNet's own ``index.noun`` and ``noun.exc``.
The file is one line of ASCII, ``labelkit-noun-lemmas 1 N L S E``, and a zlib stream that holds, in
this order:

    L x uint8    senses per lemma
    S x uint32   senses as synset positions in the packaged graph (little endian)
    L + E lines  the lemmas, sorted; then the irregular plurals, each with its singulars, separated
                 by spaces (UTF-8, joined by line feeds)
"""

# N synsets of the packaged graph, L lemmas, S senses, E irregular plurals

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from labelkit.hierarchy.class_list import looks_like_indices
from labelkit.hierarchy.class_sources import definitions
from labelkit.hierarchy.forest import IntArray, read_only, row_starts
from labelkit.hierarchy.wordnet.graph import (
    DATA,
    ParentTable,
    packaged_graph,
    read_packed,
    split_content,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from labelkit.hierarchy.class_list import ClassList

MAGIC = b"labelkit-noun-lemmas"
VERSION = 1

MatchKind: TypeAlias = Literal[
    "whole name", "singular", "last part", "spelled together", "first word", "last word"
]
MATCH_KINDS: tuple[MatchKind, ...] = get_args(MatchKind)  # the strongest first
CERTAIN: tuple[MatchKind, ...] = ("whole name", "singular", "last part")

SEPARATORS = re.compile(r"[\s_-]+")
WORDS = re.compile(r"[^\s_\-/,()&]+")
# Endings of plurals and of their singulars, from morphy(7WN), and the f of knives.
ENDINGS = (
    ("s", ""),
    ("ses", "s"),
    ("ves", "f"),
    ("xes", "x"),
    ("zes", "z"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("men", "man"),
    ("ies", "y"),
)


@dataclass(frozen=True)
class Candidate:
    """A synset that a class name may mean.

    Attributes:
        wnid: the synset.
        lemma: the word that matches, as WordNet has it.
        how: what it matches: the whole name, the name's singular, one of these for the last part of
            a path, one of these except for a separator that only one of them has, or only the
            first or last words of the name.
        chain: first lemmas from the synset up to the root, so that people can tell senses apart.
    """

    wnid: str
    lemma: str
    how: MatchKind
    chain: tuple[str, ...]


@dataclass(frozen=True)
class NameMatch:
    """A class and its candidates, the strongest first.

    Of equally strong candidates, ImageNet's synsets come first; the rest is in WordNet's order of
    senses.
    """

    class_id: str
    candidates: tuple[Candidate, ...]


def match_names(classes: ClassList) -> tuple[NameMatch, ...]:
    """Find the noun synsets that each class name may mean, in the order of the list.

    Case and the kind of separator are ignored: ``Pickup-Truck`` is ``pickup_truck``. Senses of the
    whole name come first, then those of its singular, then lemmas with the same letters but other
    word boundaries, which are never settled: "cup cake" may be ``cupcake``, but "the rapist" is
    hardly ``therapist``. Only a name that has neither of the first two is matched by its last
    words, as many as WordNet knows: "aquarium fish" is probably a fish. Senses of the words before
    them come first if they are descendants of those: "maple tree" may be a maple. A path such as
    ``food/pizza`` is matched by its last part; senses below a sense of the part before it come
    first. A wnid matches itself. A name may have many candidates, or none; ``settled`` returns
    those that need no choice.

    Image data sets mostly show what ImageNet shows: of equally strong candidates its synsets come
    first. Without timm, whose files list them, senses keep their order.
    """
    found = [(class_id, _candidates(class_id)) for class_id in classes]
    shown = definitions(candidate.wnid for _, candidates in found for candidate in candidates)

    def sort(class_id: str, candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
        above = _senses_above(class_id)

        def rank(candidate: Candidate) -> tuple[int, bool, bool]:
            elsewhere = bool(above) and above.isdisjoint(_chain(_synset(candidate.wnid)))
            return MATCH_KINDS.index(candidate.how), elsewhere, candidate.wnid not in shown

        return tuple(sorted(candidates, key=rank))

    return tuple(NameMatch(class_id, sort(class_id, each)) for class_id, each in found)


def settled(matches: Iterable[NameMatch]) -> dict[str, str]:
    """Class -> wnid for the classes that need no choice.

    These have exactly one candidate, by the whole name, its singular or the last part of a path,
    and share it with no other such class. Numbers always need a choice: folders called 0 and 1
    rarely show the nouns *zero* and *one*.
    """
    only = {
        match.class_id: match.candidates[0].wnid
        for match in matches
        if len(match.candidates) == 1
        and match.candidates[0].how in CERTAIN
        and not is_number(match.class_id)
    }
    count = Counter(only.values())
    return {class_id: wnid for class_id, wnid in only.items() if count[wnid] == 1}


def is_number(class_id: str) -> bool:
    """Whether a class, or the last part of its path, is a number and no name."""
    return looks_like_indices([_path_parts(class_id)[-1]])


def _path_parts(name: str) -> list[str]:
    """The parts of a path such as ``food/pizza``; one for other names."""
    return [part for part in map(str.strip, name.split("/")) if part] or [name]


def _synset(wnid: str) -> int:
    return packaged_graph().index[wnid]


def _senses_above(name: str) -> frozenset[int]:
    """The synsets that the part before the last of a path may mean; empty for other names."""
    parts = _path_parts(name)
    if len(parts) == 1:
        return frozenset()
    return frozenset(_synset(each.wnid) for each in _candidates(parts[-2]) if each.how in CERTAIN)


def _candidates(name: str) -> tuple[Candidate, ...]:
    whole = _candidates_of_word(name)
    parts = _path_parts(name)
    if len(parts) == 1 or any(each.how == "whole name" for each in whole):  # such as 9/11
        return whole
    last = _candidates_of_word(parts[-1])
    certain = (replace(each, how="last part") if each.how in CERTAIN else each for each in last)
    return tuple(certain) or whole


def _candidates_of_word(name: str) -> tuple[Candidate, ...]:
    graph = packaged_graph()
    if name in graph.index:
        at = graph.index[name]
        return (Candidate(name, graph.lemmas[at], "whole name", chain_of_names(name)),)
    found: dict[int, Candidate] = {}
    for synset, lemma, how in _senses(name):
        wnid = graph.ids[synset]
        found.setdefault(synset, Candidate(wnid, lemma, how, chain_of_names(wnid)))
    return tuple(found.values())


def _senses(name: str) -> Iterator[tuple[int, str, MatchKind]]:
    """The synsets that match a name, the strongest first, with the lemma and what it matches."""
    words: list[str] = WORDS.findall(name)
    whole = [*_spelled([name], "whole name"), *_spelled(singulars("_".join(words)), "singular")]
    yield from whole
    if any(how != "spelled together" for _, _, how in whole):
        return
    for first in range(1, len(words)):
        last = "_".join(words[first:])
        senses = list(_spelled([last, *singulars(last)], "last word"))
        if senses:
            kinds = {synset for synset, _, _ in senses}
            for synset, lemma, how in _spelled(["_".join(words[:first])], "first word"):
                if not kinds.isdisjoint(_chain(synset)):
                    yield synset, lemma, how
            yield from senses
            return


def _spelled(forms: Iterable[str], how: MatchKind) -> Iterator[tuple[int, str, MatchKind]]:
    """The synsets of the lemmas spelled like one of the forms, and how each lemma matches."""
    lemmas = packaged_lemmas()
    for form in forms:
        words = _words(form)
        for at in lemmas.spelled(form):
            lemma = lemmas.lemmas[at]
            other_words = how in CERTAIN and _words(lemma) != words
            for synset in lemmas.senses(at):
                yield synset, lemma, "spelled together" if other_words else how


def _words(text: str) -> list[str]:
    """The words between a text's separators, as letters and digits only."""
    return [word for word in map(letters, WORDS.findall(text)) if word]


def singulars(name: str) -> list[str]:
    """The possible singulars of a name, by WordNet's exceptions or else by word endings.

    Only the last word changes. The results need not be words: "bus" gives "bu".

    >>> singulars("field_mice"), singulars("French_fries"), singulars("glass")
    (['field_mouse'], ['french_frie', 'french_fry'], [])
    """
    plain = name.casefold()
    exceptions = packaged_lemmas().singulars
    if plain in exceptions:
        return list(exceptions[plain])
    before, separator, last = plain.rpartition("_")
    if last in exceptions:
        ends = list(exceptions[last])
    elif len(letters(last)) < 3 or last.endswith("ss"):
        ends = []
    else:
        ends = [last.removesuffix(old) + new for old, new in ENDINGS if last.endswith(old)]
    return [f"{before}{separator}{end}" for end in ends]


def chain_of_names(wnid: str) -> tuple[str, ...]:
    """First lemmas from a synset up to its root, by ImageNet's parents.

    A name such as Felix, which has no hypernym, continues with its instance hypernym.
    """
    graph = packaged_graph()
    return tuple(graph.lemmas[at] for at in _chain(graph.index[wnid]))


def _chain(synset: int) -> list[int]:
    chain: list[int] = []
    at: int | None = synset
    while at is not None:
        chain.append(at)
        at = _above(at)
    return chain


def _above(at: int) -> int | None:
    graph = packaged_graph()
    parent = _imagenet_parents().get(graph.ids[at])
    if parent is not None:
        return graph.index[parent]
    for start, above in (
        (graph.hypernym_start, graph.hypernym),
        (graph.instance_start, graph.instance_hypernym),
    ):
        if start[at] < start[at + 1]:
            return int(above[start[at]])
    return None


@functools.cache
def _imagenet_parents() -> dict[str, str]:
    return ParentTable.load().parent_of


@dataclass(frozen=True, eq=False)
class LemmaTable:
    """Noun lemmas in lower case with underscores, as ``pickup_truck``, each with its senses.

    Lemma ``i`` has the synset positions ``sense[sense_start[i]:sense_start[i + 1]]``, the most
    frequent sense first. ``singulars`` holds WordNet's irregular plurals.
    """

    lemmas: tuple[str, ...]
    sense_start: IntArray
    sense: IntArray
    singulars: dict[str, tuple[str, ...]]

    @functools.cached_property
    def _by_letters(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for at, key in enumerate(re.sub(r"[^a-z0-9\n]", "", "\n".join(self.lemmas)).split("\n")):
            found.setdefault(key, []).append(at)
        return found

    def spelled(self, name: str) -> list[int]:
        """The positions of the lemmas that equal a name, ignoring case and kind of separator.

        Spaces, underscores and hyphens are equivalent. Only if no lemma matches that way are they
        and all other marks ignored: "cup cake" is ``cupcake``, and "Crème brûlée" is
        ``creme_brulee``.
        """
        alike = self._by_letters.get(letters(name), [])
        words = SEPARATORS.sub("_", name.strip().casefold())
        equal = [at for at in alike if self.lemmas[at].replace("-", "_") == words]
        return equal or alike

    def senses(self, at: int) -> list[int]:
        """A lemma's synset positions in WordNet's order."""
        return self.sense[self.sense_start[at] : self.sense_start[at + 1]].tolist()


def letters(name: str) -> str:
    """A name's letters and digits in lower case, without accents.

    >>> letters("Jack-o'-Lantern"), letters("Crème brûlée")
    ('jackolantern', 'cremebrulee')
    """
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    return "".join(sign for sign in decomposed if sign.isalnum())


@functools.cache
def packaged_lemmas() -> LemmaTable:
    """The lemmas of WordNet 3.0 that are included in labelkit, read once per process."""
    return load_lemmas(DATA / "noun_lemmas.bin")


def load_lemmas(path: Path) -> LemmaTable:
    """Read packed lemmas.

    Raises:
        TaxonomyError: the file is damaged or of another version.
    """
    return read_packed(path, MAGIC, VERSION, _unpack)


def _unpack(content: bytes, numbers: list[int]) -> LemmaTable:
    synsets, lemmas, senses, plurals = numbers
    (counts, sense), lines = split_content(content, (("u1", lemmas), ("<u4", senses)))
    starts = row_starts(counts)
    if (len(lines), int(starts[-1])) != (lemmas + plurals, senses):
        raise ValueError(f"it holds {len(lines)} lines")
    if sense.max(initial=0) >= synsets:
        raise ValueError("a sense is out of range")
    rows = (line.split(" ") for line in lines[lemmas:])
    return LemmaTable(
        lemmas=tuple(lines[:lemmas]),
        sense_start=starts,
        sense=read_only(sense),
        singulars={plural: tuple(singulars) for plural, *singulars in rows},
    )
