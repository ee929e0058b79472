"""How label maps are made: the settings, and the maker that turns batches of images into maps.

Legend: B batch, C classes, K entries per cell, S input side, H W grid.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import timm
import torch
import torchvision
from torch.utils.data import DataLoader

from labelkit import __version__
from labelkit.errors import ClassListError, LabelkitError, TeacherError
from labelkit.label_maps import MapForm
from labelkit.relabel.batches import ImageBatch, PackedBatch, ResizedImages
from labelkit.relabel.predictions import Average, Predictions, common_classes
from labelkit.relabel.selection import selection_of, selection_of_log_probabilities
from labelkit.relabel.stages import mark, wait_for
from labelkit.teachers import DEFAULT_MERGE, EXACT_GAP, Merge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from labelkit.hierarchy import ClassList
    from labelkit.label_maps import LabelMaps
    from labelkit.relabel.selection import Selection
    from labelkit.relabel.stages import Mark
    from labelkit.sources import ImageSource
    from labelkit.teachers import Teacher

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


@dataclass(frozen=True)
class ComputedMaps:
    """The maps of a batch that a device has been asked for.

    Attributes:
        keys: of the images.
        parts: for each form, what its maps store.
        finite: whether all logits of an image are finite: (B,).
        teachers: their names, for messages.
        end: when the device is done.
        marks: when it begins, and for each form when it has predicted and selected.
    """

    keys: list[str]
    parts: list[Selection]
    finite: torch.Tensor
    teachers: str
    end: Mark
    marks: list[Mark]

    def maps(self) -> list[LabelMaps]:
        """Wait for the device; then the label maps, one item for each form. Any thread may call it.

        Raises:
            TeacherError: a score is not finite.
        """
        wait_for(self.end)
        if not self.finite.all():
            raise TeacherError(
                f"{self.teachers} gives scores that are not finite for "
                f"{self.keys[int((~self.finite).nonzero()[0])]!r}: its weights or this image are "
                "damaged"
            )
        return [part.maps() for part in self.parts]


class MapMaker:
    """Turns batches of images into label maps, and describes them for the file's header.

    Args:
        teachers: one classifier, or several whose predictions are averaged.
        settings: how; their classes are those of the maps.
        forms: the maps' forms if they are known already; None derives them from the settings.

    Attributes:
        classes: of the maps.
        other: whether the maps store *other*, as the class after these.
        outputs: the number of classes, with *other*.
        device: of the first teacher, where the maps are selected.

    Raises:
        ClassListError: fewer classes than maps are to store, or two classes with one synset.
        ClassListMismatch: a teacher lacks one of the classes, or their class lists differ.
        TeacherError: a model has no spatial grid, or does not accept such an input size.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        settings: Settings,
        forms: tuple[MapForm, ...] | None = None,
    ) -> None:
        self.settings = settings
        self.classes = settings.classes or common_classes(teachers)
        sizes = [(size,) if isinstance(size, int) else size for size in settings.sizes]
        self.predictions = Predictions(
            teachers,
            self.classes,
            sizes,
            synsets=settings.synsets,
            flip=settings.flip,
            average=settings.average,
            merge=settings.merge,
            other=settings.other,
        )
        self.other = self.predictions.other
        self.device = self.predictions.teachers[0].device
        self.outputs = len(self.classes) + self.other
        gap = self.predictions.largest_gap()
        self.forms = forms or tuple(
            self.form(settings, number) for number in range(len(self.predictions.zooms))
        )
        self.source: dict[str, Any] = self.predictions.describe()
        self.made_with: dict[str, Any] = {
            "head": "exact" if gap < EXACT_GAP else "approximate",
            "labelkit": __version__,
            "timm": timm.__version__,
            "torch": str(torch.__version__),
            "torchvision": torchvision.__version__,
        }

    def __call__(self, batch: ImageBatch) -> list[LabelMaps]:
        """The label maps of a batch's readable images, one item for each form.

        Raises:
            TeacherError: a score is not finite.
        """
        return self.begin(batch).maps()

    def begin(self, batch: ImageBatch) -> ComputedMaps:
        """The same, which a GPU goes on to compute after this returns."""
        marks = [mark(self.device)]
        parts: list[Selection] = []
        with torch.inference_mode():
            finite = torch.ones(len(batch.keys), dtype=torch.bool, device=self.device)
            for number, form in enumerate(self.forms):
                logits = self.predictions(batch.pixels, number, form.grid)
                marks.append(mark(self.device))
                finite = finite & torch.isfinite(logits).flatten(1).all(dim=1).to(self.device)
                parts.append(self.choose(logits, form).to_host())
                marks.append(mark(self.device))
            finite = finite.to("cpu", non_blocking=True)
        names = " or ".join(teacher.card.name for teacher in self.predictions.teachers)
        return ComputedMaps(batch.keys, parts, finite, names, mark(self.device), marks)

    def form(self, settings: Settings, number: int) -> MapForm:
        """The form that settings give for map ``number`` of an image.

        Raises:
            ClassListError, LabelkitError: as ``Settings.form``.
        """
        predictions = self.predictions
        grid, zoom = max(predictions.grids(number)), predictions.zooms[number]
        return settings.form(len(self.classes), grid, zoom, other=self.other)

    def choose(self, logits: torch.Tensor, form: MapForm) -> Selection:
        """What a form stores of predicted logits (B, C, H, W), which are on its grid."""
        if self.settings.average == "probability":
            return selection_of_log_probabilities(logits, form, other=self.other)
        return selection_of(logits, form, other=self.other)

    def select(self, logits: torch.Tensor, form: MapForm) -> LabelMaps:
        """The maps of what a form stores of predicted logits (B, C, H, W), on its grid."""
        return self.choose(logits, form).maps()

    def batches(
        self, source: ImageSource, keys: Sequence[str], batches: Iterable[range]
    ) -> Iterator[ImageBatch]:
        """The images in batches, decoded in advance.

        Args:
            source: of the images.
            keys: all images.
            batches: the positions in ``keys`` of each batch; at least one.
        """
        images = ResizedImages(source, keys, self.predictions.input_sizes)
        loader = DataLoader(
            images,
            batch_sampler=map(list, batches),
            num_workers=self.settings.workers,
            collate_fn=images.collate,
            pin_memory=self.device.type == "cuda",
        )
        for batch in loader:
            yield batch.unpack() if isinstance(batch, PackedBatch) else batch


def steps(run: range, size: int) -> Iterator[range]:
    """A run of positions in batches of ``size``."""
    for start in range(0, len(run), size):
        yield run[start : start + size]
