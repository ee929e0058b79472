"""Fewer labels, and wrong ones, on purpose: what a study of labels does to the training images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from labelkit.errors import DatasetError
from labelkit.train.data import set_samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torchvision.datasets import ImageFolder

    from labelkit.train.recipe_data import Data


@dataclass(frozen=True)
class LabelStudy:
    """Which training images have a label of their own, and how many of these are wrong.

    Attributes:
        images: number of training images in class folders.
        labelled: positions of the images that keep their label, ascending.
        wrong: how many of these have a wrong one.
    """

    images: int
    labelled: tuple[int, ...]
    wrong: int

    @property
    def partial(self) -> bool:
        """Whether some images have no label."""
        return len(self.labelled) < self.images

    def __str__(self) -> str:
        """In words, for the run's header; empty if all images keep their label."""
        parts = [f"{len(self.labelled):,} of {self.images:,} training images keep theirs"]
        if self.wrong:
            parts.append(f"{self.wrong:,} of these are wrong on purpose (data.noise)")
        return ", ".join(parts) if self.partial or self.wrong else ""

    @classmethod
    def of(cls, data: Data, folder: ImageFolder) -> Self:
        """Choose the labels of a training folder, and plant wrong ones in it.

        Choices follow from ``data.labels_seed`` and the images. With more labels, the same images
        keep theirs, and others are added.

        Raises:
            DatasetError: a class has too few images, or there is no other class to confuse it with.
        """
        classes = np.array([label for _, label in folder.samples])
        shuffled = _by_class(classes, np.random.default_rng([data.labels_seed, 0]))
        count = data.labels_per_class(len(classes), len(shuffled))
        if count is not None:
            shuffled = [_first(each, count, classes, folder) for each in shuffled]
        labelled = np.concatenate(shuffled)
        wrong = round(data.noise * len(labelled))
        if wrong:
            _confuse(folder, labelled, wrong, np.random.default_rng([data.labels_seed, 1]))
        return cls(len(classes), tuple(sorted(labelled.tolist())), wrong)


def keep(folder: ImageFolder, positions: Sequence[int]) -> None:
    """Remove all other images from a folder's samples; its classes stay."""
    set_samples(folder, [folder.samples[position] for position in positions])


def forget(folder: ImageFolder, positions: Sequence[int]) -> None:
    """Give all other images of a folder the class -1: they have no label."""
    labelled = set(positions)
    samples = enumerate(folder.samples)
    set_samples(folder, [(path, each if at in labelled else -1) for at, (path, each) in samples])


def _by_class(classes: NDArray[np.int64], rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """The positions of each class's images, shuffled."""
    return [rng.permutation(np.flatnonzero(classes == each)) for each in np.unique(classes)]


def _first(
    shuffled: NDArray[np.int64], count: int, classes: NDArray[np.int64], folder: ImageFolder
) -> NDArray[np.int64]:
    if len(shuffled) < count:
        name = folder.classes[int(classes[shuffled[0]])]
        raise DatasetError(
            f"data.labels keeps {count:,} labels in each class, but {name} of {folder.root} has "
            f"{len(shuffled):,} images: lower data.labels, or remove that class"
        )
    return shuffled[:count]


def _confuse(
    folder: ImageFolder, labelled: NDArray[np.int64], wrong: int, rng: np.random.Generator
) -> None:
    """Give some images another class of the data, each with the same probability.

    Which images: evenly spaced ones among ``labelled``, which is sorted by class and shuffled
    within. So each class has its share of wrong labels, up to one image.
    """
    count = len(folder.classes)
    if count < 2:
        raise DatasetError(f"data.noise needs a second class, but {folder.root} has only one")
    start = rng.random()
    chosen = labelled[((np.arange(wrong) + start) * (len(labelled) / wrong)).astype(np.int64)]
    samples = list(folder.samples)
    for position, step in zip(chosen.tolist(), rng.integers(1, count, wrong).tolist(), strict=True):
        path, label = samples[position]
        samples[position] = path, (label + step) % count
    set_samples(folder, samples)
