"""What clusters name, on a tree small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest

from labelkit.clusters import compare_with_classes, second_nearest
from labelkit.clusters.figures import name_clusters
from labelkit.errors import ClassListMismatch
from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy

EDGES = [
    ("cat", "pet"),
    ("dog", "pet"),
    ("pet", "thing"),
    ("car", "vehicle"),
    ("bus", "vehicle"),
    ("vehicle", "thing"),
]
CLASSES = ["bus", "car", "cat", "dog"]
BUS, CAR, CAT, DOG = range(4)


@pytest.fixture(scope="module")
def tree() -> SemanticTree:
    return SemanticTree.build(ClassList.of(CLASSES), Taxonomy.from_edges(EDGES), inner_levels="all")


def test_a_cluster_is_named_after_the_deepest_majority(tree: SemanticTree):
    members = {
        0: [CAT, CAT, DOG],  # two of three
        1: [CAT, DOG],  # not more than half
        2: [CAT, DOG, CAR],
        3: [CAT, DOG, CAR, BUS],
    }
    clusters = np.array([cluster for cluster, labels in members.items() for _ in labels])
    labels = [label for labels in members.values() for label in labels]
    nodes = np.array([tree.classes.index[CLASSES[label]] for label in labels])
    found = name_clusters(clusters, nodes, tree)
    names = {cluster: tree.classes[node] for cluster, node in found.items()}
    assert names == {0: "cat", 1: "pet", 2: "pet", 3: "thing"}


def test_second_nearest_clusters_by_hand(tree: SemanticTree):
    """Cluster 0 is cat, 1 is pet, 2 is car, 3 has no images, and 9 images are in the clusters."""
    first = np.array([0, 0, 1, 1, 2, 2, 2, 2, 2])
    labels = np.array([CAT, CAT, CAT, DOG, CAR, CAR, CAR, BUS, -1])
    second = np.array([1, 2, 0, 0, 1, 3, 1, -1, 0])
    found = second_nearest(first, second, CLASSES, labels, tree)
    # Of 8 images: cat-pet, cat-car, cat-cat, dog-cat, car-pet, car-none, car-pet, bus-none.
    assert found.second.coarser == 1 / 8
    assert found.second.own == 1 / 8
    assert found.second.other == 4 / 8
    assert found.second.unnamed == 2 / 8
    assert found.second.finer == 0
    # pet is named by 3 of 8 seconds, and is above the 4 cats and dogs: 3 / 8 * 4 / 8.
    assert found.second.coarser_by_chance == pytest.approx(3 / 16)
    assert (found.first.own, found.first.coarser, found.first.other) == (5 / 8, 2 / 8, 1 / 8)
    assert found.names == {1: 1, 2: 2}


def test_chance_is_what_shuffling_gives(tree: SemanticTree):
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(4), 100)
    # Three in ten images are in a cluster with as many of a sibling, which is named after both.
    first = np.where(np.arange(400) // 4 % 10 < 7, labels, 4 + labels // 2)
    second = rng.integers(0, 6, 400)
    expected = second_nearest(first, second, CLASSES, labels, tree).second.coarser_by_chance
    shuffled = [
        second_nearest(first, rng.permutation(second), CLASSES, labels, tree).second.coarser
        for _ in range(60)
    ]
    assert np.mean(shuffled) == pytest.approx(expected, abs=0.01)
    assert expected > 0.1


def test_levels_are_compared_from_fine_to_coarse(tree: SemanticTree):
    labels = np.array([BUS, BUS, CAR, CAT, DOG, DOG])
    clusters = np.array([0, 0, 0, 1, 1, 1])  # exactly pets and vehicles
    found = compare_with_classes(clusters, CLASSES, labels, tree)
    assert [(each.level, each.classes) for each in found] == [("own", 4), ("depth 1", 2)]
    assert found[1].agreement.accuracy == found[1].agreement.nmi == found[1].agreement.ari == 1
    assert found[0].agreement.accuracy == 4 / 6


def test_ranks_have_their_names():
    table = "class,order,species\nbirds,owls,barn owl\nbirds,owls,tawny owl\nbirds,ducks,mallard\n"
    tree = _ranked(table + "beasts,cats,lynx\n")
    classes = ["barn owl", "lynx", "mallard", "tawny owl"]
    found = compare_with_classes(np.array([0, 1, 2, 0]), classes, np.arange(4), tree)
    assert [(each.level, each.classes) for each in found] == [
        ("own", 4),
        ("rank order", 3),
        ("rank class", 2),
    ]
    assert found[1].agreement.accuracy == 1


def _ranked(table: str) -> SemanticTree:
    import tempfile
    from pathlib import Path

    from labelkit.hierarchy import read_taxonomy

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "species.csv")
        path.write_text(table)
        taxonomy = read_taxonomy(path)
    classes = ClassList.of(["barn owl", "tawny owl", "mallard", "lynx"])
    return SemanticTree.build(classes, taxonomy, ranks="all")


def test_images_without_a_class_are_left_out(tree: SemanticTree):
    found = compare_with_classes(np.array([0, 1, 1]), CLASSES, np.array([CAT, DOG, -1]))
    assert (found[0].images, found[0].agreement.accuracy) == (2, 1)
    with pytest.raises(ValueError, match="no image has a class"):
        second_nearest(np.zeros(1, int), np.zeros(1, int), CLASSES, np.array([-1]), tree)


def test_a_class_that_the_tree_lacks_is_named(tree: SemanticTree):
    with pytest.raises(ClassListMismatch, match="lacks: bird"):
        compare_with_classes(np.zeros(2, int), ["cat", "bird"], np.arange(2), tree)
