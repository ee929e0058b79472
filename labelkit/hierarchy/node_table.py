"""The nodes of a tree as other formats list them: rows with ids, parents and perhaps positions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    import networkx as nx

Value = TypeVar("Value")


@dataclass(frozen=True)
class NodeTable:
    """One entry per node in every list; an empty list where the format has no such column.

    Attributes:
        ids: the class ids.
        names: names for people.
        parents: the id of each node's parent, empty for a root.
        index: each node's position in the class list; without it, the order of the rows.
        depth: the number of ancestors of each node, to be checked against the parents.
        level: each node's level.
        inner: whether it is an inner node and not a class of the data.
        level_name: the rank of each node's level.
    """

    ids: list[str]
    names: list[str]
    parents: list[str]
    index: list[int] = field(default_factory=list[int])
    depth: list[int] = field(default_factory=list[int])
    level: list[int] = field(default_factory=list[int])
    inner: list[bool] = field(default_factory=list[bool])
    level_name: list[str] = field(default_factory=list[str])

    @classmethod
    def from_networkx(cls, graph: nx.DiGraph[Hashable]) -> NodeTable:
        """The nodes of a directed graph with one edge from each child to its parent.

        Raises:
            ValueError: the graph is empty, undirected or a multigraph, a node has several parents,
                or an attribute is of the wrong type or missing from some nodes.
        """
        if not graph.is_directed() or graph.is_multigraph() or not len(graph):
            kind = "empty" if not len(graph) else "undirected or a multigraph"
            raise ValueError(
                f"the graph is {kind}, expected a networkx.DiGraph with one edge from each child "
                "to its parent"
            )
        nodes = cast("Mapping[Hashable, Mapping[str, object]]", graph.nodes)
        return cls(
            ids=[str(node) for node in nodes],
            names=[str(data.get("name", data.get("label", at))) for at, data in nodes.items()],
            parents=[_parent(graph, node) for node in nodes],
            index=_attribute(nodes, "index", int),
            depth=_attribute(nodes, "depth", int),
            level=_attribute(nodes, "level", int),
            inner=_attribute(nodes, "inner", bool),
            level_name=_attribute(nodes, "level_name", str),
        )

    def in_class_order(self) -> NodeTable:
        """The rows in the order of the class list, without ``index``.

        Raises:
            ValueError: the positions are not 0 to N - 1, each once.
        """
        if not self.index:
            return self
        count = len(self.ids)
        order = [-1] * count
        for row, index in enumerate(self.index):
            if not 0 <= index < count or order[index] >= 0:
                raise ValueError(
                    f"{self.ids[row]!r} has the index {index}, expected each of 0 to {count - 1} "
                    "once. Renumber the classes, or remove the indices"
                )
            order[index] = row
        return NodeTable(
            ids=_picked(self.ids, order),
            names=_picked(self.names, order),
            parents=_picked(self.parents, order),
            depth=_picked(self.depth, order),
            level=_picked(self.level, order),
            inner=_picked(self.inner, order),
            level_name=_picked(self.level_name, order),
        )

    def ranks(self) -> list[str]:
        """The name of each level, from the top; empty without ranks.

        Raises:
            ValueError: there are no levels, or a level has several names.
        """
        if not self.level_name:
            return []
        if not self.level:
            raise ValueError("level_name needs level: add the levels, or remove their names")
        names: dict[int, str] = {}
        for node, level, name in zip(self.ids, self.level, self.level_name, strict=True):
            if names.setdefault(level, name) != name:
                raise ValueError(
                    f"{node!r} has the level_name {name!r}, but another node on level {level} has "
                    f"{names[level]!r}. Correct it, or remove the names"
                )
        return [names[level] for level in sorted(names)]

    def parent_rows(self) -> list[int]:
        """The row of each node's parent, -1 for a root.

        Raises:
            ValueError: a parent is not in the table.
        """
        row = {node: at for at, node in enumerate(self.ids)}
        for node, above in zip(self.ids, self.parents, strict=True):
            if above and above not in row:
                raise ValueError(
                    f"the parent {above!r} of {node!r} is not one of the nodes. Add it, or leave "
                    f"the parent of {node!r} empty"
                )
        return [row[above] if above else -1 for above in self.parents]


def _picked(values: Sequence[Value], order: Sequence[int]) -> list[Value]:
    return [values[at] for at in order] if values else []


def _parent(graph: nx.DiGraph[Hashable], node: Hashable) -> str:
    parents = [str(above) for above in graph.successors(node)]
    if len(parents) > 1:
        raise ValueError(
            f"{str(node)!r} has edges to {parents[0]!r} and {parents[1]!r}, but a class has one "
            "parent. If edges lead to children, or children have several parents, use "
            "Taxonomy.from_networkx(graph, edges_to=...)"
        )
    return "".join(parents)


def _attribute(
    nodes: Mapping[Hashable, Mapping[str, object]], name: str, kind: type[Value]
) -> list[Value]:
    """An attribute of every node; an empty list if no node has it."""
    values = [data.get(name) for data in nodes.values()]
    if all(value is None for value in values):
        return []
    for node, value in zip(nodes, values, strict=True):
        if type(value) is not kind:
            raise ValueError(
                f"attribute {name!r} of {str(node)!r} is {value!r}, expected {kind.__name__}. Set "
                "it on every node, or on none"
            )
    return cast("list[Value]", values)
