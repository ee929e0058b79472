"""Which nouns a word may mean: WordNet 3.0's noun lemmas with their senses, as packed here.

``scripts/make_noun_lemmas.py`` writes the file from WordNet's own ``index.noun`` and ``noun.exc``.
It is one line of ASCII, ``labelkit-noun-lemmas 1 N L S E``, and a zlib stream that holds, one after
the other:

    L x uint8    senses per lemma
    S x uint32   senses as synset positions in the noun graph (little endian)
    L + E lines  the lemmas, sorted; then the irregular plurals, each with its singulars, parted by
                 blanks (UTF-8, joined by line feeds)
"""

# N synsets of the noun graph, L lemmas, S senses, E irregular plurals

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labelkit.hierarchy.arrays import IntArray, read_only, row_starts
from labelkit.hierarchy.wordnet.noun_graph import DATA
from labelkit.hierarchy.wordnet.packed_file import read_packed, split_content

if TYPE_CHECKING:
    from pathlib import Path

MAGIC = b"labelkit-noun-lemmas"
VERSION = 1
SEPARATORS = re.compile(r"[\s_-]+")


@dataclass(frozen=True, eq=False)
class NounLemmas:
    """Lemmas in lower case with underscores, as ``pickup_truck``, each with its senses.

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
        """The positions of the lemmas that are a name, whatever its case and its separators.

        Blanks, underscores and hyphens are one; only where no lemma fits so, they and all other
        signs do not count: "cup cake" is ``cupcake``, and "Crème brûlée" is ``creme_brulee``.
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
def noun_lemmas() -> NounLemmas:
    """The packaged lemmas of WordNet 3.0, read once per process."""
    return read_noun_lemmas(DATA / "noun_lemmas.bin")


def read_noun_lemmas(path: Path) -> NounLemmas:
    """Read packed lemmas.

    Raises:
        TaxonomyError: the file is damaged or of another version.
    """
    return read_packed(path, MAGIC, VERSION, _unpack)


def _unpack(content: bytes, numbers: list[int]) -> NounLemmas:
    synsets, lemmas, senses, plurals = numbers
    (counts, sense), lines = split_content(content, (("u1", lemmas), ("<u4", senses)))
    starts = row_starts(counts)
    if (len(lines), int(starts[-1])) != (lemmas + plurals, senses):
        raise ValueError(f"it holds {len(lines)} lines")
    if sense.max(initial=0) >= synsets:
        raise ValueError("a sense leads outside")
    rows = (line.split(" ") for line in lines[lemmas:])
    return NounLemmas(
        lemmas=tuple(lines[:lemmas]),
        sense_start=starts,
        sense=read_only(sense),
        singulars={plural: tuple(singulars) for plural, *singulars in rows},
    )
