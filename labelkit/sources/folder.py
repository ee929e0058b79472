"""A folder of images, at any depth."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelkit.errors import DatasetError
from labelkit.image_folders import EXTENSIONS, image_path, iterate_images, walk_images
from labelkit.sources.source import ImageSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labelkit.sources.source import ImageFile


class FolderImages(ImageSource):
    """The images below a folder; keys are their paths relative to it, with ``/``.

    Symbolic links to folders are followed, as by ImageFolder, but not in cycles. Files and folders
    whose names start with a dot are skipped.

    Args:
        path: the folder.

    Raises:
        NotADirectoryError: it is none.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(os.fspath(path))
        self.root = Path(path)
        if not self.root.is_dir():
            raise NotADirectoryError(f"no such folder: {self.root}")

    @property
    def keys(self) -> list[str]:
        """The keys of all images, each once, in ascending order; listed once.

        Raises:
            DatasetError: there are no images.
            OSError: a folder is not readable.
        """
        if not self._listed:
            raise DatasetError(f"{self.root} holds no images (extensions {' '.join(EXTENSIONS)})")
        return self._listed

    def file(self, key: str) -> ImageFile:
        """The path of an image."""
        return self.root / key

    def where(self, key: str) -> str:
        """The path of an image."""
        return str(self.root / key)

    def find(self, key: str) -> str | None:
        """A key as this disk spells it, if there is such a file."""
        path = image_path(self.root, key)
        return path.relative_to(self.root).as_posix() if path.is_file() else None

    def in_storage_order(self) -> Iterator[str]:
        """The keys in ascending order, one at a time: memory does not grow with their number.

        Raises:
            OSError: a folder is not readable.
        """
        return iterate_images(self.root)

    @cached_property
    def _listed(self) -> list[str]:
        return sorted(walk_images(self.root))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_listed"}
