"""Predict the classes of all images in a folder, and write them as a table.

# B batch, C classes, K best classes or L levels
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from labelkit.errors import DatasetError
from labelkit.files import replace_file
from labelkit.sources import as_source
from labelkit.train.readable import read_images, reading_failures
from labelkit.wording import printable, readable

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from labelkit.hierarchy import SemanticTree
    from labelkit.sources import ImageSource
    from labelkit.train.classifier import Classifier

COLUMNS = ("class", "name", "probability")


@dataclass(frozen=True, slots=True)
class ImagePrediction:
    """The best classes of one image.

    Attributes:
        key: the image's path below the folder.
        classes: indices in the classifier's class list, best first; if its classes are on several
            levels of a tree, the best of each level, from the roots down. Empty if the image cannot
            be read.
        probabilities: of these.
        unreadable: why the image cannot be read; empty if it can.
    """

    key: str
    classes: tuple[int, ...]
    probabilities: tuple[float, ...]
    unreadable: str = ""


def predict_folder(
    classifier: Classifier,
    data: ImageSource | str | os.PathLike[str],
    *,
    top_k: int = 5,
    batch_size: int | None = None,
    workers: int = 0,
) -> Iterator[ImagePrediction]:
    """Predict the classes of all images of a source; of a folder, in the order of their keys.

    Otherwise they come as they are stored. Memory does not grow with the number of images in a
    folder.

    Args:
        classifier: from ``load_classifier``.
        data: the images, a source or the path of one.
        top_k: number of best classes, at most all that compete. A classifier whose classes are on
            several levels of a tree gives one class per level instead.
        batch_size: None is the run's.
        workers: processes that read images; 0 reads in this one.

    Raises:
        ValueError: ``top_k`` is below 1.
        DatasetError: there are no images, or the disk failed.
        FileNotFoundError: there is no such folder or file.
        TrainingError: a logit is not finite, or a worker was killed.
    """
    if top_k < 1:
        raise ValueError(f"top_k is {top_k}, expected at least 1")
    source = as_source(data)
    return _predictions(classifier, source, top_k, batch_size or classifier.batch_size, workers)


def write_predictions(
    path: Path, classifier: Classifier, predictions: Iterable[ImagePrediction], top_k: int = 5
) -> None:
    """Write predictions as CSV, atomically: a header, then one row per image.

    The columns are ``key``, then ``class_1``, ``name_1`` and ``probability_1`` and so on, then
    ``unreadable``, which is empty for an image that was read. An image that was not has empty
    cells and the reason. For a classifier whose classes are on several levels of a tree, the
    columns are ``class_level_0`` and so on, from the roots down. Bytes of file names that are not
    UTF-8 are written as backslash escapes.

    Args:
        path: the file to create or replace.
        classifier: what made the predictions.
        predictions: from ``predict_folder``.
        top_k: as for ``predict_folder``.

    Raises:
        OSError: the file cannot be written.
    """
    labels = _suffixes(classifier, top_k)

    def write(temporary: Path) -> None:
        with temporary.open("x", encoding="utf-8", errors="backslashreplace", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            columns = (f"{column}_{label}" for label in labels for column in COLUMNS)
            writer.writerow(["key", *columns, "unreadable"])
            writer.writerows(_row(each, classifier, len(labels)) for each in predictions)

    replace_file(path, write)


def predict_levels(logits: Tensor, tree: SemanticTree) -> tuple[Tensor, Tensor]:
    """The best class of each level of a tree, and its probability among the level's classes.

    Args:
        logits: (B, C), one column per class of the tree.
        tree: C classes on L levels.

    Returns:
        Class indices (B, L) and probabilities (B, L), from the roots down.
    """
    levels = [torch.tensor(level, device=logits.device) for level in tree.levels]
    best = [logits.index_select(1, level).softmax(1).max(1) for level in levels]
    classes = [level[found.indices] for level, found in zip(levels, best, strict=True)]
    return torch.stack(classes, 1), torch.stack([found.values for found in best], 1)


def _predictions(
    classifier: Classifier, source: ImageSource, top_k: int, batch_size: int, workers: int
) -> Iterator[ImagePrediction]:
    with reading_failures("the prediction", batch_size):
        batches = read_images(
            source,
            _keys(source),
            classifier.transform,
            batch_size=batch_size,
            workers=workers,
            pin_memory=classifier.device.type == "cuda",
        )
        for batch in batches:
            found = _best(classifier, batch.images, batch.readable, top_k)
            for key in batch.keys:
                fault = batch.faults.get(key)
                yield next(found) if fault is None else ImagePrediction(key, (), (), fault.reason)


def _keys(source: ImageSource) -> Iterator[str]:
    try:
        yield from source.in_storage_order()
    except OSError as error:
        raise DatasetError(
            f"cannot read {error.filename}: {error.strerror}. Fix the cause and run it again"
        ) from error


def _best(
    classifier: Classifier, images: Tensor, keys: list[str], top_k: int
) -> Iterator[ImagePrediction]:
    """The predictions for images (B, 3, S, S)."""
    if not keys:
        return
    logits = classifier.comparable(classifier.logits(images, keys))
    if classifier.tree is not None and not classifier.ranked:
        classes, probabilities = predict_levels(logits, classifier.tree)
    else:
        ranked = torch.tensor(classifier.ranked, device=logits.device)
        shares = logits.index_select(1, ranked).softmax(1)
        probabilities, columns = shares.topk(min(top_k, len(ranked)), dim=1)
        classes = ranked[columns]
    rows = zip(keys, classes.tolist(), probabilities.tolist(), strict=True)
    for key, best, shares in rows:
        yield ImagePrediction(key, tuple(best), tuple(shares))


def _suffixes(classifier: Classifier, top_k: int) -> list[str]:
    """What the names of the columns of each class end with."""
    if classifier.tree is not None and not classifier.ranked:
        return [f"level_{number}" for number in range(len(classifier.tree.levels))]
    return [str(number + 1) for number in range(min(top_k, len(classifier.ranked)))]


def _row(found: ImagePrediction, classifier: Classifier, width: int) -> list[str]:
    cells = [found.key]
    for at, share in zip(found.classes, found.probabilities, strict=True):
        cells += [classifier.classes[at], readable(classifier.names[at]), f"{share:.6g}"]
    cells += [""] * (3 * (width - len(found.classes)))
    return [*cells, printable(found.unreadable)]
