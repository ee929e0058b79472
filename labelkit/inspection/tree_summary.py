"""A tree in numbers: its levels, its roots and its deepest chains."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from labelkit.wording import flatten, readable

if TYPE_CHECKING:
    from pathlib import Path

    from labelkit.hierarchy import SemanticTree

_MOST_ROOTS, _MOST_CHAINS = 5, 3
_LARGEST_WEIGHT = 20.0


@dataclass(frozen=True, slots=True)
class TreeLevel:
    """One level of a tree.

    Attributes:
        level: its number, 0 for the topmost.
        nodes: classes and inner nodes on it.
        inner: how many of them are inner nodes, no classes of the data.
        share: its part of all nodes, 0 to 1.
        weight: its factor in the semantic softmax loss, ``min(20, sum N_j / sum_{j>=k} N_j)``.
    """

    level: int
    nodes: int
    inner: int
    share: float
    weight: float


@dataclass(frozen=True, slots=True)
class TreeRoot:
    """A class with no class above it.

    Attributes:
        class_id: its id.
        name: its name, for people.
        below: how many classes lie anywhere below it, itself and inner nodes not counted.
    """

    class_id: str
    name: str
    below: int


@dataclass(frozen=True, slots=True)
class TreeSummary:
    """A semantic tree in numbers.

    Attributes:
        path: the file.
        classes_name: what the class list is called; may be empty.
        num_classes: length of the class list.
        digest: the class list's digest.
        inner: how many of the list are inner nodes, no classes of the data.
        levels: from the topmost down.
        roots: how many there are.
        largest_roots: the first few, those with the most classes below first.
        deepest_chains: names from a root down to a class of the greatest depth, a few of them.
        source: how the tree was made, (what, value).
    """

    path: Path
    classes_name: str
    num_classes: int
    digest: str
    inner: int
    levels: tuple[TreeLevel, ...]
    roots: int
    largest_roots: tuple[TreeRoot, ...]
    deepest_chains: tuple[tuple[str, ...], ...]
    source: tuple[tuple[str, str], ...]


def summarize_tree(path: Path, tree: SemanticTree) -> TreeSummary:
    """Summarise a tree that was read from ``path``."""
    roots = np.flatnonzero(tree.parent < 0)
    return TreeSummary(
        path=path,
        classes_name=tree.classes.name,
        num_classes=len(tree.classes),
        digest=tree.classes.digest,
        inner=len(tree.inner),
        levels=tree_levels(tree),
        roots=len(roots),
        largest_roots=_largest_roots(tree, roots.tolist()),
        deepest_chains=_deepest_chains(tree),
        source=tuple(flatten(tree.source)),
    )


def tree_levels(tree: SemanticTree) -> tuple[TreeLevel, ...]:
    """The levels of a tree from the topmost down.

    Source of the weights: Ridnik et al. 2021 (arXiv 2104.10972).
    """
    inner = np.bincount(tree.level[tree.inner], minlength=len(tree.counts)).tolist()
    total = sum(tree.counts)
    below = list(accumulate(reversed(tree.counts)))[::-1]
    return tuple(
        TreeLevel(k, nodes, added, nodes / total, min(_LARGEST_WEIGHT, total / below[k]))
        for k, (nodes, added) in enumerate(zip(tree.counts, inner, strict=True))
    )


def _largest_roots(tree: SemanticTree, roots: list[int]) -> tuple[TreeRoot, ...]:
    below: list[int] = tree.classes_below.tolist()
    largest = sorted(roots, key=lambda at: (-below[at], at))[:_MOST_ROOTS]
    return tuple(TreeRoot(tree.classes[at], readable(tree.names[at]), below[at]) for at in largest)


def _deepest_chains(tree: SemanticTree) -> tuple[tuple[str, ...], ...]:
    """Chains of the greatest depth; of siblings, whose chains differ in the end alone, one."""
    deepest = np.flatnonzero(tree.depth == tree.depth.max())
    _, first = np.unique(tree.parent[deepest], return_index=True)
    chosen: list[int] = deepest[np.sort(first)][:_MOST_CHAINS].tolist()
    if int(tree.depth[chosen[0]]) == 0:
        chosen = chosen[:1]
    return tuple(
        tuple(readable(tree.names[at]) for at in tree.chain(index).tolist()) for index in chosen
    )
