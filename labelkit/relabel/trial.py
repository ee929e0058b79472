"""A trial: some images of a data set, and what a run over all of them would take."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labelkit.files import evenly_spaced
from labelkit.label_maps import RecordCodec
from labelkit.relabel.maps import MapMaker, steps
from labelkit.relabel.stages import Stages
from labelkit.sources import ImageSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.relabel.settings import Settings
    from labelkit.sources import ImageFile
    from labelkit.teachers import Teacher

_BATCHES = 6
_ROW = 20  # bytes of a row beside its key and its record


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


@dataclass(frozen=True)
class Estimate:
    """What a run over all images would take.

    Attributes:
        images: all of them.
        sample: how many were measured.
        unreadable: of these.
        nbytes: of the file.
        images_per_second: with one process on this device.
        waiting_share: the share of the time in which the device waited for images.
    """

    images: int
    sample: int
    unreadable: int
    nbytes: int
    images_per_second: float
    waiting_share: float

    @property
    def seconds(self) -> float:
        """Of one process on this device."""
        return self.images / self.images_per_second


def estimate(source: ImageSource, teachers: Sequence[Teacher], settings: Settings) -> Estimate:
    """Measure a few batches, evenly spaced over the images; the first one only warms up.

    Args:
        source: all images.
        teachers: one classifier, or several whose predictions are averaged.
        settings: of the maps.

    Raises:
        ClassListMismatch, TeacherError, ...: as ``relabel``.
    """
    maker = MapMaker(teachers, settings)
    codec = RecordCodec(maker.forms, maker.outputs, other=maker.other)
    size = settings.batch_size
    some = SomeImages(source, (_BATCHES + 1) * size)
    stages = Stages()
    stages.start()
    unreadable = nbytes = maps = 0
    before = time.perf_counter()
    batches = maker.batches(some, some.keys, steps(range(len(some)), size))
    for number, batch in enumerate(batches):
        stages.waiting += time.perf_counter() - before
        computed = maker.begin(batch)
        records = codec.encode(computed.maps())
        stored = sum(len(codec.compress(bytes(record))) for record in records)
        nbytes += stored + sum(len(key.encode()) + _ROW for key in batch.keys)
        maps, unreadable = maps + len(batch.keys), unreadable + len(batch.unreadable)
        stages.add_device(computed.marks)
        if number == 0 and len(some) > size:
            stages = Stages()
            stages.start()
        else:
            stages.images += len(batch)
        before = time.perf_counter()
    return Estimate(
        images=len(source),
        sample=len(some),
        unreadable=unreadable,
        nbytes=round(nbytes / max(maps, 1) * len(source)),
        images_per_second=stages.images / max(stages.elapsed, 1e-9),
        waiting_share=stages.waiting_share,
    )
