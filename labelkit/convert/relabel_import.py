"""A ReLabel folder, one loose ``.pt`` file an image, into one label-map file."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from labelkit import __version__
from labelkit.convert.relabel_file import read_relabel_map
from labelkit.convert.relabel_listing import map_path
from labelkit.errors import LabelMapError
from labelkit.label_maps import LabelMaps, LabelMapWriter, MapForm
from labelkit.label_maps.form_checks import check_maps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import Literal

    from labelkit.convert.relabel_file import Axes, Entries
    from labelkit.hierarchy import ClassList
    from labelkit.label_maps import LabelMapFile, Shard

SAMPLE = 32
SHARD_ROWS = 1024
SHARD_ENTRIES = 1 << 23
EVERY = 32


@dataclass(frozen=True)
class Reading:
    """How the files of a ReLabel folder are to be read.

    Attributes:
        folder: the folder.
        classes: the class list of their indices.
        axes: which of a tensor's axes runs down the image.
        scores: how the label-map file is to store a logit.
    """

    folder: Path
    classes: ClassList
    axes: Axes
    scores: Literal["uint8", "float16", "float32"] = "uint8"

    def entries(self, key: str) -> Entries:
        """Class indices and logits (K, H, W) of an image.

        Raises:
            LabelMapError: its file is no label map.
        """
        return read_relabel_map(self.folder / map_path(key), self.axes, len(self.classes))

    def entries_of(self, key: str, form: MapForm) -> Entries:
        """Likewise, of an image whose map is to be of a form.

        Raises:
            LabelMapError: its file is no label map, or not of that form.
        """
        index, score = self.entries(key)
        shape = (form.top_k, *form.grid)
        if index.shape != shape:
            raise LabelMapError(_other_shape(index.shape, shape))
        try:
            check_maps(LabelMaps(index[None], score[None]), form, len(self.classes))
        except ValueError as error:
            raise LabelMapError(f"{error}: --scores float32 may hold it") from error
        return index, score

    def name(self) -> str:
        """The folder's own name, as text."""
        return _as_text(self.folder.resolve().name)

    def made_from(self, keys: Sequence[str]) -> str:
        """Which files the images' maps are read from: where, of which sizes, and how old.

        Raises:
            OSError: a file may not be looked at.
        """
        digest = hashlib.sha256()
        for path in sorted({map_path(key) for key in keys}):
            try:
                status = (self.folder / path).stat()
                told = f"{status.st_size} {status.st_mtime_ns}"
            except FileNotFoundError:
                told = "gone"
            digest.update(f"{path}\0{told}\0".encode(errors="surrogatepass"))
        return f"{_as_text(str(self.folder.resolve()))}, files {digest.hexdigest()}"


def import_relabel_folder(
    reading: Reading,
    keys: Sequence[str],
    output: Path,
    on_progress: Callable[[int, int], None] | None = None,
) -> LabelMapFile:
    """Write one label-map file of a folder of loose maps.

    What is no label map of the folder's shape is recorded as unreadable, with the reason.
    Interrupted, the same call goes on after the last finished shard, if the files are the same.

    Args:
        reading: the folder, and how to read it.
        keys: images that it has a file of.
        output: the file to make.
        on_progress: called with (files done, files in all) now and then.

    Returns:
        The finished file.

    Raises:
        LabelMapError: no file of a sample is a label map, the keys are no keys, or ``output`` was
            begun with other settings or files.
        FileExistsError: ``output`` exists.
        OSError: the disk fails; finished shards are kept.
    """
    form = _common_form(reading, keys)
    entries = form.top_k * form.grid[0] * form.grid[1]
    writer = LabelMapWriter(
        output,
        classes=reading.classes,
        keys=keys,
        forms=[form],
        source={"imported from": "ReLabel folder", "axes": reading.axes},
        made_with={"labelkit": __version__, "folder": reading.name()},
        shard_rows=max(1, min(SHARD_ROWS, SHARD_ENTRIES // entries)),
        made_from=reading.made_from(keys),
    )
    pending = writer.pending()
    done = len(writer.keys) - sum(shard.stop - shard.start for shard in pending)
    for shard in pending:
        for own in _fill(writer, shard, form, reading):
            if on_progress:
                on_progress(done + own, len(writer.keys))
        done += shard.stop - shard.start
    return writer.finalize()


def _common_form(reading: Reading, keys: Sequence[str]) -> MapForm:
    """The form of most maps of an even sample; raises if it holds none."""
    shapes: Counter[tuple[int, ...]] = Counter()
    reasons: list[str] = []
    ordered = sorted(keys)
    for at in np.unique(np.linspace(0, len(ordered) - 1, SAMPLE).astype(int)):
        try:
            shapes[reading.entries(ordered[at])[0].shape] += 1
        except LabelMapError as error:
            reasons.append(f"{map_path(ordered[at])}: {error}")
    if not shapes:
        raise LabelMapError(
            f"{reading.folder}: of {len(reasons)} files looked at, none is a label map. The first "
            f"is {reasons[0]}"
        )
    ((top_k, rows, columns), _), *_ = shapes.most_common(1)
    return MapForm(top_k=top_k, grid=(rows, columns), scores=reading.scores)


def _fill(writer: LabelMapWriter, shard: Shard, form: MapForm, reading: Reading) -> Iterator[int]:
    """Read and commit the maps of one shard; yields how many files are read, now and then."""
    number = shard.stop - shard.start
    shape = (number, form.top_k, *form.grid)
    index, score = np.empty(shape, np.uint32), np.empty(shape, np.float32)
    unreadable: dict[str, str] = {}
    for at, key in enumerate(writer.keys[shard.start : shard.stop]):
        count = at - len(unreadable)
        try:
            index[count], score[count] = reading.entries_of(key, form)
        except LabelMapError as error:
            unreadable[key] = f"{map_path(key)}: {error}"
        if not at % EVERY:
            yield at
    count = number - len(unreadable)
    writer.commit(shard, [LabelMaps(index[:count], score[:count])], unreadable)
    yield number


def _as_text(name: str) -> str:
    """A file name, which need not be text, as text."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _other_shape(found: tuple[int, ...], expected: tuple[int, ...]) -> str:
    maps = [f"{top_k} classes a cell on a grid of {h}x{w}" for top_k, h, w in (found, expected)]
    return f"it has {maps[0]}, most files have {maps[1]}: convert it from a folder of its own"
