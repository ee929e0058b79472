"""Random trees, drawn as parent lists, and the real SemanticTree of one."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy

if TYPE_CHECKING:
    from collections.abc import Sequence

Parents = tuple[int, ...]


@st.composite
def forests(draw: st.DrawFn, max_classes: int = 12) -> Parents:
    """Parent of each class, -1 for roots: one root or several, classes in any order."""
    count = draw(st.integers(1, max_classes))
    single_root = draw(st.booleans())
    lowest = 0 if single_root else -1
    grown = [-1, *(draw(st.integers(lowest, child - 1)) for child in range(1, count))]
    position = draw(st.permutations(range(count)))
    return permute_parents(grown, position)


def permute_parents(parents: Sequence[int], position: Sequence[int]) -> Parents:
    """The same tree with class c at ``position[c]``."""
    moved = [-1] * len(parents)
    for child, parent in enumerate(parents):
        moved[position[child]] = -1 if parent < 0 else position[parent]
    return tuple(moved)


@lru_cache(maxsize=256)
def tree_of(parents: Parents) -> SemanticTree:
    """The library's tree of a parent list; class c has the id ``c<c>``."""
    classes = ClassList.of([f"c{child}" for child in range(len(parents))], name="random forest")
    above = {
        f"c{child}": f"c{parent}" if parent >= 0 else None for child, parent in enumerate(parents)
    }
    return SemanticTree.build(classes, Taxonomy.from_parents(above))


def chain_of(parents: Sequence[int], child: int) -> list[int]:
    """A class's ancestors from its root down to itself."""
    chain = [child]
    while parents[chain[0]] >= 0:
        chain.insert(0, parents[chain[0]])
    return chain


def levels_of(parents: Sequence[int]) -> list[list[int]]:
    """The classes of each depth, in the order of the class list."""
    depths = [len(chain_of(parents, child)) - 1 for child in range(len(parents))]
    return [
        [child for child in range(len(parents)) if depths[child] == level]
        for level in range(max(depths) + 1)
    ]
