"""k-means on points whose clusters are known, and distances computed one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from labelkit.clusters import Assignment, KMeansSettings, kmeans
from labelkit.clusters.nearest_centre import assign
from labelkit.errors import DatasetError
from labelkit.metrics import compare_partitions

if TYPE_CHECKING:
    from pathlib import Path

CENTRES = np.array([[9, 0, 0, 1], [0, 9, 0, 1], [0, 0, 9, 1], [-9, 0, 0, 1]], np.float32)


def blobs(count: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points around four centres, and the centre of each."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    return (CENTRES[labels] + rng.normal(0, 0.5, (count, 4))).astype(np.float32), labels


def settings(**changes: Any) -> KMeansSettings:
    return KMeansSettings(**{"clusters": 4, "passes": 5, **changes})


@pytest.mark.parametrize("normalise", [True, False])
def test_clusters_far_apart_are_found(normalise: bool):  # noqa: FBT001
    points, labels = blobs()
    found = kmeans(points, settings(normalise=normalise))
    assert compare_partitions(found.first, labels).accuracy == 1


def test_normalised_features_are_compared_by_direction():
    """Two directions, at lengths that differ more than the directions do."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    lengths = np.where(np.arange(200) < 100, 1.0, 50.0)[:, None]
    points = (np.eye(2)[labels] + rng.normal(0, 0.02, (200, 2))) * lengths
    by_direction = kmeans(points.astype(np.float32), settings(clusters=2))
    assert compare_partitions(by_direction.first, labels).accuracy == 1
    as_they_are = kmeans(points.astype(np.float32), settings(clusters=2, normalise=False))
    assert compare_partitions(as_they_are.first, labels).accuracy < 0.9


def test_the_same_settings_give_the_same_clusters(tmp_path: Path):
    points, _ = blobs()
    many = settings(clusters=30, restarts=2)
    first, again = (kmeans(points, many) for _ in range(2))
    np.testing.assert_array_equal(first.centres, again.centres)
    np.testing.assert_array_equal(first.first, again.first)
    points.tofile(tmp_path / "points")
    mapped = np.memmap(tmp_path / "points", np.float32, "r", shape=points.shape)
    np.testing.assert_array_equal(kmeans(mapped, many).centres, first.centres)
    other = kmeans(points, settings(clusters=30, restarts=2, seed=1))
    assert not np.array_equal(other.first, first.first)


def test_the_best_restart_wins():
    points, _ = blobs(100)
    inertia = [kmeans(points, settings(clusters=9, restarts=n)).inertia for n in (1, 2, 6)]
    assert inertia == sorted(inertia, reverse=True)
    assert inertia[0] > inertia[-1]


def test_distances_one_by_one():
    """A batch is 2,048 rows: these are more."""
    points, _ = blobs(2100)
    centres = np.random.default_rng(1).normal(0, 5, (7, 4)).astype(np.float32)
    found = assign(points, centres, normalise=False)
    total = 0.0
    for at, point in enumerate(points.astype(np.float64)):
        distances = [float(((point - centre) ** 2).sum()) for centre in centres.astype(np.float64)]
        order = sorted(range(7), key=distances.__getitem__)
        assert [found.first[at], found.second[at]] == order[:2]
        total += distances[order[0]]
    assert found.inertia == pytest.approx(total, rel=1e-5)


def test_one_cluster_has_no_second():
    points, _ = blobs(50)
    found = kmeans(points, settings(clusters=1))
    assert set(found.second.tolist()) == {-1}


def test_every_image_alone():
    points, _ = blobs(6)
    found = kmeans(points, settings(clusters=6))
    assert sorted(found.first.tolist()) == list(range(6))
    with pytest.raises(DatasetError, match="7 clusters of 6 images"):
        kmeans(points, settings(clusters=7))


def test_faiss_finds_the_same_blobs():
    pytest.importorskip("faiss")
    points, labels = blobs()
    found = kmeans(points, settings(engine="faiss", restarts=5))
    assert compare_partitions(found.first, labels).accuracy == 1


@pytest.mark.parametrize("wrong", [{"clusters": 0}, {"restarts": 0}, {"engine": "magic"}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        settings(**wrong)


def test_clusters_are_numbered_by_size_then_by_their_first_image():
    from labelkit.clusters.clustering import _largest_first

    first = np.array([2, 0, 0, 3, 2, 0])
    second = np.array([0, 3, 1, -1, 0, 2])
    found, sizes = _largest_first(Assignment(np.eye(4, dtype=np.float32), first, second, 0.0))
    assert sizes.tolist() == [3, 2, 1, 0]  # which were 0, 2, 3 and 1
    assert found.first.tolist() == [1, 0, 0, 2, 1, 0]
    assert found.second.tolist() == [0, 2, 3, -1, 0, 1]
    assert found.centres.argmax(1).tolist() == [0, 2, 3, 1]
