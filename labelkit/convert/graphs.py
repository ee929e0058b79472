"""Trees as graphs whose edges lead from a child to its parent: networkx, GraphML, DOT."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from labelkit.convert.assembly import NodeTable
from labelkit.convert.graph_elements import check_elements
from labelkit.errors import TreeFileError, first_line
from labelkit.files import replace_file, require_regular_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    import networkx as nx

    from labelkit.hierarchy import SemanticTree

Kind = TypeVar("Kind")
# What XML 1.0 cannot hold, not even as a reference; graphviz takes none of it either.
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
DOT_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"})


def to_networkx(tree: SemanticTree) -> nx.DiGraph[str]:
    """A graph with one node per class, in their order, and one edge from each child to its parent.

    Nodes are ids, with the attributes ``index``, ``name``, ``depth``, ``level`` and ``inner``
    (whether it is an inner node that was added). The graph's ``source`` says how the tree was made.
    ``Taxonomy.from_networkx(graph, edges_to="parent")`` is a way back.
    """
    import networkx as nx

    graph: nx.DiGraph[str] = nx.DiGraph(source=dict(tree.source))
    ids = tree.classes.ids
    inner = set(tree.inner.tolist())
    depth, level = tree.depth.tolist(), tree.level.tolist()
    for at, node in enumerate(ids):
        graph.add_node(
            node,
            index=at,
            name=tree.names[at],
            depth=depth[at],
            level=level[at],
            inner=at in inner,
        )
    graph.add_edges_from(
        (ids[at], ids[above]) for at, above in enumerate(tree.parent.tolist()) if above >= 0
    )
    return graph


def write_graphml(tree: SemanticTree, path: str | Path) -> None:
    """Write the graph of ``to_networkx`` as GraphML, for Gephi, yEd, igraph and others.

    Raises:
        TreeFileError: an id or a name has a character that XML cannot hold.
        OSError: the file cannot be written.
    """
    from networkx.readwrite.graphml import GraphMLWriter

    _refuse_characters(tree, path, "XML")
    graph = to_networkx(tree)
    graph.graph["source"] = json.dumps(graph.graph["source"])
    # networkx' own write_graphml uses lxml where it happens to be installed: other bytes.
    text = str(GraphMLWriter(graph, prettyprint=True))
    # A carriage return would be read as a line feed.
    replace_file(Path(path), text.replace("\r", "&#13;").encode() + b"\n")


def read_graphml(path: str | Path) -> SemanticTree:
    """Read a tree from GraphML whose edges lead from a child to its parent.

    Of the nodes' attributes ``name`` (or ``label``) is the name, the id itself being the last
    choice; ``index`` the position in the class list, which else is the file's order; ``level`` and
    ``inner`` are kept; ``depth`` is checked.

    Raises:
        TreeFileError: no GraphML, more than one graph, an id that is missing, stands twice or is
            named by an edge alone, or its graph is no tree; the message names the ids.
        OSError: the file cannot be read.
    """
    path = Path(path)
    graph = _parse(path)
    parents = _parents(path, graph)
    nodes = cast("Mapping[str, Mapping[str, object]]", graph.nodes)
    ids = list(nodes)
    named = [nodes[node].get("name", nodes[node].get("label", node)) for node in ids]
    table = NodeTable(
        ids=ids,
        names=[str(name) for name in named],
        parents=parents,
        index=_attribute(path, nodes, "index", int),
        depth=_attribute(path, nodes, "depth", int),
        level=_attribute(path, nodes, "level", int),
        inner=_attribute(path, nodes, "inner", bool),
        source=_source(graph.graph.get("source")),
    )
    return table.tree(path)


def write_dot(tree: SemanticTree, path: str | Path) -> None:
    """Write the tree as DOT, to be drawn: ``dot -Tsvg tree.dot -o tree.svg``.

    Nodes are numbered as the classes are and have their ids as ``id`` and their names as ``label``;
    inner nodes that were added are dashed. DOT is written by hand: networkx leaves it to pydot,
    which takes no attribute ``name`` and does not escape backslashes.

    Raises:
        TreeFileError: an id or a name has a control character.
        OSError: the file cannot be written.
    """
    _refuse_characters(tree, path, "DOT")
    inner = set(tree.inner.tolist())
    lines = ["digraph tree {", "  rankdir=BT;", "  node [shape=box];"]
    for at, (node, name) in enumerate(zip(tree.classes, tree.names, strict=True)):
        dashed = ", style=dashed" if at in inner else ""
        level = int(tree.level[at])
        lines.append(f"  {at} [id={_quoted(node)}, label={_quoted(name)}, level={level}{dashed}];")
    lines += [f"  {at} -> {up};" for at, up in enumerate(tree.parent.tolist()) if up >= 0]
    replace_file(Path(path), "\n".join([*lines, "}", ""]).encode())


def _quoted(text: str) -> str:
    return f'"{text.translate(DOT_ESCAPES)}"'


def _refuse_characters(tree: SemanticTree, path: str | Path, what: str) -> None:
    for node, name in zip(tree.classes, tree.names, strict=True):
        if found := FORBIDDEN.search(node) or FORBIDDEN.search(name):
            raise TreeFileError(
                f"{path}: the class {node!r} ({name!r}) has the character {found[0]!r}, which "
                f"{what} cannot hold. Rename it, or write .json or .csv"
            )


def _parse(path: Path) -> nx.DiGraph[str]:
    import networkx as nx

    require_regular_file(path, TreeFileError)
    content = path.read_bytes()
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise TreeFileError(f"{path} declares a document type: GraphML needs none, take it out")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of ports and untyped keys, which are nothing to us
            text = content.decode("utf-8-sig")
            check_elements(path, text)
            graph = nx.parse_graphml(text)
    except TreeFileError:
        raise
    except Exception as error:
        # networkx answers a damaged file with whatever its code meets first.
        raise TreeFileError(
            f"{path} cannot be read as GraphML: {first_line(error)}. Write it again as GraphML in "
            "UTF-8"
        ) from error
    if not graph.is_directed() or graph.is_multigraph() or not len(graph):
        kind = "empty" if not len(graph) else "undirected or has edges twice"
        raise TreeFileError(
            f"{path}: the graph is {kind}, expected one edge from each child to its parent"
        )
    return cast("nx.DiGraph[str]", graph)


def _parents(path: Path, graph: nx.DiGraph[str]) -> list[str]:
    above = [list(graph.successors(node)) for node in graph]
    for node, parents in zip(graph, above, strict=True):
        if len(parents) > 1:
            raise TreeFileError(
                f"{path}: {node!r} has edges to {parents[0]!r} and {parents[1]!r}, but a class has "
                "one parent. If edges lead to children, or children have several parents, use "
                "Taxonomy.from_networkx(networkx.read_graphml(...), edges_to=...)"
            )
    return ["".join(parents) for parents in above]


def _attribute(
    path: Path, nodes: Mapping[str, Mapping[str, object]], name: str, kind: type[Kind]
) -> list[Kind]:
    """An attribute of every node; an empty list if none has it."""
    values = [data.get(name) for data in nodes.values()]
    if all(value is None for value in values):
        return []
    for node, value in zip(nodes, values, strict=True):
        if type(value) is not kind:
            raise TreeFileError(
                f"{path}: the attribute {name!r} of {node!r} is {value!r}, expected "
                f"{kind.__name__}. Give it to every node, or to none"
            )
    return cast("list[Kind]", values)


def _source(text: object) -> dict[str, str]:
    """The source that ``write_graphml`` left; empty for graphs of others."""
    try:
        source = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return {}
    if not isinstance(source, dict):
        return {}
    return {str(key): value for key, value in source.items() if isinstance(value, str)}
