"""The images of each class: of class folders, shards or a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labelkit.errors import DatasetError
from labelkit.sources import ImageSource, ManifestImages, as_source
from labelkit.wording import summary

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping


@dataclass(frozen=True)
class LabelledImages:
    """The images of each class.

    Attributes:
        root: where they are: what ``labelkit.sources.open_source`` opens.
        keys: class id -> its images, ascending.
    """

    root: Path
    keys: Mapping[str, tuple[str, ...]]

    @property
    def counts(self) -> dict[str, int]:
        """The number of images of each class."""
        return {class_id: len(keys) for class_id, keys in self.keys.items()}


def read_labelled_images(images: ImageSource | str | os.PathLike[str]) -> LabelledImages:
    """The images of a data set by class: of a folder of class folders, shards or a manifest.

    Raises:
        DatasetError: there are no images, or some have no class.
        OSError: there is no such folder or file.
    """
    source = as_source(images)
    labels, keys = source.labels, source.keys
    without = (
        [key for key in keys if "/" not in key]
        if labels is None
        else [key for key, number in zip(keys, labels.numbers, strict=True) if number < 0]
    )
    if labels is None or without:
        raise DatasetError(
            f"{source.path} has images without a class ({summary(without)}): move them into "
            "folders named like their classes"
        )
    found: dict[str, list[str]] = {name: [] for name in sorted(labels.classes)}
    for key, number in zip(keys, labels.numbers, strict=True):
        found[labels.classes[number]].append(key)
    root = source.manifest.images if isinstance(source, ManifestImages) else Path(source.path)
    return LabelledImages(root, {name: tuple(some) for name, some in found.items() if some})
