"""Pack WordNet 3.0's noun lemmas and irregular plurals into the file that is included in labelkit.

    python scripts/make_noun_lemmas.py /usr/share/wordnet

reads ``index.noun`` and ``noun.exc`` from that folder and writes
``labelkit/hierarchy/wordnet/data/noun_lemmas.bin``. The same input gives the same content, and with
the same zlib the same bytes.
"""

from __future__ import annotations

import argparse
import zlib
from pathlib import Path

import numpy as np

from labelkit.hierarchy.wordnet.graph import DATA, packaged_graph
from labelkit.hierarchy.wordnet.names import MAGIC, VERSION, load_lemmas


def read_index(folder: Path) -> dict[str, list[str]]:
    """Lemma -> wnids in the order of senses: the last fields of a line, see wndb(5WN)."""
    senses: dict[str, list[str]] = {}
    with (folder / "index.noun").open(encoding="ascii") as lines:
        for line in lines:
            if not line.startswith("  "):
                lemma, _, count, *rest = line.split()
                senses[lemma] = [f"n{offset}" for offset in rest[-int(count) :]]
    return senses


def read_exceptions(folder: Path) -> dict[str, list[str]]:
    """Irregular plural -> singulars, if it has any; some plurals have two lines."""
    singulars: dict[str, list[str]] = {}
    with (folder / "noun.exc").open(encoding="ascii") as lines:
        for plural, *row in map(str.split, lines):
            if row:
                singulars[plural] = list(dict.fromkeys(singulars.get(plural, []) + row))
    return singulars


def pack(folder: Path) -> tuple[bytes, bytes]:
    """The header line and the content; ``wordnet/names.py`` documents both.

    Raises:
        KeyError: a sense is not in the packaged graph: the folder is of another WordNet version.
    """
    position = packaged_graph().index
    index = read_index(folder)
    senses = [position[wnid] for lemma in sorted(index) for wnid in index[lemma]]
    plurals = sorted(read_exceptions(folder).items())
    text = [*sorted(index), *(" ".join([plural, *row]) for plural, row in plurals)]
    content = b"".join(
        [
            bytes(len(index[lemma]) for lemma in sorted(index)),
            np.array(senses, dtype="<u4").tobytes(),
            "\n".join(text).encode(),
        ]
    )
    numbers = len(position), len(index), len(senses), len(plurals)
    return b"%s %d %d %d %d %d\n" % (MAGIC, VERSION, *numbers), content


def main() -> None:
    """Write the lemmas and read them back."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("dict_folder", type=Path, help="WordNet 3.0's dict folder")
    parser.add_argument("-o", "--output", type=Path, default=DATA / "noun_lemmas.bin")
    arguments = parser.parse_args()

    header, content = pack(arguments.dict_folder)
    arguments.output.write_bytes(header + zlib.compress(content, 9))
    found = load_lemmas(arguments.output)
    print(
        f"{arguments.output}: {len(found.lemmas):,} lemmas, {len(found.sense):,} senses, "
        f"{len(found.singulars):,} irregular plurals, {arguments.output.stat().st_size:,} bytes"
    )


if __name__ == "__main__":
    main()
