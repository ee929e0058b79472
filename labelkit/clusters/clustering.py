"""Cluster the images of a data set, and write the clusters as labels."""

# N images that can be read, K clusters

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelkit.clusters.nearest_centre import Assignment, assign, kmeans
from labelkit.manifests import ImageManifest
from labelkit.sources import ManifestImages, as_source

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from labelkit.clusters.feature_file import FeatureFile, ReadableRows
    from labelkit.clusters.nearest_centre import KMeansSettings
    from labelkit.sources import ImageSource

    IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Clustering:
    """The clusters of a data set's images, the largest first.

    Attributes:
        manifest: the N images, each labelled with its cluster; clusters without images are left
            out.
        first: (N,) the cluster with the nearest centre, as in the manifest.
        second: (N,) the one with the second nearest; -1 if there is just one.
        inertia: the sum of squared distances to the nearest centres.
        sizes: the images of each of the K clusters.
        centres: (K, D) of the clusters.
    """

    manifest: ImageManifest
    first: IntArray
    second: IntArray
    inertia: float
    sizes: tuple[int, ...]
    centres: NDArray[np.float32]


def cluster_images(
    images: ImageSource | str | os.PathLike[str],
    features: FeatureFile,
    settings: KMeansSettings,
    on_progress: Callable[[int, int], None] | None = None,
) -> Clustering:
    """Cluster images by their features.

    Args:
        images: what the features were made from.
        features: from ``make_features``, complete.
        settings: of k-means.
        on_progress: called with (passes done, passes in total).

    Raises:
        ValueError: the features are incomplete, or of another number of images.
        DatasetError: there are fewer images than clusters.
        LabelkitError: the engine is not installed.
    """
    source = as_source(images)
    rows = _complete_rows(features, source.keys)
    found, sizes = _largest_first(kmeans(rows, settings, on_progress))
    used = int((sizes > 0).sum())
    digits = len(str(len(sizes) - 1))
    record = {
        "model": features.state.model,
        "model_digest": features.state.model_digest,
        "features": features.digest,
        **asdict(settings),
    }
    names = tuple(f"cluster-{number:0{digits}}" for number in range(used))
    manifest = _manifest(source, rows, names, found, record)
    counts = tuple(sizes.tolist())
    return Clustering(manifest, found.first, found.second, found.inertia, counts, found.centres)


def label_images(
    images: ImageSource | str | os.PathLike[str], features: FeatureFile, clustering: Clustering
) -> ImageManifest:
    """Label other images with the clusters of a data set: validation images, say.

    Each gets the cluster with the nearest centre, among those that have images in the data set.

    Args:
        images: other images.
        features: of these, from the same model, complete.
        clustering: of the data set.

    Raises:
        ValueError: the features are incomplete, or of another model or number of images.
    """
    source = as_source(images)
    rows = _complete_rows(features, source.keys)
    settings = clustering.manifest.settings
    if features.state.model_digest != settings["model_digest"]:
        raise ValueError(f"{features.folder} has features of another model than the clusters")
    names = clustering.manifest.classes
    found = assign(rows, clustering.centres[: len(names)], normalise=settings["normalise"])
    record = {**settings, "features": features.digest, "clusters_of": clustering.manifest.digest}
    return _manifest(source, rows, names, found, record)


def _complete_rows(features: FeatureFile, keys: Sequence[str]) -> ReadableRows:
    """The rows of the images that can be read.

    Raises:
        ValueError: the features are incomplete, or of another number of images.
    """
    if not features.state.is_complete or features.state.images != len(keys):
        raise ValueError(
            f"{features.folder} has features of {features.state.rows:,} images, not of "
            f"{len(keys):,}"
        )
    return features.readable_rows(keys)


def _manifest(
    source: ImageSource,
    rows: ReadableRows,
    names: tuple[str, ...],
    found: Assignment,
    record: dict[str, Any],
) -> ImageManifest:
    keys = source.keys
    return ImageManifest(
        source.manifest.images if isinstance(source, ManifestImages) else Path(source.path),
        names,
        tuple(keys[at] for at in rows.positions.tolist()),
        tuple((number,) for number in found.first.tolist()),
        record,
    )


def with_own_classes(
    images: ImageSource | str | os.PathLike[str], keys: Sequence[str]
) -> tuple[list[str], IntArray] | None:
    """The data set's own classes, and that of each key, -1 for none; None without classes.

    Args:
        images: a data set.
        keys: of some of its images.
    """
    source = as_source(images)
    labels = source.labels
    if labels is None:
        return None
    number = dict(zip(source.keys, labels.numbers, strict=True))
    return labels.classes, np.array([number[key] for key in keys], np.int64)


def _largest_first(found: Assignment) -> tuple[Assignment, IntArray]:
    """The clusters renumbered by size, equal ones by their first image; and their sizes."""
    clusters = len(found.centres)
    sizes = np.bincount(found.first, minlength=clusters)
    earliest = np.full(clusters, len(found.first))
    np.minimum.at(earliest, found.first, np.arange(len(found.first)))
    order = np.lexsort((earliest, -sizes))
    number = np.empty(clusters + 1, np.int64)
    number[order], number[-1] = np.arange(clusters), -1
    moved = Assignment(
        found.centres[order], number[found.first], number[found.second], found.inertia
    )
    return moved, sizes[order]
