"""Pack WordNet 3.0's nouns into the compact graph that labelkit ships.

    python scripts/make_noun_graph.py /usr/share/wordnet

reads ``data.noun`` from that folder, checks ImageNet's parent table against it, and writes
``labelkit/hierarchy/wordnet/data/noun_graph.bin``. The same input gives the same content, and with
the same zlib the same bytes.
"""

from __future__ import annotations

import argparse
import graphlib
import sys
import zlib
from array import array
from dataclasses import dataclass
from pathlib import Path

from labelkit.hierarchy.wordnet.noun_graph import DATA, MAGIC, VERSION, ParentTable, read_noun_graph


@dataclass(frozen=True)
class Noun:
    """One line of data.noun: its wnid, first lemma, and pointers in the order of the line."""

    wnid: str
    lemma: str
    hypernyms: tuple[str, ...]
    instance_hypernyms: tuple[str, ...]


def read_noun(line: str) -> Noun:
    """Parse a line of data.noun (see wndb(5WN)); the id is its first field, not its byte offset."""
    fields = line.split(" ")
    words = int(fields[3], 16)
    start = 4 + 2 * words
    pointers = [
        (fields[at], f"n{fields[at + 1]}")
        for at in range(start + 1, start + 1 + 4 * int(fields[start]), 4)
    ]
    return Noun(
        wnid=f"n{fields[0]}",
        lemma=fields[4],
        hypernyms=tuple(target for symbol, target in pointers if symbol == "@"),
        instance_hypernyms=tuple(target for symbol, target in pointers if symbol == "@i"),
    )


def read_nouns(folder: Path) -> list[Noun]:
    """Every noun of a WordNet ``dict`` folder, in its order; LF and CRLF copies read the same."""
    with (folder / "data.noun").open(encoding="ascii") as lines:
        return [read_noun(line) for line in lines if not line.startswith("  ")]


def pack(nouns: list[Noun]) -> tuple[bytes, bytes]:
    """The graph's header line and its content; ``noun_graph.py`` in labelkit says what they are.

    Raises:
        ValueError: an id stands twice, a pointer leads nowhere, or hypernyms run in a circle.
    """
    position = {noun.wnid: at for at, noun in enumerate(nouns)}
    if len(position) != len(nouns):
        raise ValueError("a synset id stands twice")
    graphlib.TopologicalSorter({noun.wnid: noun.hypernyms for noun in nouns}).prepare()
    rows = [[position[wnid] for wnid in noun.hypernyms] for noun in nouns]
    instance_rows = [[position[wnid] for wnid in noun.instance_hypernyms] for noun in nouns]
    text = [noun.wnid for noun in nouns] + [noun.lemma for noun in nouns]
    content = b"".join(
        [
            bytes(map(len, rows)),
            bytes(map(len, instance_rows)),
            little_endian(rows),
            little_endian(instance_rows),
            "\n".join(text).encode(),
        ]
    )
    numbers = len(nouns), sum(map(len, rows)), sum(map(len, instance_rows))
    header = b"%s %d %d %d %d\n" % (MAGIC, VERSION, *numbers)
    return header, content


def little_endian(rows: list[list[int]]) -> bytes:
    """All rows, one after the other, as little-endian uint32."""
    numbers = array("I", [number for row in rows for number in row])
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def main() -> None:
    """Write the graph, then read it back and check the parent table against it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("dict_folder", type=Path, help="WordNet 3.0's dict folder (with data.noun)")
    parser.add_argument("--table", type=Path, default=DATA / "imagenet_parent.tsv")
    parser.add_argument("-o", "--output", type=Path, default=DATA / "noun_graph.bin")
    arguments = parser.parse_args()

    header, content = pack(read_nouns(arguments.dict_folder))
    arguments.output.write_bytes(header + zlib.compress(content, 9))
    graph = read_noun_graph(arguments.output)
    strangers = ParentTable.read(arguments.table).not_in(graph)
    for child, parent in strangers:
        print(f"{arguments.table.name}: {parent} is no hypernym of {child}", file=sys.stderr)
    print(
        f"{arguments.output}: {len(graph.ids):,} nouns, {len(graph.hypernym):,} hypernyms, "
        f"{arguments.output.stat().st_size:,} bytes"
    )
    sys.exit(1 if strangers else 0)


if __name__ == "__main__":
    main()
