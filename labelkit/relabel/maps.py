"""How label maps are made: settings, the teacher's answers on a grid, and the images in batches.

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
from labelkit.errors import ClassListError, TeacherError, first_line
from labelkit.relabel.backgrounds import background_of
from labelkit.relabel.merging import merge_onto
from labelkit.relabel.squares import Batch, Squares
from labelkit.teachers import EXACT_GAP, resize_grid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from labelkit.hierarchy import ClassList
    from labelkit.label_maps import Background
    from labelkit.teachers import Teacher


@dataclass(frozen=True)
class Settings:
    """How label maps are made.

    Attributes:
        top_k: classes kept in every cell.
        grid: rows and columns of a map.
        size: side in pixels of the square that the whole image is resized to; None is the
            teacher's own good size.
        classes: keep these classes of the teacher only, found by id; None keeps all.
        batch_size: images per forward pass; on a CPU few are best, their features fit its caches.
        workers: processes that decode; 0 decodes between the forward passes.
        shard_rows: images per shard, which is what an interruption can cost at most.
        background: of how many of an image's strongest classes the mean logit stands in for cells
            that do not store them, and one mean for all others; 0 leaves zeros, as published.
    """

    top_k: int = 5
    grid: tuple[int, int] = (15, 15)
    size: int | None = None
    classes: ClassList | None = None
    batch_size: int = 8
    workers: int = 1
    shard_rows: int = 1024
    background: int = 64


@dataclass(frozen=True, eq=False)
class Maps:
    """The label maps of B images.

    Attributes:
        index: class indices (B, K, H, W), strongest first.
        score: their logits (B, K, H, W).
        background: of B images; None for maps without one.
    """

    index: NDArray[np.integer]
    score: NDArray[np.float32]
    background: Background | None


class MapMaker:
    """Turns squares into top-K label maps, and knows what describes them in a file."""

    def __init__(self, teacher: Teacher, settings: Settings) -> None:
        self.teacher = teacher
        self.settings = settings
        self.classes = settings.classes or teacher.classes
        self.size = settings.size or teacher.card.size
        if settings.top_k > len(self.classes):
            raise ClassListError(
                f"top-k {settings.top_k} of a list of {len(self.classes):,} classes"
            )
        self.background = min(settings.background, len(self.classes))
        self._merge = merge_onto(self.classes, teacher)
        self.source: dict[str, Any] = {
            "teacher": teacher.describe(),
            "input_size": self.size,
            "resize": "whole image to a square, antialiased",
            "projected": self._merge is not None,
            "unused_teacher_classes": self._merge.unused if self._merge else 0,
        }
        self.made_with: dict[str, Any] = {
            "head": "exact" if _gap(teacher, self.size) < EXACT_GAP else "approximate",
            "labelkit": __version__,
            "timm": timm.__version__,
            "torch": str(torch.__version__),
            "torchvision": torchvision.__version__,
        }

    def __call__(self, batch: Batch) -> Maps:
        """The label maps of a batch.

        Raises:
            TeacherError: a score is not finite.
        """
        with torch.inference_mode():
            images = self.teacher.normalize(batch.images)
            logits = self.teacher.logits_map(images)
            if self._merge is not None:
                logits = self._merge(logits)
            logits = resize_grid(logits, self.settings.grid)
            score, index = logits.topk(self.settings.top_k, dim=1)
            behind = (
                background_of(logits, index, score, self.background) if self.background else None
            )
        score, index = score.cpu(), index.cpu()
        bad = ~torch.isfinite(score).flatten(1).all(dim=1)
        if bad.any():
            raise TeacherError(
                f"{self.teacher.card.name} gives scores that are not finite for "
                f"{batch.keys[int(bad.nonzero()[0])]!r}: its weights or this image are damaged"
            )
        return Maps(index.numpy(), score.numpy(), behind)


def read_batches(
    root: Path, keys: Sequence[str], maker: MapMaker, runs: Sequence[range]
) -> Iterator[Batch]:
    """The images of several runs of keys, in order; no batch reaches over a run's end.

    So with a run for every shard the batches, and with them the last bits of the scores, do not
    depend on where an earlier call was interrupted.
    """
    settings, card = maker.settings, maker.teacher.card
    squares = Squares(root, keys, maker.size, card.interpolation)
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


def _gap(teacher: Teacher, size: int) -> float:
    try:
        return teacher.gap(size)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise TeacherError(
            f"{teacher.card.name} does not take {size}x{size} pixels ({first_line(error)}): try "
            f"--size {teacher.card.native_size}, its own"
        ) from error
