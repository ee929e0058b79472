"""How easy each image is for the teacher that a label-map file is from."""

# B images at once, C classes

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from labelkit.data import CropTargets, RowFinder, TargetOptions
from labelkit.errors import ClassListMismatch, DatasetError
from labelkit.geometry import CropBox
from labelkit.wording import summary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from labelkit.label_maps import LabelMapFile
    from labelkit.subsets.labelled_images import LabelledImages

_AT_ONCE = 256


@dataclass(frozen=True)
class ImageScores:
    """What a teacher's maps say of images whose class is known.

    Attributes:
        probability: key -> the probability of the image's own class in the target of the whole
            image.
        agrees: key -> whether no other class is more probable.
    """

    probability: Mapping[str, float]
    agrees: Mapping[str, bool]

    def accuracy(self, keys: Sequence[str]) -> float:
        """The share of these images whose own class is the most probable."""
        return sum(self.agrees[key] for key in keys) / len(keys)


def score_images(
    file: LabelMapFile,
    images: LabelledImages,
    on_progress: Callable[[int, int], None] | None = None,
) -> ImageScores:
    """The probability of each image's own class, from the map of the whole image.

    Args:
        file: maps of the images; its class list includes the images' classes.
        images: the images by class.
        on_progress: called with (done, total).

    Raises:
        ClassListMismatch: a class is not in the file's list.
        DatasetError: an image has no map.
        LabelMapError: a row is damaged.
    """
    require_classes(file, images)
    owners = [(key, owner) for owner, keys in images.keys.items() for key in keys]
    rows = rows_of(file, [key for key, _ in owners])
    targets = CropTargets(file, TargetOptions(), sparse=False)
    probability: dict[str, float] = {}
    agrees: dict[str, bool] = {}
    for start in range(0, len(owners), _AT_ONCE):
        some = owners[start : start + _AT_ONCE]
        labels = [file.classes.index[owner] for _, owner in some]
        whole = [CropBox.whole()] * len(some)
        made = targets(rows[start : start + len(some)], whole, labels)
        for (key, _), label, target in zip(some, labels, made, strict=True):
            if isinstance(target, torch.Tensor):
                probability[key] = float(target[label])
                agrees[key] = bool(target[label] >= target.max())
        if on_progress:
            on_progress(start + len(some), len(owners))
    return ImageScores(probability, agrees)


def require_classes(file: LabelMapFile, images: LabelledImages) -> None:
    """Refuse images of classes that a file does not have.

    Raises:
        ClassListMismatch: the message names the classes.
    """
    unknown = [owner for owner in images.keys if owner not in file.classes.index]
    if unknown:
        raise ClassListMismatch(
            f"{file.path} has {file.classes}, without {summary(unknown)} of {images.root}. Make "
            f"label maps over the folder's classes: labelkit relabel {images.root} --classes "
            f"{images.root}"
        )


def rows_of(file: LabelMapFile, keys: Sequence[str]) -> list[int]:
    """The row of each image.

    Raises:
        DatasetError: an image has none; the message names the first ones.
    """
    _, found = RowFinder(file).rows(keys)
    rows: list[int] = found.tolist()
    missing = [key for key, row in zip(keys, rows, strict=True) if row < 0]
    if missing:
        raise DatasetError(
            f"{len(missing):,} of {len(keys):,} images have no map in {file.path}: "
            f"{summary(missing)}. Make maps of the whole folder with labelkit relabel, and remove "
            "images that cannot be read"
        )
    return rows
