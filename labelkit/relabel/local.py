"""Relabel a folder of images on one device: decode in workers, run the teacher, keep the top K.

Legend: N images of a shard, B batch, C classes, K entries per cell, S input side, H W grid.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import timm
import torch
import torchvision
from torch.utils.data import DataLoader

from labelkit import __version__
from labelkit.data import list_images
from labelkit.errors import (
    ClassListError,
    DatasetError,
    LabelkitError,
    LabelMapError,
    TeacherError,
    first_line,
)
from labelkit.label_maps import LabelMapFile, LabelMapWriter, Shard
from labelkit.relabel.merging import merge_onto
from labelkit.relabel.squares import Batch, Squares
from labelkit.teachers import EXACT_GAP, resize_grid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from labelkit.hierarchy import ClassList
    from labelkit.teachers import Teacher


@dataclass(frozen=True)
class Settings:
    """How label maps are made.

    Attributes:
        top_k: classes kept in every cell.
        grid: rows and columns of a map.
        size: side in pixels of the square that the whole image is resized to; None is the
            teacher's own good size.
        classes: keep these classes of the teacher only, found by id; None keeps all.
        batch_size: images per forward pass; on a CPU few are best, their features fit its caches.
        workers: processes that decode; 0 decodes between the forward passes.
        shard_rows: images per shard, which is what an interruption can cost at most.
    """

    top_k: int = 5
    grid: tuple[int, int] = (15, 15)
    size: int | None = None
    classes: ClassList | None = None
    batch_size: int = 8
    workers: int = 1
    shard_rows: int = 1024


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    Attributes:
        path: the finished file.
        images: images with a label map.
        unreadable: images without one, key -> reason.
        made: images that this run went through; the others were there already.
        existed: an earlier run had finished the file.
    """

    path: Path
    images: int
    unreadable: dict[str, str]
    made: int
    existed: bool = False


