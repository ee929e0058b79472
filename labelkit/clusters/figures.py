"""What clusters found: agreement with each level of a tree, and what second clusters name."""

# N images, K clusters, C classes

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from labelkit.errors import ClassListMismatch
from labelkit.hierarchy import coarsen_to_depth
from labelkit.metrics import PartitionAgreement, compare_partitions
from labelkit.wording import summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from labelkit.hierarchy import SemanticTree

    IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class LevelAgreement:
    """How well clusters agree with classes of one granularity.

    Attributes:
        level: ``own`` for the data set's own classes, ``depth 2`` or ``rank family`` for coarser
            ones.
        classes: how many of them the images have.
        images: how many images have a class.
        agreement: of clusters and classes.
    """

    level: str
    classes: int
    images: int
    agreement: PartitionAgreement


@dataclass(frozen=True)
class NamedShares:
    """What the cluster that each image is given names, as shares of images that sum to 1.

    A cluster is named after the deepest node of the tree such that more than half of the cluster's
    images are of that node's class or of classes below it. There is at most one such node.

    Attributes:
        own: the name is the image's own class.
        coarser: it is above that class in the tree.
        finer: it is below that class.
        other: it is another class.
        unnamed: the cluster has no name: it has no images, or no node has more than half of them.
        coarser_by_chance: the share that ``coarser`` would be on average if the images exchanged
            their clusters at random.
    """

    own: float
    coarser: float
    finer: float
    other: float
    unnamed: float
    coarser_by_chance: float


@dataclass(frozen=True)
class SecondNearest:
    """What the nearest and the second nearest cluster of each image name.

    Attributes:
        first: of the nearest cluster, for whose name the image itself counts.
        second: of the second nearest, for whose name it does not.
        names: how many clusters have a name, by the depth of the node.
    """

    first: NamedShares
    second: NamedShares
    names: dict[int, int]


def compare_with_classes(
    clusters: IntArray,
    classes: Sequence[str],
    labels: IntArray,
    tree: SemanticTree | None = None,
) -> list[LevelAgreement]:
    """Agreement with a data set's classes, and with each coarser level of a tree.

    Levels are the ranks of a tree that has some, and otherwise depths: each class counts as its
    ancestor at that depth, or as itself if it is shallower. Levels on which all images have one
    class, and those equal to a finer one, are left out.

    Args:
        clusters: (N,) the cluster of each image.
        classes: C ids.
        labels: (N,) the class of each image, -1 for none.
        tree: with all of the classes.

    Raises:
        ClassListMismatch: a class is not in the tree.
        ValueError: no image has a class.
    """
    known = labels >= 0
    clusters, labels = clusters[known], labels[known]
    if not len(labels):
        raise ValueError("no image has a class")
    found = [_level("own", clusters, labels)]
    for name, number in _coarser(classes, tree) if tree is not None else ():
        coarse = number[labels]
        if 1 < len(np.unique(coarse)) < found[-1].classes:
            found.append(_level(name, clusters, coarse))
    return found


def second_nearest(
    first: IntArray,
    second: IntArray,
    classes: Sequence[str],
    labels: IntArray,
    tree: SemanticTree,
) -> SecondNearest:
    """How often an image's nearest and second nearest cluster name a coarser class than its own.

    Args:
        first: (N,) the nearest cluster of each image.
        second: (N,) the second nearest; -1 for none.
        classes: C ids.
        labels: (N,) the class of each image, -1 for none; those images are not counted.
        tree: with all of the classes.

    Raises:
        ClassListMismatch: a class is not in the tree.
        ValueError: no image has a class.

    Source: the question is that of Adaloglou et al. 2024 (arXiv 2406.01203), whose abstract says
    that non-primary cluster predictions capture coarser classes; the definition is labelkit's own.
    """
    known = labels >= 0
    if not known.any():
        raise ValueError("no image has a class")
    nodes = _nodes(classes, tree)[labels[known]]
    names = name_clusters(first[known], nodes, tree)
    depths = Counter(int(tree.depth[node]) for node in names.values())
    return SecondNearest(
        _shares(first[known], nodes, names, tree),
        _shares(second[known], nodes, names, tree),
        dict(sorted(depths.items())),
    )


