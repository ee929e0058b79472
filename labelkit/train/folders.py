"""Folder data sets: their class lists, their samples, and the crops that the student sees.

Legend: S image side.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import InterpolationMode, v2

from labelkit.data import read_image
from labelkit.errors import ClassListMismatch, DatasetError
from labelkit.hierarchy import ClassList
from labelkit.train.files import without_detours

if TYPE_CHECKING:
    from labelkit.train.recipe import Data


def open_folder(root: str, field: str) -> ImageFolder:
    """A folder of class folders, read with labelkit's own image reader.

    Args:
        root: the folder.
        field: which field of the recipe names it, for the message.

    Raises:
        DatasetError: no such folder, or a class folder without images.
    """
    if not Path(root).is_dir():
        raise DatasetError(
            f"{field}: no folder {root!r} (from {Path.cwd()}). Set it: --set {field}=PATH"
        )
    try:
        return ImageFolder(
            without_detours(root),
            loader=load_image,  # pyright: ignore[reportArgumentType]
        )
    except FileNotFoundError as error:
        raise DatasetError(f"{field}: {root} needs one folder of images a class: {error}") from None


def folder_classes(folder: ImageFolder) -> ClassList:
    """The names of a data set's folders, in its own order."""
    return ClassList.of(folder.classes, f"folders of {folder.root}")


def load_image(path: str) -> Tensor:
    """An image as RGB, uint8 (3, H, W).

    Raises:
        DatasetError: it cannot be read; the message names it.
    """
    try:
        return read_image(path)
    except DatasetError as error:
        raise DatasetError(f"{path} cannot be read: {error}. Repair or remove it") from error


class FolderSamples(Dataset[tuple[Tensor, Tensor]]):
    """Images of a folder data set with their class's index in a class list, matched by name.

    Args:
        folder: the images; its own class numbers are positions among its folders and not used.
        classes: the class list of the student's outputs.
        transform: a torchvision v2 pipeline.
        hint: what the user can do if ``classes`` lacks a folder.

    Raises:
        ClassListMismatch: a folder is no class of the list; the message names such folders.
    """

    def __init__(
        self, folder: ImageFolder, classes: ClassList, transform: v2.Transform, *, hint: str
    ) -> None:
        missing = [name for name in folder.classes if name not in classes.index]
        if missing:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise ClassListMismatch(
                f"{folder.root} has folders that {classes} does not hold: "
                f"{', '.join(missing[:3])}{more}. {hint}"
            )
        self.folder = folder
        self.transform = transform
        self.targets = [classes.index[name] for name in folder.classes]

    def __len__(self) -> int:
        return len(self.folder.samples)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        path, folder = self.folder.samples[position]
        return self.transform(load_image(path)), torch.tensor(self.targets[folder])


def make_transforms(data: Data, model_name: str) -> tuple[v2.Transform, v2.Transform]:
    """The random pipeline of training and the fixed one of evaluation; both give (3, S, S) floats.

    Mean, standard deviation and interpolation are those of the timm model.
    """
    import timm
    from timm.data.config import resolve_data_config

    known = timm.get_pretrained_cfg(model_name)
    config = resolve_data_config(pretrained_cfg=known.to_dict() if known else {})
    how = InterpolationMode(config["interpolation"])
    size = data.image_size
    ending = [
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(list(config["mean"]), list(config["std"])),
    ]
    training: list[v2.Transform] = [
        v2.RandomResizedCrop(size, scale=data.crop_scale, interpolation=how, antialias=True),
        v2.RandomHorizontalFlip(data.hflip),
    ]
    evaluation: list[v2.Transform] = [
        v2.Resize(round(size / data.crop_pct), interpolation=how, antialias=True),
        v2.CenterCrop(size),
    ]
    return v2.Compose([v2.ToImage(), *training, *ending]), v2.Compose(
        [v2.ToImage(), *evaluation, *ending]
    )
