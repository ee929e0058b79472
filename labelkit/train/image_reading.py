"""The images of a run: folders of class folders, or sources of other kinds that look like these.

A path names an image of a run. That of an image in a tar or a table is its key below the path of
the source, such as ``photos.tar/cats/1.jpg``: no file, but what messages and digests use.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from torchvision.datasets import ImageFolder

from labelkit.data import ClassFolders, read_image
from labelkit.errors import DatasetError, first_line
from labelkit.sources import Columns, FolderImages, ImageSource, open_source
from labelkit.train.recipe import without_dotdot
from labelkit.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from labelkit.sources import ImageFile


class UnreadableImage(DatasetError):  # noqa: N818 -- the name states the fact
    """An image cannot be read, for a reason that lies in the file."""


class SourceImages(ImageFolder):
    """The images of a source that is no folder of class folders, as torchvision presents those.

    The order is that of ImageFolder for the same keys: by class, then by folder and name. Without
    classes, it is that of the keys.

    Args:
        source: the images.
        labelled: whether they have classes; without, each has the class -1.

    Raises:
        FileNotFoundError: some images have no class.
    """

    def __init__(self, source: ImageSource, *, labelled: bool = True) -> None:
        self.source = source
        self._labels = source.labels if labelled else None
        if labelled and (self._labels is None or -1 in self._labels.numbers):
            raise FileNotFoundError(
                f"{_without_class(source)}: put it in a class folder, or add labels as "
                "docs/sources.md describes"
            )
        super().__init__(source.path, loader=ImageReader({source.path: source}))

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """The classes of the source, and the index of each."""
        del directory
        names = self._labels.classes if self._labels else []
        return names, {name: index for index, name in enumerate(names)}

    def make_dataset(  # pyright: ignore[reportIncompatibleMethodOverride] -- static there
        self,
        directory: str | Path,
        class_to_idx: dict[str, int],
        *_args: object,
        **_options: object,
    ) -> list[tuple[str, int]]:
        """The path and class index of each image."""
        del class_to_idx
        keys = self.source.keys
        numbers = self._labels.numbers if self._labels else [-1] * len(keys)
        order = list(zip(numbers, map(os.path.split, keys), keys, strict=True))
        if self._labels:
            order.sort()
        return [(f"{directory}/{key}", number) for number, _, key in order]


class ImageReader:
    """Reads the images of a run by their paths, in any process.

    Args:
        sources: those that are not plain folders, by their path.
    """

    def __init__(self, sources: dict[str, ImageSource]) -> None:
        self._sources = {f"{path}/": source for path, source in sources.items()}

    @classmethod
    def of(cls, folders: Sequence[ImageFolder]) -> ImageReader:
        """One reader for all images of a run."""
        found = (each for each in folders if isinstance(each, SourceImages))
        return cls({str(each.root): each.source for each in found})

    def file(self, path: str) -> ImageFile:
        """The file of an image.

        Raises:
            DatasetError: the image has no content that could be decoded.
            OSError: the disk fails.
        """
        source, key = self._place(path)
        return source.file(key) if source else Path(path)

    def state(self, path: str) -> str:
        """What changes when an image's file does.

        Raises:
            OSError: there is no such file.
        """
        source, key = self._place(path)
        if source:
            return source.state(key)
        status = os.stat(path)  # noqa: PTH116 -- a Path for each of a million images is slow
        return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"

    def __call__(self, path: str) -> Tensor:
        """An image as RGB, uint8 (3, H, W).

        Raises:
            UnreadableImage: the file is damaged or of a format that is not read.
            DatasetError: the disk, the network or a permission failed.
        """
        try:
            return read_image(self.file(path))
        except DatasetError as error:
            raise UnreadableImage(
                f"cannot read {path}: {error}. Repair or remove the file"
            ) from error
        except OSError as error:
            raise DatasetError(
                f"cannot read {path}: {error.strerror or first_line(error)}: the disk, the network "
                "or a permission failed, not the image. Fix the cause and run the same command "
                "again"
            ) from error

    def _place(self, path: str) -> tuple[ImageSource | None, str]:
        for start, source in self._sources.items():
            if path.startswith(start):
                return source, path[len(start) :]
        return None, path


def open_classes(source: ImageSource) -> ImageFolder:
    """The images of a source with their classes; of a folder, those of its class folders.

    Raises:
        FileNotFoundError: a class folder has no images, or images have no class.
    """
    if isinstance(source, FolderImages):
        return ClassFolders(source.path, loader=ImageReader({}))
    return SourceImages(source)


def open_folder(root: str, field: str, columns: Columns | None = None) -> ImageFolder:
    """Images with classes, read with labelkit's image reader, without hidden folders.

    Args:
        root: a folder of class folders, or another source with labels.
        field: the field of the recipe that names it, for the message.
        columns: of a table.

    Raises:
        DatasetError: no such folder or file, a class folder without images, images without a class.
    """
    source = _open(root, field, columns)
    try:
        return open_classes(source)
    except FileNotFoundError as error:
        raise DatasetError(
            f"{field}: {root} needs one folder of images per class: {error}"
        ) from None


def open_unlabelled(root: str, columns: Columns | None = None) -> SourceImages:
    """The images of ``data.unlabelled``.

    Raises:
        DatasetError: no such folder or file, or there are no images in it.
    """
    source = _open(root, "data.unlabelled", columns)
    try:
        return SourceImages(source, labelled=False)
    except (OSError, DatasetError) as error:
        raise DatasetError(f"data.unlabelled: {root!r}: {error}") from None


def _open(root: str, field: str, columns: Columns | None) -> ImageSource:
    try:
        return open_source(without_dotdot(root), columns)
    except FileNotFoundError:
        raise DatasetError(
            f"{field}: no such folder: {root!r} (from {Path.cwd()}). Set it with --set {field}=PATH"
        ) from None
    except (OSError, DatasetError) as error:
        raise DatasetError(f"{field}: {error}") from error


def _without_class(source: ImageSource) -> str:
    """Which image has no class, and how many others."""
    if source.labels is None:
        without = [key for key in source.keys if "/" not in key]
    else:
        pairs = zip(source.keys, source.labels.numbers, strict=True)
        without = [key for key, number in pairs if number < 0]
    more = f" (and {counted(len(without) - 1, 'other', 'others')})" if without[1:] else ""
    return f"{source.where(without[0])} has no class{more}"
