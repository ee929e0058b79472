"""Small label-map files for tests of the reader, the writer and the tools."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from labelkit.hierarchy import ClassList
from labelkit.label_maps import (
    Background,
    Calibration,
    LabelMapFile,
    LabelMaps,
    LabelMapWriter,
    MapForm,
)
from labelkit.label_maps.file.reader import stored_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CLASSES = ClassList.of([f"class {n}" for n in range(20)], "twenty")
FORM = MapForm(top_k=3, grid=(4, 5), background=4)
SOURCE = {"teacher": {"name": "none", "weights": "sha256:0"}, "input_size": 320}
MADE_WITH = {"labelkit": "0.1.0", "torch": "2.5"}


def calibration_of(maps: int = 1, **numbers: object) -> Calibration:
    """A calibration of files over these classes."""
    mixing = tuple((0.1 * n, -2.0 * n) for n in range(maps))
    given = {"scale": (0.4, 0.3), "compression": 0.8, "mixing": mixing, "classes": len(CLASSES)}
    return Calibration(**(given | numbers))


def maps_of(keys: Sequence[str], form: MapForm = FORM, seed: int = 0) -> LabelMaps:
    """The maps of some keys: always the same for the same key, form and seed."""
    maps = [_one(key, form, seed) for key in keys]
    return LabelMaps.concatenate([LabelMaps.empty(form), *maps])


def _one(key: str, form: MapForm, seed: int) -> LabelMaps:
    rng = np.random.default_rng([zlib.crc32(key.encode()), seed])
    height, width = form.grid
    cells = (height, width) if form.selection == "cell" else ()
    shape = (1, *cells, len(CLASSES))
    index = rng.random(shape).argsort(axis=-1)[..., : form.top_k]
    index = np.moveaxis(index, -1, 1) if cells else np.sort(index, axis=1)
    score = -np.sort(-rng.normal(3, 4, (1, form.top_k, *form.grid)).astype(np.float32), axis=1)
    free = np.setdiff1d(np.arange(len(CLASSES)), index) if not cells else np.arange(len(CLASSES))
    background = Background(
        np.sort(rng.permutation(free)[: form.background])[None],
        rng.normal(-1, 2, (1, form.background)).astype(np.float32),
        rng.normal(-3, 1, 1).astype(np.float32),
        _normal(rng, (1, form.patterns, form.background)) if form.patterns else None,
        _normal(rng, (1, form.patterns, *form.grid)) if form.patterns else None,
    )
    lse = _normal(rng, (1, *form.grid)) if form.log_sum_exp else None
    return LabelMaps(index, score, background if form.background else None, lse)


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(0, 1, shape).astype(np.float32)


def writer_of(
    path: Path, keys: Sequence[str], forms: Sequence[MapForm] = (FORM,), **facts: object
) -> LabelMapWriter:
    """A writer of small shards."""
    options = {"classes": CLASSES, "source": SOURCE, "made_with": MADE_WITH, "shard_rows": 4}
    return LabelMapWriter(path, keys=keys, forms=forms, **(options | facts))


def make(
    path: Path,
    keys: Sequence[str],
    forms: Sequence[MapForm] = (FORM,),
    unreadable: dict[str, str] | None = None,
    seed: int = 0,
    calibration: Calibration | None = None,
    **facts: object,
) -> LabelMapFile:
    """A finished file of some images' maps."""
    writer = writer_of(path, keys, forms, **facts)
    for shard in writer.pending():
        some = writer.keys[shard.start : shard.stop]
        skipped = {key: reason for key, reason in (unreadable or {}).items() if key in some}
        readable = [key for key in some if key not in skipped]
        writer.commit(shard, [maps_of(readable, form, seed) for form in forms], skipped)
    return writer.finalize(calibration)


def damage(file: LabelMapFile, key: str) -> LabelMapFile:
    """The same file with one bit of a row's record flipped."""
    position = file.position(key)
    assert position is not None
    stored = list(stored_rows(file).unchecked())[position][1]
    content = bytearray(file.path.read_bytes())
    place = content.index(stored) + len(stored) // 2
    content[place] ^= 1
    file.path.write_bytes(content)
    return LabelMapFile.open(file.path)
