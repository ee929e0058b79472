"""Export a label-map file to a ReLabel folder: one ``.pt`` file for each image.

Legend: K entries per cell, H W grid, C classes.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from labelkit.convert.relabel_format import (
    ENDING,
    RECORD,
    FolderRecord,
    map_path,
    relabel_bytes,
)
from labelkit.errors import LabelMapError
from labelkit.files import remove_temporary_files, replace_file, require_regular_file
from labelkit.locks import lock_file, take_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from labelkit.convert.relabel_format import Axes
    from labelkit.label_maps import LabelMap, LabelMapFile, MapForm

DEFAULT_TOP_K = 5
PROGRESS_EVERY = 32


@dataclass(frozen=True)
class ExportResult:
    """What an export wrote.

    Attributes:
        top_k: classes per cell.
        written: files that this run wrote.
        kept: files that were already complete.
    """

    top_k: int
    written: int
    kept: int


def export_relabel_folder(
    file: LabelMapFile,
    folder: Path,
    axes: Axes,
    top_k: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ExportResult:
    """Write each image's map as ReLabel publishes it.

    Maps that store each cell's own classes without a background are written unchanged. For other
    maps, each cell's K strongest classes are written, minus the background's value for the rest: no
    softmax sees the difference, and the logit 0 of an absent class then equals that value. A
    ReLabel folder has no place for *other*, so it is left out: its probability is then shared out
    among the classes.

    After an interruption, the same call resumes: files that are already complete are kept.

    Args:
        file: a file with one map per image.
        folder: a new or empty folder, or one that the same call began.
        axes: which of a tensor's axes runs down the image.
        top_k: K; None for all classes that a cell stores, or 5 with a background.
        on_progress: called with (files done, all files) from time to time.

    Raises:
        ValueError: ``top_k`` exceeds the number of classes.
        LabelMapError: the file has several maps per image, two images share one map path, or the
            folder holds something else.
        OSError: a disk error; files that are written stay.
    """
    form = _only_form(file)
    stored = form.top_k - file.header.other
    if top_k is None:
        top_k = stored if stores_all(form) else min(DEFAULT_TOP_K, len(file.classes))
    available = stored if stores_all(form) else len(file.classes)
    if not 1 <= top_k <= available:
        raise ValueError(f"cannot write {top_k} classes per cell: there are {available}")
    require_distinct(file)
    record = FolderRecord(axes, top_k, file.digest, file.classes.name, list(file.classes))
    written, other = 0, file.header.other
    with _claimed(folder, record):
        for position, key in enumerate(file):
            index, score = strongest(file.at(position), top_k, len(file.classes), other=other)
            written += _write(folder / map_path(key), relabel_bytes(index, score, axes))
            done = position + 1
            if on_progress and (not done % PROGRESS_EVERY or done == len(file)):
                on_progress(done, len(file))
        os.sync()  # once for all: flushing each of a million files would take an hour
    return ExportResult(top_k, written, len(file) - written)


def stores_all(form: MapForm) -> bool:
    """Whether maps are like ReLabel's: each cell has its own classes, and all others logit 0."""
    return form.selection == "cell" and not form.background


def strongest(
    label_map: LabelMap, top_k: int, num_classes: int, *, other: bool = False
) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
    """Each cell's K strongest classes with their logits (K, H, W), where absent classes are 0.

    Args:
        label_map: the map.
        top_k: K.
        num_classes: C.
        other: whether the map stores *other*, as class index C, which is left out.
    """
    if label_map.classes is None and label_map.background is None:
        score = np.where(label_map.index == num_classes, -np.inf, label_map.score)
        return _descending(label_map.index, score, top_k)
    classes, dense = _candidates(label_map, top_k, num_classes + other)
    classes, dense = classes[classes < num_classes], dense[classes < num_classes]
    if label_map.background is not None:
        dense -= np.float32(label_map.background.rest)
    index = np.argpartition(-dense, top_k - 1, axis=0)[:top_k]
    score = np.take_along_axis(dense, index, axis=0)
    index, score = _descending(index, score, top_k)
    return classes[index], score


def _descending(
    index: NDArray[np.integer], score: NDArray[np.floating], top_k: int
) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
    """Each cell's first K entries by descending score."""
    order = np.argsort(-score, axis=0, kind="stable")[:top_k]
    return np.take_along_axis(index, order, axis=0), np.take_along_axis(score, order, axis=0)


def require_distinct(keys: Iterable[str]) -> None:
    """Check that no two images have the same map path.

    Args:
        keys: the images, in the order of their UTF-8 bytes.

    Raises:
        LabelMapError: two images do.
    """
    # Keys with a common beginning are adjacent, so only the earlier ones whose stem this key begins
    # with can collide with it; there are few.
    open_stems: list[tuple[str, str]] = []
    for key in keys:
        stem = map_path(key).removesuffix(ENDING)
        while open_stems and not key.startswith(open_stems[-1][0]):
            open_stems.pop()
        for other_stem, other_key in open_stems:
            if other_stem == stem:
                raise LabelMapError(
                    f"the maps of {other_key} and {key} would both be {stem}{ENDING}: a ReLabel "
                    "folder can hold only one of them"
                )
        open_stems.append((stem, key))


def _candidates(
    label_map: LabelMap, top_k: int, num_classes: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Classes that include each cell's K strongest, and their logits in all cells.

    All classes that the map does not name have the same logit, so K of them represent the rest.
    """
    background = label_map.background
    named = np.zeros(num_classes, bool)
    named[label_map.index] = True
    if background is not None:
        named[background.classes] = True
    named[np.flatnonzero(~named)[:top_k]] = True
    place = (named.cumsum() - 1).astype(np.uint32)
    small = replace(
        label_map,
        index=place[label_map.index],
        background=background and replace(background, classes=place[background.classes]),
    )
    classes = np.flatnonzero(named)
    return classes, small.dense(len(classes))


def _only_form(file: LabelMapFile) -> MapForm:
    if len(file.forms) == 1:
        return file.forms[0]
    found = ", ".join(f"{form.grid[0]}x{form.grid[1]} at zoom {form.zoom:g}" for form in file.forms)
    raise LabelMapError(
        f"{file.path} has {len(file.forms)} maps per image ({found}), but a ReLabel folder holds "
        "one: make label maps at one input size"
    )


@contextmanager
def _claimed(folder: Path, record: FolderRecord) -> Generator[None]:
    """Create the folder or check that it is ours, and lock it against other writers."""
    folder.mkdir(exist_ok=True)
    path = folder / RECORD
    if not path.exists() and any(folder.iterdir()):
        raise LabelMapError(f"{folder} is not empty: choose the name of a new folder")
    with lock_file(path) as descriptor:
        if not take_lock(descriptor):
            raise LabelMapError(f"another command is writing to {folder}: wait for it")
        found = os.pread(descriptor, 1 << 26, 0)
        encoded = msgspec.json.encode(record)
        if not encoded.startswith(found):  # a killed run may have written only a part of it
            raise LabelMapError(
                f"{folder} holds other maps, or maps with other settings: choose another name, or "
                "repeat the first command to resume it"
            )
        os.pwrite(descriptor, encoded, 0)
        if found:
            remove_temporary_files(folder)
        yield


def _write(path: Path, content: bytes) -> bool:
    """Write a file atomically; False if it already has this content."""
    try:
        require_regular_file(path, LabelMapError)
        if path.read_bytes() == content:
            return False
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content, sync=False)
    return True
