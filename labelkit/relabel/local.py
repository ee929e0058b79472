"""Relabel images with one process, or together with others: the local engine."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from labelkit.errors import LabelMapError
from labelkit.files import file_state
from labelkit.label_maps import LabelMapFile, LabelMapWriter, first_difference, remove_leftover
from labelkit.relabel.calibrating import calibrate, sample_of, why_uncalibrated
from labelkit.relabel.maps import MapMaker
from labelkit.relabel.result import RelabelResult
from labelkit.relabel.same_images import same_images_once
from labelkit.relabel.settings import Settings
from labelkit.relabel.shards import ShardMaker, stopped
from labelkit.relabel.sharing import Share, Tally, claim_joining, make_share
from labelkit.relabel.stages import Stages
from labelkit.relabel.trial import SomeImages
from labelkit.sources import as_source
from labelkit.teachers import Teacher

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labelkit.relabel.committing import Receipt
    from labelkit.relabel.ray_engine import RayEngine
    from labelkit.sources import ImageSource

    OnProgress = Callable[[int, int], None]

Part = Literal["all", "make", "join"]
"""What ``relabel`` does of a run."""
ReuseBy = Literal["key", "content"]
"""What identifies an image in a file whose rows are reused."""


def relabel(  # noqa: PLR0913 -- data, teacher, output, and options
    images: ImageSource | str | os.PathLike[str],
    teacher: Teacher | Sequence[Teacher],
    output: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    on_progress: OnProgress | None = None,
    on_calibration: OnProgress | None = None,
    on_waiting: Callable[[int], None] | None = None,
    on_comparing: OnProgress | None = None,
    reuse: LabelMapFile | Path | None = None,
    reuse_by: ReuseBy = "key",
    overwrite: bool = False,
    retry_failed: bool = False,
    share: Share | None = None,
    part: Part = "all",
    stages: Stages | None = None,
    engine: RayEngine | None = None,
) -> RelabelResult:
    """Give every image of a data set a label map.

    The whole image is resized to a square, the teacher predicts logits at every position, and these
    are resized bilinearly to the map's grid before the strongest classes are selected.

    After an interruption the same call goes on with the first image that was not saved, also if
    images were added to the folder or removed from it meanwhile. Calls in several processes, on one
    machine or on several with a common disk, share the work: the last one to finish fits the
    calibration and joins the shards, and all return.

    Args:
        images: a source, or the path of one: of a folder, the paths inside it are the keys.
        teacher: the classifier, or several whose predictions are averaged.
        output: the label-map file to write.
        settings: how the maps are made; None for the defaults.
        on_progress: called with (images done, images in total) after every batch.
        on_calibration: called with (images done, images in total) while the calibration is fitted.
        on_waiting: called with the number of shards that other processes still make, when nothing
            else is left to do; with 0 while another process joins the shards.
        on_comparing: called with (images read, images in total) while images are compared by
            content.
        reuse: an earlier file of the same teacher and settings. Its rows are copied for images that
            still exist; the teacher sees only new images and those whose row is damaged. Or the
            folder of an unfinished run's shards, ``maps.h5.parts``.
        reuse_by: what identifies an image there: its ``key``, so that changed images are not
            noticed (``verify`` finds them), or its ``content``, whatever its key. That reads every
            image once, without decoding it.
        overwrite: replace an ``output`` of other images or settings once the new file is complete.
        retry_failed: try images again that the file, or finished shards, record as unreadable.
        share: this process among others; it says where to begin, and is not necessary.
        part: ``make`` makes shards and returns when none is left for this process, without a file
            or the images in it; ``join`` makes none, and joins those that are finished.
        stages: where to count the time of each stage, for a caller who shows it meanwhile.
        engine: a cluster that makes the maps; None makes them in this process.

    Raises:
        DatasetError: there are no images, two of them have one key, or their disk fails.
        ClassListMismatch: the teacher lacks one of the requested classes.
        ClassListError: there are fewer classes than ``top_k``.
        ValueError: ``reuse_by`` is ``content``, but ``reuse`` is no file.
        LabelMapError: ``output`` exists and is something else, and ``overwrite`` is false; or it
            was begun with other settings, or ``reuse`` was made with others, or does not say what
            its images contain.
        TeacherError: the model has no spatial grid, does not accept such an input size, or gives a
            score that is not finite.
        OSError: the disk fails; finished shards are kept.
        LabelkitError: a worker was killed or failed to return a batch, or memory ran out; finished
            shards are kept.

    Source: Yun et al. 2021 (arXiv 2101.05022), section 3.1.
    """
    teachers = [teacher] if isinstance(teacher, Teacher) else list(teacher)
    maker = MapMaker(teachers, settings or Settings())
    source = as_source(images)
    keys = source.keys
    output = Path(output)
    before = file_state(output)
    finished = _finished(output, maker, keys, overwrite=overwrite)
    if finished is not None and not (retry_failed and finished.unreadable):
        return finished
    processed, stages = 0, stages or Stages()
    with ExitStack() as stack:
        if finished is not None:
            reuse, overwrite = stack.enter_context(LabelMapFile.open(output)), True
            reuse_by = "key"
        try:
            same = _same_images(source, maker, output, reuse, on_comparing, reuse_by)
            writer = open_writer(
                *(source, output, keys, maker, reuse, same),
                overwrite=overwrite,
                retry=retry_failed,
            )
            stack.callback(writer.claims.release_all)
            _require_unchanged(output, before, writer, retry=finished is not None)
            tally = Tally(writer, on_progress or (lambda _done, _total: None))
            shards = ShardMaker(source, writer, maker, stages, tally.add)
            receipts = _made(shards, tally, on_waiting, engine, share or Share(), part)
            processed = sum(receipt.processed for receipt in receipts)
            if part == "make":
                return RelabelResult(output, 0, {}, processed)
            writer.require_finished()
            claim_joining(writer, on_waiting)
            file = _joined(shards, keys, on_calibration)
            return _counted(file, writer, processed, from_run=isinstance(reuse, Path))
        except (OSError, LabelMapError):
            # Another run of the same command may have finished and removed the shards.
            if file_state(output) == before:
                raise
            finished = _finished(output, maker, keys, overwrite=overwrite)
            if finished is None:
                raise
            return replace(finished, processed=processed or stages.images)
        except RuntimeError as error:
            raise stopped(error) from error


def _same_images(  # noqa: PLR0913, PLR0917 -- as ``relabel``
    source: ImageSource,
    maker: MapMaker,
    output: Path,
    reuse: LabelMapFile | Path | None,
    on_comparing: OnProgress | None,
    reuse_by: ReuseBy,
) -> dict[str, str] | None:
    """Which row of the reused file each image has; None if that is the row of its key."""
    if reuse_by == "key":
        return None
    if reuse is None or isinstance(reuse, Path):
        raise ValueError("images can be found by their content only in a finished file")
    parts = output.absolute().with_name(f"{output.name}.parts")
    return same_images_once(source, reuse, parts, maker.settings.workers, on_comparing)


def _made(  # noqa: PLR0913, PLR0917 -- as ``relabel``
    shards: ShardMaker,
    tally: Tally,
    on_waiting: Callable[[int], None] | None,
    engine: RayEngine | None,
    share: Share,
    part: Part,
) -> list[Receipt]:
    """Make the shards that are left, on a cluster or here; what this run has committed."""
    if engine:
        return engine.make(shards, tally, on_waiting)
    if part == "join":
        return []
    return make_share(shards, tally, share, on_waiting, wait=part == "all")


def _joined(shards: ShardMaker, keys: list[str], on_calibration: OnProgress | None) -> LabelMapFile:
    """Fit the calibration and join the shards."""
    writer, maker, stages = shards.writer, shards.maker, shards.stages

    def advance(done: int, total: int) -> None:
        writer.claims.renew()
        if on_calibration:
            on_calibration(done, total)

    start, calibration = time.perf_counter(), None
    if maker.settings.calibration:
        calibration = calibrate(shards.source, keys, maker, maker.settings.calibration, advance)
    calibrated = time.perf_counter()
    file = writer.finalize(calibration)
    stages.calibrating, stages.joining = calibrated - start, time.perf_counter() - calibrated
    return file


def _counted(
    file: LabelMapFile, writer: LabelMapWriter, processed: int, *, from_run: bool
) -> RelabelResult:
    """What a run that has joined the shards reports."""
    return RelabelResult(
        file.path,
        len(file),
        file.unreadable,
        processed,
        reused=writer.kept if from_run else writer.reused,
        kept=0 if from_run else writer.kept,
        damaged=writer.damaged,
    )


def open_writer(  # noqa: PLR0913, PLR0917 -- as ``relabel``
    source: ImageSource,
    output: Path,
    keys: list[str],
    maker: MapMaker,
    reuse: LabelMapFile | Path | None,
    same: dict[str, str] | None = None,
    *,
    overwrite: bool,
    retry: bool = False,
) -> LabelMapWriter:
    """The writer of a run, the same for every process that takes part."""
    made_with = maker.made_with | ({"keys": source.rule} if source.rule else {})
    if isinstance(source, SomeImages):
        made_with["trial"] = f"{len(source):,} of {source.total:,} images"
    return LabelMapWriter(
        output,
        classes=maker.classes,
        keys=keys,
        forms=maker.forms,
        source=maker.source,
        made_with=made_with,
        shard_rows=maker.settings.shard_rows,
        folder=source.identity,
        reuse=reuse,
        same=same,
        overwrite=overwrite,
        other=maker.other,
        retry=retry,
    )


def _require_unchanged(
    output: Path, before: tuple[int, int] | None, writer: LabelMapWriter, *, retry: bool
) -> None:
    """Raise if another process has retried the images of a finished file meanwhile.

    Raises:
        FileExistsError: it has.
    """
    if retry and file_state(output) != before:
        writer.claims.release_all()
        if not any(writer.claims.live()):
            writer.discard()
        raise FileExistsError(f"{output} was replaced by another process meanwhile")


def _finished(
    output: Path, maker: MapMaker, keys: list[str], *, overwrite: bool
) -> RelabelResult | None:
    """The result of an earlier run of the same command; None if the file is yet to be written.

    Raises:
        LabelMapError: the file is something else and must not be overwritten.
    """
    if not os.path.lexists(output):
        return None
    try:
        file = LabelMapFile.open(output)
    except (LabelMapError, FileNotFoundError) as error:
        if overwrite:
            return None
        raise _exists(output, "not a complete label-map file") from error
    settings, images = _settings_difference(file, maker), _images_difference(file, keys)
    differ = bool(settings or images)
    calibration = "" if differ else _calibration_difference(file, maker, keys)
    if not differ and not calibration:
        remove_leftover(file)
        return RelabelResult(file.path, len(file), file.unreadable, processed=0, existed=True)
    if overwrite:
        return None
    if calibration:
        raise LabelMapError(
            f"{output} exists, with the same maps but another calibration ({calibration}): choose "
            f"another name with -o, or pass --reuse {output} --overwrite to keep its maps"
        )
    if settings:
        raise _exists(output, f"made with other settings ({settings})")
    raise LabelMapError(
        f"{output} exists, made from other images ({images}): choose another name with -o and pass "
        f"--reuse {output}, or pass --reuse {output} --overwrite; maps of the same images are kept"
    )


def _exists(output: Path, what: str) -> LabelMapError:
    return LabelMapError(
        f"{output} exists, {what}: choose another name with -o, or pass --overwrite"
    )


def _settings_difference(file: LabelMapFile, maker: MapMaker) -> str:
    """How the settings of a finished file differ from this run's; empty if they do not."""
    there, now = (
        msgspec.json.decode(msgspec.json.encode({"settings": source, "the maps": forms}))
        for source, forms in ((file.attrs, file.forms), (maker.source, maker.forms))
    )
    first = first_difference(there, now)
    if file.classes.ids != maker.classes.ids:
        return f"class list: {file.classes} there, {maker.classes} now"
    if file.header.other != maker.other:
        before, after = ("with" if each else "without" for each in (file.header.other, maker.other))
        return f"{before} *other* there, {after} it now"
    return f"{first.name}: {first.first} there, {first.second} now" if first else ""


def _images_difference(file: LabelMapFile, keys: list[str]) -> str:
    """How the images of a finished file differ from these; empty if they do not."""
    known, wanted = {*file, *file.unreadable}, set(keys)
    if known == wanted:
        return ""
    return f"{len(wanted - known):,} more and {len(known - wanted):,} fewer now"


def _calibration_difference(file: LabelMapFile, maker: MapMaker, keys: list[str]) -> str:
    """How the calibration of a finished file of the same images differs from what is asked for.

    A calibration that was fitted on more images than asked is as good, such as that of a merged
    file.
    """
    sample, there = maker.settings.calibration, file.calibration
    asked = 0
    if sample and not why_uncalibrated(maker):
        asked = sum(key in file for key in sample_of(keys, sample))
    if not sample or not asked:
        return "fitted there, none now" if there else ""
    if not there:
        return "none there, fitted now"
    if (there.crops, there.seed) == (sample.crops, sample.seed) and there.images >= asked:
        return ""
    return (
        f"fitted on {there.images:,} images x {there.crops} crops, seed {there.seed}, there; on "
        f"{asked:,} x {sample.crops}, seed {sample.seed}, now"
    )
