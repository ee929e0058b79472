"""Relabel a folder of images on one device: decode in workers, run the teacher, write its maps."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from labelkit.data import list_images
from labelkit.errors import DatasetError, LabelkitError, LabelMapError, first_line
from labelkit.label_maps import LabelMapFile, LabelMaps, LabelMapWriter
from labelkit.label_maps.identity import difference
from labelkit.relabel.maps import MapMaker, Settings, read_batches
from labelkit.teachers import Teacher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from labelkit.relabel.squares import Batch


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    Attributes:
        path: the finished file.
        images: images with a label map.
        unreadable: images without one, key -> reason.
        made: images that this run went through; the others were there already.
        existed: an earlier run had finished the file.
        reused: rows that were taken over from another file.
        damaged: rows that could not be, for they are damaged there, key -> reason; their images
            went to the teacher as new ones do.
    """

    path: Path
    images: int
    unreadable: dict[str, str]
    made: int
    existed: bool = False
    reused: int = 0
    damaged: dict[str, str] = field(default_factory=dict[str, str])


def relabel(  # noqa: PLR0913 -- what, by whom, where to, and three options
    root: str | os.PathLike[str],
    teacher: Teacher | Sequence[Teacher],
    output: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    reuse: LabelMapFile | None = None,
) -> Outcome:
    """Give every image of a folder a label map.

    The whole image is resized to a square, the teacher answers at every position, and the logits
    are brought to the grid bilinearly before the strongest classes are taken. Interrupted, the
    same call goes on after the last finished shard.

    Args:
        root: folder of images, at any depth; their paths below it are the keys.
        teacher: the classifier, or several whose answers are averaged.
        output: the label-map file to make.
        settings: how; None takes the defaults.
        on_progress: called with (images done, images in all) after every batch.
        reuse: an earlier file, made with the same teacher and settings: the rows of images that are
            still there are taken over as they are, and the teacher sees the others only, and those
            whose row is damaged. An image counts as the same by its path; ``verify`` tells of
            changed ones.

    Raises:
        DatasetError: the folder holds no images, or the disk with them fails.
        ClassListMismatch: the teacher lacks one of the classes asked for.
        ClassListError: there are fewer classes than ``top_k``.
        LabelMapError: ``output`` exists and is something else, or was begun with other settings,
            or ``reuse`` was made with others.
        TeacherError: the model has no spatial grid, does not take such an input size, or gives a
            score that is not finite.
        OSError: the disk fails; finished shards are kept.
        LabelkitError: a worker was killed or could not pass its images on, or memory ran out;
            finished shards are kept.

    Source: Yun et al. 2021 (arXiv 2101.05022), section 3.1.
    """
    teachers = [teacher] if isinstance(teacher, Teacher) else list(teacher)
    maker = MapMaker(teachers, settings or Settings())
    keys = list_images(root)
    output = Path(output)
    finished = _finished(output, maker, keys)
    if finished is not None:
        return finished
    try:
        writer = _writer(output, keys, maker, reuse)
        outcome = _make(Path(root), writer, maker, on_progress or (lambda _done, _total: None))
        return replace(outcome, reused=len(keys) - len(writer.keys), damaged=writer.damaged)
    except (OSError, LabelMapError):
        # Another run of the same command may have finished, and removed the shards under this one.
        finished = _finished(output, maker, keys)
        if finished is None:
            raise
        return finished
    except RuntimeError as error:
        # A killed worker is told by a signal, anywhere; a GPU without memory, in the forward pass.
        raise _stopped(error) from error


def _stopped(error: BaseException) -> LabelkitError:
    return LabelkitError(
        f"relabelling stopped ({first_line(error)}): finished shards are kept. Run the same "
        "command again; if memory was short, with --workers 0 or a smaller --batch-size"
    )


def _not_passed(reason: str) -> LabelkitError:
    return LabelkitError(
        f"relabelling stopped, for a worker could not pass its images on ({reason}): finished "
        "shards are kept. Run the same command again with --workers 0; or mend first what stands "
        "in the way, such as a limit on file sizes or open files (ulimit -f, ulimit -n), shared "
        "memory that is full (/dev/shm), or too little memory"
    )


