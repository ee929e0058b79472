"""Hold stored label maps against what their teacher says of the images now.

Legend: K entries per cell, H W grid, E = K*H*W entries of a map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from labelkit.errors import DatasetError, LabelkitError, LabelMapError, TeacherError, first_line
from labelkit.relabel.maps import MapMaker, Settings, read_batches
from labelkit.relabel.origins import named_teachers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from labelkit.label_maps import Background, LabelMap, LabelMapFile
    from labelkit.teachers import Teacher

_STEP = 1 / 255
_LEAST_RANGE = 1e-3
_OTHER_CLASS = 0.01
_OTHER_SCORE = 0.1
_FARTHEST = 8
_SIDES = range(16, 4097)


@dataclass(frozen=True)
class Difference:
    """A stored map that is not what the teacher says of the image now.

    Attributes:
        key: the row.
        classes: share of the map's entries whose class is not in their cell now.
        score: the largest change of a score, as a share of the image's range of scores.
        unreadable: why there is no map to compare with; empty where there is one.
    """

    key: str
    classes: float = 0.0
    score: float = 0.0
    unreadable: str = ""


def maker_of(file: LabelMapFile, teachers: Sequence[Teacher]) -> MapMaker:
    """What made the maps of a file, from its header and the teachers that it names.

    Raises:
        TeacherError: other teachers, or other weights, than the file names.
        ClassListMismatch: a teacher lacks classes of the file.
        LabelMapError: the header does not say how the maps were made, or says what this version
            does not do; an import.
    """
    named = named_teachers(file)
    found = [teacher.describe() for teacher in teachers]
    for each in named:
        if each not in found:
            _refuse(file, each, found)
    sizes = file.attrs.get("input_sizes")
    if not isinstance(sizes, list) or not all(map(_is_size, sizes)):
        raise LabelMapError(
            f"{file.path} says input_sizes {sizes!r}: its maps cannot be made again"
        )
    if len(sizes) != len(file.forms):
        raise LabelMapError(f"{file.path} holds {len(file.forms)} maps of {len(sizes)} input sizes")
    # Sizes that differ from teacher to teacher are each one's own, of one map.
    own = any(isinstance(part, list) for each in sizes if isinstance(each, list) for part in each)
    settings = Settings(
        sizes=()
        if own
        else tuple(tuple(each) if isinstance(each, list) else each for each in sizes),
        flip=file.attrs.get("flip") is True,
        average="probability" if file.attrs.get("average") == "probability" else "logit",
        classes=file.classes,
        nouns=_nouns(file),
        workers=0,
    )
    maker = MapMaker(teachers, settings, file.forms)
    names = file.attrs.keys() | maker.source.keys()
    other = [name for name in sorted(names) if file.attrs.get(name) != maker.source.get(name)]
    if other:
        told = ", ".join(
            f"{name!r}: {file.attrs.get(name)!r:.80} there, {maker.source.get(name)!r:.80} here"
            for name in other
        )
        raise LabelMapError(
            f"{file.path} was made with settings that this labelkit does not use ({told}): "
            "recompute with the labelkit that made it"
        )
    return maker


def recompute(
    file: LabelMapFile,
    images: Path,
    keys: Sequence[str],
    maker: MapMaker,
    on_progress: Callable[[int, int], None],
) -> list[Difference]:
    """Make the maps of some rows again and return those that are not the stored ones.

    Args:
        file: the stored maps.
        images: the folder that the keys are relative to.
        keys: whole rows of the file whose images are there.
        maker: from ``maker_of``.
        on_progress: called with (maps made, maps in all) after every batch.

    Raises:
        DatasetError: the disk with the images fails.
        TeacherError: the teacher gives a score that is not finite.
        LabelkitError: memory ran out.
    """
    differences: list[Difference] = []
    done = 0
    try:
        for batch in read_batches(images, keys, maker, [range(len(keys))] if keys else []):
            if batch.disk_error:
                raise DatasetError(
                    f"{batch.disk_error}: not the image but the disk, the network or a permission "
                    "failed. Mend it and run the same command again"
                )
            differences += [
                Difference(key, unreadable=why) for key, why in batch.unreadable.items()
            ]
            if batch.keys:
                again = zip(*maker(batch), strict=True)
                for key, maps in zip(batch.keys, again, strict=True):
                    found = [
                        compare(key, stored, now)
                        for stored, now in zip(file.maps(key), maps, strict=True)
                    ]
                    differences += [each for each in found if each][:1]
            done += len(batch.keys) + len(batch.unreadable)
            on_progress(done, len(keys))
    except RuntimeError as error:
        raise LabelkitError(
            f"recomputing stopped ({first_line(error)}): if memory was short, free some, or take "
            "--device cpu"
        ) from error
    return differences


def compare(key: str, stored: LabelMap, now: LabelMap) -> Difference | None:
    """How a stored map differs from a new one; None if they are the same.

    Entries are matched by class within a cell, so that two classes of nearly equal score may trade
    places; a class that has dropped out of a cell may have been no stronger than its weakest one
    now, and one of an image may have gone to the background. The classes of the backgrounds are
    matched likewise.

    The same map means: at most 1 % of entries of another class, or one class of the image; at least
    90 % of scores within a 255th of the image's range (or of its largest score, where that is
    more), and all within 8 of them. Rounding takes half of one. Measured over 88 photos with
    EfficientNet-Lite0 at 320 pixels, five classes a cell: batches of 1, 3 and 8 and one or two
    threads moved no score by 0.001 of a 255th; TF32, in which GPUs convolve, moved less than 10 %
    of any map by more than 0.9 and none by more than 3.9. Saved again as JPEG of quality 90, every
    image moved more than 10 % of its scores by more than 1.0.
    """
    again, found = _scores_now(stored, now)
    low, high = float(stored.score.min()), float(stored.score.max())
    limit = max(high - low, abs(low), abs(high), _LEAST_RANGE) * _STEP
    gap = stored.score - again
    gap[found] = np.abs(gap[found])
    share = float((~found).mean())
    if stored.classes is None:
        gap = np.maximum(gap, np.abs(stored.score - now.score))
        few = ((gap > limit) & ~found).mean() <= _OTHER_CLASS
    else:
        few = share <= 1 / stored.top_k
        gap = np.where(found, gap, 0)
    same = (
        few
        and (gap > limit).mean() <= _OTHER_SCORE
        and gap.max() <= limit * _FARTHEST
        and _same_background(stored.background, now.background, limit * _FARTHEST)
    )
    if same:
        return None
    return Difference(key, share, float(gap.max()) / max(high - low, _LEAST_RANGE))


def _same_background(stored: Background | None, now: Background | None, limit: float) -> bool:
    """Whether nearly all classes are those of before, and their logits are near."""
    if stored is None or now is None:
        return stored is now
    _, before, after = np.intersect1d(stored.classes, now.classes, return_indices=True)
    gap = np.abs(stored.logits[before] - now.logits[after])
    few = len(stored.classes) - len(before) <= max(1, _OTHER_SCORE * len(stored.classes))
    return few and bool((gap <= limit).all()) and abs(float(stored.rest) - float(now.rest)) <= limit


def _scores_now(stored: LabelMap, now: LabelMap) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The new score of every stored entry, and whether its class is still in its cell.

    Where it is not, the score is the cell's lowest. All (K, H, W). By sorting, so that it takes
    memory for E entries only, however long the class list is.
    """
    cells = np.arange(stored.index[0].size, dtype=np.int64).reshape(stored.grid)
    wanted = (stored.index.astype(np.int64) * cells.size + cells).ravel()
    known = (now.index.astype(np.int64) * cells.size + cells).ravel()
    order = known.argsort()
    place = order[np.searchsorted(known, wanted, sorter=order).clip(max=len(known) - 1)]
    found = (known[place] == wanted).reshape(stored.index.shape)
    score = now.score.ravel()[place].reshape(found.shape)
    return np.where(found, score, now.score.min(axis=0)), found


