"""Graphs for other programs: networkx, GraphML, DOT; and GraphML that others wrote."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np
import pytest

from labelkit.convert import read_graphml, to_networkx, write_dot, write_graphml
from labelkit.errors import TreeFileError
from labelkit.hierarchy import SemanticTree, Taxonomy
from tests.convert.trees import PETS, named_tree, tree_with_levels

if TYPE_CHECKING:
    from pathlib import Path


def test_edges_lead_from_child_to_parent_and_nodes_know_their_place() -> None:
    tree = tree_with_levels()
    graph = to_networkx(tree)
    assert tuple(graph) == tree.classes.ids
    assert set(graph.edges) == {
        (tree.classes[at], tree.classes[up]) for at, up in enumerate(tree.parent) if up >= 0
    }
    for at, node in enumerate(tree.classes):
        assert graph.nodes[node] == {
            "index": at,
            "name": tree.names[at],
            "depth": len(tree.chain(at)) - 1,
            "level": tree.level[at],
            "inner": at in tree.inner,
        }


def test_the_graph_is_a_taxonomy_that_gives_the_tree_again() -> None:
    tree = named_tree("imagenet-21k-p")
    taxonomy = Taxonomy.from_networkx(to_networkx(tree), edges_to="parent")
    again = SemanticTree.build(tree.classes, taxonomy)
    assert np.array_equal(again.parent, tree.parent)
    assert again.names == tree.names


def test_networkx_reads_our_graphml(tmp_path: Path) -> None:
    write_graphml(PETS, tmp_path / "pets.graphml")
    theirs, ours = nx.read_graphml(tmp_path / "pets.graphml"), to_networkx(PETS)
    assert dict(theirs.nodes(data=True)) == dict(ours.nodes(data=True))
    assert set(theirs.edges) == set(ours.edges)


def test_graphml_of_others_needs_no_attributes(tmp_path: Path) -> None:
    """Nodes in the file's order, named by ``label`` where there is one, else by their ids."""
    graph = nx.DiGraph([("cat", "pet"), ("dog", "pet")])
    graph.nodes["dog"]["label"] = "Dog"
    nx.write_graphml(graph, tmp_path / "other.graphml")
    tree = read_graphml(tmp_path / "other.graphml")
    assert tree.classes.ids == ("cat", "pet", "dog")
    assert tree.names == ("cat", "pet", "Dog")
    assert tree.parent.tolist() == [1, -1, 1]
    assert tree.source["taxonomy"] == "imported from other.graphml"


def test_the_index_gives_the_order(tmp_path: Path) -> None:
    graph = nx.DiGraph([("cat", "pet"), ("dog", "pet")])
    nx.set_node_attributes(graph, {"cat": 2, "dog": 0, "pet": 1}, "index")
    nx.write_graphml(graph, tmp_path / "other.graphml")
    tree = read_graphml(tmp_path / "other.graphml")
    assert tree.classes.ids == ("dog", "pet", "cat")
    assert tree.parent.tolist() == [1, -1, 1]


def with_attribute(name: str, *values: object) -> nx.DiGraph:
    graph = nx.DiGraph([("cat", "pet"), ("dog", "pet")])
    for node, value in zip(graph, values, strict=False):
        graph.nodes[node][name] = value
    return graph


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (nx.DiGraph([("pet", "cat"), ("pet", "dog")]), "'pet' has edges to 'cat' and 'dog'"),
        (nx.Graph([("cat", "pet")]), "undirected"),
        (nx.MultiDiGraph([("cat", "pet"), ("cat", "pet")]), "has edges twice"),
        (nx.DiGraph(), "empty"),
        (nx.DiGraph([("a", "b"), ("b", "a")]), "'[ab]' lies under itself, by way of '[ab]'"),
        (nx.DiGraph([("a", "a")]), "'a' lies under itself"),
        (with_attribute("index", 0, 1), "'index' of 'dog' is None, expected int"),
        (with_attribute("index", 0, 1, 3), "'dog' has the index 3: each of 0 to 2"),
        (with_attribute("index", 0, 1, 1), "'dog' has the index 1"),
        (with_attribute("index", "0", "1", "2"), "'index' of 'cat' is '0', expected int"),
        (with_attribute("inner", 1, 0, 0), "'inner' of 'cat' is 1, expected bool"),
        (with_attribute("inner", True, True, True), "all classes are inner nodes"),
        (with_attribute("depth", 1, 0, 2), "'dog' has the depth 2, its parents give 1"),
        (with_attribute("level", 0, 1, 1), "not above it"),
        (with_attribute("level", 1, 0, 5), "without a gap"),
        (with_attribute("level", 1, 0, 2**70), "makes no tree|cannot be read"),
    ],
)
def test_a_graph_that_is_no_tree_is_refused_with_its_ids(
    tmp_path: Path, graph: nx.Graph, message: str
) -> None:
    path = tmp_path / "other.graphml"
    nx.write_graphml(graph, path)
    with pytest.raises(TreeFileError, match=message) as caught:
        read_graphml(path)
    assert str(caught.value).startswith(str(path))


