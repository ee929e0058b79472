"""Semantic trees against known counts, a recursive walk, and the published targets."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy, read_class_list
from labelkit.hierarchy.wordnet.graph import DATA
from tests.oracles.forests import Parents, chain_of, forests, levels_of, tree_of
from tests.oracles.wordnet_parents import (
    class_chain,
    hypernyms_by_wnid,
    imagenet_parents,
    needs_wordnet,
)

VECTORS = Path(__file__).resolve().parents[3] / "shared/vectors/semantic_softmax_fall11.json"
COUNTS = {
    "imagenet-1k": "1000",
    "imagenet-21k-p": "302 1378 2100 2605 2204 1371 716 290 146 82 26 1",
    "imagenet-21k-p-winter21": "302 1067 1823 2486 2165 1353 710 289 146 82 26 1",
    "imagenet-21k-goog": "538 1804 2818 3933 4042 3126 2052 1190 875 764 397 216 71 17",
}


def named_tree(name: str) -> SemanticTree:
    return SemanticTree.build(read_class_list(name), Taxonomy.wordnet())


@pytest.mark.parametrize("name", COUNTS)
def test_counts_by_depth_are_those_of_the_published_trees(name: str) -> None:
    assert " ".join(map(str, named_tree(name).counts)) == COUNTS[name]


@pytest.mark.parametrize("name", ["imagenet-21k-p", "imagenet-21k-p-winter21"])
def test_chains_of_the_published_trees(name: str) -> None:
    """``class_tree_list[10]`` of the published files, and the chain that the paper prints."""
    tree = named_tree(name)
    assert tree.chain(10).tolist()[::-1] == [10, 9, 66, 65, 144]
    samoyed = [tree.names[at] for at in tree.chain("n02111889")]
    assert samoyed == ["animal", "domestic_animal", "dog", "spitz", "Samoyed"]
    sun = tree.classes.index["n09450163"]
    assert tree.parent[sun] == -1
    assert sun not in tree.parent


@needs_wordnet
@pytest.mark.parametrize("name", ["imagenet-21k-p", "imagenet-21k-p-winter21", "imagenet-22k-ms"])
def test_chains_equal_a_recursive_walk(name: str) -> None:
    tree = named_tree(name)
    parents = imagenet_parents(hypernyms_by_wnid(), DATA / "imagenet_parent.tsv")
    inside = set(tree.classes)
    for at, class_id in enumerate(tree.classes):
        chain = [tree.classes.index[above] for above in class_chain(class_id, parents, inside)]
        row = tree.chain_table[at].tolist()
        assert row == chain + [-1] * (len(tree.counts) - len(chain))


@pytest.mark.skipif(not VECTORS.exists(), reason="no shared/vectors next to the checkout")
@pytest.mark.parametrize("case", [0, 1])
def test_chains_equal_the_published_targets(case: int) -> None:
    """The published code gives each target's position within every level but the deepest."""
    expected = json.loads(VECTORS.read_text())["cases"][case]
    tree = named_tree("imagenet-21k-p")
    generator = np.random.default_rng(expected["seed"])
    shape = expected["batch"], expected["classes"]
    for _ in range(2):  # the logits of student and teacher were drawn first
        generator.standard_normal(shape)
    targets = generator.integers(0, expected["classes"], expected["batch"])
    place = np.full(len(tree.classes) + 1, -1)
    for level in tree.levels:
        place[level] = np.arange(len(level))
    assert place[tree.chain_table[targets]][:, :-1].tolist() == expected["targets_per_level"]


@given(forests())
@settings(deadline=None)
def test_levels_chains_and_depths_follow_from_the_parents(parents: Parents) -> None:
    tree = tree_of(parents)
    levels = levels_of(parents)
    assert tree.parent.tolist() == list(parents)
    assert [level.tolist() for level in tree.levels] == levels
    assert tree.counts == tuple(map(len, levels))
    for child in range(len(parents)):
        chain = chain_of(parents, child)
        assert tree.chain(child).tolist() == tree.chain(f"c{child}").tolist() == chain
        assert tree.depth[child] == len(chain) - 1
        assert tree.chain_table[child].tolist() == chain + [-1] * (len(levels) - len(chain))


