"""The images of each class: of a folder of class folders, or of a manifest."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labelkit.data import list_images
from labelkit.errors import DatasetError
from labelkit.manifests import read_manifest
from labelkit.wording import summary

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping


@dataclass(frozen=True)
class LabelledImages:
    """The images of each class.

    Attributes:
        root: the folder that the keys are relative to.
        keys: class id -> its images, ascending.
    """

    root: Path
    keys: Mapping[str, tuple[str, ...]]

    @property
    def counts(self) -> dict[str, int]:
        """The number of images of each class."""
        return {class_id: len(keys) for class_id, keys in self.keys.items()}


def read_labelled_images(path: str | os.PathLike[str]) -> LabelledImages:
    """The images of a folder of class folders by class, or those of a manifest by main label.

    Raises:
        DatasetError: there are no images, or some are outside of class folders.
        OSError: there is no such folder or file.
    """
    if Path(path).is_file():
        manifest = read_manifest(path)
        owners = [manifest.classes[labels[0]] for labels in manifest.labels]
        return _grouped(manifest.images, manifest.keys, owners)
    keys = list_images(path)
    outside = [key for key in keys if "/" not in key]
    if outside:
        raise DatasetError(
            f"{path} has images outside of class folders ({summary(outside)}): move them into "
            "folders named like their classes"
        )
    return _grouped(Path(path), keys, [key.partition("/")[0] for key in keys])


def _grouped(root: Path, keys: list[str] | tuple[str, ...], owners: list[str]) -> LabelledImages:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for key, owner in zip(keys, owners, strict=True):
        found[owner].append(key)
    return LabelledImages(root, {owner: tuple(found[owner]) for owner in sorted(found)})
