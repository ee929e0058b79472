"""Trees as networkx graphs, and graphs of others as trees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings

from labelkit.errors import ClassListError
from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy, read_class_list
from tests.hierarchy.support.trees import PETS, same, tree_with_levels
from tests.oracles.forests import Parents, forests, tree_of

if TYPE_CHECKING:
    from pathlib import Path


def test_edges_lead_from_child_to_parent_and_nodes_have_their_place() -> None:
    tree = tree_with_levels()
    graph = tree.to_networkx()
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


@pytest.mark.parametrize("tree", [PETS, tree_with_levels()], ids=["pets", "inner nodes"])
def test_a_tree_comes_back_with_its_source(tree: SemanticTree) -> None:
    back = SemanticTree.from_networkx(tree.to_networkx())
    assert same(back, tree)
    assert back.source == tree.source
    assert back.digest == tree.digest
    assert back.classes.name == tree.classes.name


@given(forests())
@settings(deadline=None)
def test_any_forest_comes_back(parents: Parents) -> None:
    tree = tree_of(parents)
    assert same(SemanticTree.from_networkx(tree.to_networkx()), tree)


def test_the_graph_is_a_taxonomy_that_gives_the_same_tree() -> None:
    tree = SemanticTree.build(read_class_list("imagenet-21k-p"), Taxonomy.wordnet())
    taxonomy = Taxonomy.from_networkx(tree.to_networkx(), edges_to="parent")
    again = SemanticTree.build(tree.classes, taxonomy)
    assert np.array_equal(again.parent, tree.parent)
    assert again.names == tree.names


def test_one_line_writes_graphml_and_another_reads_it(tmp_path: Path) -> None:
    """What the documentation promises, inner nodes and levels included."""
    tree = tree_with_levels()
    nx.write_graphml(tree.to_networkx(), tmp_path / "tree.graphml")
    back = SemanticTree.from_networkx(nx.read_graphml(tmp_path / "tree.graphml"))
    assert same(back, tree)
    assert back.source == tree.source


def test_graphs_of_others_need_no_attributes() -> None:
    """Nodes in the graph's order, named by ``label`` if there is one, else by their ids."""
    graph = nx.DiGraph([("cat", "pet"), (7, "pet")])
    graph.nodes[7]["label"] = "Dog"
    tree = SemanticTree.from_networkx(graph)
    assert tree.classes.ids == ("cat", "pet", "7")
    assert tree.names == ("cat", "pet", "Dog")
    assert tree.parent.tolist() == [1, -1, 1]
    assert tree.source["taxonomy"] == "networkx graph"


def test_the_index_gives_the_order() -> None:
    graph = nx.DiGraph([("cat", "pet"), ("dog", "pet")])
    nx.set_node_attributes(graph, {"cat": 2, "dog": 0, "pet": 1}, "index")
    tree = SemanticTree.from_networkx(graph)
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
        (nx.MultiDiGraph([("cat", "pet"), ("cat", "pet")]), "a multigraph"),
        (nx.DiGraph(), "empty"),
        (nx.DiGraph([("a", "b"), ("b", "a")]), "'[ab]' is its own ancestor, through '[ab]'"),
        (nx.DiGraph([("a", "a")]), "'a' is its own ancestor"),
        (with_attribute("index", 0, 1), "'index' of 'dog' is None, expected int"),
        (with_attribute("index", 0, 1, 3), "'dog' has the index 3, expected each of 0 to 2"),
        (with_attribute("index", 0, 1, 1), "'dog' has the index 1"),
        (with_attribute("index", "0", "1", "2"), "'index' of 'cat' is '0', expected int"),
        (with_attribute("inner", 1, 0, 0), "'inner' of 'cat' is 1, expected bool"),
        (with_attribute("inner", True, True, True), "all classes are inner nodes"),
        (with_attribute("depth", 1, 0, 2), "'dog' has the depth 2, but 1 by its parents"),
        (with_attribute("level", 0, 1, 1), "must be on a deeper level than its parent"),
        (with_attribute("level", 1, 0, 5), "without a gap"),
        (with_attribute("level", 1, 0, 2**70), "without a gap"),
        (with_attribute("level", -(2**70), 0, 1), "without a gap"),
    ],
)
def test_a_graph_that_is_not_a_tree_is_refused_with_its_ids(graph: nx.Graph, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SemanticTree.from_networkx(graph)


def test_two_nodes_with_the_same_text_are_refused() -> None:
    with pytest.raises(ClassListError, match="duplicate class id '1'"):
        SemanticTree.from_networkx(nx.DiGraph([(1, "x"), ("1", "x")]))


def test_a_tree_of_plain_lists_is_named_by_its_source() -> None:
    tree = SemanticTree.of(["cat", "animal"], [1, -1], source={"class_list": "pets"}, inner=[1])
    assert tree.names == ("cat", "animal")
    assert tree.classes.name == "pets + inner"
    assert tree.data_classes == ClassList.of(["cat"])
