"""What a foreign file says about its nodes, put together and checked as a tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from labelkit import __version__
from labelkit.errors import ClassListError, TreeFileError
from labelkit.hierarchy import ClassList, SemanticTree, identify
from labelkit.hierarchy.arrays import read_only
from labelkit.hierarchy.tree import list_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


Value = TypeVar("Value")


@dataclass(frozen=True)
class NodeTable:
    """One entry per node in every list; an empty list where the file says nothing.

    Attributes:
        ids: what the nodes are called.
        names: what people call them.
        parents: the id of each node's parent, empty for a root.
        index: each node's position in the class list; else they stand in the file's order.
        depth: to be checked against the parents.
        level: each node's level.
        inner: whether it is an inner node that was added, and no class of the data.
        source: how the tree was made.
    """

    ids: list[str]
    names: list[str]
    parents: list[str]
    index: list[int] = field(default_factory=list[int])
    depth: list[int] = field(default_factory=list[int])
    level: list[int] = field(default_factory=list[int])
    inner: list[bool] = field(default_factory=list[bool])
    source: Mapping[str, str] = field(default_factory=dict[str, str])

    def tree(self, path: Path) -> SemanticTree:
        """The tree over these nodes.

        Raises:
            TreeFileError: they make none; the message names the file and the ids.
        """
        order = self._order(path)
        ordered = NodeTable(
            ids=_picked(self.ids, order),
            names=_picked(self.names, order),
            parents=_picked(self.parents, order),
            depth=_picked(self.depth, order),
            level=_picked(self.level, order),
            inner=_picked(self.inner, order),
            source=self.source,
        )
        try:
            tree = ordered._in_order(path)
        except (ClassListError, ValueError, OverflowError) as error:
            raise TreeFileError(f"{path} makes no tree: {error}") from error
        for node, said, real in zip(ordered.ids, ordered.depth, tree.depth, strict=False):
            if said != real:
                raise TreeFileError(
                    f"{path}: {node!r} has the depth {said}, its parents give {real}. Correct it, "
                    "or take the depths out"
                )
        return tree

    def _order(self, path: Path) -> list[int]:
        """Where in our lists the class of each index stands."""
        count = len(self.ids)
        if not self.index:
            return list(range(count))
        order = [-1] * count
        for at, index in enumerate(self.index):
            if not 0 <= index < count or order[index] >= 0:
                raise TreeFileError(
                    f"{path}: {self.ids[at]!r} has the index {index}: each of 0 to {count - 1} "
                    "must stand once. Number the classes again, or take the indices out"
                )
            order[index] = at
        return order

    def _in_order(self, path: Path) -> SemanticTree:
        inner = [at for at, is_inner in enumerate(self.inner) if is_inner]
        inside = set(inner)
        own = [node for at, node in enumerate(self.ids) if at not in inside]
        source = self.source or {
            "taxonomy": f"imported from {path.name}",
            "rule": "as in the file",
            "class_list": (identify(ClassList.of(own)) if own else "") or path.name,
            "labelkit": __version__,
        }
        name = list_name(source.get("class_list", path.name), inner=len(inner))
        return SemanticTree(
            classes=ClassList.of(self.ids, name),
            names=tuple(self.names),
            parent=read_only(self._parent(path)),
            source=source,
            inner=read_only(inner),
            level=read_only(self.level),
        )

    def _parent(self, path: Path) -> list[int]:
        place = {node: at for at, node in enumerate(self.ids)}
        for node, above in zip(self.ids, self.parents, strict=True):
            if above and above not in place:
                raise TreeFileError(
                    f"{path}: the parent {above!r} of {node!r} is no node of the file. Add it, or "
                    f"leave the parent of {node!r} empty"
                )
        return [place[above] if above else -1 for above in self.parents]


def _picked(values: Sequence[Value], order: Sequence[int]) -> list[Value]:
    return [values[at] for at in order] if values else []
