"""The images of a recipe and their augmentation: the table ``[data]``. Loads no tensors."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

from labelkit.sources import Columns
from labelkit.train.recipe_types import Count, RecipeTable, Seed, Share, Side, Text, Workers

AUGMENTS = ("3-augment", "randaugment", "trivialaugment", "autoaugment")


class Data(RecipeTable, frozen=True):
    """The images and their augmentation.

    Attributes:
        train: folder with one folder of images per class, or any other source with labels, such as
            a tar, WebDataset shards, parquet files or a list.
        val: the same, for the evaluation after each epoch.
        coarsening: a file made by ``labelkit coarsen``: each folder then counts as its coarse
            class.
        image_size: side of the model's square input, in pixels.
        crop_scale: smallest and largest area of a training crop, as a fraction of the image's.
        crop_pct: in evaluation, ``image_size`` divided by the short side after resizing.
        hflip: probability of mirroring a training crop.
        augment: automatic augmentation after the crop: ``3-augment``, which only changes colours;
            torchvision's ``randaugment``, ``trivialaugment`` or ``autoaugment``; or timm's
            RandAugment, such as ``rand-m9-mstd0.5-inc1``.
        erasing: probability of filling a rectangle of a training crop with noise.
        repeats: how often an epoch shows each of its images; it then shows so many times fewer.
        workers: processes that read images; 0 reads in the training process. It does not change the
            results.
        unreadable: ``error`` checks the headers of all images before the first epoch, and names
            those that cannot be read. ``skip`` decodes all images once, and leaves those out.
        labels: how many training images keep their label, the same number in each class: a share
            of all images, such as ``"10%"``, or a number per class; all by default.
        labels_seed: chooses these images, and the wrong labels.
        noise: share of the labels that are replaced by wrong ones.
        unlabelled: folder of more training images, at any depth, for label maps.
        key_column: where images are in tables, the column with their keys.
        image_column: where images are in tables, the column with the images or their paths.
    """

    train: Text
    val: Text
    coarsening: Text | None = None
    image_size: Side = 224
    crop_scale: tuple[Share, Share] = (0.08, 1.0)
    crop_pct: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.875
    hflip: Share = 0.5
    augment: Text | None = None
    erasing: Share = 0.0
    repeats: Count = 1
    workers: Workers = 2
    unreadable: Literal["error", "skip"] = "error"
    labels: Text | Count | None = None
    labels_seed: Seed = 0
    noise: Share = 0.0
    unlabelled: Text | None = None
    key_column: Text | None = None
    image_column: Text | None = None

    def __post_init__(self) -> None:
        low, high = self.crop_scale
        if not 0 < low <= high:
            raise ValueError(f"crop_scale is [{low}, {high}], expected 0 < smallest <= largest")
        if self.augment and not (self.augment in AUGMENTS or self.augment.startswith("rand-")):
            raise ValueError(
                f"augment is {self.augment!r}, expected one of {', '.join(AUGMENTS)}, or timm's "
                "RandAugment, such as rand-m9-mstd0.5-inc1"
            )
        if isinstance(self.labels, str) and not 0 < _percent(self.labels) <= 100:
            raise ValueError(
                f'labels is {self.labels!r}, expected a share such as "10%", or a number of images '
                "per class"
            )

    @property
    def columns(self) -> Columns:
        """Which columns of tables to read."""
        return Columns(self.key_column, self.image_column)

    def labels_per_class(self, images: int, classes: int) -> int | None:
        """How many images of each class keep their label, at least 1; None for all."""
        if isinstance(self.labels, str):
            return max(1, round(_percent(self.labels) / 100 * images / classes))
        return self.labels


def _percent(text: str) -> float:
    """The number before a percent sign; 0 if it is none.

    >>> _percent("2.5 %"), _percent("ten")
    (2.5, 0.0)
    """
    found = re.fullmatch(r"(\d{1,3}(?:\.\d{1,9})?) ?%", text.strip())
    return float(found[1]) if found else 0.0
