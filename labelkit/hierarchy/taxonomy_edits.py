"""Changes to a taxonomy that give another one; the methods of ``Taxonomy`` are the public way."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from labelkit.errors import TaxonomyError
from labelkit.hierarchy.arrays import read_only
from labelkit.hierarchy.taxonomy_checks import check_ids

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labelkit.hierarchy.taxonomy import Taxonomy


def follow_parents(taxonomy: Taxonomy, parents: Mapping[str, str]) -> Taxonomy:
    """``Taxonomy.with_parents``; see there.

    Raises:
        TaxonomyError: an id is unknown, or a parent is none of the child's.
    """
    chosen = np.array(taxonomy.parent)
    for child, above in parents.items():
        possible = taxonomy.parents_of(child)
        if above not in possible:
            raise TaxonomyError(
                f"{above!r} is no parent of {child!r} in {taxonomy.source['taxonomy']}: it has "
                f"{', '.join(map(repr, possible)) or 'none'}. A row is a child, then a parent"
            )
        chosen[taxonomy.index[child]] = taxonomy.index[above]
    source = {**taxonomy.source, "custom_parents": _digest(taxonomy, "custom_parents", parents)}
    return replace(taxonomy, parent=read_only(chosen), source=source)


def rename(taxonomy: Taxonomy, nodes: Mapping[str, str]) -> Taxonomy:
    """``Taxonomy.with_ids``; see there.

    Raises:
        TaxonomyError: an unknown node, two new ids for one node, or an id that another node has.
    """
    ids, names = list(taxonomy.ids), list(taxonomy.names)
    given: dict[str, str] = {}
    for new, old in nodes.items():
        if old not in taxonomy.index:
            raise TaxonomyError(f"{taxonomy.source['taxonomy']} has no id {old!r} (for {new!r})")
        if old in given:
            raise TaxonomyError(
                f"{given[old]!r} and {new!r} are both {old}: one class to a node. Merge the "
                "two, or give one of them a node above or below"
            )
        given[old] = new
        ids[taxonomy.index[old]] = names[taxonomy.index[old]] = new
    taken = [new for new in nodes if new in taxonomy.index and new not in given]
    if taken:
        raise TaxonomyError(
            f"{taken[0]!r} is the id of another node of {taxonomy.source['taxonomy']}: take another"
        )
    check_ids(ids, taxonomy.source["taxonomy"])
    return replace(
        taxonomy,
        ids=tuple(ids),
        index=dict(zip(ids, range(len(ids)), strict=True)),
        names=tuple(names),
        source={**taxonomy.source, "custom_ids": _digest(taxonomy, "custom_ids", nodes)},
    )


def add_children(taxonomy: Taxonomy, parents: Mapping[str, str]) -> Taxonomy:
    """``Taxonomy.with_children``; see there.

    Raises:
        TaxonomyError: an unknown parent, or an id that a node has.
    """
    title = taxonomy.source["taxonomy"]
    for child, above in parents.items():
        if above not in taxonomy.index:
            raise TaxonomyError(f"{title} has no id {above!r} (for {child!r})")
        if child in taxonomy.index:
            raise TaxonomyError(f"{title} has the id {child!r}: take another")
    if not parents:
        return taxonomy
    ids = (*taxonomy.ids, *parents)
    check_ids(ids, title)
    nodes = np.array([taxonomy.index[above] for above in parents.values()], dtype=np.int64)
    start = taxonomy.parents_start
    return replace(
        taxonomy,
        ids=ids,
        index=dict(zip(ids, range(len(ids)), strict=True)),
        names=(*taxonomy.names, *parents),
        parents_start=read_only(np.append(start, start[-1] + np.arange(1, len(nodes) + 1))),
        parents=read_only(np.append(taxonomy.parents, nodes)),
        parent=read_only(np.append(taxonomy.parent, nodes)),
        source={
            **taxonomy.source,
            "custom_children": _digest(taxonomy, "custom_children", parents),
        },
    )


def _digest(taxonomy: Taxonomy, change: str, rows: Mapping[str, str]) -> str:
    """SHA-256 of the rows as sorted lines, after what an earlier change of this kind left."""
    lines = (f"{first}\t{second}" for first, second in sorted(rows.items()))
    before = [taxonomy.source[change]] if change in taxonomy.source else []
    return f"sha256:{hashlib.sha256(chr(10).join([*before, *lines]).encode()).hexdigest()}"
