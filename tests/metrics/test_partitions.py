"""Clusters against classes: by trying every assignment, and against scikit-learn."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from labelkit.metrics import assign_clusters, compare_partitions

LABELS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30)


def best_of_all_assignments(clusters: list[int], classes: list[int]) -> float:
    """Every way to give each of five clusters one of five classes."""
    right = [
        sum(names[cluster] == label for cluster, label in zip(clusters, classes, strict=True))
        for names in permutations(range(5))
    ]
    return max(right) / len(clusters)


@given(LABELS)
def test_figures_equal_all_assignments_and_scikit_learn(pairs: list[tuple[int, int]]):
    clusters, classes = ([pair[side] for pair in pairs] for side in (0, 1))
    found = compare_partitions(clusters, classes)
    assert found.accuracy == pytest.approx(best_of_all_assignments(clusters, classes))
    assert found.nmi == pytest.approx(normalized_mutual_info_score(classes, clusters), abs=1e-9)
    assert found.ari == pytest.approx(adjusted_rand_score(classes, clusters), abs=1e-9)


def test_more_clusters_than_classes():
    clusters, classes = [7, 7, 8, 9, 9, 9], [0, 0, 0, 1, 1, 1]
    assert assign_clusters(clusters, classes) == ({7: 0, 9: 1}, 5 / 6)


def test_names_do_not_matter():
    rng = np.random.default_rng(0)
    clusters, classes = rng.integers(0, 50, (2, 3000))
    renamed = compare_partitions(rng.permutation(50)[clusters] * 1000, classes - 9)
    first = compare_partitions(clusters, classes)
    assert (renamed.accuracy, renamed.nmi, renamed.ari) == pytest.approx(
        (first.accuracy, first.nmi, first.ari)
    )
    assert abs(first.ari) < 0.01


@pytest.mark.parametrize(("clusters", "classes"), [([], []), ([1], [1, 2])])
def test_other_lengths_are_refused(clusters, classes):
    with pytest.raises(ValueError, match="expected one of each for each image"):
        compare_partitions(clusters, classes)
