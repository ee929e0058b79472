"""Custom taxonomies, and WordNet with ImageNet's parents."""

from __future__ import annotations

import pytest

from labelkit.errors import ClassListError, TaxonomyError
from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy
from labelkit.hierarchy.wordnet.graph import DATA
from tests.oracles.wordnet_parents import hypernyms_by_wnid, imagenet_parents, needs_wordnet


@needs_wordnet
def test_wordnet_has_the_tables_parent_else_the_first_pointer() -> None:
    taxonomy = Taxonomy.wordnet()
    expected = imagenet_parents(hypernyms_by_wnid(), DATA / "imagenet_parent.tsv")
    ids = (*taxonomy.ids, None)
    assert {node: ids[up] for node, up in zip(ids, taxonomy.parent, strict=False)} == expected


def test_a_dog_is_a_domestic_animal_first_and_a_canine_too() -> None:
    """WordNet's first pointer is canine; ImageNet's tree says domestic animal."""
    taxonomy = Taxonomy.wordnet()
    at = taxonomy.index["n02084071"]
    assert taxonomy.names[at] == "dog"
    assert taxonomy.names[taxonomy.parent[at]] == "domestic_animal"
    above = [taxonomy.names[taxonomy.index[up]] for up in taxonomy.parents_of("n02084071")]
    assert above == ["canine", "domestic_animal"]


def test_edges_and_mappings_give_the_same_taxonomy() -> None:
    edges = [("cat", "pet"), ("cat", "animal"), ("pet", "animal"), ("cat", "pet")]
    from_edges = Taxonomy.from_edges(edges)
    from_parents = Taxonomy.from_parents({"cat": ["pet", "animal"], "pet": "animal"})
    assert from_edges.ids == from_parents.ids == ("cat", "pet", "animal")
    for taxonomy in (from_edges, from_parents):
        assert taxonomy.parents_of("cat") == ("pet", "animal")
        assert taxonomy.parent.tolist() == [1, 2, -1]


@pytest.mark.parametrize("root", [None, (), []])
def test_a_class_without_any_relation_is_a_root(root: tuple[str, ...] | None) -> None:
    taxonomy = Taxonomy.from_parents({"cat": "animal", "car": root})
    tree = SemanticTree.build(ClassList.of(["car", "cat"]), taxonomy)
    assert tree.parent.tolist() == [-1, -1]


def test_given_names_are_kept() -> None:
    taxonomy = Taxonomy.from_edges([("c1", "a")], names={"c1": "cat"}, title="pets")
    assert taxonomy.names == ("cat", "a")
    tree = SemanticTree.build(ClassList.of(["c1"]), taxonomy)
    assert tree.names == ("cat",)
    assert tree.source["taxonomy"] == "pets"


@pytest.mark.parametrize(
    ("edges", "cycle"),
    [
        ([("a", "a")], "a -> a"),
        ([("a", "b"), ("b", "a")], "a -> b -> a|b -> a -> b"),
        ([("x", "y"), ("b", "c"), ("c", "d"), ("d", "b")], "b -> c -> d|c -> d -> b|d -> b -> c"),
        ([("a", "r"), ("a", "b"), ("b", "a")], "a -> b -> a|b -> a -> b"),
    ],
    ids=["itself", "two", "three", "by a second parent"],
)
def test_a_cycle_is_refused_with_its_ids(edges: list[tuple[str, str]], cycle: str) -> None:
    with pytest.raises(TaxonomyError, match=rf"'pets' has a cycle .*: ({cycle})"):
        Taxonomy.from_edges(edges, title="pets")


def test_an_empty_taxonomy_is_refused() -> None:
    with pytest.raises(TaxonomyError, match="'custom' is empty"):
        Taxonomy.from_parents({})


def test_an_unknown_id_is_named() -> None:
    with pytest.raises(TaxonomyError, match=r"WordNet 3\.0 has no id 'cat'"):
        Taxonomy.wordnet().parents_of("cat")


def test_unknown_classes_are_counted_and_named() -> None:
    classes = ClassList.of(["n01440764", "cat", "dog", "n99999999", "fox"], "my.txt")
    with pytest.raises(ClassListError) as caught:
        SemanticTree.build(classes, Taxonomy.wordnet())
    assert str(caught.value).startswith(
        "WordNet 3.0 does not contain 4 of the 5 ids of my.txt: 'cat', 'dog', 'n99999999', ..."
    )
    with pytest.raises(
        ClassListError, match=r"pets does not contain 1 of the 1 .*: 'x'\. Add them"
    ):
        Taxonomy.from_edges([("a", "b")], title="pets").nodes(ClassList.of(["x"]))
