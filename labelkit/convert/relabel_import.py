"""Import a ReLabel folder: find each map's image, then write all maps to one label-map file."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from labelkit import __version__
from labelkit.convert.relabel_format import ENDING, map_path, read_relabel_map, without_extension
from labelkit.errors import LabelMapError
from labelkit.files import evenly_spaced
from labelkit.label_maps import LabelMaps, LabelMapWriter, MapForm, check_maps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Literal

    from labelkit.convert.relabel_format import Axes, Entries
    from labelkit.hierarchy import ClassList
    from labelkit.label_maps import LabelMapFile, Shard

SAMPLE = 32
SHARD_ROWS = 1024
SHARD_ENTRIES = 1 << 23
PROGRESS_EVERY = 32


@dataclass(frozen=True)
class Pairing:
    """Which images the maps of a ReLabel folder belong to.

    Attributes:
        keys: images with a map.
        without_map: images without a map.
        without_image: maps without an image, as paths below the folder.
    """

    keys: list[str]
    without_map: list[str]
    without_image: list[str]


def list_maps(folder: Path) -> list[str]:
    """The paths of all ``.pt`` files below a folder, without the extension, with ``/``, sorted.

    Links to folders are followed, but never in a loop.

    Raises:
        LabelMapError: there are none.
        OSError: a folder cannot be read.
    """
    stems = sorted(_walk(folder, "", frozenset()))
    if not stems:
        raise LabelMapError(
            f"{folder} has no {ENDING} files: a ReLabel folder has one for each image. To make "
            "label maps of photos, run labelkit relabel"
        )
    return stems


def pair_by_suffix(stems: Sequence[str], suffix: str) -> Pairing:
    """Assume that every map belongs to the image with the same path and this file extension."""
    return Pairing([stem + suffix for stem in stems], [], [])


def pair_with_images(stems: Sequence[str], images: Sequence[str]) -> Pairing:
    """Find each map's image in a data set: the one with the same path except for the extension.

    Args:
        stems: the maps' paths without extension, sorted.
        images: the images' keys.

    Raises:
        LabelMapError: a map could belong to two images, or no map belongs to any image.
    """
    keys: list[str] = []
    without_map: list[str] = []
    without_image: list[str] = []
    position = 0
    for key in sorted(images, key=lambda key: (without_extension(key), key)):
        stem = without_extension(key)
        while position < len(stems) and stems[position] < stem:
            without_image.append(stems[position] + ENDING)
            position += 1
        if keys and without_extension(keys[-1]) == stem:
            raise LabelMapError(
                f"{stem}{ENDING} could belong to {keys[-1]} or to {key}: move one of the images "
                "away, or pass --suffix"
            )
        if position < len(stems) and stems[position] == stem:
            keys.append(key)
            position += 1
        else:
            without_map.append(key)
    without_image += [stem + ENDING for stem in stems[position:]]
    if not keys:
        raise LabelMapError(
            f"no label map belongs to any image: maps look like {without_image[0]!r}, images like "
            f"{without_map[0]!r}. Pass two folders with the same subfolders"
        )
    return Pairing(keys, without_map, without_image)


def _walk(folder: Path, prefix: str, parents: frozenset[tuple[int, int]]) -> Iterator[str]:
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in parents:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                inner = f"{prefix}{entry.name}/"
                yield from _walk(Path(entry.path), inner, parents | {identity})
            elif entry.name.endswith(ENDING):
                yield prefix + entry.name.removesuffix(ENDING)


@dataclass(frozen=True)
class RelabelFolder:
    """A ReLabel folder, and how to read it.

    Attributes:
        path: the folder.
        classes: the class list of its indices.
        axes: which of a tensor's axes runs down the image.
        scores: the number type in which the label-map file stores logits.
    """

    path: Path
    classes: ClassList
    axes: Axes
    scores: Literal["uint8", "float16", "float32"] = "uint8"

    def read(self, key: str, form: MapForm | None = None) -> Entries:
        """Class indices and logits (K, H, W) of an image.

        Args:
            key: the image.
            form: the form that the map must have; any if None.

        Raises:
            LabelMapError: the image's file is not a label map, or not of this form.
        """
        index, score = read_relabel_map(self.path / map_path(key), self.axes, len(self.classes))
        if form:
            if index.shape != (form.top_k, *form.grid):
                raise LabelMapError(_wrong_shape(index.shape, (form.top_k, *form.grid)))
            try:
                check_maps(LabelMaps(index[None], score[None]), form, len(self.classes))
            except ValueError as error:
                raise LabelMapError(f"{error}: try --scores float32") from error
        return index, score

    def fingerprint(self, keys: Sequence[str]) -> str:
        """The folder's path, and a digest of the sizes and times of the images' map files.

        Raises:
            OSError: a file cannot be inspected.
        """
        digest = hashlib.sha256()
        for path in sorted({map_path(key) for key in keys}):
            try:
                status = (self.path / path).stat()
                state = f"{status.st_size} {status.st_mtime_ns}"
            except FileNotFoundError:
                state = "missing"
            digest.update(f"{path}\0{state}\0".encode(errors="surrogatepass"))
        return f"{_as_text(str(self.path.resolve()))}, files {digest.hexdigest()}"


def import_relabel_folder(
    folder: RelabelFolder,
    keys: Sequence[str],
    output: Path,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    overwrite: bool = False,
) -> LabelMapFile:
    """Write the maps of a ReLabel folder to one label-map file.

    Files that are not label maps of the folder's usual shape are recorded as unreadable, with the
    reason. After an interruption, the same call resumes after the last finished shard, provided
    that the files have not changed.

    Args:
        folder: the folder, and how to read it.
        keys: images that have a map in it.
        output: the file to write.
        on_progress: called with (files read, all files) from time to time.
        overwrite: replace an existing ``output`` once the new file is complete.

    Returns:
        The finished file.

    Raises:
        LabelMapError: none of a sample of files is a label map, the keys are invalid, or
            ``output`` was begun with other settings or files.
        FileExistsError: ``output`` exists and ``overwrite`` is false.
        OSError: a disk error; finished shards are kept.
    """
    form = _common_form(folder, keys)
    entries = form.top_k * form.grid[0] * form.grid[1]
    writer = LabelMapWriter(
        output,
        classes=folder.classes,
        keys=keys,
        forms=[form],
        source={"imported from": "ReLabel folder", "axes": folder.axes},
        made_with={"labelkit": __version__, "folder": _as_text(folder.path.resolve().name)},
        shard_rows=max(1, min(SHARD_ROWS, SHARD_ENTRIES // entries)),
        made_from=folder.fingerprint(keys),
        overwrite=overwrite,
    )
    pending = writer.pending()
    done = len(writer.keys) - sum(shard.stop - shard.start for shard in pending)
    for shard in pending:
        for read in _fill(writer, shard, form, folder):
            if on_progress:
                on_progress(done + read, len(writer.keys))
        done += shard.stop - shard.start
    return writer.finalize()


def _common_form(folder: RelabelFolder, keys: Sequence[str]) -> MapForm:
    """The most frequent form in an even sample of the maps; raises if there are no maps in it."""
    shapes: Counter[tuple[int, ...]] = Counter()
    reasons: list[str] = []
    ordered = sorted(keys)
    for position in evenly_spaced(len(ordered), SAMPLE):
        try:
            shapes[folder.read(ordered[position])[0].shape] += 1
        except LabelMapError as error:
            reasons.append(f"{map_path(ordered[position])}: {error}")
    if not shapes:
        raise LabelMapError(
            f"{folder.path}: none of {len(reasons)} sampled files is a label map. The first one is "
            f"{reasons[0]}"
        )
    ((top_k, rows, columns), _), *_ = shapes.most_common(1)
    return MapForm(top_k=top_k, grid=(rows, columns), scores=folder.scores)


def _fill(
    writer: LabelMapWriter, shard: Shard, form: MapForm, folder: RelabelFolder
) -> Iterator[int]:
    """Read and commit the maps of one shard; yields from time to time how many files are read."""
    number = shard.stop - shard.start
    shape = (number, form.top_k, *form.grid)
    index, score = np.empty(shape, np.uint32), np.empty(shape, np.float32)
    unreadable: dict[str, str] = {}
    for position, key in enumerate(writer.keys[shard.start : shard.stop]):
        count = position - len(unreadable)
        try:
            index[count], score[count] = folder.read(key, form)
        except LabelMapError as error:
            unreadable[key] = f"{map_path(key)}: {error}"
        if not position % PROGRESS_EVERY:
            yield position
    count = number - len(unreadable)
    writer.commit(shard, [LabelMaps(index[:count], score[:count])], unreadable)
    yield number


def _as_text(name: str) -> str:
    """A file name as valid text, whatever bytes it holds."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _wrong_shape(found: tuple[int, ...], expected: tuple[int, ...]) -> str:
    maps = [f"{top_k} classes per cell on a {h}x{w} grid" for top_k, h, w in (found, expected)]
    return f"has {maps[0]}, but most files have {maps[1]}: convert it from a separate folder"