@given(forests(max_classes=20), st.data())
@settings(deadline=None)
def test_nodes_that_are_not_classes_are_skipped(parents: Parents, data: st.DataObject) -> None:
    """Any subset of the nodes, in any order, as the class list."""
    above = {
        f"c{child}": f"c{parent}" if parent >= 0 else None for child, parent in enumerate(parents)
    }
    ids = data.draw(st.lists(st.sampled_from(sorted(above)), min_size=1, unique=True))
    tree = SemanticTree.build(ClassList.of(ids), Taxonomy.from_parents(above))
    for class_id in ids:
        assert [ids[at] for at in tree.chain(class_id)] == class_chain(class_id, above, ids)


@given(forests())
@settings(deadline=None)
def test_ordering_by_level_keeps_all_relations(parents: Parents) -> None:
    tree = tree_of(parents)
    ordered = tree.ordered_by_level()
    assert ordered.counts == tree.counts
    assert np.array_equal(np.concatenate(ordered.levels), np.arange(len(parents)))
    assert sorted(ordered.classes) == sorted(tree.classes)
    for class_id in tree.classes:
        moved = [ordered.classes[at] for at in ordered.chain(class_id)]
        assert moved == [tree.classes[at] for at in tree.chain(class_id)]
        assert ordered.names[ordered.classes.index[class_id]] == class_id


def test_depths_of_one_long_chain_take_few_steps() -> None:
    """Depths take log2(C) rounds; one round per level would be 10^10 steps here."""
    count = 100_000
    parent = np.arange(-1, count - 1)
    classes = ClassList.of(map(str, range(count)))
    tree = SemanticTree(classes, classes.ids, parent)
    assert np.array_equal(tree.depth, np.arange(count))


@given(forests(), st.data())
@settings(deadline=None)
def test_a_cycle_is_refused(parents: Parents, data: st.DataObject) -> None:
    """Make a root a child of one of its descendants."""
    below = data.draw(st.integers(0, len(parents) - 1))
    bent = list(parents)
    bent[chain_of(parents, below)[0]] = below
    ids = ClassList.of(f"c{child}" for child in range(len(parents)))
    with pytest.raises(ValueError, match=r"class 'c\d+' is its own ancestor"):
        SemanticTree(ids, ids.ids, np.array(bent))


@pytest.mark.parametrize(
    ("names", "parent", "message"),
    [
        (("a",), [-1, -1], "2 classes, 1 names and 2 parents"),
        (("a", "b"), [-1], "2 classes, 2 names and 1 parents"),
        (("a", "b"), [-1, 2], "parent of 'b' is 2: expected the index of one of 2"),
        (("a", "b"), [-2, 0], "parent of 'a' is -2"),
    ],
)
def test_a_tree_has_one_name_and_one_parent_per_class(
    names: tuple[str, ...], parent: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        SemanticTree(ClassList.of([*"ab"]), names, np.array(parent))


def test_the_chain_of_an_unknown_class_is_refused() -> None:
    tree = tree_of((-1, 0))
    for stranger in ("cat", 2, -1):
        with pytest.raises(ValueError, match="no class"):
            tree.chain(stranger)


def test_a_tree_is_read_only_and_copies_its_arrays() -> None:
    parent = np.array([-1, 0])
    tree = SemanticTree(ClassList.of([*"ab"]), ("a", "b"), parent)
    parent[1] = -1
    assert tree.parent.tolist() == [-1, 0]
    for array in (tree.parent, tree.depth, tree.chain_table, *tree.levels, tree.chain("b")):
        assert array.dtype == np.int64
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_a_tree_can_be_pickled_and_copied() -> None:
    tree = tree_of((-1, 0, 0))
    for other in (pickle.loads(pickle.dumps(tree)), copy.deepcopy(tree)):  # noqa: S301
        assert other.classes == tree.classes
        assert np.array_equal(other.chain_table, tree.chain_table)


def test_the_hash_seed_does_not_affect_the_file(tmp_path: Path) -> None:
    """The order of parents in nltk follows the hash seed; ours must not."""
    contents = []
    for seed in ("0", "4242"):
        path = tmp_path / f"{seed}.json"
        subprocess.run(
            [sys.executable, "-m", "labelkit", "build-tree", "imagenet-21k-goog", "-o", path],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        )
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]


def test_a_tree_has_the_names_and_source_of_wordnet() -> None:
    tree = named_tree("imagenet-1k")
    assert tree.names[:2] == ("tench", "goldfish")
    assert tree.source["rule"] == "imagenet"
    assert tree.source["class_list"] == "imagenet-1k"
