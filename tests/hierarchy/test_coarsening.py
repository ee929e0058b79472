"""Coarser classes: every class goes to its closest coarse ancestor, and coarsenings are nested."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from labelkit.errors import ClassListError
from labelkit.hierarchy import (
    ClassList,
    Coarsening,
    SemanticTree,
    Taxonomy,
    coarsen,
    coarsen_to_ancestors,
    coarsen_to_depth,
    read_class_list,
)
from tests.oracles.forests import Parents, chain_of, forests, permute_parents, tree_of


def above(coarse: Coarsening) -> dict[str, str]:
    """Each class's coarse class, by id; classes without one are missing."""
    return {
        class_id: coarse.classes[at]
        for class_id, at in zip(coarse.tree.classes, coarse.index.tolist(), strict=True)
        if at >= 0
    }


def check(coarse: Coarsening, parents: Parents) -> None:
    """Each class goes to itself or the nearest coarse class above, and every coarse one is used."""
    inside = set(coarse.classes)
    expected = {}
    for node in range(len(parents)):
        on_the_way = [f"c{up}" for up in chain_of(parents, node) if f"c{up}" in inside]
        if on_the_way:
            expected[f"c{node}"] = on_the_way[-1]
    assert above(coarse) == expected
    assert sum(coarse.sizes) == len(expected)
    assert coarse.names == tuple(coarse.classes)


@given(forests(max_classes=16), st.integers(0, 6))
def test_a_depth_keeps_the_ancestor_there_or_a_shallower_class(
    parents: Parents, depth: int
) -> None:
    tree = tree_of(parents)
    coarse = coarsen_to_depth(tree, depth)
    chains = [chain_of(parents, node) for node in range(len(parents))]
    assert above(coarse) == {f"c{chain[-1]}": f"c{chain[: depth + 1][-1]}" for chain in chains}
    check(coarse, parents)
    assert coarse.left_out == ()


@given(forests(max_classes=16), st.integers(1, 20), st.integers(1, 20))
def test_coarsenings_are_unions_of_finer_ones(parents: Parents, one: int, other: int) -> None:
    tree = tree_of(parents)
    roots = parents.count(-1)
    few, many = sorted((max(one, roots), max(other, roots)))
    coarse, fine = coarsen(tree, few), coarsen(tree, many)
    for cut, most in ((coarse, few), (fine, many)):
        assert roots <= len(cut.classes) <= most
        check(cut, parents)
        assert cut.left_out == ()
    between = fine.then(coarse)
    assert np.array_equal(between[fine.index], coarse.index)
    deep, shallow = coarsen_to_depth(tree, many), coarsen_to_depth(tree, few)
    assert np.array_equal(deep.then(shallow)[deep.index], shallow.index)


@given(forests(max_classes=16), st.integers(1, 16))
def test_a_coarsening_has_as_many_classes_as_splits_allow(parents: Parents, number: int) -> None:
    """Against splitting by hand: the group with the most classes, then the smaller id."""
    tree = tree_of(parents)
    below = {
        node: [leaf for leaf in range(len(parents)) if node in chain_of(parents, leaf)]
        for node in range(len(parents))
    }
    groups = [node for node, up in enumerate(parents) if up < 0]
    number = max(number, len(groups))
    alone: list[int] = []
    while True:
        whole = [node for node in groups if len(below[node]) > 1]
        if not whole:
            break
        node = min(whole, key=lambda node: (-len(below[node]), f"c{node}"))
        children = [child for child, up in enumerate(parents) if up == node]
        if len(groups) + len(alone) + len(children) > number:
            break
        groups = [group for group in groups if group != node] + children
        alone.append(node)
    assert sorted(coarsen(tree, number).classes) == sorted(f"c{node}" for node in groups + alone)


@given(forests(max_classes=12), st.integers(1, 12), st.data())
def test_the_order_of_the_classes_does_not_affect_the_groups(
    parents: Parents, number: int, data: st.DataObject
) -> None:
    """Ids travel with the classes: the same groups come out."""
    position = data.draw(st.permutations(range(len(parents))))
    moved = permute_parents(parents, position)
    ids = [""] * len(parents)
    for node, place in enumerate(position):
        ids[place] = f"c{node}"
    shuffled = SemanticTree(ClassList.of(ids), tuple(ids), np.array(moved))
    number = max(number, parents.count(-1))
    assert above(coarsen(shuffled, number)) == above(coarsen(tree_of(parents), number))


@given(forests(max_classes=16), st.data())
def test_ancestors_keep_their_order_and_leave_the_rest_out(
    parents: Parents, data: st.DataObject
) -> None:
    tree = tree_of(parents)
    ids = data.draw(st.lists(st.sampled_from(list(tree.classes)), min_size=1, unique=True))
    coarse = coarsen_to_ancestors(tree, ids)
    assert list(coarse.classes) == ids
    check(coarse, parents)
    assert set(coarse.left_out) == set(tree.classes) - set(above(coarse))


def test_inner_nodes_can_be_coarse_classes_but_are_not_counted() -> None:
    taxonomy = Taxonomy.from_parents(
        {"tabby": "cat", "manx": "cat", "cat": "animal", "pug": "animal", "oak": "plant"}
        | {"elm": "plant", "animal": "thing", "plant": "thing"}
    )
    tree = SemanticTree.build(taxonomy.leaves(), taxonomy, inner_levels="all")
    assert tree.counts == (1, 2, 1, 5)
    assert list(coarsen(tree, 3).classes) == ["pug", "cat", "plant"]
    coarse = coarsen(tree, 2)
    assert list(coarse.classes) == ["animal", "plant"]
    assert coarse.sizes == (3, 2)
    assert coarse.left_out == ()
    assert list(coarsen_to_depth(tree, 2).classes) == ["pug", "oak", "elm", "cat"]
    assert list(tree.classes)[5:] == ["cat", "animal", "plant", "thing"]
    assert coarse.index.tolist() == [0, 0, 0, 1, 1, 0, 0, 1, -1]


