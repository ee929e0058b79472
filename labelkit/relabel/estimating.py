"""What a run over all images would take: its time and the size of its file."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from labelkit.label_maps import RecordCodec
from labelkit.relabel.calibrating import calibrate, sample_of
from labelkit.relabel.local import open_writer
from labelkit.relabel.maps import MapMaker, steps
from labelkit.relabel.stages import Stages
from labelkit.relabel.trial import SomeImages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.relabel.settings import Settings
    from labelkit.sources import ImageSource
    from labelkit.teachers import Teacher

_BATCHES = 6
_CALIBRATED = 4
_ROW = 20 + 16  # bytes of a row beside its key and its record: its place, its image's digest


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
        starting: seconds before the first image: to load the teacher and list the images.
        calibrating: seconds to fit the calibration.
    """

    images: int
    sample: int
    unreadable: int
    nbytes: int
    images_per_second: float
    waiting_share: float
    starting: float
    calibrating: float

    @property
    def seconds(self) -> float:
        """Of one process on this device, all in all."""
        return self.starting + self.images / self.images_per_second + self.calibrating


def estimate(
    source: ImageSource,
    teachers: Sequence[Teacher],
    settings: Settings,
    begun: float | None = None,
) -> Estimate:
    """Measure a few batches, evenly spaced over the images; the first one only warms up.

    Args:
        source: all images.
        teachers: one classifier, or several whose predictions are averaged.
        settings: of the maps.
        begun: when the program began to load them, as ``time.perf_counter``; None for now.

    Raises:
        ClassListMismatch, TeacherError, ...: as ``relabel``.
    """
    begun = time.perf_counter() if begun is None else begun
    maker = MapMaker(teachers, settings)
    codec = RecordCodec(maker.forms, maker.outputs, other=maker.other)
    size = settings.batch_size
    some = SomeImages(source, (_BATCHES + 1) * size)
    stages = Stages(begun=begun)
    stages.start()
    starting = stages.starting
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
    stages.end()
    return Estimate(
        images=len(source),
        sample=len(some),
        unreadable=unreadable,
        nbytes=_without_rows(source, maker) + round(nbytes / max(maps, 1) * len(source)),
        images_per_second=stages.images / max(stages.elapsed, 1e-9),
        waiting_share=stages.waiting_share,
        starting=starting,
        calibrating=_calibrating(source, maker),
    )


def _without_rows(source: ImageSource, maker: MapMaker) -> int:
    """The bytes of a file without rows: its header and class list."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "maps.h5")
        open_writer(source, path, [], maker, None, overwrite=False).finalize().close()
        return path.stat().st_size


def _calibrating(source: ImageSource, maker: MapMaker) -> float:
    """How many seconds a calibration takes, from one on a few images."""
    sample = maker.settings.calibration
    if not sample:
        return 0.0
    few = replace(sample, images=min(sample.images, _CALIBRATED))
    start = time.perf_counter()
    calibrate(source, source.keys, maker, few)
    measured = len(sample_of(source.keys, few))
    all_images = len(sample_of(source.keys, sample))
    return (time.perf_counter() - start) / max(measured, 1) * all_images
