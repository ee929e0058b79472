"""Make the features of all images of a data set, in chunks that an interruption keeps."""

# B images at once, D features

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from labelkit.clusters.feature_file import (
    CHUNK,
    FORMAT,
    VERSION,
    FeatureFile,
    FeatureState,
    Precision,
    keys_digest,
    open_features,
)
from labelkit.errors import DatasetError
from labelkit.sources import as_source
from labelkit.train import read_images, reading_failures

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from labelkit.clusters.feature_model import FeatureModel
    from labelkit.sources import ImageSource

_BATCH = 32


def make_features(  # noqa: PLR0913 -- what to read, with what, and where to
    images: ImageSource | str | os.PathLike[str],
    model: FeatureModel,
    folder: str | os.PathLike[str],
    *,
    precision: Precision = "float16",
    batch_size: int = _BATCH,
    workers: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> FeatureFile:
    """The pooled features of all images, in the order of their keys.

    Finished chunks of an earlier run are kept. Memory does not grow with the number of images, but
    for their keys. Images that cannot be read are recorded.

    Args:
        images: of a data set.
        model: from ``load_feature_model``.
        folder: for the features, created if it does not exist.
        precision: in which they are stored; float16 takes half the disk, and rounds at the fourth
            digit.
        batch_size: images at once, a divisor of 1024, so that an interruption changes no batch.
            Another size may change the last bits of features, as other kernels compute them.
        workers: processes that read images; 0 reads in this one.
        on_progress: called with (done, total).

    Raises:
        ValueError: the batch size does not divide 1024.
        DatasetError: there are no images, the disk failed, or the folder has other features.
        TrainingError: a worker was killed.
    """
    if batch_size < 1 or CHUNK % batch_size:
        raise ValueError(f"batch_size is {batch_size}, expected a divisor of {CHUNK}, such as 32")
    source = as_source(images)
    keys = source.keys
    wanted = FeatureState(
        format=FORMAT,
        version=VERSION,
        model=model.name,
        model_digest=model.digest,
        keys_digest=keys_digest(keys),
        images=len(keys),
        size=model.length,
        precision=precision,
    )
    file = open_features(folder, wanted)
    if on_progress:
        on_progress(file.state.rows, len(keys))
    with reading_failures("making features", batch_size):
        for rows, unreadable in _chunks(
            source, keys[file.state.rows :], model, batch_size, workers
        ):
            file = file.append(rows, unreadable)
            if on_progress:
                on_progress(file.state.rows, len(keys))
    if len(file.state.unreadable) == len(keys):
        key, reason = next(iter(file.state.unreadable.items()))
        raise DatasetError(f"none of the images can be read, such as {key}: {reason}")
    return file


def _chunks(
    source: ImageSource, keys: Sequence[str], model: FeatureModel, batch_size: int, workers: int
) -> Iterator[tuple[NDArray[np.float32], dict[str, str]]]:
    """The features of each 1024 images, zeros for those that cannot be read, and why not."""
    batches = read_images(
        source,
        keys,
        model.transform,
        batch_size=batch_size,
        workers=workers,
        pin_memory=model.device.type == "cuda",
    )
    for start in range(0, len(keys), CHUNK):
        place = {key: number for number, key in enumerate(keys[start : start + CHUNK])}
        rows = np.zeros((len(place), model.length), np.float32)
        unreadable: dict[str, str] = {}
        for batch in islice(batches, -(-len(place) // batch_size)):
            unreadable.update({key: fault.reason for key, fault in batch.faults.items()})
            if batch.readable:
                rows[[place[key] for key in batch.readable]] = model.features(batch.images).numpy()
        yield rows, unreadable
