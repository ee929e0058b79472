"""The maker that turns batches of images into label maps.

Legend: B batch, C classes, K entries per cell, S input side, H W grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import timm
import torch
import torchvision
from torch.utils.data import DataLoader

from labelkit import __version__
from labelkit.errors import TeacherError
from labelkit.relabel.batches import ImageBatch, PackedBatch, ResizedImages
from labelkit.relabel.predictions import Predictions, common_classes
from labelkit.relabel.request import Asked, request_digest
from labelkit.relabel.selection import selection_of, selection_of_log_probabilities
from labelkit.relabel.stages import mark, wait_for
from labelkit.teachers import EXACT_GAP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from labelkit.label_maps import LabelMaps, MapForm
    from labelkit.relabel.selection import Selection
    from labelkit.relabel.settings import Settings
    from labelkit.relabel.stages import Mark
    from labelkit.sources import ImageSource
    from labelkit.teachers import Teacher


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
        digests: of the images' content; empty if nobody needs them.
    """

    keys: list[str]
    parts: list[Selection]
    finite: torch.Tensor
    teachers: str
    end: Mark
    marks: list[Mark]
    digests: list[bytes]

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
        if request := request_digest(settings, [_asked(each) for each in teachers]):
            self.made_with["request"] = request

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
        end = mark(self.device)
        return ComputedMaps(batch.keys, parts, finite, names, end, marks, batch.digests)

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


def _asked(teacher: Teacher) -> Asked | None:
    """A teacher as a command asks for it; None if no card and weight file describe it."""
    if not teacher.weights_file:
        return None
    card, digest = teacher.card, teacher.classes.digest
    return Asked(card, teacher.weights_file, digest, teacher.force, teacher.precision)


def steps(run: range, size: int) -> Iterator[range]:
    """A run of positions in batches of ``size``."""
    for start in range(0, len(run), size):
        yield run[start : start + size]
