"""The images of a recipe and their augmentation: the table ``[data]``. Loads no tensors."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from labelkit.train.recipe_types import RecipeTable, Share, Side, Text, Workers


class Data(RecipeTable, frozen=True):
    """The images and their augmentation.

    Attributes:
        train: folder with one folder of images per class.
        val: the same, for the evaluation after each epoch.
        coarsening: a file made by ``labelkit coarsen``: each folder then counts as its coarse
            class.
        image_size: side of the model's square input, in pixels.
        crop_scale: smallest and largest area of a training crop, as a fraction of the image's.
        crop_pct: in evaluation, ``image_size`` divided by the short side after resizing.
        hflip: probability of mirroring a training crop.
        workers: processes that read images; 0 reads in the training process. It does not change the
            results.
        unreadable: ``error`` checks the headers of all images before the first epoch, and names
            those that cannot be read. ``skip`` decodes all images once, and leaves those out.
    """

    train: Text
    val: Text
    coarsening: Text | None = None
    image_size: Side = 224
    crop_scale: tuple[Share, Share] = (0.08, 1.0)
    crop_pct: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.875
    hflip: Share = 0.5
    workers: Workers = 2
    unreadable: Literal["error", "skip"] = "error"

    def __post_init__(self) -> None:
        low, high = self.crop_scale
        if not 0 < low <= high:
            raise ValueError(f"crop_scale is [{low}, {high}], expected 0 < smallest <= largest")
