"""``prepare``: a dump of classes becomes training and validation images."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from labelkit.errors import PrepareError
from labelkit.prepare.classes import prepare_classes
from labelkit.prepare.destination import finished_manifest, open_destination
from labelkit.prepare.manifest import make_manifest
from labelkit.prepare.opening import open_dump
from labelkit.prepare.plan import why_dropped
from labelkit.prepare.records import ClassRecord
from labelkit.prepare.settings import PrepareSettings
from labelkit.prepare.shards import write_shards

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labelkit.prepare.destination import Destination
    from labelkit.prepare.dump import DumpClass
    from labelkit.prepare.manifest import PrepareManifest
    from labelkit.prepare.opening import SourceKind


@dataclass(frozen=True)
class PrepareResult:
    """What a run left.

    Attributes:
        path: the output folder.
        manifest: of the output.
        existed: it was complete already, nothing was done.
        resumed: classes that earlier runs had finished.
    """

    path: Path
    manifest: PrepareManifest
    existed: bool = False
    resumed: int = 0


def prepare(  # noqa: PLR0913 -- three of them rarely given
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    settings: PrepareSettings | None = None,
    *,
    kind: SourceKind = "auto",
    workers: int | None = None,
    on_progress: Callable[[str, int, int], object] = lambda _stage, _done, _total: None,
) -> PrepareResult:
    """Make training and validation images from a dump of classes, by ImageNet-21K-P's recipe.

    Classes with few images are dropped, some images of each class are split off for validation,
    and all are resized. Broken images are recorded, never fatal. After an interruption of any
    kind, the same call goes on, and its result is the same byte for byte.

    Args:
        source: a folder of class folders, a folder of class tars, a tar of class tars (also
            compressed), or WebDataset shards. It is only read.
        destination: the output: a new or an empty folder, or that of an earlier call.
        settings: the recipe; the published one if None.
        kind: what a folder of tars is.
        workers: processes; 0 works in this one, None takes one per core.
        on_progress: called with the stage (``images`` or ``shards``), how many are done, and how
            many there will be, which for images is an estimate until all were found.

    Raises:
        FileNotFoundError: there is no such source.
        PrepareError: a class name cannot be used; the source is damaged or has changed; the
            destination holds something else or another run's work.
        ClassListError: the source holds splits such as ``train``, not classes.
        OSError: the disk, the network or a permission fails.

    Source: Ridnik et al. 2021, section 2.2, and the processing scripts in their repository.
    """
    settings = settings or PrepareSettings()
    path = Path(destination)
    dump = open_dump(source, kind)
    _require_apart(dump.path, path)
    if manifest := finished_manifest(path, dump.kind, settings):
        return PrepareResult(path, manifest, existed=True)
    workers = (os.cpu_count() or 1) if workers is None else workers
    with open_destination(path, dump.kind, settings) as output:
        resumed = len(output.finished)
        prepare_classes(dump, output, settings, workers, partial(on_progress, "images"))
        records = [entry.record for entry in output.finished.values()]
        _require_kept(records, settings, output)
        shards = write_shards(output, settings, workers, partial(on_progress, "shards"))
        manifest = make_manifest(dump.kind, settings, records, shards)
        output.complete(manifest)
    return PrepareResult(path, manifest, resumed=resumed)


def plan_preparation(
    source: str | os.PathLike[str],
    settings: PrepareSettings | None = None,
    *,
    kind: SourceKind = "auto",
) -> PrepareManifest:
    """What ``prepare`` would make if all images could be read; nothing is decoded or kept.

    A compressed tar is read to its end, its class tars one at a time in a temporary folder.

    Args:
        source: as for ``prepare``.
        settings: as for ``prepare``.
        kind: as for ``prepare``.

    Raises:
        FileNotFoundError: there is no such source.
        PrepareError: a class name cannot be used, or the source is damaged.
        OSError: the disk fails.
    """
    settings = settings or PrepareSettings()
    dump = open_dump(source, kind)
    with tempfile.TemporaryDirectory() as scratch:
        records = [_planned(each, settings) for each in dump.classes(Path(scratch))]
    return make_manifest(dump.kind, settings, records)


def _planned(dumped: DumpClass, settings: PrepareSettings) -> ClassRecord:
    listing = dumped.listing()
    dumped.release()
    found = len(listing.images)
    dropped = why_dropped(found, settings)
    return ClassRecord(
        class_id=dumped.class_id,
        found=found,
        train=0 if dropped else found - settings.val,
        val=0 if dropped else settings.val,
        dropped=dropped,
        others=listing.others,
        skipped=listing.skipped,
    )


def _require_apart(source: Path, destination: Path) -> None:
    """Refuse an output inside the source, which is only read, or a source inside the output.

    Raises:
        PrepareError: one is inside the other.
    """
    one, other = source.resolve(), destination.resolve()
    if other.is_relative_to(one) or one.is_relative_to(other):
        raise PrepareError(
            f"{destination} and {source} are inside one another: choose a DST outside SRC, which "
            "is only read"
        )


def _require_kept(
    records: Sequence[ClassRecord], settings: PrepareSettings, output: Destination
) -> None:
    """Refuse to make an empty data set; other settings can then be tried in the same folder.

    Raises:
        PrepareError: all classes were dropped.
    """
    if all(record.dropped for record in records):
        output.abandon()
        most = max((record.found for record in records), default=0)
        raise PrepareError(
            f"no class is left of {len(records):,}: the largest has {most:,} images, and "
            f"--min-images is {settings.min_images:,}: choose a smaller one, and fewer --val"
        )
