"""Recompute stored label maps with the teacher that a file names, and compare.

Legend: K entries per cell, H W grid, E = K*H*W entries of a map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np

from labelkit.errors import LabelkitError, LabelMapError, TeacherError, why_stopped
from labelkit.relabel.batches import disk_failed
from labelkit.relabel.maps import MapMaker, steps
from labelkit.relabel.settings import Settings
from labelkit.teachers import Merge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from labelkit.label_maps import Background, LabelMap, LabelMapFile, LabelMaps
    from labelkit.relabel.batches import ImageBatch
    from labelkit.sources import ImageSource
    from labelkit.teachers import Teacher

_STEP = 1 / 255
_LEAST_RANGE = 1e-3
_OTHER_CLASSES = 0.01
_OTHER_SCORES = 0.1
_MOST_STEPS = 8
_SIDES = range(16, 4097)
_IDENTIFYING = {"name", "weights_sha256"}
_INSPECT = "Look at some of them on their images: labelkit inspect --images draws them"


@dataclass(frozen=True)
class MapDifference:
    """A stored map that is not what the teacher predicts for the image now.

    Attributes:
        key: the row.
        classes: share of the map's entries whose class is no longer stored in their cell.
        score: the largest change of a score, as a share of the image's range of scores.
        unreadable: why the image cannot be read; empty if it can.
    """

    key: str
    classes: float = 0.0
    score: float = 0.0
    unreadable: str = ""


def named_teachers(file: LabelMapFile) -> list[dict[str, Any]]:
    """The teachers that a file's header names: one, or several that ``relabel`` averaged.

    Raises:
        LabelMapError: it names none, as after an import. The message gives the reason and what can
            be checked instead.
    """
    several = file.attrs.get("teachers")
    found = several if isinstance(several, list) else [file.attrs.get("teacher")]
    named = [each for each in found if isinstance(each, dict)]
    if named and len(named) == len(found):
        return named
    raise LabelMapError(
        f"{file.path} {_why_not(file.attrs)}. Without --sample, verify checks every row, and with "
        "--images that the rows are of those images"
    )


def map_maker(file: LabelMapFile, teachers: Sequence[Teacher]) -> MapMaker:
    """The maker of a file's maps, from its header and the teachers that it names.

    Raises:
        TeacherError: the teachers, or their weights, are not those that the file names.
        ClassListMismatch: a teacher lacks classes of the file.
        LabelMapError: the header does not say how the maps were made, or names settings that this
            version does not have, or the maps were imported.
    """
    _require_teachers(file, teachers)
    maker = MapMaker(teachers, _settings(file), file.forms)
    names = sorted(file.attrs.keys() | maker.source.keys())
    differences = ", ".join(
        f"{name!r}: {file.attrs.get(name)!r:.80} there, {maker.source.get(name)!r:.80} here"
        for name in names
        if file.attrs.get(name) != maker.source.get(name)
    )
    if differences:
        raise LabelMapError(
            f"{file.path} was made with settings that this labelkit does not have "
            f"({differences}): recompute with the labelkit that made it"
        )
    return maker


def recompute(
    file: LabelMapFile,
    images: ImageSource,
    keys: Sequence[str],
    maker: MapMaker,
    on_progress: Callable[[int, int], None],
) -> list[MapDifference]:
    """Recompute the maps of some rows and return those that differ from the stored ones.

    Args:
        file: the stored maps.
        images: those that the file was made from.
        keys: intact rows of the file whose images exist.
        maker: from ``map_maker``.
        on_progress: called with (maps made, maps in total) after every batch.

    Raises:
        DatasetError: the disk with the images fails.
        TeacherError: the teacher gives a score that is not finite.
        LabelkitError: memory ran out.
    """
    differences: list[MapDifference] = []
    done = 0
    try:
        runs = steps(range(len(keys)), maker.settings.batch_size)
        for batch in maker.batches(images, keys, runs) if keys else ():
            if batch.disk_error:
                raise disk_failed(batch.disk_error, "Fix the cause")
            differences += [
                MapDifference(key, unreadable=reason) for key, reason in batch.unreadable.items()
            ]
            if batch.keys:
                differences += _differences(file, batch, maker(batch))
            done += len(batch)
            on_progress(done, len(keys))
    except RuntimeError as error:
        raise LabelkitError(
            f"recomputing stopped: {why_stopped(error)}. If memory was short, free some, or use "
            "--device cpu"
        ) from error
    return differences


def compare_maps(key: str, stored: LabelMap, now: LabelMap) -> MapDifference | None:
    """How a stored map differs from a new one; None if they are the same.

    Entries are matched by class within a cell, so two classes of nearly equal score may change
    places. A class that dropped out of a cell is compared with the cell's weakest class now, which
    it can be no stronger than; one class of an image may have moved to the background. The classes
    of the backgrounds are matched likewise.

    Two maps are the same if at most 1 % of the entries have another class, or one class of the
    image; at least 90 % of the scores are within 1/255 of the image's range (or of its largest
    score, if that is more); and all scores are within 8 of these steps. Rounding takes half a step.
    Measured over 88 photos with EfficientNet-Lite0 at 320 pixels, five classes per cell: batches of
    1, 3 and 8 and one or two threads moved no score by 0.001 steps; TF32, in which GPUs convolve,
    moved less than 10 % of any map by more than 0.9 steps and no score by more than 3.9. Saving the
    image again as JPEG of quality 90 moved more than 10 % of every map by more than 1.0.
    """
    again, found = _scores_now(stored, now)
    low, high = float(stored.score.min()), float(stored.score.max())
    limit = max(high - low, abs(low), abs(high), _LEAST_RANGE) * _STEP
    gap = stored.score - again
    gap[found] = np.abs(gap[found])
    share = float((~found).mean())
    if stored.classes is None:
        gap = np.maximum(gap, np.abs(stored.score - now.score))
        few = ((gap > limit) & ~found).mean() <= _OTHER_CLASSES
    else:
        few = share <= 1 / stored.top_k
        gap = np.where(found, gap, 0)
    same = (
        few
        and (gap > limit).mean() <= _OTHER_SCORES
        and gap.max() <= limit * _MOST_STEPS
        and _same_background(stored.background, now.background, limit * _MOST_STEPS)
    )
    if same:
        return None
    return MapDifference(key, share, float(gap.max()) / max(high - low, _LEAST_RANGE))


def _differences(
    file: LabelMapFile, batch: ImageBatch, maps: list[LabelMaps]
) -> Iterator[MapDifference]:
    """The first difference of every image of a batch that has one."""
    for key, recomputed in zip(batch.keys, zip(*maps, strict=True), strict=True):
        pairs = zip(file.maps(key), recomputed, strict=True)
        found = (compare_maps(key, stored, now) for stored, now in pairs)
        difference = next((each for each in found if each), None)
        if difference:
            yield difference


def _same_background(stored: Background | None, now: Background | None, limit: float) -> bool:
    """Whether nearly all classes are the same, with nearly the same logits."""
    if stored is None or now is None:
        return stored is now
    _, before, after = np.intersect1d(stored.classes, now.classes, return_indices=True)
    gap = np.abs(stored.logits[before] - now.logits[after])
    others = len(stored.classes) - len(before)
    few = others <= max(1, _OTHER_SCORES * len(stored.classes))
    return few and bool((gap <= limit).all()) and abs(float(stored.rest) - float(now.rest)) <= limit


def _scores_now(stored: LabelMap, now: LabelMap) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The new score of every stored entry, and whether its class is still in its cell.

    If not, the score is the lowest of the cell. All (K, H, W). Sorting needs memory for E entries
    only, however long the class list is.
    """
    cells = np.arange(stored.index[0].size, dtype=np.int64).reshape(stored.grid)
    wanted = (stored.index.astype(np.int64) * cells.size + cells).ravel()
    known = (now.index.astype(np.int64) * cells.size + cells).ravel()
    order = known.argsort()
    place = order[np.searchsorted(known, wanted, sorter=order).clip(max=len(known) - 1)]
    found = (known[place] == wanted).reshape(stored.index.shape)
    score = now.score.ravel()[place].reshape(found.shape)
    return np.where(found, score, now.score.min(axis=0)), found


