"""Relabel images on one device: decode in workers, run the teacher, write the maps."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from labelkit.errors import LabelkitError, LabelMapError, first_line, why_stopped
from labelkit.label_maps import LabelMapFile, LabelMaps, LabelMapWriter, first_difference
from labelkit.relabel.batches import disk_failed
from labelkit.relabel.calibrating import calibrate, sample_of, why_uncalibrated
from labelkit.relabel.maps import MapMaker, Settings
from labelkit.sources import as_source
from labelkit.teachers import Teacher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from labelkit.relabel.batches import ImageBatch
    from labelkit.sources import ImageSource

    OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class RelabelResult:
    """What a run did.

    Attributes:
        path: the finished file.
        images: images with a label map.
        unreadable: images without one, key -> reason.
        processed: images that this run processed; the others were finished before.
        existed: an earlier run had finished the file.
        reused: rows copied from the reused file, or from the shards of a reused unfinished run.
        kept: rows of shards that an earlier run finished before images were added or removed.
        damaged: rows that are damaged in the reused file, key -> reason; their maps were recreated.
    """

    path: Path
    images: int
    unreadable: dict[str, str]
    processed: int
    existed: bool = False
    reused: int = 0
    kept: int = 0
    damaged: dict[str, str] = field(default_factory=dict[str, str])


def relabel(  # noqa: PLR0913 -- data, teacher, output, and options
    images: ImageSource | str | os.PathLike[str],
    teacher: Teacher | Sequence[Teacher],
    output: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    on_progress: OnProgress | None = None,
    on_calibration: OnProgress | None = None,
    reuse: LabelMapFile | Path | None = None,
    overwrite: bool = False,
) -> RelabelResult:
    """Give every image of a data set a label map.

    The whole image is resized to a square, the teacher predicts logits at every position, and these
    are resized bilinearly to the map's grid before the strongest classes are selected. After an
    interruption the same call resumes after the last finished shard, also if images were added to
    the folder or removed from it meanwhile.

    Args:
        images: a source, or the path of one: of a folder, the paths inside it are the keys.
        teacher: the classifier, or several whose predictions are averaged.
        output: the label-map file to write.
        settings: how the maps are made; None for the defaults.
        on_progress: called with (images done, images in total) after every batch.
        on_calibration: called with (images done, images in total) while the calibration is fitted.
        reuse: an earlier file of the same teacher and settings. Its rows are copied for images that
            still exist; the teacher sees only new images and those whose row is damaged. An image
            is identified by its path alone; ``verify`` finds changed ones. Or the folder of an
            unfinished run's shards, ``maps.h5.parts``.
        overwrite: replace an ``output`` of other images or settings once the new file is complete.

    Raises:
        DatasetError: there are no images, two of them have one key, or their disk fails.
        ClassListMismatch: the teacher lacks one of the requested classes.
        ClassListError: there are fewer classes than ``top_k``.
        LabelMapError: ``output`` exists and is something else, and ``overwrite`` is false; or it
            was begun with other settings, or ``reuse`` was made with others.
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
    finished = _finished(output, maker, keys, overwrite=overwrite)
    if finished is not None:
        return finished
    try:
        writer = _open_writer(source, output, keys, maker, reuse, overwrite=overwrite)
        processed = _run(source, writer, maker, on_progress or (lambda _done, _total: None))
        calibration = None
        if maker.settings.calibration:
            calibration = calibrate(source, keys, maker, maker.settings.calibration, on_calibration)
        file = writer.finalize(calibration)
        result = RelabelResult(file.path, len(file), file.unreadable, processed)
        from_run = isinstance(reuse, Path)
        return replace(
            result,
            reused=writer.kept if from_run else writer.reused,
            kept=0 if from_run else writer.kept,
            damaged=writer.damaged,
        )
    except (OSError, LabelMapError):
        # Another run of the same command may have finished and removed the shards.
        finished = _finished(output, maker, keys, overwrite=overwrite)
        if finished is None:
            raise
        return finished
    except RuntimeError as error:
        # A killed worker raises from a signal handler, anywhere; a full GPU in the forward pass.
        raise _stopped(error) from error


def _open_writer(  # noqa: PLR0913 -- as ``relabel``
    source: ImageSource,
    output: Path,
    keys: list[str],
    maker: MapMaker,
    reuse: LabelMapFile | Path | None,
    *,
    overwrite: bool,
) -> LabelMapWriter:
    return LabelMapWriter(
        output,
        classes=maker.classes,
        keys=keys,
        forms=maker.forms,
        source=maker.source,
        made_with=maker.made_with | ({"keys": source.rule} if source.rule else {}),
        shard_rows=maker.settings.shard_rows,
        folder=source.identity,
        reuse=reuse,
        overwrite=overwrite,
        other=maker.other,
    )


def _run(
    source: ImageSource, writer: LabelMapWriter, maker: MapMaker, on_progress: OnProgress
) -> int:
    """Commit every pending shard; returns the number of images processed."""
    pending = writer.pending()
    runs = [range(shard.start, shard.stop) for shard in pending]
    processed, total = sum(map(len, runs)), len(writer.keys)
    batches = maker.batches(source, writer.keys, runs)
    done = total - processed
    for shard, run in zip(pending, runs, strict=True):
        unreadable: dict[str, str] = {}
        maps: list[list[LabelMaps]] = []
        end = done + len(run)
        while done < end:
            batch = _next(batches)
            unreadable |= batch.unreadable
            if batch.keys:
                maps.append(maker(batch))
            done += len(batch)
            on_progress(done, total)
        writer.commit(shard, _joined(maps, maker), unreadable)
    return processed


def _joined(parts: list[list[LabelMaps]], maker: MapMaker) -> list[LabelMaps]:
    """The maps of several batches, one item for each form."""
    if not parts:
        return [LabelMaps.empty(form) for form in maker.forms]
    return [LabelMaps.concatenate(each) for each in zip(*parts, strict=True)]


def _next(batches: Iterator[ImageBatch]) -> ImageBatch:
    """The next batch; a lost worker or a failing disk ends the run, with finished shards kept."""
    try:
        batch = next(batches)
    except (ConnectionError, EOFError) as error:
        raise _stopped(error) from error
    except OSError as error:
        # Workers report the errors of their disk; this one is from the channel to them.
        raise _worker_failed(first_line(error)) from error
    if batch.worker_error:
        raise _worker_failed(batch.worker_error)
    if batch.disk_error:
        remedy = "Finished shards are kept: restore what is missing, or leave it out,"
        raise disk_failed(batch.disk_error, remedy)
    return batch


def _stopped(error: BaseException) -> LabelkitError:
    return LabelkitError(
        f"relabel stopped: {why_stopped(error)}. Finished shards are kept: run the same command "
        "again; if memory was short, with --workers 0 or a smaller --batch-size"
    )


def _worker_failed(reason: str) -> LabelkitError:
    return LabelkitError(
        f"relabel stopped: a data-loading worker failed to return a batch ({reason}). Finished "
        "shards are kept: run the same command again with --workers 0, or first fix the cause, "
        "such as a limit on file sizes or open files (ulimit -f, ulimit -n), full shared memory "
        "(/dev/shm), or too little memory"
    )


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
        shutil.rmtree(output.with_name(f"{output.name}.parts"), ignore_errors=True)
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
    if file.header.other != maker.other:
        before, after = ("with" if each else "without" for each in (file.header.other, maker.other))
        return f"{before} *other* there, {after} it now"
    if file.classes.ids != maker.classes.ids:
        return f"class list: {file.classes} there, {maker.classes} now"
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
