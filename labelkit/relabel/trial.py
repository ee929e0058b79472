"""Some images of a data set, for a trial."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelkit.files import evenly_spaced
from labelkit.sources import ImageSource

if TYPE_CHECKING:
    from labelkit.sources import ImageFile


class SomeImages(ImageSource):
    """Some images of a source, evenly spaced over its keys.

    Args:
        source: all images.
        count: how many.

    Attributes:
        total: how many there are.
    """

    def __init__(self, source: ImageSource, count: int) -> None:
        super().__init__(source.path, source.rule)
        self._source = source
        keys = source.keys
        self.total = len(keys)
        self._keys = [keys[place] for place in evenly_spaced(len(keys), count)]

    @property
    def keys(self) -> list[str]:
        """The keys of these images."""
        return self._keys

    @property
    def identity(self) -> str:
        """That of all images."""
        return self._source.identity

    def file(self, key: str) -> ImageFile:
        """The file of an image, as stored."""
        return self._source.file(key)

    def where(self, key: str) -> str:
        """Where an image is stored, for messages."""
        return self._source.where(key)

    def find(self, key: str) -> str | None:
        """A key as the source spells it, if it is among these."""
        found = self._source.find(key)
        return found if found in self._keys else None
