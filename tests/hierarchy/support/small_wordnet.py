"""A dictionary of twelve nouns in WordNet's format, written to any folder."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from labelkit.hierarchy.wordnet.graph import SynsetGraph

LICENCE = "  1 A small dictionary of our own.  \n  2 WordNet {} Copyright 2026 nobody.  \n"
# lemmas: hypernyms and instance hypernyms (with @i before them) by first lemma, gloss
SMALL = {
    "thing": ((), "what there is"),
    "animal beast": (("thing",), "a thing that moves about"),
    "plant": (("thing",), "a thing that grows in one place"),
    "pet": (("animal",), "an animal that lives in a house | or in a garden"),
    "dog domestic_dog": (("animal", "pet"), "it barks"),
    "cat": (("pet", "animal"), "it does not"),
    "kitten": (("cat",), "a small cat"),
    "Felix": (("@i cat",), "the cat of a film"),
    "herb": (("plant",), "a plant with a scent"),
    "catnip catmint": (("herb",), "cats like it"),
    "Nile_acacia": (("plant",), "a tree"),
    "Laika": (("@i dog",), "she flew into space"),
}


def data_noun(synsets: dict[str, tuple[tuple[str, ...], str]] = SMALL, version: str = "3.0") -> str:
    """A ``data.noun`` whose ids are its byte offsets, as in WordNet's own."""
    first = {lemmas.split()[0]: lemmas for lemmas in synsets}
    offset = dict.fromkeys(first, 0)

    def line(lemmas: str) -> str:
        above, gloss = synsets[lemmas]
        name = lemmas.split(maxsplit=1)[0]
        pointers = [(("@i" if "@i " in up else "@"), up.removeprefix("@i ")) for up in above]
        pointers += [
            ("~i" if f"@i {name}" in ups else "~", below.split()[0])
            for below, (ups, _) in synsets.items()
            if {name, f"@i {name}"} & set(ups)
        ]
        words = " ".join(f"{word} 0" for word in lemmas.split())
        shown = "".join(f" {symbol} {offset[to]:08} n 0000" for symbol, to in pointers)
        count = len(lemmas.split())
        return f"{offset[name]:08} 03 n {count:02x} {words} {len(pointers):03}{shown} | {gloss}  \n"

    at = len(LICENCE.format(version))
    for name, lemmas in first.items():
        offset[name], at = at, at + len(line(lemmas))
    return LICENCE.format(version) + "".join(map(line, synsets))


def write_dict_folder(folder: Path, content: bytes = data_noun().encode()) -> Path:
    folder.mkdir(parents=True)
    (folder / "data.noun").write_bytes(content)
    return folder


def write_zip(path: Path, content: bytes = data_noun().encode()) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("wordnet/LICENSE", "ours")
        archive.writestr("wordnet/data.noun", content)
    return path


def same(left: SynsetGraph, right: SynsetGraph) -> bool:
    """Whether two graphs are equal in every field."""
    return all(
        np.array_equal(getattr(left, name), getattr(right, name))
        for name in left.__dataclass_fields__
    )


TEXT = data_noun()
ID = {line.split()[4]: line[:8] for line in TEXT.splitlines()[2:]}
LINE = {name: at for at, name in enumerate(ID, start=3)}
