"""Distances between classes, against chains compared by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from labelkit.hierarchy import (
    ClassList,
    SemanticTree,
    Taxonomy,
    distance_table,
    hierarchical_distance,
    lowest_common_ancestor,
    read_class_list,
)
from tests.oracles.forests import Parents, chain_of, forests, tree_of


def height(parents: Parents, node: int) -> int:
    """The longest path down; -1 is the virtual node above all roots."""
    children = [child for child, up in enumerate(parents) if up == node]
    return max((height(parents, child) + 1 for child in children), default=0)


@given(forests(max_classes=14))
def test_all_pairs_against_shared_chains(parents: Parents) -> None:
    tree = tree_of(parents)
    count = len(parents)
    rows, columns = np.arange(count)[:, None], np.arange(count)[None, :]
    common = lowest_common_ancestor(tree, rows, columns)
    tables = {kind: distance_table(tree, kind) for kind in ("height", "path", "lca_depth")}
    for one in range(count):
        for other in range(count):
            first, second = chain_of(parents, one), chain_of(parents, other)
            shared = [node for node in first if node in second]
            top = shared[-1] if shared else -1
            assert common[one, other] == top
            assert tables["lca_depth"][one, other] == len(shared) - 1
            assert tables["path"][one, other] == len(first) + len(second) - 2 * len(shared)
            assert tables["height"][one, other] == height(parents, top)
    for kind, table in tables.items():
        assert np.array_equal(hierarchical_distance(tree, rows, columns, kind), table)


def test_two_dogs_share_an_ancestor_and_a_dog_and_a_car_do_not() -> None:
    tree = SemanticTree.build(read_class_list("imagenet-21k-p"), Taxonomy.wordnet())
    index = tree.classes.index
    samoyed, pug, car = (index[i] for i in ("n02111889", "n02110958", "n02958343"))
    assert lowest_common_ancestor(tree, samoyed, pug) == index["n02084071"]
    assert lowest_common_ancestor(tree, samoyed, car) == -1
    near, far = hierarchical_distance(tree, [samoyed, samoyed], [pug, car], "path")
    assert (near, far) == (3, 5 + tree.depth[car] + 1)


def test_the_rule_decides_whether_a_tabby_is_nearer_to_a_lynx_or_to_a_husky() -> None:
    """The lowest common ancestors, read from WordNet 3.0 by hand: cat, and carnivore or above."""
    tabby, lynx, husky = "n02123045", "n02127052", "n02110185"
    met = {}
    for rule in ("imagenet", "longest"):
        taxonomy = Taxonomy.wordnet(rule=rule)
        tree = SemanticTree.build(
            ClassList.of([tabby, lynx, husky, "n02121620", "n02075296", "n01317541", "n00015388"]),
            taxonomy,
        )
        common = lowest_common_ancestor(tree, [0, 0], [1, 2])
        met[rule] = [tree.names[at] for at in common.tolist()]
        assert tree.source["rule"] == rule
        near, far = hierarchical_distance(tree, [0, 0], [1, 2], "lca_depth")
        assert (near > far) == (rule == "longest")
    assert met == {
        "imagenet": ["animal", "domestic_animal"],
        "longest": ["cat", "carnivore"],
    }


def test_pairs_in_one_long_chain_need_no_table() -> None:
    """A dense table of 100,000 classes would be 10^10 entries."""
    count = 100_000
    classes = ClassList.of(map(str, range(count)))
    tree = SemanticTree(classes, classes.ids, np.arange(-1, count - 1))
    a, b = np.random.default_rng(0).integers(0, count, (2, 1000))
    assert np.array_equal(lowest_common_ancestor(tree, a, b), np.minimum(a, b))
    assert np.array_equal(hierarchical_distance(tree, a, b, "path"), abs(a - b))
    assert np.array_equal(hierarchical_distance(tree, a, b), count - 1 - np.minimum(a, b))


def test_tables_use_the_narrowest_type() -> None:
    tree = SemanticTree.build(read_class_list("imagenet-1k"), Taxonomy.wordnet())
    table = distance_table(tree, "path")
    assert table.dtype == np.int8
    assert np.array_equal(table, 2 - 2 * np.eye(1000))
    classes = ClassList.of(map(str, range(100)))
    deep = distance_table(SemanticTree(classes, classes.ids, np.arange(-1, 99)), "path")
    assert deep.dtype == np.int16
    assert deep.max() == 99


@pytest.mark.parametrize("wrong", [[-1], [2], [0.5]])
def test_invalid_class_indices_are_refused(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="class indices"):
        hierarchical_distance(tree_of((-1, 0)), wrong, 0)


def test_an_unknown_kind_is_refused() -> None:
    for ask in (
        lambda tree: distance_table(tree, "x"),
        lambda t: hierarchical_distance(t, 0, 1, "x"),
    ):
        with pytest.raises(ValueError, match="kind is 'x'"):
            ask(tree_of((-1, 0)))


def test_empty_arrays_of_pairs_are_accepted() -> None:
    for kind in ("height", "path", "lca_depth"):
        distances = hierarchical_distance(tree_of((-1, 0)), [], [], kind)
        assert distances.shape == (0,)
        assert not distances.flags.writeable


def test_the_longest_path_fits_into_the_table() -> None:
    """Two chains of 64 classes: 128 steps, one more than int8 holds."""
    classes = ClassList.of(map(str, range(128)))
    parent = np.arange(-1, 127)
    parent[64] = -1
    table = distance_table(SemanticTree(classes, classes.ids, parent), "path")
    assert table.max() == table[63, 127] == 128
