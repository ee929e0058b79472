"""What inner nodes and levels of a tree must be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labelkit.hierarchy.arrays import IntArray, read_only

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labelkit.hierarchy.class_list import ClassList


def check_texts(names: Sequence[str], source: Mapping[str, str]) -> None:
    """Raise unless names and the source are text, as a tree file keeps them.

    Raises:
        ValueError: one of them is something else.
    """
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is no name: names are text")
    for what, value in source.items():
        if {str} != {type(what), type(value)}:
            raise ValueError(f"source: {what!r} is {value!r}, expected text")


def checked_inner(inner: IntArray, classes: ClassList) -> IntArray:
    """The indices of inner nodes, if they can be that.

    Raises:
        ValueError: they are not ascending indices of classes, or all classes are among them.
    """
    inner = read_only(inner)
    if len(inner) and (inner[0] < 0 or inner[-1] >= len(classes) or (np.diff(inner) < 1).any()):
        raise ValueError(
            f"inner nodes must be ascending indices of the {len(classes)} classes, each once"
        )
    if len(inner) == len(classes):
        raise ValueError("all classes are inner nodes: at least one must be a class of the data")
    return inner


def checked_level(level: IntArray, parent: IntArray, classes: ClassList) -> IntArray:
    """The level of each class, if they can be that.

    Raises:
        ValueError: another number of them, a level that is empty, or a class that does not stand on
            a deeper one than its parent.
    """
    level = read_only(level)
    if len(level) != len(classes):
        raise ValueError(f"{len(level)} levels for {len(classes)} classes: one each")
    out_of_range = level.min() < 0 or level.max() >= len(level)
    if out_of_range or not np.bincount(level).all():
        raise ValueError("levels must be counted from 0 without a gap")
    below = np.flatnonzero(parent >= 0)
    wrong = below[level[below] <= level[parent[below]]]
    if wrong.size:
        at = int(wrong[0])
        raise ValueError(
            f"class {classes[at]!r} stands on level {level[at]}, its parent "
            f"{classes[int(parent[at])]!r} on {level[parent[at]]}: not above it"
        )
    return level
