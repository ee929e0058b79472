"""Projection of a teacher's classes onto a data set's, against a walk up the taxonomy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from labelkit.hierarchy import ClassList, Taxonomy, project, read_class_list
from tests.oracles.forests import Parents, chain_of, forests
from tests.photos import SHARED, needs_shared


@given(forests(max_classes=14), st.data())
def test_a_class_goes_to_itself_or_the_nearest_above(parents: Parents, data: st.DataObject) -> None:
    ids = [f"c{node}" for node in range(len(parents))]
    lists = st.lists(st.sampled_from(ids), min_size=1, unique=True)
    source, target = ClassList.of(data.draw(lists)), ClassList.of(data.draw(lists))
    taxonomy = Taxonomy.from_parents(
        {f"c{node}": f"c{up}" if up >= 0 else None for node, up in enumerate(parents)}
    )
    projection = project(source, target, taxonomy)
    expected = {}
    for class_id in source:
        way = [f"c{up}" for up in chain_of(parents, int(class_id[1:]))]
        expected[class_id] = next((up for up in reversed(way) if up in target.index), None)
    found = projection.index.tolist()
    assert {c: target[at] if at >= 0 else None for c, at in zip(source, found, strict=True)} == (
        expected
    )
    assert set(projection.unused) == {c for c, up in expected.items() if up is None}
    assert set(projection.missing) == set(target) - set(expected.values())
    values = np.random.default_rng(0).random((2, 3, len(source)))
    sums = projection.sum_probabilities(values)
    assert sums.shape == (2, 3, len(target))
    for at, class_id in enumerate(target):
        members = [place for place, c in enumerate(source) if expected[c] == class_id]
        assert np.allclose(sums[..., at], values[..., members].sum(axis=-1))


def test_the_chain_takes_precedence_over_shorter_paths() -> None:
    taxonomy = Taxonomy.from_edges(
        [
            ("pug", "dog"),
            ("dog", "pet"),
            ("dog", "canine"),
            ("canine", "carnivore"),
            ("pet", "animal"),
            ("carnivore", "animal"),
        ]
    )
    source = ClassList.of(["pug"])
    by_chain = project(source, ClassList.of(["canine", "animal"]), taxonomy)
    assert by_chain.target[int(by_chain.index[0])] == "animal"
    by_others = project(source, ClassList.of(["carnivore", "canine"]), taxonomy)
    assert by_others.target[int(by_others.index[0])] == "canine"


def test_without_a_taxonomy_only_equal_ids_match() -> None:
    projection = project(ClassList.of(["b", "x", "a"]), ClassList.of(["a", "b", "c"]))
    assert projection.index.tolist() == [1, -1, 0]
    assert (projection.unused, projection.missing) == (("x",), ("c",))


def test_ids_outside_the_taxonomy_match_by_equality() -> None:
    wordnet = Taxonomy.wordnet()
    projection = project(
        ClassList.of(["mine", "n02111889", "yours"]), ClassList.of(["n02084071", "mine"]), wordnet
    )
    assert projection.index.tolist() == [1, 0, -1]


def test_imagenet_1k_falls_into_three_coarse_classes() -> None:
    target = ClassList.of(["n02083346", "n02121808", "n00021939"])  # canine, domestic cat, artifact
    projection = project(read_class_list("imagenet-1k"), target, Taxonomy.wordnet())
    assert projection.missing == ()
    counts = np.bincount(projection.index + 1).tolist()
    assert counts == [343, 130, 5, 522]


@needs_shared
def test_a_teacher_of_1000_classes_for_a_data_set_of_200() -> None:
    tiny = read_class_list(SHARED / "data" / "tiny_imagenet" / "train")
    projection = project(read_class_list("imagenet-1k"), tiny, Taxonomy.wordnet())
    assert len(tiny) == 200
    assert projection.missing == ()
    assert len(projection.unused) == 800


def test_probabilities_of_another_list_are_refused() -> None:
    projection = project(ClassList.of([*"ab"]), ClassList.of([*"a"]))
    for wrong in (np.zeros((2, 3)), np.zeros(())):
        with pytest.raises(ValueError, match=r"expected \(\.\.\., 2\)"):
            projection.sum_probabilities(wrong)


def test_every_ancestor_is_visited_only_once() -> None:
    """Sixty diamonds on top of each other: 2^60 paths, and no target at the end of any."""
    parents: dict[str, list[str]] = {}
    for at in range(60):
        parents |= {f"n{at}": [f"l{at}", f"r{at}"], f"l{at}": [f"n{at + 1}"]}
        parents[f"r{at}"] = [f"n{at + 1}"]
    taxonomy = Taxonomy.from_parents(parents)
    assert project(ClassList.of(["n0"]), ClassList.of(["x"]), taxonomy).unused == ("n0",)
