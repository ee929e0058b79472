"""Taxonomies: the parents that chains follow, edits, ids and cycles."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, strategies as st

from labelkit.errors import TaxonomyError
from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy, read_class_list
from labelkit.hierarchy.wordnet.graph import ParentTable

if TYPE_CHECKING:
    from pathlib import Path

Graph = dict[str, list[str]]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Nodes n0, n1, ... each with up to three parents of smaller numbers, in any order."""
    graph: Graph = {}
    for node in range(draw(st.integers(1, 9))):
        lower = draw(st.permutations([f"n{number}" for number in range(node)]))
        graph[f"n{node}"] = lower[: draw(st.integers(0, 3))]
    order = draw(st.permutations(sorted(graph)))
    return {node: graph[node] for node in order}


def ways_up(graph: Graph, node: str) -> list[list[str]]:
    """Every path from a node to a root."""
    if not graph[node]:
        return [[node]]
    return [[node, *way] for above in graph[node] for way in ways_up(graph, above)]


@given(graphs())
def test_shortest_and_longest_chains_are_those_of_a_full_search(graph: Graph) -> None:
    taxonomy = Taxonomy.from_parents(graph)
    classes = ClassList.of(graph)
    for rule, best in (("shortest", min), ("longest", max)):
        tree = SemanticTree.build(classes, taxonomy.with_rule(rule))  # type: ignore[arg-type]
        for node, above in graph.items():
            chain = [classes[at] for at in tree.chain(node)][::-1]
            assert chain in ways_up(graph, node)
            assert len(chain) == best(map(len, ways_up(graph, node)))
            if above:  # the first of equally good parents
                lengths = {up: best(map(len, ways_up(graph, up))) for up in above}
                assert chain[1] == best(above, key=lengths.__getitem__)


@given(graphs())
def test_the_first_parent_is_the_first_given(graph: Graph) -> None:
    taxonomy = Taxonomy.from_parents(graph).with_rule("longest").with_rule("first")
    for node, above in graph.items():
        at = int(taxonomy.parent[taxonomy.index[node]])
        assert (taxonomy.ids[at] if at >= 0 else None) == (above[0] if above else None)


@given(graphs(), st.data())
def test_any_cycle_is_found(graph: Graph, data: st.DataObject) -> None:
    """Make a node a child of its descendant; the ids in the message are a cycle."""
    low = data.draw(st.sampled_from(sorted(graph)))
    high = data.draw(st.sampled_from(ways_up(graph, low)[0]))
    bent = {**graph, high: [*graph[high], low]}
    with pytest.raises(TaxonomyError, match="has a cycle") as caught:
        Taxonomy.from_parents(bent)
    found = re.search(r": (n\d.*?)\. Remove", str(caught.value))
    assert found is not None
    cycle = found[1].split(" -> ")
    assert cycle[0] == cycle[-1]
    if "..." not in cycle:
        assert all(above in bent[child] for child, above in pairwise(cycle))


def test_the_rules_differ_on_wordnet_and_are_recorded() -> None:
    classes = read_class_list("imagenet-21k-p")
    counts = {}
    for rule in ("imagenet", "first", "shortest", "longest"):
        tree = SemanticTree.build(classes, Taxonomy.wordnet(rule=rule))
        assert tree.source["rule"] == rule
        counts[rule] = tree.counts
    assert len(set(counts.values())) == 4
    assert counts["imagenet"][:3] == (302, 1378, 2100)


def test_unknown_rules_and_other_graphs_for_imagenets_table_are_refused() -> None:
    pets = Taxonomy.from_edges([("cat", "pet")], title="pets")
    with pytest.raises(ValueError, match="rule is 'last'"):
        pets.with_rule("last")  # type: ignore[arg-type]
    with pytest.raises(TaxonomyError, match=r"those of WordNet 3\.0 .*, not of pets"):
        pets.with_rule("imagenet")
    with pytest.raises(TaxonomyError, match="choose the rule before renaming ids"):
        Taxonomy.wordnet().with_ids({"dog": "n02084071"}).with_rule("imagenet")


