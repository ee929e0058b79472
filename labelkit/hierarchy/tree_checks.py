"""What the fields of a semantic tree must satisfy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labelkit.hierarchy.forest import IntArray, read_only

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labelkit.hierarchy.class_list import ClassList


def check_texts(names: Sequence[str], source: Mapping[str, str]) -> None:
    """Refuse names and a source that are not text."""
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise ValueError(f"the name {wrong[0]!r} is not text")
    for key, value in source.items():
        if {str} != {type(key), type(value)}:
            raise ValueError(f"source: {key!r} is {value!r}, expected text")


def checked_parent(parent: IntArray, classes: ClassList) -> IntArray:
    """The parents, each the index of a class or -1."""
    parent = read_only(parent)
    if parent.min() < -1 or parent.max() >= len(classes):
        at = int(np.argmax((parent < -1) | (parent >= len(classes))))
        raise ValueError(
            f"the parent of {classes[at]!r} is {parent[at]}: expected the index of one of "
            f"{len(classes)} classes, or -1"
        )
    return parent


def checked_inner(inner: IntArray, classes: ClassList) -> IntArray:
    """The inner nodes, ascending, not all of the classes."""
    inner = read_only(inner)
    if len(inner) and (inner[0] < 0 or inner[-1] >= len(classes) or (np.diff(inner) < 1).any()):
        raise ValueError(
            f"inner nodes must be unique, ascending indices of the {len(classes)} classes"
        )
    if len(inner) == len(classes):
        raise ValueError("all classes are inner nodes: at least one must be a class of the data")
    return inner


def checked_level(level: IntArray, parent: IntArray, classes: ClassList) -> IntArray:
    """The levels, numbered without a gap, each class's deeper than its parent's."""
    level = read_only(level)
    if len(level) != len(classes):
        raise ValueError(f"{len(level)} levels for {len(classes)} classes, expected one per class")
    out_of_range = level.min() < 0 or level.max() >= len(level)
    if out_of_range or not np.bincount(level).all():
        raise ValueError("levels must be numbered from 0 without a gap")
    below = np.flatnonzero(parent >= 0)
    wrong = below[level[below] <= level[parent[below]]]
    if wrong.size:
        at = int(wrong[0])
        raise ValueError(
            f"class {classes[at]!r} is on level {level[at]} and its parent "
            f"{classes[int(parent[at])]!r} on level {level[parent[at]]}: a class must be on a "
            "deeper level than its parent"
        )
    return level


def checked_ranks(ranks: Sequence[str], levels: int) -> tuple[str, ...]:
    """The names of the levels, or none."""
    if isinstance(ranks, str) or (ranks and len(ranks) != levels):
        raise ValueError(f"ranks are {ranks!r}, expected one name for each of {levels} levels")
    wrong = [rank for rank in ranks if not isinstance(rank, str) or rank.splitlines() != [rank]]
    if wrong:
        raise ValueError(f"rank {wrong[0]!r} is not one non-empty line of text")
    if len(set(ranks)) < len(ranks):
        raise ValueError(f"ranks are {', '.join(ranks)}: each level needs its own name")
    return tuple(map(str, ranks))
