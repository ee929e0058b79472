"""Some images of another source, with labels: those of a manifest."""

from __future__ import annotations

import errno
from functools import cached_property
from typing import TYPE_CHECKING

from labelkit.errors import DatasetError
from labelkit.sources.source import ImageLabels, ImageSource
from labelkit.wording import summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labelkit.manifests import ImageManifest
    from labelkit.sources.source import ImageFile


class ManifestImages(ImageSource):
    """The images that a manifest names; keys are those of the source that it was made from.

    Args:
        path: of the manifest.
        manifest: its content.
        images: the source that it was made from.

    Raises:
        DatasetError: images that the manifest names are gone.
    """

    def __init__(self, path: str, manifest: ImageManifest, images: ImageSource) -> None:
        super().__init__(path, images.rule)
        self.manifest = manifest
        self.images = images
        self._keys = list(manifest.keys)
        known = frozenset(images.keys)
        missing = [key for key in manifest.keys if key not in known]
        if missing:
            raise DatasetError(
                f"{path} names {len(missing):,} images that {manifest.images} does not have: "
                f"{summary(missing)}. Restore them, or make the manifest again"
            )

    @property
    def keys(self) -> list[str]:
        """The keys of the manifest."""
        return self._keys

    @cached_property
    def stored_labels(self) -> ImageLabels:
        """The main class of each image."""
        numbers = [labels[0] for labels in self.manifest.labels]
        return ImageLabels(list(self.manifest.classes), numbers)

    @property
    def identity(self) -> str:
        """What tells this data set from others on this machine."""
        return f"{super().identity} {self.manifest.digest}"

    def file(self, key: str) -> ImageFile:
        """The file of an image.

        Raises:
            FileNotFoundError: the manifest does not name it.
            DatasetError: as the source of the images.
            OSError: as the source of the images.
        """
        return self.images.file(self._named(key))

    def state(self, key: str) -> str:
        """What changes when the file of an image does."""
        return self.images.state(self._named(key))

    def where(self, key: str) -> str:
        """Where an image is stored, for messages."""
        return self.images.where(self._named(key))

    def find(self, key: str) -> str | None:
        """A key as the manifest spells it, if it names the image."""
        found = key if key in self._names else self.images.find(key)
        return found if found in self._names else None

    def in_storage_order(self) -> Iterator[str]:
        """The keys in the order in which their images are stored."""
        return (key for key in self.images.in_storage_order() if key in self._names)

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.manifest.keys)

    def _named(self, key: str) -> str:
        if key not in self._names:
            raise FileNotFoundError(errno.ENOENT, f"{self.path} does not name an image", key)
        return key
