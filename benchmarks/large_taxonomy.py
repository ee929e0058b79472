"""Build a tree of 200,000 classes from a taxonomy of a million nodes: time and memory.

Run from the repository root: ``python benchmarks/large_taxonomy.py``. The taxonomy is random (each
node below an earlier one) or a single chain. Its parents are given as a dict. The time includes
checking it, building the tree, computing its depths, and saving and loading it, but not the dict.
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy

NODES, CLASSES = 1_000_000, 200_000
COMMAND = "python benchmarks/large_taxonomy.py"


def seconds(parent: np.ndarray, classes: ClassList) -> float:
    """From a dict of parents to a loaded tree."""
    ids = [f"x{node}" for node in range(len(parent))]
    parents = {ids[node]: ids[up] if up >= 0 else None for node, up in enumerate(parent.tolist())}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        tree = SemanticTree.build(classes, Taxonomy.from_parents(parents))
        tree.save(Path(folder, "tree.json"))
        loaded = SemanticTree.load(Path(folder, "tree.json"))
        spent = time.perf_counter() - start
    assert np.array_equal(loaded.parent, tree.parent)
    return spent


def main() -> None:
    """Time both shapes, print one line."""
    generator = np.random.default_rng(0)
    chosen = generator.permutation(NODES)[:CLASSES].tolist()
    classes = ClassList.of(f"x{node}" for node in chosen)
    bushy = np.append(-1, generator.integers(0, np.arange(1, NODES)))
    chain = np.arange(-1, NODES - 1)
    drawn, deep = seconds(bushy, classes), seconds(chain, classes)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"tree of {CLASSES:,} classes from {NODES:,} nodes: {drawn:.1f} s drawn at random, "
        f"{deep:.1f} s as one chain, {memory:.1f} GiB at most  [{COMMAND}]"
    )


if __name__ == "__main__":
    main()
