"""How label maps are made: settings, the teacher's answers on a grid, and the images in batches.

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
from labelkit.relabel.answers import Answers, Average, common_classes
from labelkit.relabel.selection import select, select_log_probabilities
from labelkit.relabel.squares import Batch, PackedBatch, Squares
from labelkit.teachers import EXACT_GAP

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from labelkit.hierarchy import ClassList
    from labelkit.label_maps import LabelMaps
    from labelkit.teachers import Teacher

_FINEST = 15
_DEFAULTS = {"image": (8, 128, 2), "cell": (5, 64, 0)}


@dataclass(frozen=True)
class Settings:
    """How label maps are made.

    Attributes:
        selection: ``image`` keeps the same classes, the image's strongest, in all cells; ``cell``
            the strongest of each cell, as published.
        top_k: how many classes; None is 8 of an image or 5 of a cell, or all if there are fewer.
        grid: rows and columns of a map; None is the teacher's own grid, 15 x 15 at most.
        sizes: sides in pixels of the squares that the whole image is resized to, one map for each,
            or for each tuple of several, whose answers are averaged; none at all is one map at the
            teacher's own good size.
        flip: average with the answer to the mirrored image.
        average: of several answers take the mean of the ``logit``, or of the ``probability``.
        classes: keep these classes of the teacher only, found by id; None keeps all.
        nouns: class -> the id by which a teacher may know it, such as the noun of a folder with a
            plain name (``ClassNames.synsets_of``); it comes before the class's own id, under which
            the maps are stored.
        batch_size: images per forward pass; on a CPU few are best, their features fit its caches.
        workers: processes that decode; 0 decodes between the forward passes.
        shard_rows: images per shard, which is what an interruption can cost at most.
        background: of how many other classes the mean logit stands in for cells that do not store
            them, and one mean for all the rest; None is 128 (image) or 64 (cell), or as many as
            there are; 0 leaves zeros, as published, and an average of probabilities is shifted
            around them.
        patterns: how many patterns over the grid the background's classes share; None is 2 (image)
            or 0 (cell).
        scores: how a logit is stored: ``uint8``, ``float16`` or ``float32``.
        log_sum_exp: keep that of each cell's logits too.
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
    background: int | None = None
    patterns: int | None = None
    scores: Literal["uint8", "float16", "float32"] = "uint8"
    log_sum_exp: bool = False
    nouns: Mapping[str, str] = field(default_factory=dict[str, str])

    def form(self, num_classes: int, native: tuple[int, int], zoom: float) -> MapForm:
        """What these settings come to for a teacher.

        Args:
            num_classes: length of the class list.
            native: the teacher's own grid at the size of the square.
            zoom: that size over the one that the teacher was trained at.

        Raises:
            ClassListError: fewer classes than ``top_k``.
            LabelkitError: a background or patterns that such maps have no room for.
        """
        top_k, background, patterns = _DEFAULTS[self.selection]
        if (self.top_k or 0) > num_classes:
            raise ClassListError(f"top-k {self.top_k} of a list of {num_classes:,} classes")
        top_k = self.top_k or min(top_k, num_classes)
        free = num_classes - top_k if self.selection == "image" else num_classes
        background = _chosen("background", self.background, background, free)
        rows, columns = self.grid or (min(native[0], _FINEST), min(native[1], _FINEST))
        most = min(background, rows * columns - 1) if self.selection == "image" else 0
        patterns = _chosen("patterns", self.patterns, patterns, most)
        return MapForm(
            selection=self.selection,
            top_k=top_k,
            grid=(rows, columns),
            scores=self.scores,
            background=background,
            patterns=patterns,
            log_sum_exp=self.log_sum_exp,
            zoom=zoom,
        )


def _chosen(name: str, wanted: int | None, default: int, most: int) -> int:
    """What was asked for, or as much of the default as there is room for."""
    if wanted is None:
        return min(default, most)
    if wanted > most:
        raise LabelkitError(f"--{name} {wanted}: these maps have room for {most} at most")
    return wanted


class MapMaker:
    """Turns squares into label maps, and knows what describes them in a file.

    Args:
        teachers: one classifier, or several whose answers are averaged.
        settings: how; their classes are those of the maps.
        forms: what the maps are to be, if that is known already; None lets the settings say.

    Raises:
        ClassListError: fewer classes than are to be kept, or two classes with one noun.
        ClassListMismatch: a teacher lacks one of the classes, or they have different lists.
        TeacherError: a model has no spatial grid, or does not take such an input size.
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
        self.answers = Answers(
            teachers,
            self.classes,
            sizes,
            nouns=settings.nouns,
            flip=settings.flip,
            average=settings.average,
        )
        gap = self.answers.gap()
        self.forms = forms or tuple(
            settings.form(len(self.classes), max(self.answers.grids(number)), zoom)
            for number, zoom in enumerate(self.answers.zooms)
        )
        self.source: dict[str, Any] = self.answers.describe()
        self.made_with: dict[str, Any] = {
            "head": "exact" if gap < EXACT_GAP else "approximate",
            "labelkit": __version__,
            "timm": timm.__version__,
            "torch": str(torch.__version__),
            "torchvision": torchvision.__version__,
        }

    def __call__(self, batch: Batch) -> list[LabelMaps]:
        """The label maps of a batch, for each form.

        Raises:
            TeacherError: a score is not finite.
        """
        with torch.inference_mode():
            return [self._maps(batch, number, form) for number, form in enumerate(self.forms)]

    def _maps(self, batch: Batch, number: int, form: MapForm) -> LabelMaps:
        logits = self.answers(batch.images, number, form.grid)
        bad = ~torch.isfinite(logits).flatten(1).all(dim=1)
        if bad.any():
            names = " or ".join(teacher.card.name for teacher in self.answers.teachers)
            raise TeacherError(
                f"{names} gives scores that are not finite for "
                f"{batch.keys[int(bad.nonzero()[0])]!r}: its weights or this image are damaged"
            )
        logarithms = self.settings.average == "probability"
        return select_log_probabilities(logits, form) if logarithms else select(logits, form)


def read_batches(
    root: Path, keys: Sequence[str], maker: MapMaker, runs: Sequence[range]
) -> Iterator[Batch]:
    """The images of several runs of keys, in order; no batch reaches over a run's end.

    So with a run for every shard the batches, and with them the last bits of the scores, do not
    depend on where an earlier call was interrupted.
    """
    settings = maker.settings
    squares = Squares(root, keys, maker.answers.squares)
    loader = DataLoader(
        squares,
        batch_sampler=[
            list(run[start : start + settings.batch_size])
            for run in runs
            for start in range(0, len(run), settings.batch_size)
        ],
        num_workers=settings.workers if runs else 0,
        collate_fn=squares.collate,
        pin_memory=maker.answers.teachers[0].device.type == "cuda",
    )
    for batch in loader:
        yield batch.unpack() if isinstance(batch, PackedBatch) else batch
