"""Levels of inner nodes: which are chosen, and what a tree with them keeps."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, strategies as st

from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy, read_class_list
from labelkit.hierarchy.splits import Splits
from tests.oracles.forests import Parents, chain_of, forests


def leaves_of(parents: Parents) -> list[int]:
    return [node for node in range(len(parents)) if node not in parents]


def taxonomy_of(parents: Parents) -> Taxonomy:
    return Taxonomy.from_parents(
        {f"c{node}": f"c{up}" if up >= 0 else None for node, up in enumerate(parents)}
    )


def parts(parents: Parents, node: int, classes: list[int]) -> int:
    """The number of branches below a node with classes."""
    chains = [chain_of(parents, leaf) for leaf in classes]
    return len({chain[chain.index(node) + 1] for chain in chains if node in chain[:-1]})


@given(forests(max_classes=24), st.sampled_from([1, 2, 3, 4, "all"]))
def test_inner_nodes_above_leaves_form_levels(parents: Parents, levels: int) -> None:
    leaves = leaves_of(parents)
    classes = ClassList.of([f"c{leaf}" for leaf in leaves], "leaves")
    tree = SemanticTree.build(classes, taxonomy_of(parents), inner_levels=levels)
    nodes = [int(node[1:]) for node in tree.classes]
    # the classes come first, and keep their order
    assert tree.data_classes == classes
    assert tree.classes.ids[: len(classes)] == classes.ids
    assert tree.inner.tolist() == list(range(len(classes), len(tree.classes)))
    # every inner node parts classes
    for at in tree.inner.tolist():
        assert parts(parents, nodes[at], leaves) > 1
    # all classes share the last level, and levels grow downwards without a gap
    assert set(tree.level[: len(classes)].tolist()) == {len(tree.counts) - 1}
    assert all(tree.counts)
    for at, up in enumerate(tree.parent.tolist()):
        assert up < 0 or tree.level[up] < tree.level[at]
    # chains are the full ones without what is left out
    kept = set(nodes)
    for at in range(len(nodes)):
        chain = [node for node in chain_of(parents, nodes[at]) if node in kept]
        assert [nodes[above] for above in tree.chain(at)] == chain
        expected = {tree.level[tree.classes.index[f"c{node}"]]: node for node in chain}
        row = tree.chain_table[at].tolist()
        assert {k: nodes[m] for k, m in enumerate(row) if m >= 0} == expected
    if levels == "all":
        inner = {node for node in range(len(parents)) if parts(parents, node, leaves) > 1}
        assert kept == inner | set(leaves)
    else:
        assert len(tree.counts) <= levels + 1
        assert 1 not in tree.counts[:-1]


@given(forests(max_classes=24), st.integers(1, 4), st.data())
def test_nested_classes_keep_depths_as_levels(
    parents: Parents, levels: int, data: st.DataObject
) -> None:
    drawn = data.draw(st.lists(st.sampled_from(range(len(parents))), min_size=1, unique=True))
    classes = ClassList.of([f"c{node}" for node in drawn])
    taxonomy = taxonomy_of(parents)
    plain = SemanticTree.build(classes, taxonomy)
    tree = SemanticTree.build(classes, taxonomy, inner_levels=levels)
    if len(plain.counts) > 1:
        assert tree.level.tolist() == tree.depth.tolist()
    inside = set(classes)
    for class_id in classes:
        chain = [tree.classes[at] for at in tree.chain(class_id)]
        own = [plain.classes[at] for at in plain.chain(class_id)]
        assert [above for above in chain if above in inside] == own


def test_imagenet_1k_gets_meaningful_levels() -> None:
    tree = SemanticTree.build(read_class_list("imagenet-1k"), Taxonomy.wordnet(), inner_levels=4)
    assert tree.counts == (15, 19, 68, 123, 1000)
    assert {"organism", "instrumentality", "structure"} <= {tree.names[at] for at in tree.levels[0]}
    chain = [tree.names[at] for at in tree.chain("n02111889")]
    assert chain == ["organism", "domestic_animal", "spitz", "Samoyed"]
    assert "entity" not in tree.names  # it parts nothing from anything
    covered = (tree.chain_table[:1000] >= 0).mean(axis=0)
    assert covered[0] > 0.99
    assert covered[-1] == 1


def test_the_order_of_the_classes_does_not_affect_the_choice() -> None:
    classes = list(read_class_list("imagenet-1k"))
    trees = []
    for seed in (0, 1):
        classes = np.random.default_rng(seed).permutation(classes).tolist()
        trees.append(SemanticTree.build(ClassList.of(classes), Taxonomy.wordnet(), inner_levels=3))
    first, second = ({t.classes[at]: t.level[at] for at in t.inner.tolist()} for t in trees)
    assert first == second


def test_without_inner_nodes_to_add_the_tree_is_the_plain_one() -> None:
    taxonomy = Taxonomy.from_parents({"a": "x", "x": None, "b": None})
    tree = SemanticTree.build(ClassList.of([*"ab"]), taxonomy, inner_levels=3)
    assert (tree.counts, tree.inner.tolist(), list(tree.classes)) == ((2,), [], ["a", "b"])


@pytest.mark.parametrize("wrong", [-1, "most"])
def test_invalid_numbers_of_levels_are_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match=r"inner_levels is .*expected"):
        SemanticTree.build(
            ClassList.of([*"a"]), Taxonomy.from_parents({"a": None}), inner_levels=wrong
        )


@pytest.mark.parametrize(
    ("inner", "level", "message"),
    [
        ([2], [], "inner nodes must be unique, ascending"),
        ([1, 0], [], "inner nodes must be unique, ascending"),
        ([0, 1], [], "all classes are inner nodes"),
        ([], [0], "1 levels for 2 classes"),
        ([], [0, 2], "without a gap"),
        ([], [-1, 0], "without a gap"),
        ([], [0, 2**40], "without a gap"),
        ([1, 1], [], "inner nodes must be unique, ascending"),
        ([], [0, 0], "'b' is on level 0 and its parent 'a' on level 0"),
        ([], [1, 0], "'b' is on level 0 and its parent 'a' on level 1"),
    ],
)
def test_invalid_levels_and_inner_nodes_are_refused(
    inner: list[int], level: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        SemanticTree(
            ClassList.of([*"ab"]),
            ("a", "b"),
            np.array([-1, 0]),
            inner=np.array(inner, dtype=np.int64),
            level=np.array(level, dtype=np.int64),
        )


def test_ordering_by_level_keeps_inner_nodes_and_levels() -> None:
    tree = SemanticTree.build(read_class_list("imagenet-1k"), Taxonomy.wordnet(), inner_levels=4)
    ordered = tree.ordered_by_level()
    assert ordered.counts == tree.counts
    assert {ordered.classes[at] for at in ordered.inner} == {tree.classes[at] for at in tree.inner}
    moved = [tree.classes.index[class_id] for class_id in ordered.classes]
    assert ordered.level.tolist() == tree.level[moved].tolist()
    again = ordered.ordered_by_level()
    assert (again.classes, again.classes.name) == (ordered.classes, ordered.classes.name)


def test_splits_measure_the_perplexity_of_their_groups() -> None:
    parents = (-1, 0, 0, 1, 1, 1, 2)
    tree = SemanticTree.build(
        ClassList.of(["c3", "c4", "c5", "c6"]), taxonomy_of(parents), inner_levels="all"
    )
    splits = Splits.of(tree.parent, tree.is_data_class, tree.classes.ids)
    assert splits.groups.tolist() == [1, 2, 4]
    assert splits.perplexity == pytest.approx([1, 4 / 27**0.25, 4])


@pytest.mark.parametrize("levels", [10**9, np.int64(3)])
def test_any_integer_is_accepted_as_the_number_of_levels(levels: int) -> None:
    taxonomy = taxonomy_of((-1, 0, 0, 1, 1, 2, 2))
    tree = SemanticTree.build(taxonomy.leaves(), taxonomy, inner_levels=levels)
    assert tree.counts == (2, 4)


def test_copies_are_read_only() -> None:
    taxonomy = taxonomy_of((-1, 0, 0, 1, 1, 2, 2))
    tree = SemanticTree.build(taxonomy.leaves(), taxonomy, inner_levels=1)
    for copied in (pickle.loads(pickle.dumps(tree)), copy.deepcopy(tree)):  # noqa: S301
        assert copied.digest == tree.digest
        for array in (
            copied.parent,
            copied.inner,
            copied.level,
            copied.depth,
            copied.is_data_class,
        ):
            assert not array.flags.writeable
    for changed in (
        SemanticTree(tree.classes, tree.names, tree.parent),
        SemanticTree(tree.classes, tree.names, np.full(6, -1), inner=tree.inner),
        SemanticTree(tree.classes, tree.names, np.full(6, -1), level=tree.level),
    ):
        assert changed.digest != tree.digest


@pytest.mark.parametrize("source", [{"a": 3}, {3: "a"}])
def test_names_and_the_source_must_be_text(source: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="source: "):
        SemanticTree(ClassList.of([*"a"]), ("a",), np.array([-1]), source)
    with pytest.raises(ValueError, match="the name None is not text"):
        SemanticTree(ClassList.of([*"a"]), (None,), np.array([-1]))  # type: ignore[arg-type]
