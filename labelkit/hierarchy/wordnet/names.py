"""Plain English class names matched to WordNet 3.0's nouns: candidates to choose from."""

from __future__ import annotations

import functools
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from labelkit.hierarchy.class_sources import definitions
from labelkit.hierarchy.wordnet.noun_graph import ParentTable, noun_graph
from labelkit.hierarchy.wordnet.noun_lemmas import letters, noun_lemmas

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from labelkit.hierarchy.class_list import ClassList

How: TypeAlias = Literal["whole name", "singular", "spelled together", "first word", "last word"]
HOWS: tuple[How, ...] = get_args(How)  # the strongest first
SURE: tuple[How, ...] = ("whole name", "singular")

WORDS = re.compile(r"[^\s_\-/,()&]+")
# What a plural ends with and its singular instead, of morphy(7WN), and the f of knives.
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

    ``lemma`` is the word that fits, as WordNet has it. ``how`` says what it fits: the whole name,
    the name made singular, either of them but for a separator that one of both lacks, or only the
    name's first or last words. ``chain`` holds the first lemmas from
    the synset itself up to the root, for people to tell one sense from another.
    """

    wnid: str
    lemma: str
    how: How
    chain: tuple[str, ...]


@dataclass(frozen=True)
class NameMatch:
    """A class and its candidates, the strongest first.

    Among those that fit equally well ImageNet's synsets come first, then all in the order of
    WordNet's senses.
    """

    class_id: str
    candidates: tuple[Candidate, ...]


def match_names(classes: ClassList) -> tuple[NameMatch, ...]:
    """Find the noun synsets that each class name may mean, in the order of the list.

    Case does not count, and which separator parts two words, so that ``Pickup-Truck`` is
    ``pickup_truck``. Senses of the whole name come first, then those of its singular, then what has
    the same letters, but its words together or apart: "cup cake" may be ``cupcake``, but "the
    rapist" is no ``therapist``. Only a name that has neither of the first two is matched by its
    last words, as many as WordNet knows: "aquarium fish" is a fish, or so it seems. Senses of the
    words before go first where they are a kind of those: "maple tree" may be a maple. A wnid
    matches itself. A name may have many candidates, or none; ``settled`` says which need no choice.

    Image data sets are mostly about what ImageNet shows, too: of equally strong candidates its
    synsets come first. Without timm, whose files say which those are, senses keep their order.
    """
    found = [(class_id, _candidates(class_id)) for class_id in classes]
    shown = definitions(candidate.wnid for _, candidates in found for candidate in candidates)

    def rank(candidate: Candidate) -> tuple[int, bool]:
        return HOWS.index(candidate.how), candidate.wnid not in shown

    return tuple(NameMatch(class_id, tuple(sorted(each, key=rank))) for class_id, each in found)


def settled(matches: Iterable[NameMatch]) -> dict[str, str]:
    """Class -> wnid for the classes that need no choice.

    Those have one candidate, by their whole name or its singular with the same words, that no other
    of them has too.
    """
    only = {
        match.class_id: match.candidates[0].wnid
        for match in matches
        if len(match.candidates) == 1 and match.candidates[0].how in SURE
    }
    count = Counter(only.values())
    return {class_id: wnid for class_id, wnid in only.items() if count[wnid] == 1}


def _candidates(name: str) -> tuple[Candidate, ...]:
    graph = noun_graph()
    if name in graph.index:
        at = graph.index[name]
        return (Candidate(name, graph.lemmas[at], "whole name", chain_of_names(name)),)
    found: dict[int, Candidate] = {}
    for synset, lemma, how in _senses(name):
        wnid = graph.ids[synset]
        found.setdefault(synset, Candidate(wnid, lemma, how, chain_of_names(wnid)))
    return tuple(found.values())


def _senses(name: str) -> Iterator[tuple[int, str, How]]:
    """The synsets that fit a name, the strongest first, with the lemma and what it fits."""
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


def _spelled(forms: Iterable[str], how: How) -> Iterator[tuple[int, str, How]]:
    """The synsets of the lemmas that are one of the forms, and how each lemma fits the name."""
    lemmas = noun_lemmas()
    for form in forms:
        words = _words(form)
        for at in lemmas.spelled(form):
            lemma = lemmas.lemmas[at]
            apart = how in SURE and _words(lemma) != words
            for synset in lemmas.senses(at):
                yield synset, lemma, "spelled together" if apart else how


def _words(text: str) -> list[str]:
    """The words between a text's separators, as letters and digits alone."""
    return [word for word in map(letters, WORDS.findall(text)) if word]


def singulars(name: str) -> list[str]:
    """What a name may be the plural of, by WordNet's exceptions or else by the ends of words.

    Only its last word changes. The results need not be words: "bus" gives "bu".

    >>> singulars("field_mice"), singulars("French_fries"), singulars("glass")
    (['field_mouse'], ['french_frie', 'french_fry'], [])
    """
    plain = name.casefold()
    exceptions = noun_lemmas().singulars
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

    A name such as Felix, which is no kind of anything, goes on with what it is an instance of.
    """
    graph = noun_graph()
    return tuple(graph.lemmas[at] for at in _chain(graph.index[wnid]))


def _chain(synset: int) -> list[int]:
    chain: list[int] = []
    at: int | None = synset
    while at is not None:
        chain.append(at)
        at = _above(at)
    return chain


def _above(at: int) -> int | None:
    graph = noun_graph()
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
    return ParentTable.read().parent_of
