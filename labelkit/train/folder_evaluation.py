"""Evaluate a classifier on a folder of class folders: accuracy, calibration, mistakes by class.

# B batch, C classes, N images
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from labelkit.errors import ClassListMismatch, DatasetError
from labelkit.hierarchy import advice_on_indices, hierarchical_distance
from labelkit.metrics import CalibrationError, MultiLabelAccuracy
from labelkit.sources import as_source
from labelkit.train.data import coarsen_folder
from labelkit.train.image_reading import open_classes
from labelkit.train.predictions import predict_levels
from labelkit.train.readable import full_batches, read_images, reading_failures
from labelkit.train.reassessed import reassessed_labels
from labelkit.train.validation import validation_metrics
from labelkit.wording import counted, summary

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from labelkit.hierarchy import ClassList, SemanticTree
    from labelkit.sources import ImageSource
    from labelkit.train.classifier import Classifier

    IntArray = npt.NDArray[np.int64]

Among = Literal["all", "data"]
DISTANCE = "mistake_distance"
SPLITS = frozenset({"train", "val", "test", "valid", "validation"})
SEVERAL_LEVELS = (
    "the classes are on several levels of the tree, and logits of different levels cannot be "
    "compared"
)


@dataclass(frozen=True, slots=True)
class ClassAccuracy:
    """The accuracy on the images of one class, in percent.

    Attributes:
        id: the class.
        name: for people.
        images: number of images.
        top1: None if the classes are on several levels of a tree.
        top5: None likewise, or if five or fewer classes compete.
        semantic_accuracy: for a tree.
        mistaken_for: the wrong class that was predicted most often; empty if there is none.
        mistaken_for_name: its name.
    """

    id: str
    name: str
    images: int
    top1: float | None
    top5: float | None
    semantic_accuracy: float | None
    mistaken_for: str = ""
    mistaken_for_name: str = ""

    @property
    def accuracy(self) -> float:
        """Top-1 accuracy, or semantic accuracy if there is none: what classes are sorted by."""
        return self.top1 if self.top1 is not None else self.semantic_accuracy or 0.0


@dataclass(frozen=True, slots=True)
class ConfusedPair:
    """Images of one class for which another was predicted.

    Attributes:
        label: the images' class.
        label_name: its name.
        predicted: the class predicted for them.
        predicted_name: its name.
        images: how many.
        share: of the class's images, in percent.
        distance: height of the lowest common ancestor of the two; None without a tree.
    """

    label: str
    label_name: str
    predicted: str
    predicted_name: str
    images: int
    share: float
    distance: int | None


@dataclass(frozen=True)
class FolderEvaluation:
    """What an evaluation found.

    Attributes:
        classifier: what was evaluated.
        data: the folder.
        images: number of images that were counted.
        data_classes: number of classes that have images.
        competing: number of classes that were ranked; 0 without a ranking.
        metrics: by name; accuracies and the calibration error in percent. ``loss``, ``top1``,
            ``top5`` and ``semantic_accuracy`` as a run logs them; ``calibration_error`` (ECE);
            ``real``, top-1 by several correct labels per image; ``mistake_distance`` and
            ``hierarchical_distance``, the mean height of the lowest common ancestor of label and
            prediction, over mistakes and over all images.
        missing: why a metric is missing, by name.
        real_images: number of images that ``real`` is over.
        largest_distance: between any two classes of the tree; None without one.
        classes: the classes with images, the worst first.
        confusions: all pairs that were confused, the most frequent first.
        unreadable: the images that could not be read and were not counted, with the reason.
    """

    classifier: str
    data: str
    images: int
    data_classes: int
    competing: int
    metrics: dict[str, float]
    missing: dict[str, str]
    real_images: int
    largest_distance: int | None
    classes: tuple[ClassAccuracy, ...]
    confusions: tuple[ConfusedPair, ...]
    unreadable: dict[str, str]


def evaluate_folder(  # noqa: PLR0913 -- each is a separate choice
    classifier: Classifier,
    data: ImageSource | str | os.PathLike[str],
    *,
    classes: ClassList | None = None,
    among: Among = "all",
    tree: SemanticTree | None = None,
    real: Path | None = None,
    batch_size: int | None = None,
    workers: int = 0,
    on_progress: Callable[[int, int], object] = lambda _done, _total: None,
) -> FolderEvaluation:
    """Evaluate a classifier on a folder with one folder of images per class, matched by name.

    On the validation data of a run, the metrics equal the run's log. Images that cannot be read are
    not counted, and do not change how the others are computed.

    Args:
        classifier: from ``load_classifier``.
        data: the images with their classes, a source or the path of one.
        classes: evaluate only the images of these classes; None for all.
        among: rank all classes of the classifier, as a run's log does, or only those in the data.
        tree: for distances between classes; None is the classifier's tree, if it has one.
        real: a JSON file with several correct labels per image; see ``reassessed_labels``.
        batch_size: None is the run's, with which the last digits of ``loss`` equal the log's.
        workers: processes that read images; 0 reads in this one.
        on_progress: called with the number of images done, and of all.

    Raises:
        FileNotFoundError: there is no such folder or file.
        DatasetError: the images have no classes, or none can be read; the disk failed; or ``real``
            has no labels for these images.
        ClassListMismatch: a folder is not a class of the classifier, a class is not in the folder,
            or the tree lacks a class.
        ClassListError: the run's coarsening has no class for a folder.
        TrainingError: a logit is not finite, or a worker was killed.
    """
    source = as_source(data)
    samples = _samples(source, classifier, classes)
    counts = _Counts(classifier, samples, among, tree, real)
    batch_size = batch_size or classifier.batch_size
    unreadable: dict[str, str] = {}
    with reading_failures("the evaluation", batch_size):
        batches = read_images(
            source,
            samples,
            classifier.transform,
            batch_size=batch_size,
            workers=workers,
            pin_memory=classifier.device.type == "cuda",
        )
        for images, keys in full_batches(batches, batch_size, unreadable):
            counts.add(classifier.logits(images, keys), keys)
            on_progress(counts.done + len(unreadable), len(samples))
    if not counts.done:
        key, reason = next(iter(unreadable.items()))
        raise DatasetError(
            f"{source.path}: none of the images can be read, such as {key}: {reason}"
        )
    return counts.result(source.path, unreadable)


def _samples(
    source: ImageSource, classifier: Classifier, chosen: ClassList | None
) -> dict[str, int]:
    """The class of each image, by key, in the order in which a run evaluates them."""
    root = Path(source.path)
    try:
        folder = open_classes(source)
    except FileNotFoundError as error:
        raise DatasetError(
            f"{root} needs one folder of images per class: {error}. For images without classes "
            "there is labelkit predict"
        ) from None
    if any(name not in classifier.classes.index for name in folder.classes):
        coarsening = classifier.load_coarsening()
        if coarsening is not None:
            coarsen_folder(folder, coarsening)
    names = folder.classes if chosen is None else _chosen(root, folder.classes, chosen)
    _require_known(root, names, classifier)
    wanted, start = frozenset(names), len(str(folder.root))
    return {
        path[start:].lstrip("/"): classifier.classes.index[folder.classes[number]]
        for path, number in folder.samples
        if folder.classes[number] in wanted
    }


def _chosen(root: Path, folders: Sequence[str], chosen: ClassList) -> list[str]:
    missing = [each for each in chosen if each not in folders]
    if missing:
        raise ClassListMismatch(
            f"{root} has no images of {counted(len(missing), 'class', 'classes')} of {chosen}: "
            f"{summary(missing)}. Remove them from the list"
        )
    return list(chosen)


def _require_known(root: Path, names: Sequence[str], classifier: Classifier) -> None:
    missing = [name for name in names if name not in classifier.classes.index]
    if not missing:
        return
    if set(names) <= SPLITS:
        hint = f"Pass the folder of one split, such as {root / names[-1]}"
    elif len(missing) < len(names):
        hint = "To evaluate the others alone, list them in a file: --classes FILE"
    else:
        hint = advice_on_indices(missing) or (
            "Folders are matched to classes by name: pass the checkpoint of these classes, or name "
            f"the folders as it does: {summary(classifier.classes.ids)}"
        )
    raise ClassListMismatch(
        f"{root} has folders that are not among the {len(classifier.classes):,} classes of "
        f"{classifier.name}: {summary(missing)}. {hint}"
    )


class _Counts:
    """The running metrics and counts of one evaluation."""

    def __init__(
        self,
        classifier: Classifier,
        samples: dict[str, int],
        among: Among,
        tree: SemanticTree | None,
        real: Path | None,
    ) -> None:
        classes, device = len(classifier.classes), classifier.device
        self.classifier, self.samples = classifier, samples
        present = frozenset(samples.values())
        ranked = [at for at in classifier.ranked if among == "all" or at in present]
        self.ranked = torch.tensor(ranked, dtype=torch.int64, device=device)
        self.excluded = torch.ones(classes, dtype=torch.bool, device=device)
        self.excluded[self.ranked] = False
        self.distances = _Distances.of(
            classifier.tree if tree is None else tree, classifier, present.union(ranked)
        )
        self.metrics = validation_metrics(classifier.loss, ranked, classifier.tree)
        self.calibration, self.real = CalibrationError(), MultiLabelAccuracy()
        self.labels = self._real_labels(real) if ranked else {}
        self.done = self.real_images = 0
        self.pairs = Counter[tuple[int, int]]()
        self.images = np.zeros(classes, np.int64)
        self.top5_hits = np.zeros(classes, np.int64)
        self.level_hits = np.zeros((2, classes), np.int64)  # and trials

    def add(self, logits: Tensor, keys: Sequence[str]) -> None:
        """Count a batch of logits (B, C)."""
        target = np.array([self.samples[key] for key in keys])
        on_device = torch.from_numpy(target).to(logits.device)
        for metric in self.metrics.values():
            metric.update(logits, on_device)
        self.done += len(keys)
        np.add.at(self.images, target, 1)
        if (tree := self.classifier.tree) is not None:
            found, _ = predict_levels(logits, tree)
            chains = tree.chain_table[target]
            np.add.at(self.level_hits[0], target, (found.cpu().numpy() == chains).sum(1))
            np.add.at(self.level_hits[1], target, (chains >= 0).sum(1))
        if len(self.ranked):
            self._add_ranked(logits, on_device, target, keys)

    def result(self, data: str, unreadable: dict[str, str]) -> FolderEvaluation:
        """Everything, computed from the counts."""
        metrics = {name: metric.compute() for name, metric in self.metrics.items()}
        missing: dict[str, str] = {}
        if len(self.ranked):
            metrics["calibration_error"] = self.calibration.compute()
        else:
            missing = dict.fromkeys(("top1", "calibration_error", DISTANCE), SEVERAL_LEVELS)
        if self.real_images:
            metrics["real"] = self.real.compute()
        if len(self.ranked) and self.distances is None:
            missing[DISTANCE] = "it needs a tree: pass one with --tree"
        elif len(self.ranked) and self.distances is not None:
            metrics |= self.distances.means(self.pairs)
            if DISTANCE not in metrics:
                missing[DISTANCE] = "there are no mistakes"
        return FolderEvaluation(
            classifier=str(self.classifier),
            data=data,
            images=self.done,
            data_classes=int((self.images > 0).sum()),
            competing=len(self.ranked),
            metrics=metrics,
            missing=missing,
            real_images=self.real_images,
            largest_distance=self.distances and self.distances.largest,
            classes=tuple(self._classes()),
            confusions=tuple(self._confusions()),
            unreadable=unreadable,
        )

    def _real_labels(self, path: Path | None) -> dict[str, Tensor]:
        """The labels (M,) of each image that has some among the competing classes."""
        table = reassessed_labels(list(self.samples), self.classifier.classes, path)
        if table is None:
            return {}
        table = torch.where(torch.isin(table, self.ranked.cpu()), table, -1)
        return dict(zip(self.samples, table, strict=True))

    def _add_ranked(
        self, logits: Tensor, target: Tensor, numbers: IntArray, keys: Sequence[str]
    ) -> None:
        # The same calls as TopKAccuracy's, so that equal logits are ranked as in the log.
        selected = logits.index_select(1, self.ranked)
        best = self.ranked[selected.topk(1, dim=1, sorted=False).indices].squeeze(1)
        self.pairs.update(zip(numbers.tolist(), best.tolist(), strict=True))
        top5 = self.ranked[selected.topk(min(5, len(self.ranked)), dim=1, sorted=False).indices]
        hits = (top5 == target.unsqueeze(1)).any(1).cpu().numpy()
        np.add.at(self.top5_hits, numbers[hits], 1)
        competing = self.classifier.comparable(logits).masked_fill(self.excluded, -torch.inf)
        self.calibration.update(competing, target)
        if self.labels:
            labels = torch.stack([self.labels[key] for key in keys]).to(logits.device)
            self.real.update(competing, labels)
            self.real_images += int((labels >= 0).any(1).sum())

    def _classes(self) -> list[ClassAccuracy]:
        """All classes with images, the worst first."""
        wrong = Counter({pair: count for pair, count in self.pairs.items() if pair[0] != pair[1]})
        mistaken = {label: predicted for (label, predicted), _ in reversed(wrong.most_common())}
        found = [self._class(at, mistaken.get(at)) for at in np.flatnonzero(self.images).tolist()]
        return sorted(found, key=lambda each: each.accuracy)

    def _class(self, at: int, mistaken_for: int | None) -> ClassAccuracy:
        ids, images = self.classifier.classes, int(self.images[at])
        hits, trials = self.level_hits[:, at].tolist()
        return ClassAccuracy(
            id=ids[at],
            name=self.classifier.names[at],
            images=images,
            top1=100 * self.pairs[at, at] / images if len(self.ranked) else None,
            top5=100 * int(self.top5_hits[at]) / images if len(self.ranked) > 5 else None,
            semantic_accuracy=100 * hits / trials if trials else None,
            mistaken_for="" if mistaken_for is None else ids[mistaken_for],
            mistaken_for_name="" if mistaken_for is None else self.classifier.names[mistaken_for],
        )

    def _confusions(self) -> list[ConfusedPair]:
        """All confused pairs, the most frequent first, of equal ones the farthest."""
        wrong = sorted(pair for pair in self.pairs if pair[0] != pair[1])
        distances = None if self.distances is None else self.distances.between(wrong)
        ids, names = self.classifier.classes, self.classifier.names
        found = [
            ConfusedPair(
                label=ids[label],
                label_name=names[label],
                predicted=ids[predicted],
                predicted_name=names[predicted],
                images=self.pairs[label, predicted],
                share=100 * self.pairs[label, predicted] / int(self.images[label]),
                distance=None if distances is None else int(distances[number]),
            )
            for number, (label, predicted) in enumerate(wrong)
        ]
        return sorted(found, key=lambda each: (-each.images, -(each.distance or 0)))


@dataclass(frozen=True, eq=False)
class _Distances:
    """Distances between a classifier's classes in a tree.

    Attributes:
        tree: the tree.
        nodes: (C,) the node of each class, -1 for those that neither compete nor have images.
        largest: between any two of the tree's leaves.
    """

    tree: SemanticTree
    nodes: IntArray
    largest: int

    @classmethod
    def of(
        cls, tree: SemanticTree | None, classifier: Classifier, needed: frozenset[int]
    ) -> _Distances | None:
        """None without a tree."""
        if tree is None:
            return None
        classes = classifier.classes
        missing = [classes[at] for at in sorted(needed) if classes[at] not in tree.classes.index]
        if missing:
            raise ClassListMismatch(
                f"the tree of {tree.classes} lacks classes of {classifier.name}: "
                f"{summary(missing)}. Build the tree from a list that includes them"
            )
        nodes = np.array([tree.classes.index.get(each, -1) for each in classes])
        roots = np.flatnonzero(tree.parent < 0)
        return cls(tree, nodes, int(hierarchical_distance(tree, roots[:1], roots).max()))

    def between(self, pairs: Sequence[tuple[int, int]]) -> IntArray:
        """The distance of each pair of classes."""
        label, predicted = np.array(pairs, np.int64).reshape(-1, 2).T
        return hierarchical_distance(self.tree, self.nodes[label], self.nodes[predicted])

    def means(self, pairs: Mapping[tuple[int, int], int]) -> dict[str, float]:
        """The mean over all images and, if there are any, over mistakes."""
        count, distance = np.array([*pairs.values()]), self.between([*pairs])
        wrong = np.array([label != predicted for label, predicted in pairs])
        means = {"hierarchical_distance": float(count @ distance / count.sum())}
        if wrong.any():
            means[DISTANCE] = float(count[wrong] @ distance[wrong] / count[wrong].sum())
        return means
