"""A dump that is a folder of class folders."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING

from labelkit.hierarchy import read_class_list
from labelkit.image_folders import class_folders, iterate_images
from labelkit.prepare.class_ids import require_usable
from labelkit.prepare.dump import Dump, DumpClass, DumpImage, Listing, name_fault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class FolderClass(DumpClass):
    """The images below one folder, at any depth; links to folders are followed, as elsewhere.

    The folder is listed once, so that a fingerprint stands for the images that were prepared, even
    if others come while it is in work.
    """

    def listing(self) -> Listing:
        """The images of the folder."""
        return self._listed

    @cached_property
    def _listed(self) -> Listing:
        images: list[DumpImage] = []
        skipped: dict[str, str] = {}
        for name in iterate_images(self.where):
            if fault := name_fault(name):
                skipped[name.encode(errors="replace").decode()] = fault
            else:
                images.append(DumpImage(name, f"{self.where}/{name}"))
        return Listing(sorted(images), dict(sorted(skipped.items())))

    def fingerprint(self) -> str:
        """The SHA-256 of the images' names."""
        names = (image.name for image in self.listing().images)
        return hashlib.sha256("\n".join(names).encode()).hexdigest()


class FolderDump(Dump):
    """A folder with one folder per class.

    Raises:
        PrepareError: a class name cannot be used.
        ClassListError: the folders are splits of a data set.
        OSError: the folder cannot be read.
    """

    kind = "class folders"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._names = class_folders(path)
        require_usable([(name, str(path / name)) for name in self._names])
        read_class_list(path)  # refuses train, val
        self.weight = len(self._names)

    def classes(self, scratch: Path) -> Iterator[DumpClass]:
        """The folders, sorted by name."""
        del scratch
        for name in self._names:
            yield FolderClass(name, str(self.path / name), 1)