def _why_not(source: dict[str, Any]) -> str:
    """Why maps without a named teacher cannot be recomputed, as the end of a sentence."""
    match source:
        case {"imported from": str(origin)}:
            return (
                f"was imported from a {origin!r:.80}, which does not say which teacher made its "
                f"maps: they cannot be recomputed. {_INSPECT}"
            )
        case _:
            return (
                "does not say which teacher made its maps: they cannot be recomputed. " + _INSPECT
            )


def _settings(file: LabelMapFile) -> Settings:
    """The settings that made a file, as recorded in its header.

    Raises:
        LabelMapError: it holds values that no version writes.
    """
    attrs = file.attrs
    sizes = attrs.get("input_sizes")
    if not isinstance(sizes, list) or not all(map(_is_size, sizes)):
        raise LabelMapError(
            f"{file.path} has the input sizes {sizes!r}, so its maps cannot be recomputed"
        )
    if len(sizes) != len(file.forms):
        raise LabelMapError(f"{file.path} has {len(sizes)} input sizes for {len(file.forms)} maps")
    maps = [tuple(each) if isinstance(each, list) else (each,) for each in sizes]
    # One list per teacher: each teacher predicted at its default size, in one map.
    default_sizes = any(isinstance(side, list) for sides in maps for side in sides)
    return Settings(
        sizes=() if default_sizes else tuple(maps),
        flip=attrs.get("flip") is True,
        average="probability" if attrs.get("average") == "probability" else "logit",
        classes=file.classes,
        synsets=_synsets(file),
        merge=_merge(file),
        other=file.header.other,
        workers=0,
    )


