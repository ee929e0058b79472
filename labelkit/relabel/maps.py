"""How label maps are made: settings, the teacher's answers on a grid, and the images in batches.

Legend: B batch, C classes, K entries per cell, S input side, H W grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import timm
import torch
import torchvision
from torch.utils.data import DataLoader

from labelkit import __version__
from labelkit.errors import ClassListError, TeacherError, first_line
from labelkit.label_maps import MapForm
from labelkit.relabel.merging import merge_onto
from labelkit.relabel.selection import select
from labelkit.relabel.squares import Batch, Squares
from labelkit.teachers import EXACT_GAP, resize_grid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
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
        sizes: sides in pixels of the squares that the whole image is resized to, one map for each;
            none at all is the teacher's own good size.
        classes: keep these classes of the teacher only, found by id; None keeps all.
        batch_size: images per forward pass; on a CPU few are best, their features fit its caches.
        workers: processes that decode; 0 decodes between the forward passes.
        shard_rows: images per shard, which is what an interruption can cost at most.
        background: of how many other classes the mean logit stands in for cells that do not store
            them, and one mean for all the rest; None is 128 (image) or 64 (cell), or as many as
            there are; 0 leaves zeros, as published.
        patterns: how many patterns over the grid the background's classes share; None is 2 (image)
            or 0 (cell).
        scores: how a logit is stored: ``uint8``, ``float16`` or ``float32``.
        log_sum_exp: keep that of each cell's logits too.
    """

    selection: Literal["cell", "image"] = "image"
    top_k: int | None = None
    grid: tuple[int, int] | None = None
    sizes: tuple[int, ...] = ()
    classes: ClassList | None = None
    batch_size: int = 8
    workers: int = 1
    shard_rows: int = 1024
    background: int | None = None
    patterns: int | None = None
    scores: Literal["uint8", "float16", "float32"] = "uint8"
    log_sum_exp: bool = False

    def form(self, num_classes: int, native: tuple[int, int], zoom: float) -> MapForm:
        """What these settings come to for a teacher.

        Args:
            num_classes: length of the class list.
            native: the teacher's own grid at the size of the square.
            zoom: that size over the one that the teacher was trained at.

        Raises:
            ClassListError: fewer classes than ``top_k``.
        """
        top_k, background, patterns = _DEFAULTS[self.selection]
        if (self.top_k or 0) > num_classes:
            raise ClassListError(f"top-k {self.top_k} of a list of {num_classes:,} classes")
        top_k = self.top_k or min(top_k, num_classes)
        free = num_classes - top_k if self.selection == "image" else num_classes
        background = min(background if self.background is None else self.background, free)
        rows, columns = self.grid or (min(native[0], _FINEST), min(native[1], _FINEST))
        if self.selection == "cell":
            patterns = 0  # its classes differ from cell to cell, its background is one mean
        elif self.patterns is not None:
            patterns = self.patterns
        return MapForm(
            selection=self.selection,
            top_k=top_k,
            grid=(rows, columns),
            scores=self.scores,
            background=background,
            patterns=min(patterns, background, rows * columns - 1),
            log_sum_exp=self.log_sum_exp,
            zoom=zoom,
        )


class MapMaker:
    """Turns squares into label maps, and knows what describes them in a file.

    Args:
        teacher: the classifier.
        settings: how; their classes are those of the maps.
        forms: what the maps are to be, if that is known already; None lets the settings say.

    Raises:
        ClassListError: fewer classes than are to be kept.
        ClassListMismatch: the teacher lacks one of the classes.
        TeacherError: the model has no spatial grid, or does not take such an input size.
    """

    def __init__(
        self, teacher: Teacher, settings: Settings, forms: tuple[MapForm, ...] | None = None
    ) -> None:
        self.teacher = teacher
        self.settings = settings
        self.classes = settings.classes or teacher.classes
        self.sizes = settings.sizes or (teacher.card.size,)
        if len(set(self.sizes)) != len(self.sizes):
            raise TeacherError(f"input sizes {self.sizes}: one stands twice")
        self._merge = merge_onto(self.classes, teacher)
        gaps = [_gap(teacher, size) for size in self.sizes]
        self.forms = forms or tuple(
            settings.form(
                len(self.classes),
                teacher_grid(teacher, size),
                round(size / teacher.card.native_size, 6),
            )
            for size in self.sizes
        )
        self.source: dict[str, Any] = {
            "teacher": teacher.describe(),
            "input_sizes": list(self.sizes),
            "resize": "whole image to a square, antialiased",
            "projected": self._merge is not None,
            "unused_teacher_classes": self._merge.unused if self._merge else 0,
        }
        self.made_with: dict[str, Any] = {
            "head": "exact" if max(gaps) < EXACT_GAP else "approximate",
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
            return [
                self._maps(batch.keys, images, form)
                for images, form in zip(batch.images, self.forms, strict=True)
            ]

    def _maps(self, keys: list[str], images: torch.Tensor, form: MapForm) -> LabelMaps:
        logits = self.teacher.logits_map(self.teacher.normalize(images))
        if self._merge is not None:
            logits = self._merge(logits)
        logits = resize_grid(logits, form.grid)
        bad = ~torch.isfinite(logits).flatten(1).all(dim=1)
        if bad.any():
            raise TeacherError(
                f"{self.teacher.card.name} gives scores that are not finite for "
                f"{keys[int(bad.nonzero()[0])]!r}: its weights or this image are damaged"
            )
        return select(logits, form)


def read_batches(
    root: Path, keys: Sequence[str], maker: MapMaker, runs: Sequence[range]
) -> Iterator[Batch]:
    """The images of several runs of keys, in order; no batch reaches over a run's end.

    So with a run for every shard the batches, and with them the last bits of the scores, do not
    depend on where an earlier call was interrupted.
    """
    settings, card = maker.settings, maker.teacher.card
    squares = Squares(root, keys, maker.sizes, card.interpolation)
    loader = DataLoader(
        squares,
        batch_sampler=[
            list(run[start : start + settings.batch_size])
            for run in runs
            for start in range(0, len(run), settings.batch_size)
        ],
        num_workers=settings.workers if runs else 0,
        collate_fn=squares.collate,
        pin_memory=maker.teacher.device.type == "cuda",
    )
    return iter(loader)


def teacher_grid(teacher: Teacher, size: int) -> tuple[int, int]:
    """Rows and columns of a teacher's own grid for squares of ``size`` pixels."""
    blank = torch.zeros(1, 3, size, size, device=teacher.device)
    rows, columns = teacher.logits_map(blank).shape[2:]
    return rows, columns


def _gap(teacher: Teacher, size: int) -> float:
    try:
        return teacher.gap(size)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise TeacherError(
            f"{teacher.card.name} does not take {size}x{size} pixels ({first_line(error)}): try "
            f"--size {teacher.card.native_size}, its own"
        ) from error