def name_clusters(clusters: IntArray, nodes: IntArray, tree: SemanticTree) -> dict[int, int]:
    """The deepest node at or below which more than half of each cluster's images are.

    Args:
        clusters: (N,) the cluster of each image.
        nodes: (N,) the node of each image's class.
        tree: of the nodes.

    Returns:
        Cluster -> node; clusters without such a node are missing.
    """
    sizes = Counter(clusters.tolist())
    inside: defaultdict[int, Counter[int]] = defaultdict(Counter)
    pairs = Counter(zip(clusters.tolist(), nodes.tolist(), strict=True))
    for (cluster, node), count in pairs.items():
        for above in tree.chain(node).tolist():
            inside[cluster][above] += count
    names: dict[int, int] = {}
    for cluster, counts in inside.items():
        most = [node for node, count in counts.items() if 2 * count > sizes[cluster]]
        if most:
            names[cluster] = max(most, key=lambda node: int(tree.depth[node]))
    return names


def _level(name: str, clusters: IntArray, labels: IntArray) -> LevelAgreement:
    agreement = compare_partitions(clusters, labels)
    return LevelAgreement(name, len(np.unique(labels)), len(labels), agreement)


def _coarser(classes: Sequence[str], tree: SemanticTree) -> Iterator[tuple[str, IntArray]]:
    """The levels of a tree from fine to coarse, each with the number of every class's ancestor."""
    nodes = _nodes(classes, tree)
    if tree.ranks:
        levels = ((f"rank {rank}", tree.at_rank(rank)) for rank in reversed(tree.ranks))
    else:
        deepest = int(tree.depth.max())
        depths = range(deepest - 1, -1, -1)
        levels = ((f"depth {depth}", coarsen_to_depth(tree, depth)) for depth in depths)
    for name, coarsening in levels:
        yield name, coarsening.index[nodes]


def _nodes(classes: Sequence[str], tree: SemanticTree) -> IntArray:
    """The node of each class.

    Raises:
        ClassListMismatch: a class is not in the tree.
    """
    unknown = [each for each in classes if each not in tree.classes.index]
    if unknown:
        raise ClassListMismatch(
            f"the data set has classes that the tree of {tree.classes} lacks: {summary(unknown)}. "
            "Build a tree of its folders: labelkit build-tree DATA -o tree.json"
        )
    return np.array([tree.classes.index[each] for each in classes], np.int64)


def _shares(
    clusters: IntArray, nodes: IntArray, names: dict[int, int], tree: SemanticTree
) -> NamedShares:
    """What the clusters of images of some classes name."""
    total = len(clusters)
    counts: Counter[str] = Counter()
    named = Counter(names.get(cluster, -1) for cluster in clusters.tolist())
    pairs = Counter(zip(clusters.tolist(), nodes.tolist(), strict=True))
    chains = {node: tree.chain(node).tolist() for node in {*nodes.tolist(), *names.values()}}
    for (cluster, node), count in pairs.items():
        counts[_relation(names.get(cluster), node, chains)] += count
    of_class = Counter(nodes.tolist())
    chance = sum(
        count * sum(named[above] for above in chains[node][:-1]) for node, count in of_class.items()
    )
    return NamedShares(
        own=counts["own"] / total,
        coarser=counts["coarser"] / total,
        finer=counts["finer"] / total,
        other=counts["other"] / total,
        unnamed=counts["unnamed"] / total,
        coarser_by_chance=chance / total**2,
    )


def _relation(name: int | None, node: int, chains: dict[int, list[int]]) -> str:
    if name is None:
        return "unnamed"
    if name == node:
        return "own"
    if name in chains[node]:
        return "coarser"
    return "finer" if node in chains[name] else "other"