def test_with_parents_chooses_among_the_parents() -> None:
    taxonomy = Taxonomy.wordnet().with_parents({"n02084071": "n02083346"})  # dog: canine
    at = taxonomy.index["n02084071"]
    assert taxonomy.names[taxonomy.parent[at]] == "canine"
    assert taxonomy.source["rule"] == "imagenet"
    assert "custom_parents" not in taxonomy.with_rule("imagenet").source
    for wrong in ({"n02084071": "n02121808"}, {"n02084071": "x"}, {"n02083346": "n02084071"}):
        with pytest.raises(TaxonomyError, match="is not a parent of"):
            Taxonomy.wordnet().with_parents(wrong)
    with pytest.raises(TaxonomyError, match="has no id 'cat'"):
        Taxonomy.wordnet().with_parents({"cat": "n02121808"})


def test_imagenets_table_is_the_rule_of_that_name() -> None:
    first = Taxonomy.wordnet(rule="first")
    by_hand = first.with_parents(ParentTable.load().parent_of)
    assert by_hand.parent.tolist() == Taxonomy.wordnet().parent.tolist() != first.parent.tolist()


def test_with_ids_renames_synsets() -> None:
    pets = {"the dog": "n02084071", "cat": "n02121620"}
    taxonomy = Taxonomy.wordnet().with_ids(pets)
    tree = SemanticTree.build(ClassList.of(["cat", "the dog", "n02075296"]), taxonomy)
    assert tree.names == ("cat", "the dog", "carnivore")
    assert tree.parent.tolist() == [2, -1, -1]
    assert tree.source["custom_ids"].startswith("sha256:")
    swapped = taxonomy.with_ids({"cat": "the dog", "the dog": "cat"})
    assert swapped.index["cat"] == taxonomy.index["the dog"]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ({"dog": "n99999999"}, r"has no id 'n99999999' \(for 'dog'\)"),
        ({"dog": "n02084071", "hound": "n02084071"}, "'dog' and 'hound' are both n02084071"),
        ({"n02121620": "n02084071"}, "'n02121620' is already the id of another node"),
    ],
)
def test_invalid_new_ids_are_refused(nodes: dict[str, str], message: str) -> None:
    with pytest.raises(TaxonomyError, match=message):
        Taxonomy.wordnet().with_ids(nodes)


def test_with_children_adds_nodes_below_existing_ones() -> None:
    taxonomy = Taxonomy.wordnet().with_children({"my pug": "n02110958", "her pug": "n02110958"})
    tree = SemanticTree.build(ClassList.of(["her pug", "n02084071", "my pug"]), taxonomy)
    assert tree.parent.tolist() == [1, -1, 1]
    assert tree.names[0] == "her pug"
    assert tree.source["custom_children"].startswith("sha256:")
    assert taxonomy.with_rule("longest").parents_of("my pug") == ("n02110958",)
    with pytest.raises(TaxonomyError, match=r"has no id 'pug' \(for 'x'\)"):
        taxonomy.with_children({"x": "pug"})
    with pytest.raises(TaxonomyError, match="already has the id 'my pug'"):
        taxonomy.with_children({"my pug": "n02084071"})
    with pytest.raises(TaxonomyError, match="an id must be one non-empty line of text"):
        taxonomy.with_children({"": "n02084071"})


