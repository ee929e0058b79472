"""What a GraphML file may not say, looked for in its XML, since networkx passes over it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from labelkit.errors import TreeFileError

if TYPE_CHECKING:
    from pathlib import Path


def check_elements(path: Path, text: str) -> None:
    """Refuse what would be left out or made up in silence.

    networkx reads the first graph only, makes a node of whatever an edge names, and joins nodes
    that share an id.

    Args:
        path: the file, for messages.
        text: its content, without a document type.

    Raises:
        TreeFileError: a second graph, a node without an id or with another's, an edge without an
            end or to a node that is not declared; the message names the id.
        ParseError: the text is no XML.
    """
    root = ET.fromstring(text)  # noqa: S314 -- no document type, so nothing to unfold
    graphs = [element for element in root.iter() if element.tag.rpartition("}")[2] == "graph"]
    if len(graphs) > 1:
        ids = " and ".join(repr(graph.get("id", "(no id)")) for graph in graphs[:2])
        raise TreeFileError(
            f"{path} holds {len(graphs)} graphs, {ids}, one within or after the other: a tree is "
            "one. Keep one <graph> of them"
        )
    for graph in graphs:
        space = graph.tag.removesuffix("graph")
        nodes = _nodes(path, graph.findall(f"{space}node"))
        _check_edges(path, graph.findall(f"{space}edge"), nodes)


def _nodes(path: Path, elements: list[ET.Element]) -> set[str]:
    """The nodes' ids, each of which must stand once."""
    nodes: set[str] = set()
    before = ""
    for number, element in enumerate(elements, start=1):
        node = element.get("id")
        if not node:
            after = f", after {before!r}," if before else ""
            raise TreeFileError(f"{path}: the {number}. <node>{after} has no id. Give it one")
        if node in nodes:
            raise TreeFileError(
                f"{path}: the node {node!r} stands twice. Take one of them out, or give it another "
                "id"
            )
        nodes.add(node)
        before = node
    return nodes


def _check_edges(path: Path, elements: list[ET.Element], nodes: set[str]) -> None:
    for element in elements:
        ends = [element.get(end) for end in ("source", "target")]
        if None in ends:
            other = next(filter(None, ends), None)
            raise TreeFileError(
                f"{path}: an edge has one end only, {other!r}. Give it source and target, or take "
                "it out"
            )
        for end in ends:
            if end not in nodes:
                raise TreeFileError(
                    f"{path}: an edge leads from {ends[0]!r} to {ends[1]!r}, but {end!r} is no "
                    "node of the file. Add that <node>, or take the edge out"
                )