def relabel(
    root: str | os.PathLike[str],
    teacher: Teacher,
    output: str | os.PathLike[str],
    settings: Settings | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Give every image of a folder a label map.

    The whole image is resized to a square, the teacher answers at every position, and the logits
    are brought to the grid bilinearly before the top K are taken. Interrupted, the same call goes
    on after the last finished shard.

    Args:
        root: folder of images, at any depth; their paths below it are the keys.
        teacher: the classifier.
        output: the label-map file to make.
        settings: how; None takes the defaults.
        on_progress: called with (images done, images in all) after every batch.

    Raises:
        DatasetError: the folder holds no images, or the disk with them fails.
        ClassListMismatch: the teacher lacks one of the classes asked for.
        ClassListError: there are fewer classes than ``top_k``.
        LabelMapError: ``output`` exists and is something else, or was begun with other settings.
        TeacherError: the model has no spatial grid, does not take such an input size, or gives a
            score that is not finite.
        OSError: the disk fails; finished shards are kept.
        LabelkitError: a worker was killed, or memory ran out; finished shards are kept.

    Source: Yun et al. 2021 (arXiv 2101.05022), section 3.1.
    """
    maker = _MapMaker(teacher, settings or Settings())
    keys = list_images(root)
    output = Path(output)
    finished = _finished(output, maker, keys)
    if finished is not None:
        return finished
    try:
        return _make(Path(root), keys, maker, output, on_progress or (lambda _done, _total: None))
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


def _make(
    root: Path,
    keys: list[str],
    maker: _MapMaker,
    output: Path,
    on_progress: Callable[[int, int], None],
) -> Outcome:
    writer = LabelMapWriter(
        output,
        classes=maker.classes,
        keys=keys,
        top_k=maker.settings.top_k,
        grid=maker.settings.grid,
        source=maker.source,
        made_with=maker.made_with,
        shard_rows=maker.settings.shard_rows,
    )
    pending = writer.pending()
    made = sum(shard.stop - shard.start for shard in pending)
    done = len(keys) - made
    batches = _batches(root, writer.keys, maker, pending)
    for shard in pending:
        rows = _Rows(maker)
        while rows.seen < shard.stop - shard.start:
            rows.add(_next(batches))
            on_progress(done + rows.seen, len(keys))
        writer.commit(shard, *rows.arrays(), rows.unreadable)
        done += rows.seen
    file = writer.finalize()
    return Outcome(file.path, len(file), file.unreadable, made)


def _next(batches: Iterator[Batch]) -> Batch:
    """The next batch; a lost worker or a failing disk ends the run with finished shards kept."""
    try:
        batch = next(batches)
    except (OSError, EOFError) as error:
        # The workers report their own disk's errors; this is the channel from a dead one.
        raise _stopped(error) from error
    if batch.disk_error:
        raise DatasetError(
            f"{batch.disk_error}: not the image but the disk, the network or a permission failed. "
            "Finished shards are kept; mend it and run the same command again"
        )
    return batch


class _MapMaker:
    """Turns squares into top-K label maps, and knows what describes them in a file."""

    def __init__(self, teacher: Teacher, settings: Settings) -> None:
        self.teacher = teacher
        self.settings = settings
        self.classes = settings.classes or teacher.classes
        self.size = settings.size or teacher.card.size
        if settings.top_k > len(self.classes):
            raise ClassListError(
                f"top-k {settings.top_k} of a list of {len(self.classes):,} classes"
            )
        self._merge = merge_onto(self.classes, teacher)
        self.source: dict[str, Any] = {
            "teacher": teacher.describe(),
            "input_size": self.size,
            "resize": "whole image to a square, antialiased",
            "projected": self._merge is not None,
            "unused_teacher_classes": self._merge.unused if self._merge else 0,
        }
        self.made_with: dict[str, Any] = {
            "head": "exact" if _gap(teacher, self.size) < EXACT_GAP else "approximate",
            "labelkit": __version__,
            "timm": timm.__version__,
            "torch": str(torch.__version__),
            "torchvision": torchvision.__version__,
        }

    def __call__(self, batch: Batch) -> tuple[NDArray[np.integer], NDArray[np.float32]]:
        """Class indices and logits, both (B, K, H, W), strongest first."""
        with torch.inference_mode():
            images = self.teacher.normalize(batch.images)
            logits = self.teacher.logits_map(images)
            if self._merge is not None:
                logits = self._merge(logits)
            logits = resize_grid(logits, self.settings.grid)
            score, index = logits.topk(self.settings.top_k, dim=1)
        score, index = score.cpu(), index.cpu()
        bad = ~torch.isfinite(score).flatten(1).all(dim=1)
        if bad.any():
            raise TeacherError(
                f"{self.teacher.card.name} gives scores that are not finite for "
                f"{batch.keys[int(bad.nonzero()[0])]!r}: its weights or this image are damaged"
            )
        return index.numpy(), score.numpy()


class _Rows:
    """The maps of one shard, as they come."""

    def __init__(self, maker: _MapMaker) -> None:
        self.seen = 0
        self.unreadable: dict[str, str] = {}
        self._maker = maker
        shape = (0, maker.settings.top_k, *maker.settings.grid)
        self._index: list[NDArray[np.integer]] = [np.empty(shape, np.int64)]
        self._score: list[NDArray[np.float32]] = [np.empty(shape, np.float32)]

    def add(self, batch: Batch) -> None:
        """Make the maps of one more batch."""
        self.seen += len(batch.keys) + len(batch.unreadable)
        self.unreadable |= batch.unreadable
        if batch.keys:
            index, score = self._maker(batch)
            self._index.append(index)
            self._score.append(score)

    def arrays(self) -> tuple[NDArray[np.integer], NDArray[np.float32]]:
        """Class indices and logits (N, K, H, W) of all readable images."""
        return np.concatenate(self._index), np.concatenate(self._score)


def _batches(
    root: Path, keys: Sequence[str], maker: _MapMaker, pending: Sequence[Shard]
) -> Iterator[Batch]:
    """All images of the pending shards, in order; no batch reaches over a shard's end.

    So the batches, and with them the last bits of the scores, do not depend on where an earlier
    run was interrupted.
    """
    settings, card = maker.settings, maker.teacher.card
    squares = Squares(root, keys, maker.size, card.interpolation)
    loader = DataLoader(
        squares,
        batch_sampler=[
            list(range(start, min(start + settings.batch_size, shard.stop)))
            for shard in pending
            for start in range(shard.start, shard.stop, settings.batch_size)
        ],
        num_workers=settings.workers if pending else 0,
        collate_fn=squares.collate,
        pin_memory=maker.teacher.device.type == "cuda",
    )
    return iter(loader)


def _gap(teacher: Teacher, size: int) -> float:
    try:
        return teacher.gap(size)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise TeacherError(
            f"{teacher.card.name} does not take {size}x{size} pixels ({first_line(error)}): try "
            f"--size {teacher.card.native_size}, its own"
        ) from error


def _finished(output: Path, maker: _MapMaker, keys: list[str]) -> Outcome | None:
    """The outcome of an earlier run of the same command; None if there is no such file."""
    if not os.path.lexists(output):
        return None
    way_out = "choose another name with -o, or remove it"
    try:
        file = LabelMapFile.open(output)
    except (LabelMapError, FileNotFoundError) as error:
        raise LabelMapError(f"{output} exists and is no whole label-map file: {way_out}") from error
    wanted = {
        "settings": maker.source,
        "classes": maker.classes.ids,
        "topk": maker.settings.top_k,
        "grid": maker.settings.grid,
        "images": sorted(keys),
    }
    found = {
        "settings": file.attrs,
        "classes": file.classes.ids,
        "topk": file.top_k,
        "grid": file.grid,
        "images": sorted([*file, *file.unreadable]),
    }
    differing = [name for name, value in wanted.items() if found[name] != value]
    if differing:
        raise LabelMapError(
            f"{output} exists, made from other images or settings ({', '.join(differing)} differ): "
            f"{way_out}"
        )
    shutil.rmtree(output.with_name(f"{output.name}.parts"), ignore_errors=True)
    return Outcome(file.path, len(file), file.unreadable, made=0, existed=True)
