"""How label maps are made: the settings. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from labelkit.errors import ClassListError, LabelkitError
from labelkit.label_maps import MapForm
from labelkit.teachers import DEFAULT_MERGE, Merge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labelkit.hierarchy import ClassList

Average = Literal["logit", "probability"]
_LARGEST_GRID = 15
_DEFAULTS = {"image": (8, 128, 2), "cell": (5, 64, 0)}


@dataclass(frozen=True)
class CalibrationSample:
    """Which crops a calibration is fitted on.

    Attributes:
        images: how many, evenly spaced over the data set; all if there are fewer.
        crops: random crops of each.
        seed: of the crops.

    Raises:
        ValueError: one of them is out of range.
    """

    images: int = 64
    crops: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.images < 1 or self.crops < 1 or not 0 <= self.seed < 1 << 32:
            raise ValueError(
                f"a calibration sample of {self.images} images, {self.crops} crops and seed "
                f"{self.seed}: expected at least one image and crop, and a seed from 0 to 2^32 - 1"
            )


@dataclass(frozen=True)
class Settings:
    """How label maps are made.

    Attributes:
        selection: ``image`` stores the same classes, the image's strongest, in all cells; ``cell``
            stores the strongest of each cell, as published.
        top_k: how many classes; None for 8 of an image or 5 of a cell, or all if there are fewer.
        grid: rows and columns of a map; None for the teacher's native grid, at most 15x15.
        sizes: input sides in pixels, to which the whole image is resized. One map for each; a
            tuple of several gives one map, averaged over them. Empty for one map at the teacher's
            default size.
        flip: average with the prediction for the mirrored image.
        average: what to average over teachers, sizes and the mirrored image: the ``logit`` or the
            ``probability``.
        classes: keep only these classes of the teacher, found by id; None keeps all.
        batch_size: images per forward pass. On a CPU small batches are best: their features fit
            into its caches.
        workers: processes that decode images; 0 decodes between the forward passes.
        shard_rows: images per shard.
        save_seconds: how long finished maps may wait to be safe on the disk, about the most that an
            interruption can cost.
        background: for how many other classes to store the mean logit over the cells that do not
            store them, besides one mean for all the rest; None for 128 (image) or 64 (cell), or
            all if there are fewer. With 0 absent classes have logit 0, as published; averages of
            probabilities are then shifted to a mean of 0.
        patterns: how many patterns over the grid the background's classes share; None for 2 (image)
            or 0 (cell).
        scores: the number type of a stored logit: ``uint8``, ``float16`` or ``float32``.
        log_sum_exp: store the log-sum-exp of each cell's logits too.
        synsets: class -> the wnid by which a teacher may know it, such as the synset of a folder
            with a plain name. It takes precedence over the class id, under which maps are stored.
        calibration: the crops that the file's calibration is fitted on; None for no calibration.
        merge: how several classes of a teacher become one of ``classes``: the ``sum`` of their
            probabilities, the ``mean``, which corrects for unequal numbers, ``root`` halfway
            between these, or the ``max``.
        other: store the probability of the teacher's classes that belong to none of ``classes``, as
            one more class of every cell; without it, it is shared out among ``classes``.
    """

    selection: Literal["cell", "image"] = "image"
    top_k: int | None = None
    grid: tuple[int, int] | None = None
    sizes: tuple[int | tuple[int, ...], ...] = ()
    flip: bool = False
    average: Average = "logit"
    classes: ClassList | None = None
    batch_size: int = 8
    workers: int = 1
    shard_rows: int = 1024
    save_seconds: float = 60.0
    background: int | None = None
    patterns: int | None = None
    scores: Literal["uint8", "float16", "float32"] = "uint8"
    log_sum_exp: bool = False
    synsets: Mapping[str, str] = field(default_factory=dict[str, str])
    calibration: CalibrationSample | None = CalibrationSample()
    merge: Merge = DEFAULT_MERGE
    other: bool = True

    def form(
        self, num_classes: int, native_grid: tuple[int, int], zoom: float, *, other: bool = False
    ) -> MapForm:
        """The form that these settings give for a teacher.

        Args:
            num_classes: length of the class list.
            native_grid: the teacher's rows and columns at the input size.
            zoom: the input size relative to the one that the teacher was trained at.
            other: whether *other* is stored, in addition to the ``top_k`` classes.

        Raises:
            ClassListError: fewer classes than ``top_k``.
            LabelkitError: a background or patterns for which such maps have no room.
        """
        top_k, background, patterns = _DEFAULTS[self.selection]
        if (self.top_k or 0) > num_classes:
            raise ClassListError(
                f"top-k {self.top_k} of a list of {num_classes:,} classes: choose --topk "
                f"{num_classes} or lower"
            )
        top_k = self.top_k or min(top_k, num_classes)
        free = num_classes - top_k if self.selection == "image" else num_classes
        background = _within_room("background", self.background, background, free)
        rows, columns = self.grid or tuple(min(side, _LARGEST_GRID) for side in native_grid)
        room = min(background, rows * columns - 1) if self.selection == "image" else 0
        patterns = _within_room("patterns", self.patterns, patterns, room)
        return MapForm(
            selection=self.selection,
            top_k=top_k + other,
            grid=(rows, columns),
            scores=self.scores,
            background=background,
            patterns=patterns,
            log_sum_exp=self.log_sum_exp,
            zoom=zoom,
        )


def _within_room(name: str, wanted: int | None, default: int, room: int) -> int:
    """The wanted number, or as much of the default as fits."""
    if wanted is None:
        return min(default, room)
    if wanted > room:
        raise LabelkitError(f"--{name} {wanted}: these maps have room for at most {room}")
    return wanted