def test_a_document_type_is_refused_before_it_is_unfolded(tmp_path: Path) -> None:
    path = tmp_path / "laughs.graphml"
    path.write_text('<!DOCTYPE g [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><graphml>&b;</graphml>')
    with pytest.raises(TreeFileError, match=r"laughs\.graphml declares a document type"):
        read_graphml(path)


SPACE = ' xmlns="http://graphml.graphdrawing.org/xmlns"'
PAIR = '<node id="cat"/><node id="pet"/>'
EDGE = '<edge source="cat" target="pet"/>'


def graphml(inside: str, name: str = "G") -> str:
    return f'<graph id="{name}" edgedefault="directed">{inside}</graph>'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (graphml(PAIR + '<edge source="cat" target="dog"/>'), "'cat' to 'dog', but 'dog' is no"),
        (graphml(PAIR + '<edge source="dog" target="cat"/>'), "'dog' to 'cat', but 'dog' is no"),
        (graphml(PAIR + '<edge source="cat"/>'), "one end only, 'cat'"),
        (graphml(PAIR + '<edge target="pet"/>'), "one end only, 'pet'"),
        (graphml('<node id="None"/><node id="a"/><edge source="a"/>'), "one end only, 'a'"),
        (graphml(PAIR + EDGE) + graphml('<node id="dog"/>', "H"), "2 graphs, 'G' and 'H'"),
        (
            graphml(f'<node id="pet">{graphml(PAIR, "inside")}</node>'),
            "2 graphs, 'G' and 'inside'",
        ),
        (graphml(PAIR + EDGE + '<node id="cat"/>'), "the node 'cat' stands twice"),
        (graphml(PAIR + "<node/>"), "the 3. <node>, after 'pet', has no id"),
        (graphml('<node id=""/>'), "the 1. <node> has no id"),
    ],
)
@pytest.mark.parametrize("spaced", [True, False])
def test_what_networkx_passes_over_is_refused_with_its_id(
    tmp_path: Path, body: str, message: str, *, spaced: bool
) -> None:
    path = tmp_path / "odd.graphml"
    path.write_text(f"<graphml{SPACE * spaced}>{body}</graphml>")
    with pytest.raises(TreeFileError, match=re.escape(message)) as caught:
        read_graphml(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("spaced", [True, False])
def test_a_plain_graph_is_read_with_and_without_its_name_space(
    tmp_path: Path, *, spaced: bool
) -> None:
    path = tmp_path / "plain.graphml"
    path.write_text(f"<graphml{SPACE * spaced}>{graphml(PAIR + EDGE)}</graphml>")
    assert read_graphml(path).parent.tolist() == [1, -1]


def test_dot_numbers_the_nodes_and_quotes_their_texts(tmp_path: Path) -> None:
    write_dot(PETS, tmp_path / "pets.dot")
    lines = (tmp_path / "pets.dot").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "digraph tree {"
    assert lines[-1] == "}"
    assert r"""  0 [id="tabby", label="tabby\n'cat'", level=2];""" in lines
    assert r"""  1 [id="an \"animal\"", label="animal\r\n", level=0];""" in lines
    assert r"""  3 [id="héron \\", label=" héron; ", level=1];""" in lines
    assert [line for line in lines if "->" in line] == ["  0 -> 2;", "  2 -> 1;", "  3 -> 1;"]


def test_dot_dashes_the_inner_nodes(tmp_path: Path) -> None:
    tree = tree_with_levels()
    write_dot(tree, tmp_path / "zoo.dot")
    lines = (tmp_path / "zoo.dot").read_text().splitlines()
    dashed = [int(line.split()[0]) for line in lines if "dashed" in line]
    assert dashed == tree.inner.tolist()
