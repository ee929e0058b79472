"""torchvision's ``ImageFolder``, with labelkit's definition of class folders and image files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchvision.datasets import ImageFolder

from labelkit.data.images import open_image
from labelkit.image_folders import class_folders, walk_images
from labelkit.wording import summary

if TYPE_CHECKING:
    from collections.abc import Callable


class ClassFolders(ImageFolder):
    """An ``ImageFolder`` without hidden folders and files, such as ``.ipynb_checkpoints``.

    Its classes are those of ``read_class_list(root)``, and its images those that
    ``labelkit relabel`` makes label maps of. Without hidden names, it equals ``ImageFolder``, in
    the same order.

    Args:
        root: a folder with one folder of images per class.
        transform: of an image; none inside a ``LabelMapDataset``.
        target_transform: of a class index.
        loader: from a path to an image.

    Raises:
        FileNotFoundError: there are no class folders, or some have no images; the message names
            them.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[..., Any] | None = None,
        target_transform: Callable[..., Any] | None = None,
        loader: Callable[[str], Any] = open_image,
    ) -> None:
        super().__init__(os.fspath(root), transform, target_transform, loader)

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """The names of the class folders, and the index of each."""
        names = class_folders(directory)
        if not names:
            raise FileNotFoundError(f"{directory} has no class folders")
        return names, {name: index for index, name in enumerate(names)}

    @staticmethod
    def make_dataset(
        directory: str | Path, class_to_idx: dict[str, int], *_args: object, **_options: object
    ) -> list[tuple[str, int]]:
        """The path and class index of each image, in the order of ``ImageFolder``."""
        of_class: dict[str, list[str]] = {name: [] for name in class_to_idx}
        for key in walk_images(Path(directory)):
            name, slash, _ = key.partition("/")
            if slash:
                of_class[name].append(key)
        empty = sorted(name for name, keys in of_class.items() if not keys)
        if empty:
            raise FileNotFoundError(f"no images in the class folders {summary(empty)}")
        return [
            (os.path.join(directory, key), class_to_idx[name])  # noqa: PTH118 -- as ImageFolder
            for name in sorted(of_class)
            for key in sorted(of_class[name], key=os.path.split)
        ]
