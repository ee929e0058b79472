"""How well clusters agree with classes: accuracy by assignment, NMI and ARI."""

# N images, K clusters, C classes

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from labelkit.errors import LabelkitError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Labels = Sequence[int] | NDArray[np.integer]


@dataclass(frozen=True)
class PartitionAgreement:
    """How well one partition of N images agrees with another.

    Attributes:
        accuracy: the share of images whose cluster is assigned to their class. Each cluster is
            assigned to at most one class and each class to at most one cluster, such that the
            share is the greatest. With K clusters and C classes it is at most that of the
            min(K, C) largest classes.
        nmi: the mutual information of the two, divided by the mean of their entropies: 0 if they
            are independent, 1 if they are equal.
        ari: the adjusted Rand index: the share of pairs of images on which the two agree, adjusted
            so that random partitions of the same sizes have 0 on average, and equal ones 1.

    Source: Kuhn 1955 (accuracy); Strehl and Ghosh 2002, with the arithmetic mean as in
    scikit-learn (NMI); Hubert and Arabie 1985 (ARI).
    """

    accuracy: float
    nmi: float
    ari: float


def compare_partitions(clusters: Labels, classes: Labels) -> PartitionAgreement:
    """How well clusters agree with classes.

    Memory grows with the pairs of cluster and class that occur, and for the assignment with K*C.

    Args:
        clusters: (N,) the cluster of each image.
        classes: (N,) the class of each image.

    Raises:
        ValueError: there are no images, or the lengths differ.
        LabelkitError: scipy is not installed.

    >>> found = compare_partitions([0, 0, 1, 1], [5, 5, 5, 3])
    >>> found.accuracy, round(found.nmi, 3), found.ari
    (0.75, 0.344, 0.0)
    """
    counts = _Contingency.of(clusters, classes)
    return PartitionAgreement(
        accuracy=assign_clusters(clusters, classes)[1], nmi=_nmi(counts), ari=_ari(counts)
    )


def assign_clusters(clusters: Labels, classes: Labels) -> tuple[dict[int, int], float]:
    """The class that each cluster is assigned to, and the share of images that this gets right.

    Args:
        clusters: (N,) the cluster of each image.
        classes: (N,) the class of each image.

    Returns:
        Cluster -> class; a cluster without a class is missing.

    Raises:
        ValueError: there are no images, or the lengths differ.
        LabelkitError: scipy is not installed.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise LabelkitError("assignment needs scipy: pip install 'labelkit[cluster]'") from error
    counts = _Contingency.of(clusters, classes)
    table = np.zeros((len(counts.rows), len(counts.columns)), np.int64)
    table[counts.row, counts.column] = counts.count
    rows, columns = linear_sum_assignment(table, maximize=True)
    right = int(table[rows, columns].sum())
    pairs = zip(counts.row_names[rows].tolist(), counts.column_names[columns].tolist(), strict=True)
    return dict(pairs), right / counts.total


@dataclass(frozen=True)
class _Contingency:
    """The number of images of each pair of cluster and class that occurs: P pairs.

    Attributes:
        row, column: (P,) the pairs, as positions.
        count: (P,) their images.
        rows, columns: (K,) and (C,) the images of each cluster and of each class.
        row_names, column_names: (K,) and (C,) the numbers that were given.
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    count: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    row_names: NDArray[np.int64]
    column_names: NDArray[np.int64]

    @property
    def total(self) -> int:
        """N."""
        return int(self.count.sum())

    @classmethod
    def of(cls, clusters: Labels, classes: Labels) -> _Contingency:
        """Count the pairs.

        Raises:
            ValueError: there are no images, or the lengths differ.
        """
        first, second = np.asarray(clusters, np.int64), np.asarray(classes, np.int64)
        if first.shape != second.shape or first.ndim != 1 or not first.size:
            raise ValueError(
                f"clusters have the shape {first.shape} and classes {second.shape}, expected one "
                "of each for each image"
            )
        row_names, row = np.unique(first, return_inverse=True)
        column_names, column = np.unique(second, return_inverse=True)
        pairs, count = np.unique(row * len(column_names) + column, return_counts=True)
        return cls(
            pairs // len(column_names),
            pairs % len(column_names),
            count,
            np.bincount(row),
            np.bincount(column),
            row_names,
            column_names,
        )


def _entropy(counts: NDArray[np.int64]) -> float:
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def _nmi(counts: _Contingency) -> float:
    of_rows, of_columns = _entropy(counts.rows), _entropy(counts.columns)
    mean = (of_rows + of_columns) / 2
    if mean == 0:
        return 1.0  # both put all images into one
    mutual = of_rows + of_columns - _entropy(counts.count)
    return min(max(mutual / mean, 0.0), 1.0)


def _ari(counts: _Contingency) -> float:
    together, of_rows, of_columns = (
        _pairs(each) for each in (counts.count, counts.rows, counts.columns)
    )
    everything = counts.total * (counts.total - 1) / 2
    expected = of_rows * of_columns / everything if everything else 0.0
    most = (of_rows + of_columns) / 2
    if most == expected:
        return 1.0  # both are trivial in the same way
    return (together - expected) / (most - expected)


def _pairs(counts: NDArray[np.int64]) -> float:
    """The number of pairs of images inside groups of these sizes."""
    sizes = counts.astype(np.float64)
    return float((sizes * (sizes - 1) / 2).sum())