def _merge(file: LabelMapFile) -> Merge:
    """How a teacher's classes were merged; files that do not say were made by ``sum``."""
    merged = file.attrs.get("merged", "sum")
    if merged not in get_args(Merge):
        raise LabelMapError(
            f"{file.path} merged classes by {merged!r:.80}, expected {', '.join(get_args(Merge))}: "
            "recompute with the labelkit that made it"
        )
    return cast("Merge", merged)


def _synsets(file: LabelMapFile) -> dict[str, str]:
    """The synsets by which the teacher knew the file's classes.

    Raises:
        LabelMapError: the header does not map classes to ids.
    """
    synsets = file.attrs.get("synsets", {})
    if not isinstance(synsets, dict) or not all(isinstance(each, str) for each in synsets.values()):
        raise LabelMapError(
            f"{file.path} has the synsets {synsets!r:.80}, so its maps cannot be recomputed"
        )
    return synsets


def _is_size(value: object) -> bool:
    """Whether this is an input side in pixels, a list of them, or one list for each teacher."""
    if isinstance(value, list):
        return bool(value) and all(map(_is_size, value))
    return isinstance(value, int) and value in _SIDES


def _require_teachers(file: LabelMapFile, teachers: Sequence[Teacher]) -> None:
    """Raise ``TeacherError`` unless these are the teachers that a file names."""
    found = [teacher.describe() for teacher in teachers]
    for named in named_teachers(file):
        if named not in found:
            fields = _other_fields(named, found[0]) if len(found) == 1 else ""
            raise TeacherError(
                f"{file.path} was made by {_introduce(named)}, got "
                f"{' and '.join(map(_introduce, found))}{fields}. Pass the teacher that made it "
                "with --teacher"
            )


def _introduce(teacher: dict[str, Any]) -> str:
    name, weights = str(teacher.get("name")), str(teacher.get("weights_sha256"))
    return f"{name[:200]!r} (weights {weights[:12]!r})"


def _other_fields(named: dict[str, Any], found: dict[str, Any]) -> str:
    """Which fields differ besides name and weights, as these alone may look the same."""
    names = sorted((named.keys() | found.keys()) - _IDENTIFYING)
    others = [name for name in names if named.get(name) != found.get(name)]
    return f", which differs in {', '.join(map(repr, others))}" if others else ""