def test_folders_are_matched_by_name_and_numbered_as_in_torchvision() -> None:
    taxonomy = Taxonomy.from_parents({"tabby": "cat", "manx": "cat", "pug": "dog", "elm": "tree"})
    tree = SemanticTree.build(ClassList.of(["tree", "dog", "cat", *taxonomy.leaves()]), taxonomy)
    coarse = coarsen_to_ancestors(tree, ["cat", "dog"])
    label = coarse.for_folders(["tabby", "pug", "cat"])
    assert [label(number) for number in range(3)] == [0, 1, 0]  # cat, pug, tabby
    with pytest.raises(ClassListError, match=r"1 folders are not classes of the tree.*'ant'"):
        coarse.for_folders(["ant", "cat"])
    with pytest.raises(ClassListError, match="belong to none of the coarse classes: 'elm'"):
        coarse.for_folders(["elm", "cat"])


def test_reprs_are_one_informative_line() -> None:
    tree = SemanticTree.build(read_class_list("imagenet-1k"), Taxonomy.wordnet(), inner_levels=4)
    assert repr(tree) == (
        "SemanticTree(imagenet-1k + inner (1,225 classes, digest 26960f), 225 of them inner nodes; "
        "classes by level 15 19 68 123 1000)"
    )
    every = SemanticTree.build(
        read_class_list("imagenet-1k"), Taxonomy.wordnet(), inner_levels="all"
    )
    coarse = repr(coarsen(every, 10))
    assert coarse.startswith("Coarsening(imagenet-1k + inner (1,377 classes, digest ")
    assert coarse.endswith("to 8; largest artifact 521, organism 407, matter 43)")
    assert repr(Taxonomy.wordnet()).startswith("Taxonomy(82,115 nodes; taxonomy WordNet 3.0, rule")


def test_imagenet_1k_in_thirty_classes() -> None:
    taxonomy = Taxonomy.wordnet()
    tree = SemanticTree.build(read_class_list("imagenet-1k"), taxonomy, inner_levels="all")
    sizes = [len(coarsen(tree, number).classes) for number in (1, 2, 30, 100, 500)]
    assert sizes == [1, 2, 24, 96, 497]
    coarse = coarsen_to_ancestors(tree, ["n02084071", "n02121808"])  # dog, domestic cat
    assert coarse.sizes == (116, 5)
    assert len(coarse.left_out) == 1000 - 121


def test_impossible_coarsenings_are_refused() -> None:
    tree = SemanticTree.build(read_class_list("imagenet-1k"), Taxonomy.wordnet())
    with pytest.raises(ValueError, match=r"has 1,000 roots .* 10 classes: .* --inner-levels all"):
        coarsen(tree, 10)
    with pytest.raises(ValueError, match="depth is -1"):
        coarsen_to_depth(tree, -1)
    with pytest.raises(ClassListError, match=r"has no 'n02084071'.*project"):
        coarsen_to_ancestors(tree, ["n02084071"])
    with pytest.raises(ClassListError, match="duplicate class id 'n01440764'"):
        coarsen_to_ancestors(tree, ["n01440764", "n01440764"])
    coarse, fine = (
        coarsen_to_depth(tree_of((-1, 0, 0)), 0),
        coarsen_to_depth(tree_of((-1, 0, 0)), 1),
    )
    with pytest.raises(ValueError, match="the other coarsening splits class"):
        coarse.then(fine)
    with pytest.raises(ValueError, match="different trees"):
        coarse.then(coarsen_to_depth(tree, 0))


@given(forests(max_classes=14), st.integers(1, 14), st.integers(1, 14), st.data())
def test_coarsenings_are_nested_with_inner_nodes_and_nested_classes(
    parents: Parents, one: int, other: int, data: st.DataObject
) -> None:
    """Any nodes as classes, and all others that separate them as inner nodes."""
    drawn = data.draw(st.lists(st.sampled_from(range(len(parents))), min_size=1, unique=True))
    taxonomy = Taxonomy.from_parents(
        {f"c{node}": f"c{up}" if up >= 0 else None for node, up in enumerate(parents)}
    )
    classes = ClassList.of([f"c{node}" for node in drawn])
    tree = SemanticTree.build(classes, taxonomy, inner_levels="all")
    roots = int((tree.parent < 0).sum())
    few, many = sorted((max(one, roots), max(other, roots)))
    for fine, coarse in (
        (coarsen(tree, many), coarsen(tree, few)),
        (coarsen_to_depth(tree, many), coarsen_to_depth(tree, few)),
    ):
        own = tree.is_data_class
        assert np.array_equal(fine.then(coarse)[fine.index[own]], coarse.index[own])
        assert sum(fine.sizes) == sum(coarse.sizes) == len(classes)


def test_classes_left_out_stay_out_of_coarser_coarsenings() -> None:
    tree = tree_of((-1, 0, 0, 1, 1))
    fine, coarse = coarsen_to_ancestors(tree, ["c3", "c4"]), coarsen_to_ancestors(tree, ["c1"])
    assert fine.left_out == ("c0", "c1", "c2")
    assert fine.then(coarse).tolist() == [0, 0]
    assert coarse.then(coarsen_to_ancestors(tree, ["c2"])).tolist() == [-1]