def _nouns(file: LabelMapFile) -> dict[str, str]:
    """The ids by which the teacher knew the file's classes, where those were not the classes'.

    Raises:
        LabelMapError: the file says something else of them.
    """
    told = file.attrs.get("nouns", {})
    if not isinstance(told, dict) or not all(isinstance(noun, str) for noun in told.values()):
        raise LabelMapError(f"{file.path} says nouns {told!r:.80}: its maps cannot be made again")
    return told


def _is_size(told: object) -> bool:
    """Whether this is an input side in pixels, several, or several for each teacher."""
    if isinstance(told, list):
        return bool(told) and all(map(_is_size, told))
    return isinstance(told, int) and told in _SIDES


def _refuse(file: LabelMapFile, named: dict[str, Any], found: list[dict[str, Any]]) -> NoReturn:
    """Tell which teacher of the file is not at hand, and what is."""
    at_hand = " and ".join(map(_introduce, found))
    fields = _other_fields(named, found[0]) if len(found) == 1 else ""
    raise TeacherError(
        f"{file.path} was made by {_introduce(named)}; the teacher at hand is "
        f"{at_hand}{fields}. Name the file's own with --teacher"
    )


def _introduce(teacher: dict[str, Any]) -> str:
    name, weights = str(teacher.get("name")), str(teacher.get("weights_sha256"))
    return f"{name[:200]!r} (weights {weights[:12]!r})"


def _other_fields(named: dict[str, Any], found: dict[str, Any]) -> str:
    """Which fields differ beside those that introduce a teacher: the same name may hide them."""
    told = {"name", "weights_sha256"}
    other = [name for name in sorted(named.keys() | found.keys()) if name not in told]
    other = [name for name in other if named.get(name) != found.get(name)]
    return f", with another {', '.join(map(repr, other))}" if other else ""
