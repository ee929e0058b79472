"""Pack WordNet 3.0's noun synsets into the compact graph that is included in labelkit.

    python scripts/make_noun_graph.py /usr/share/wordnet

reads ``data.noun`` from that folder, checks ImageNet's parent table against it, and writes
``labelkit/hierarchy/wordnet/data/noun_graph.bin``. The same input gives the same content, and with
the same zlib the same bytes.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from labelkit.hierarchy.wordnet.copies import read_data_noun
from labelkit.hierarchy.wordnet.graph import DATA, MAGIC, VERSION, ParentTable, load_graph

if TYPE_CHECKING:
    from labelkit.hierarchy.wordnet.graph import SynsetGraph


def pack(graph: SynsetGraph) -> tuple[bytes, bytes]:
    """The graph's header line and its content; ``wordnet/graph.py`` documents both."""
    content = b"".join(
        [
            bytes(np.diff(graph.hypernym_start).tolist()),
            bytes(np.diff(graph.instance_start).tolist()),
            graph.hypernym.astype("<u4").tobytes(),
            graph.instance_hypernym.astype("<u4").tobytes(),
            "\n".join(graph.ids + graph.lemmas).encode(),
        ]
    )
    numbers = len(graph.ids), len(graph.hypernym), len(graph.instance_hypernym)
    header = b"%s %d %d %d %d\n" % (MAGIC, VERSION, *numbers)
    return header, content


def main() -> None:
    """Write the graph, then read it back and check the parent table against it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("dict_folder", type=Path, help="WordNet 3.0's dict folder (with data.noun)")
    parser.add_argument("--table", type=Path, default=DATA / "imagenet_parent.tsv")
    parser.add_argument("-o", "--output", type=Path, default=DATA / "noun_graph.bin")
    arguments = parser.parse_args()

    header, content = pack(read_data_noun(arguments.dict_folder / "data.noun"))
    arguments.output.write_bytes(header + zlib.compress(content, 9))
    graph = load_graph(arguments.output)
    unknown = ParentTable.load(arguments.table).not_in(graph)
    for child, parent in unknown:
        print(f"{arguments.table.name}: {parent} is not a hypernym of {child}", file=sys.stderr)
    print(
        f"{arguments.output}: {len(graph.ids):,} synsets, {len(graph.hypernym):,} hypernyms, "
        f"{arguments.output.stat().st_size:,} bytes"
    )
    sys.exit(1 if unknown else 0)


if __name__ == "__main__":
    main()
