"""k-means over features on the disk: minibatches, k-means++ seeds, several restarts."""

# N images, D features, K clusters, B images at once

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, get_args

import numpy as np

from labelkit.errors import DatasetError, LabelkitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


class Rows(Protocol):
    """N rows of features, perhaps on the disk."""

    def __len__(self) -> int:
        """N."""
        ...

    def __getitem__(self, where: Any, /) -> NDArray[np.floating]:  # noqa: ANN401 -- as numpy's
        """Some rows: those of a slice, or of an array of positions."""
        ...


Engine: TypeAlias = Literal["scikit-learn", "faiss"]
_AT_ONCE = 2048  # rows whose distances to all centres are in memory
_LEAST_BATCH = 4096
_PER_CENTRE = 256  # images that FAISS looks at, as its own default


@dataclass(frozen=True, kw_only=True)
class KMeansSettings:
    """How images are clustered.

    Attributes:
        clusters: K.
        normalise: scale each image's features to length 1 first, so that distances compare
            directions (cosine).
        restarts: how often to start; the result with the least sum of squared distances wins.
        passes: how often a start goes through all images.
        engine: ``scikit-learn`` is MiniBatchKMeans with k-means++ seeds; ``faiss`` is FAISS's
            k-means, with random seeds, on at most 256 images a cluster.
        seed: of the seeds and the order of images.

    Raises:
        ValueError: a value is out of range.
    """

    clusters: int
    normalise: bool = True
    restarts: int = 3
    passes: int = 10
    engine: Engine = "scikit-learn"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("clusters", "restarts", "passes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.engine not in get_args(Engine):
            choices = ", ".join(get_args(Engine))
            raise ValueError(f"engine is {self.engine!r}, expected one of {choices}")


@dataclass(frozen=True)
class Assignment:
    """The clusters of N images.

    Attributes:
        centres: (K, D) the centre of each cluster.
        first: (N,) the cluster whose centre is nearest.
        second: (N,) the one whose centre is second nearest; -1 if there is one cluster.
        inertia: the sum of squared distances to the nearest centres.
    """

    centres: Floats
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    inertia: float


def kmeans(
    rows: Rows,
    settings: KMeansSettings,
    on_progress: Callable[[int, int], None] | None = None,
) -> Assignment:
    """Cluster features, a part of them in memory at a time.

    The result follows from the features and the settings, on one version of the libraries.

    Args:
        rows: (N, D) features, perhaps mapped from the disk.
        settings: how.
        on_progress: called with (passes done, passes in total).

    Raises:
        DatasetError: there are fewer images than clusters.
        LabelkitError: the engine is not installed.

    Source: Sculley 2010 (minibatches); Arthur and Vassilvitskii 2007 (k-means++).
    """
    if len(rows) < settings.clusters:
        raise DatasetError(
            f"{settings.clusters:,} clusters of {len(rows):,} images: choose fewer clusters"
        )
    per_start = 1 + (settings.passes if settings.engine == "scikit-learn" else 0)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if on_progress:
            on_progress(done, settings.restarts * per_start)

    best: Assignment | None = None
    for restart in range(settings.restarts):
        draw = np.random.default_rng([settings.seed, restart])
        if settings.engine == "faiss":
            centres = _faiss_centres(rows, settings, draw)
        else:
            centres = _minibatch_centres(rows, settings, draw, step)
        found = assign(rows, centres, normalise=settings.normalise)
        step()
        if best is None or found.inertia < best.inertia:
            best = found
    assert best is not None  # noqa: S101 -- there is at least one start
    return best


def assign(rows: Rows, centres: Floats, *, normalise: bool) -> Assignment:
    """The nearest and the second nearest centre of each image.

    Args:
        rows: (N, D) features.
        centres: (K, D).
        normalise: scale each image's features to length 1 first.
    """
    first = np.empty(len(rows), np.int64)
    second = np.full(len(rows), -1, np.int64)
    inertia = 0.0
    lengths = (centres.astype(np.float64) ** 2).sum(1)
    for start in range(0, len(rows), _AT_ONCE):
        part = _prepared(rows[start : start + _AT_ONCE], normalise=normalise)
        distances = lengths - 2 * (part @ centres.T).astype(np.float64)
        place = np.arange(len(part))
        stop = start + len(part)
        first[start:stop] = distances.argmin(1)
        squares = (part.astype(np.float64) ** 2).sum(1)
        nearest = distances[place, first[start:stop]]
        inertia += float(np.maximum(nearest + squares, 0).sum())
        if len(centres) > 1:
            distances[place, first[start:stop]] = np.inf
            second[start:stop] = distances.argmin(1)
    return Assignment(centres, first, second, inertia)


def _prepared(rows: NDArray[np.floating], *, normalise: bool) -> Floats:
    """Rows as float32, perhaps of length 1; rows of zeros stay."""
    part = np.ascontiguousarray(rows, np.float32)
    if not normalise:
        return part
    return part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), np.float32(1e-12))


def _minibatch_centres(
    rows: Rows, settings: KMeansSettings, draw: np.random.Generator, step: Callable[[], None]
) -> Floats:
    """The centres that scikit-learn's MiniBatchKMeans finds (K, D)."""
    try:
        from sklearn.cluster import MiniBatchKMeans, kmeans_plusplus
    except ImportError as error:
        raise LabelkitError(
            "clustering needs scikit-learn: pip install 'labelkit[cluster]'"
        ) from error
    size = max(_LEAST_BATCH, 3 * settings.clusters)
    state = np.random.RandomState(int(draw.integers(2**31)))
    some = np.sort(draw.permutation(len(rows))[:size])
    sample = _prepared(rows[some], normalise=settings.normalise)
    seeds, _ = kmeans_plusplus(sample, settings.clusters, random_state=state)
    start: Any = seeds  # typed as text alone
    model: Any = MiniBatchKMeans(settings.clusters, init=start, batch_size=size, random_state=state)
    for _ in range(settings.passes):
        for part in _batches(rows, size, settings, draw):
            model.partial_fit(part)
        step()
    return np.asarray(model.cluster_centers_, np.float32)


def _batches(
    rows: Rows, size: int, settings: KMeansSettings, draw: np.random.Generator
) -> Iterator[Floats]:
    """All rows once, in random batches of at least ``size`` rows, or one of all."""
    order = draw.permutation(len(rows))
    for some in np.array_split(order, max(1, len(rows) // size)):
        yield _prepared(rows[np.sort(some)], normalise=settings.normalise)


def _faiss_centres(rows: Rows, settings: KMeansSettings, draw: np.random.Generator) -> Floats:
    """The centres that FAISS finds (K, D)."""
    try:
        import faiss  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise LabelkitError(
            "--engine faiss needs FAISS: pip install faiss-cpu, or faiss-gpu with conda"
        ) from error
    some = np.sort(draw.permutation(len(rows))[: _PER_CENTRE * settings.clusters])
    sample = _prepared(rows[some], normalise=settings.normalise)
    model: Any = faiss.Kmeans(
        sample.shape[1],
        settings.clusters,
        niter=settings.passes,
        seed=int(draw.integers(2**31)),
        min_points_per_centroid=1,
        max_points_per_centroid=_PER_CENTRE,
    )
    model.train(sample)
    return np.asarray(model.centroids, np.float32)
