"""Cluster the images of a data set, and write the clusters as labels."""

# N images that can be read, K clusters

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from labelkit.clusters.kmeans import Assignment, kmeans
from labelkit.manifests import ImageManifest
from labelkit.sources import ManifestImages, as_source

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from labelkit.clusters.feature_file import FeatureFile
    from labelkit.clusters.kmeans import KMeansSettings
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
    """

    manifest: ImageManifest
    first: IntArray
    second: IntArray
    inertia: float
    sizes: tuple[int, ...]


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
    keys = source.keys
    if not features.state.is_complete or features.state.images != len(keys):
        raise ValueError(
            f"{features.folder} has features of {features.state.rows:,} images, not of "
            f"{len(keys):,}"
        )
    rows = features.readable_rows(keys)
    found, sizes = _largest_first(kmeans(rows, settings, on_progress))
    used = int((sizes > 0).sum())
    digits = len(str(len(sizes) - 1))
    record = {
        "model": features.state.model,
        "model_digest": features.state.model_digest,
        "features": features.digest,
        **asdict(settings),
    }
    manifest = ImageManifest(
        source.manifest.images if isinstance(source, ManifestImages) else Path(source.path),
        tuple(f"cluster-{number:0{digits}}" for number in range(used)),
        tuple(keys[at] for at in rows.positions.tolist()),
        tuple((number,) for number in found.first.tolist()),
        record,
    )
    return Clustering(manifest, found.first, found.second, found.inertia, tuple(sizes.tolist()))


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