def test_the_direction_of_a_networkx_graph_must_be_given() -> None:
    graph = nx.DiGraph([("cat", "pet"), ("cat", "animal"), ("pet", "animal"), (7, "pet")])
    graph.nodes["cat"]["name"] = "the cat"
    upwards = Taxonomy.from_networkx(graph, edges_to="parent")
    assert upwards.parents_of("cat") == ("pet", "animal")
    assert upwards.names[upwards.index["cat"]] == "the cat"
    assert list(upwards.leaves()) == ["cat", "7"]
    downwards = Taxonomy.from_networkx(graph.reverse(), edges_to="child")
    assert set(downwards.parents_of("cat")) == {"pet", "animal"}
    with pytest.raises(ValueError, match="the graph is undirected"):
        Taxonomy.from_networkx(graph.to_undirected(), edges_to="parent")
    with pytest.raises(ValueError, match="edges_to is 'up'"):
        Taxonomy.from_networkx(graph, edges_to="up")  # type: ignore[arg-type]
    with pytest.raises(TaxonomyError, match="same text"):
        Taxonomy.from_networkx(nx.DiGraph([(1, "1")]), edges_to="parent")
    with pytest.raises(TaxonomyError, match="has a cycle"):
        Taxonomy.from_networkx(nx.DiGraph([(1, 2), (2, 1)]), edges_to="parent")


@pytest.mark.parametrize("wrong", ["", "a\nb", "a\n", "a\u2028b", 3])
def test_an_id_must_be_one_line_of_text(wrong: str) -> None:
    for parents in ({"cat": [wrong]}, {"cat": None, wrong: None}):
        with pytest.raises(
            TaxonomyError, match=r"has the id .*: an id must be one non-empty line of text"
        ):
            Taxonomy.from_parents(parents)
    if isinstance(wrong, str):
        with pytest.raises(TaxonomyError, match="an id must be one non-empty line of text"):
            Taxonomy.wordnet().with_ids({wrong: "n02084071"})


def test_a_parent_must_be_an_id_or_several() -> None:
    with pytest.raises(TaxonomyError, match="3 is not a parent: pass an id, several ids, or None"):
        Taxonomy.from_parents({"cat": 3})  # type: ignore[dict-item]


def test_string_subclasses_become_plain_strings(tmp_path: Path) -> None:
    cat, animal = np.array(["cat", "animal"])
    taxonomy = Taxonomy.from_parents({cat: animal}, names={cat: animal})
    tree = SemanticTree.build(ClassList.of([animal, cat]), taxonomy)
    assert {type(text) for text in (*taxonomy.ids, *taxonomy.names, *tree.names)} == {str}
    tree.save(tmp_path / "tree.json")
    assert SemanticTree.load(tmp_path / "tree.json").names == ("animal", "animal")


def test_the_source_records_every_change_regardless_of_row_order() -> None:
    graph = Taxonomy.from_parents({"a": ["x", "y"], "b": ["x", "y"]})
    one = graph.with_parents({"a": "y"})
    both = graph.with_parents({"a": "y", "b": "y"})
    assert both.source == graph.with_parents({"b": "y", "a": "y"}).source
    sources = [one.source, both.source, one.with_parents({"b": "y"}).source]
    assert len({source["custom_parents"] for source in sources}) == 3


def test_a_short_cycle_is_shown_in_full_and_a_long_one_shortened() -> None:
    """Entered from x, which is not on the cycle: six ids are shown, nine are shortened."""
    for count, shown in ((6, 7), (9, 8)):
        ring = {f"r{at}": f"r{(at + 1) % count}" for at in range(count)}
        with pytest.raises(TaxonomyError) as caught:
            Taxonomy.from_parents({"x": None, **ring, "r0": ["x", "r1"]})
        cycle = re.findall(r"r\d|\.\.\.", str(caught.value))
        assert len(cycle) == shown
        assert cycle[0] == cycle[-1]
        assert ("..." in cycle) == (count == 9)


def test_leaves_are_in_the_given_order() -> None:
    taxonomy = Taxonomy.from_edges([("dog", "pet"), ("cat", "pet"), ("ant", "insect")])
    assert list(taxonomy.leaves()) == ["dog", "cat", "ant"]
    assert taxonomy.leaves().name == "custom"
