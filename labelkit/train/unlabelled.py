"""``data.unlabelled``: more training images, for labels that come from a teacher."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from torchvision.datasets import ImageFolder

from labelkit.data import list_images
from labelkit.errors import DatasetError
from labelkit.train.data import load_image
from labelkit.train.recipe import without_dotdot

if TYPE_CHECKING:
    from pathlib import Path


class UnlabelledImages(ImageFolder):
    """All images below a folder, at any depth, without classes.

    Raises:
        FileNotFoundError: no such folder, or there are no images in it.
    """

    def __init__(self, root: str) -> None:
        super().__init__(root, loader=load_image)

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """No classes."""
        del directory
        return [], {}

    @staticmethod
    def make_dataset(
        directory: str | Path, class_to_idx: dict[str, int], *_args: object, **_options: object
    ) -> list[tuple[str, int]]:
        """The path of each image, in the order of ``sorted``, with -1 for its class."""
        del class_to_idx
        return [
            (os.path.join(directory, key), -1)  # noqa: PTH118 -- as in ImageFolder
            for key in list_images(directory)
        ]


def open_unlabelled(root: str) -> UnlabelledImages:
    """The images of ``data.unlabelled``.

    Raises:
        DatasetError: no such folder, or there are no images in it.
    """
    try:
        return UnlabelledImages(without_dotdot(root))
    except (OSError, DatasetError) as error:
        raise DatasetError(f"data.unlabelled: {root!r}: {error}") from None
