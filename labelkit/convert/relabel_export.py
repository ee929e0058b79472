"""A label-map file into a ReLabel folder: one loose ``.pt`` file an image.

Legend: K entries per cell, H W grid, C classes.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from labelkit.convert.plain_file import require_plain_file
from labelkit.convert.relabel_file import relabel_file
from labelkit.convert.relabel_listing import map_path
from labelkit.convert.relabel_record import RECORD, FolderRecord
from labelkit.errors import LabelMapError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from labelkit.convert.relabel_file import Axes
    from labelkit.label_maps import LabelMap, LabelMapFile, MapForm

TOP_K = 5
EVERY = 32


@dataclass(frozen=True)
class Exported:
    """What a run did.

    Attributes:
        top_k: classes in each cell.
        written: files that this run wrote.
        kept: files that were there already, whole.
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
) -> Exported:
    """Write each image's map as ReLabel publishes it.

    Maps that store each cell's own classes over nothing are written as they are. Of others, each
    cell's K strongest classes are, less what the file says of all the rest: no softmax sees the
    difference, and the 0 that an absent class counts as is then the rest's own logit.

    Args:
        file: of one map an image.
        folder: to be made, or empty, or begun by the same call: files that are whole stay.
        axes: which of a tensor's axes is to run down the image.
        top_k: K; None for as many as the file stores in each cell, or 5.
        on_progress: called with (files done, files in all) now and then.

    Raises:
        ValueError: more classes a cell than there are.
        LabelMapError: several maps an image, two images whose maps would be one file, or a folder
            that holds something else.
        OSError: the disk fails; files that are written stay.
    """
    form = _only_form(file)
    if top_k is None:
        top_k = form.top_k if stores_all(form) else min(TOP_K, len(file.classes))
    most = form.top_k if stores_all(form) else len(file.classes)
    if not 1 <= top_k <= most:
        raise ValueError(f"{top_k} classes a cell: there are {most}")
    require_distinct(file)
    record = FolderRecord(axes, top_k, file.digest, file.classes.name, list(file.classes))
    written = 0
    with _claimed(folder, record):
        for at, key in enumerate(file):
            content = relabel_file(*strongest(file.at(at), top_k, len(file.classes)), axes)
            written += _put(folder, map_path(key), content)
            if on_progress and (not (at + 1) % EVERY or at + 1 == len(file)):
                on_progress(at + 1, len(file))
        os.sync()  # once for all: each file by itself would take an hour for a million
    return Exported(top_k, written, len(file) - written)


def stores_all(form: MapForm) -> bool:
    """Whether maps are as ReLabel's: each cell its own classes, and 0 for all others."""
    return form.selection == "cell" and not form.background


def strongest(
    label_map: LabelMap, top_k: int, num_classes: int
) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
    """Each cell's K strongest classes with their logits (K, H, W), where absent classes are 0."""
    if label_map.classes is None and label_map.background is None:
        return _descending(label_map.index, label_map.score, top_k)
    classes, dense = _distinct(label_map, top_k, num_classes)
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
    """Raise if two images, in the order of their UTF-8 bytes, would have their map in one file.

    Raises:
        LabelMapError: they would.
    """
    # All keys that begin alike stand together, so those before this one whose stem it begins with
    # are all that it can meet; there are few.
    open_stems: list[tuple[str, str]] = []
    for key in keys:
        stem = map_path(key).removesuffix(".pt")
        while open_stems and not key.startswith(open_stems[-1][0]):
            open_stems.pop()
        for other, other_key in open_stems:
            if other == stem:
                raise LabelMapError(
                    f"the maps of {other_key} and of {key} would both be {stem}.pt: a ReLabel "
                    "folder holds only one of them"
                )
        open_stems.append((stem, key))


def _distinct(
    label_map: LabelMap, top_k: int, num_classes: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The classes that K can be chosen from in each cell, and all their logits.

    Classes that the map does not name are all equal, so K of them stand for all.
    """
    behind = label_map.background
    named = np.zeros(num_classes, bool)
    named[label_map.index] = True
    if behind is not None:
        named[behind.classes] = True
    named[np.flatnonzero(~named)[:top_k]] = True
    place = (named.cumsum() - 1).astype(np.uint32)
    small = replace(
        label_map,
        index=place[label_map.index],
        background=behind and replace(behind, classes=place[behind.classes]),
    )
    classes = np.flatnonzero(named)
    return classes, small.dense(len(classes))


def _only_form(file: LabelMapFile) -> MapForm:
    if len(file.forms) == 1:
        return file.forms[0]
    found = ", ".join(f"{form.grid[0]}x{form.grid[1]} at zoom {form.zoom:g}" for form in file.forms)
    raise LabelMapError(
        f"{file.path} holds {len(file.forms)} maps of each image ({found}), a ReLabel folder one: "
        "make maps of one input size"
    )


@contextmanager
def _claimed(folder: Path, record: FolderRecord) -> Generator[None]:
    """Make the folder, or check that the one there is ours, and keep others out of it."""
    folder.mkdir(exist_ok=True)
    place = folder / RECORD
    if not place.exists() and any(folder.iterdir()):
        raise LabelMapError(f"{folder} is not empty: give the name of a folder that is not there")
    descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(descriptor, folder)
        found = os.pread(descriptor, 1 << 26, 0)
        encoded = msgspec.json.encode(record)
        if not encoded.startswith(found):  # killed, it may be a part
            raise LabelMapError(
                f"{folder} holds other maps, or those of other settings: give another name, or "
                "repeat the first command to go on with it"
            )
        os.pwrite(descriptor, encoded, 0)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LabelMapError(f"another command is writing to {folder}: wait for it") from error


def _put(folder: Path, name: str, content: bytes) -> bool:
    """Make a file appear whole; False where it is there, with that content."""
    target = folder / name
    try:
        require_plain_file(target, LabelMapError)
        if target.read_bytes() == content:
            return False
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder / ".being-written.tmp"
    temporary.write_bytes(content)
    temporary.replace(target)
    return True
