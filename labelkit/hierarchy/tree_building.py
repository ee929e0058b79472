"""Make a tree from a class list and a taxonomy; ``SemanticTree.build`` is the public way."""

# C classes, M inner nodes of the taxonomy

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Literal

import numpy as np

from labelkit import __version__
from labelkit.hierarchy.class_list import ClassList
from labelkit.hierarchy.forest import among, depths
from labelkit.hierarchy.inner_nodes import choose_inner_nodes
from labelkit.hierarchy.tree import SemanticTree, list_name

if TYPE_CHECKING:
    from labelkit.hierarchy.arrays import IntArray
    from labelkit.hierarchy.taxonomy import Taxonomy


def build_tree(
    classes: ClassList, taxonomy: Taxonomy, inner_levels: int | Literal["all"] = 0
) -> SemanticTree:
    """``SemanticTree.build``; see there.

    Raises:
        ClassListError: the taxonomy does not know some of the classes.
        ValueError: ``inner_levels`` is negative or another word.
    """
    if inner_levels == "all":
        levels = None
    elif not isinstance(inner_levels, numbers.Integral) or inner_levels < 0:
        raise ValueError(f"inner_levels is {inner_levels!r}, expected 'all' or a number from 0")
    else:
        levels = int(inner_levels)
    nodes = taxonomy.nodes(classes)
    parent = among(taxonomy.parent, nodes)
    source = {**taxonomy.source, "labelkit": __version__}
    if classes.name:
        source["class_list"] = classes.name
    if levels == 0:
        return SemanticTree(classes, _names(taxonomy, nodes), parent, source)
    chosen = choose_inner_nodes(taxonomy, nodes, levels)
    together = np.concatenate([nodes, chosen.nodes])
    inner_ids = [taxonomy.ids[node] for node in chosen.nodes.tolist()]
    all_parents = among(taxonomy.parent, together)
    level = depths(all_parents)
    if (parent < 0).all():
        inner = level[len(nodes) :] if levels is None else chosen.level
        level = np.append(np.full(len(nodes), inner.max(initial=-1) + 1), inner)
    return SemanticTree(
        classes=ClassList.of([*classes, *inner_ids], list_name(classes.name, inner=len(inner_ids))),
        names=_names(taxonomy, together),
        parent=all_parents,
        source=source | {"inner_levels": str(inner_levels)},
        inner=np.arange(len(nodes), len(together)),
        level=level,
    )


def _names(taxonomy: Taxonomy, nodes: IntArray) -> tuple[str, ...]:
    return tuple(taxonomy.names[node] for node in nodes.tolist())