def _writer(
    output: Path, keys: list[str], maker: MapMaker, reuse: LabelMapFile | None
) -> LabelMapWriter:
    return LabelMapWriter(
        output,
        classes=maker.classes,
        keys=keys,
        forms=maker.forms,
        source=maker.source,
        made_with=maker.made_with,
        shard_rows=maker.settings.shard_rows,
        reuse=reuse,
    )


def _make(
    root: Path,
    writer: LabelMapWriter,
    maker: MapMaker,
    on_progress: Callable[[int, int], None],
) -> Outcome:
    pending = writer.pending()
    made = sum(shard.stop - shard.start for shard in pending)
    done = len(writer.keys) - made
    runs = [range(shard.start, shard.stop) for shard in pending]
    batches = read_batches(root, writer.keys, maker, runs)
    for shard in pending:
        rows = _Rows(maker)
        while rows.seen < shard.stop - shard.start:
            rows.add(_next(batches))
            on_progress(done + rows.seen, len(writer.keys))
        writer.commit(shard, rows.maps(), rows.unreadable)
        done += rows.seen
    file = writer.finalize()
    return Outcome(file.path, len(file), file.unreadable, made)


def _next(batches: Iterator[Batch]) -> Batch:
    """The next batch; a lost worker or a failing disk ends the run with finished shards kept."""
    try:
        batch = next(batches)
    except (ConnectionError, EOFError) as error:
        raise _stopped(error) from error
    except OSError as error:
        # The workers report their own disk's errors; this is the channel from them.
        raise _not_passed(first_line(error)) from error
    if batch.not_passed:
        raise _not_passed(batch.not_passed)
    if batch.disk_error:
        raise DatasetError(
            f"{batch.disk_error}: not the image but the disk, the network or a permission failed. "
            "Finished shards are kept; mend it and run the same command again"
        )
    return batch


class _Rows:
    """The maps of one shard, as they come."""

    def __init__(self, maker: MapMaker) -> None:
        self.seen = 0
        self.unreadable: dict[str, str] = {}
        self._maker = maker
        self._maps: list[list[LabelMaps]] = []

    def add(self, batch: Batch) -> None:
        """Make the maps of one more batch."""
        self.seen += len(batch.keys) + len(batch.unreadable)
        self.unreadable |= batch.unreadable
        if batch.keys:
            self._maps.append(self._maker(batch))

    def maps(self) -> list[LabelMaps]:
        """Those of all readable images, for each form."""
        if not self._maps:
            return [LabelMaps.none(form) for form in self._maker.forms]
        return [LabelMaps.concatenate(parts) for parts in zip(*self._maps, strict=True)]


def _finished(output: Path, maker: MapMaker, keys: list[str]) -> Outcome | None:
    """The outcome of an earlier run of the same command; None if there is no such file."""
    if not os.path.lexists(output):
        return None
    way_out = (
        "choose another name with -o (and --reuse this one, if images were added), or remove it"
    )
    try:
        file = LabelMapFile.open(output)
    except (LabelMapError, FileNotFoundError) as error:
        raise LabelMapError(f"{output} exists and is no whole label-map file: {way_out}") from error
    differing = list(_differences(file, maker, keys))
    if differing:
        raise LabelMapError(
            f"{output} exists, made from other images or settings ({'; '.join(differing)}): "
            f"{way_out}"
        )
    shutil.rmtree(output.with_name(f"{output.name}.parts"), ignore_errors=True)
    return Outcome(file.path, len(file), file.unreadable, made=0, existed=True)


def _differences(file: LabelMapFile, maker: MapMaker, keys: list[str]) -> Iterator[str]:
    """What a finished file was made of, where it is not what is asked for now."""
    there, now = (
        msgspec.json.decode(msgspec.json.encode({"settings": source, "the maps": forms}))
        for source, forms in ((file.attrs, file.forms), (maker.source, maker.forms))
    )
    other = difference(there, now)
    if other:
        yield f"{other.name}: {other.first} there, {other.second} now"
    elif file.classes.ids != maker.classes.ids:
        yield f"class list: {file.classes} there, {maker.classes} now"
    known, wanted = {*file, *file.unreadable}, set(keys)
    if known != wanted:
        yield f"images: {len(wanted - known):,} more, {len(known - wanted):,} fewer"
