"""How often whole-image targets agree with the folders or labels of images, class by class.

# B images, C classes
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Literal

import torch

from labelkit.data import CropTargets, TargetOptions
from labelkit.files import evenly_spaced
from labelkit.geometry import CropBox
from labelkit.label_maps import zooms_ascend

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from labelkit.label_maps import LabelMapFile

SAMPLE = 20_000  # rows, which take a few seconds to read
_AT_ONCE = 256
_EXAMPLES = 3
# 98 % of photos of other classes reach it, and 19 % of Imagenette's (160 pixels, Lite0 at 320).
_OTHER = 0.8
_MANY = 0.2
_RARE = 0.25
_DEVIATIONS = 2.0
_ENOUGH = 5  # of fewer images, none may agree by accident even where half of the class does


@dataclass(frozen=True)
class ClassAgreement:
    """What the maps say of the images in one class's folder, or folders if it is a coarse class.

    Attributes:
        class_id: the class.
        images: how many of them were looked at.
        agree: for how many the class is the most probable of the file's classes in the whole
            image's target; *other* does not compete.
        other: the mean probability of *other*; 0 if the file does not store it.
        elsewhere: how many are mostly *other*, which has a probability of at least 0.8.
        near_chance: whether so few agree that the targets might as well be guessed among the
            file's classes: fewer than two standard deviations more than by chance, and less than
            halfway from chance to all. Never said of fewer than five images.
        rare: whether fewer than a quarter agree, or less than half as many as in the median class;
            likewise never said of fewer than five.
        examples: the images whose target gives the class the least, at most three.
    """

    class_id: str
    images: int
    agree: int
    other: float
    elsewhere: int
    near_chance: bool
    rare: bool
    examples: tuple[str, ...]

    @property
    def share(self) -> float:
        """The share of images that agree."""
        return self.agree / self.images

    @property
    def disagrees(self) -> bool:
        """Whether few of its images agree."""
        return self.near_chance or self.rare

    @property
    def suspicious(self) -> bool:
        """Whether to look at it: few images agree, or a fifth of them are mostly *other*."""
        return self.disagrees or self.elsewhere >= max(_MANY * self.images, 2)


@dataclass(frozen=True)
class FolderAgreement:
    """What the maps say of the folders or labels of a data set.

    Attributes:
        classes: those that have images, the class that agrees least first.
        sampled: how many images were looked at, evenly spaced over the file's rows.
        images: how many the file has.
        unknown: how many of the sampled images are in no folder of a class, or have no such label.
        stores_other: whether the file stores *other*.
        by: what the targets were compared with.
    """

    classes: tuple[ClassAgreement, ...]
    sampled: int
    images: int
    unknown: int
    stores_other: bool
    by: Literal["folders", "labels"] = "folders"

    @property
    def share(self) -> float:
        """The share of images that agree, of those in a class's folder."""
        return sum(each.agree for each in self.classes) / (self.sampled - self.unknown)

    @property
    def other(self) -> float:
        """The mean probability of *other* over these images."""
        total = sum(each.other * each.images for each in self.classes)
        return total / (self.sampled - self.unknown)


def folder_agreement(
    file: LabelMapFile,
    sample: int = SAMPLE,
    folders: Mapping[str, int] | None = None,
    label_of: Callable[[str], str | None] | None = None,
) -> FolderAgreement | None:
    """Compare the whole-image targets of a file with the folders or labels of its images.

    An image's folder is the first part of its key that has a class.

    Args:
        file: finished maps, however they were made.
        sample: at most so many rows are read.
        folders: the file's class of each folder or label by name, such as ``Coarsening.by_id``;
            None where they are named like the classes.
        label_of: the label that is stored beside an image, by its key, such as
            ``ImageSource.stored_label``. Folders are the labels where twice as many of them have
            a class.

    Returns:
        None if at least half of the images have no such folder or label, so that these are not
        labels, or if training cannot choose between an image's maps, whose zooms do not ascend.

    Raises:
        LabelMapError: a row is damaged.
        DatasetError: a stored label is not valid.
    """
    rows = evenly_spaced(len(file), sample)
    keys = [file.key_at(row) for row in rows]
    places = file.classes.index if folders is None else folders
    labels = [_folder_class(places, key) for key in keys]
    by: Literal["folders", "labels"] = "folders"
    if label_of is not None:
        stored = [places.get(label_of(key) or "") for key in keys]
        if 2 * (len(keys) - stored.count(None)) > len(keys) - labels.count(None):
            labels, by = stored, "labels"
    known = [at for at, label in enumerate(labels) if label is not None]
    if 2 * len(known) <= len(keys) or not _trains(file):
        return None
    targets = CropTargets(file, _options(file), sparse=False)
    tallies: defaultdict[int, _FolderCounts] = defaultdict(_FolderCounts)
    for start in range(0, len(known), _AT_ONCE):
        some = known[start : start + _AT_ONCE]
        whole = [CropBox.whole()] * len(some)
        made = targets([rows[at] for at in some], whole, [0] * len(some))
        for at, target in zip(some, made, strict=True):
            label = labels[at]
            if label is not None and isinstance(target, torch.Tensor):
                tallies[label].add(keys[at], label, target, len(file.classes))
    usual = median(tally.agree / tally.images for tally in tallies.values())
    limit = max(_RARE, usual / 2)
    found = [tally.result(file, label, limit) for label, tally in sorted(tallies.items())]
    found.sort(key=lambda each: (each.share, -each.other))
    unknown = len(keys) - len(known)
    return FolderAgreement(tuple(found), len(keys), len(file), unknown, file.header.other, by)


def _trains(file: LabelMapFile) -> bool:
    return len(file.forms) == 1 or zooms_ascend([form.zoom for form in file.forms])


def _options(file: LabelMapFile) -> TargetOptions:
    """The targets of training, with *other* beside the classes where the file stores it."""
    return TargetOptions(other="output") if file.header.other else TargetOptions()


def _folder_class(places: Mapping[str, int], key: str) -> int | None:
    """The class of the folder that an image is in."""
    return next((places[each] for each in key.split("/")[:-1] if each in places), None)


@dataclass
class _FolderCounts:
    """Counts over the images of one class."""

    images: int = 0
    agree: int = 0
    other: float = 0.0
    elsewhere: int = 0
    lowest: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])

    def add(self, key: str, label: int, target: torch.Tensor, classes: int) -> None:
        """Count an image."""
        other = float(target[classes:].sum())
        self.images += 1
        self.agree += int(target[:classes].argmax()) == label
        self.other += other
        self.elsewhere += other >= _OTHER
        self.lowest = heapq.nsmallest(_EXAMPLES, [*self.lowest, (float(target[label]), key)])

    def result(self, file: LabelMapFile, label: int, rare: float) -> ClassAgreement:
        """The counts as facts; a share of images that agree below ``rare`` is rare."""
        share = self.agree / self.images
        chance = 1 / len(file.classes)
        spread = (chance * (1 - chance) / self.images) ** 0.5
        limit = min(chance + _DEVIATIONS * spread, (chance + 1) / 2)
        enough = self.images >= _ENOUGH
        return ClassAgreement(
            file.classes[label],
            self.images,
            self.agree,
            self.other / self.images,
            self.elsewhere,
            enough and share < limit,
            enough and share < rare,
            tuple(key for _, key in self.lowest),
        )
