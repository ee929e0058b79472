"""The measurement behind ``labelkit.relabel.fidelity``, image by image.

Legend: B crops of an image, C classes, H W grid, T temperatures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as VF

from labelkit.data import read_image
from labelkit.errors import DatasetError
from labelkit.geometry import CropBox
from labelkit.label_maps import LabelMap, pool, pool_by_zoom
from labelkit.label_maps.record import RecordCodec
from labelkit.relabel.answers import teacher_grid
from labelkit.relabel.fidelity import Fidelity, Way
from labelkit.relabel.selection import select
from labelkit.teachers import count_flops, resize_grid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from labelkit.label_maps import MapForm
    from labelkit.label_maps.pooling_options import Method
    from labelkit.teachers import Teacher

_SCALE, _RATIO = [0.08, 1.0], [3 / 4, 4 / 3]


class _Tally:
    """The figures of one way: one entry an image."""

    def __init__(self) -> None:
        self.divergence: list[NDArray[np.float64]] = []  # (T,) each
        self.agreement: list[float] = []
        self.record_bytes: list[int] = []

    def add(
        self, answer: NDArray[np.float64], targets: NDArray[np.float64], record_bytes: int
    ) -> None:
        """Add an image: log-probabilities of the teacher (B, C) and of the targets (T, B, C)."""
        divergence = (np.exp(answer) * (answer - targets)).sum(axis=2)
        self.divergence.append(divergence.mean(axis=1))
        self.agreement.append(float((answer.argmax(1) == targets[0].argmax(1)).mean()))
        self.record_bytes.append(record_bytes)

    def mean(self, way: Way, temperature: float, at: int, cost: float) -> Fidelity:
        """The means over all images, at the temperature of this position."""
        values = np.array(self.divergence)[:, at]
        spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        return Fidelity(
            way=way,
            temperature=temperature,
            divergence=float(values.mean()),
            error=spread / len(values) ** 0.5,
            agreement=float(np.mean(self.agreement)),
            record_bytes=float(np.mean(self.record_bytes)),
            cost=cost,
        )


class FidelityRun:
    """What has been measured so far.

    Args:
        teacher: the classifier.
        ways: what to compare.
        temperatures: each way is measured at all of them.

    Raises:
        TeacherError: the model has no spatial grid, or does not take such an input size.
        ClassListError: fewer classes than a way is to keep.
    """

    def __init__(
        self, teacher: Teacher, ways: Sequence[Way], temperatures: Sequence[float]
    ) -> None:
        self._teacher = teacher
        self._ways = ways
        self._temperatures = temperatures
        self._interpolation = InterpolationMode(teacher.card.interpolation)
        self._floor = _Tally()
        self._tallies = [_Tally() for _ in ways]
        sizes = sorted({size for way in ways for size in way.sizes})
        self._grids = {size: teacher_grid(teacher, size) for size in sizes}
        own = count_flops(teacher, teacher.card.native_size)
        self._costs = {size: count_flops(teacher, size, dense=True) / own for size in sizes}
        self._forms = [self._form(way) for way in ways]

    def add(self, path: Path, seed: list[int], crops: int) -> None:
        """Measure one more image; an unreadable one is left out."""
        try:
            image = read_image(path)
        except DatasetError:
            return
        boxes, shown = self._crops(image, seed, crops)
        answer = self._answer(shown)
        self._floor.add(answer, self._answer(shown.flip(3))[None], 0)
        logits = {size: self._logits_map(image, size) for size in self._grids}
        native = self._teacher.card.native_size
        for way, forms, tally in zip(self._ways, self._forms, self._tallies, strict=True):
            maps, record_bytes = self._kept(forms, [logits[size] for size in way.sizes])
            zooms = [size / native for size in way.sizes]
            pooled = [self._pooled(maps, zooms, box, way.method) for box in boxes]
            targets = [log_softmax(np.array(pooled) / t) for t in self._temperatures]
            tally.add(answer, np.array(targets), record_bytes)

    def results(self) -> list[Fidelity]:
        """The floor, and every way at every temperature.

        Raises:
            DatasetError: no image could be read.
        """
        if not self._floor.divergence:
            raise DatasetError("none of the images could be read: nothing was measured")
        floor = Way("the mirrored crop", (self._teacher.card.native_size,))
        found = [self._floor.mean(floor, 1.0, 0, 0.0)]
        for way, tally in zip(self._ways, self._tallies, strict=True):
            cost = sum(self._costs[size] for size in way.sizes)
            found += [tally.mean(way, t, at, cost) for at, t in enumerate(self._temperatures)]
        return found

    def _form(self, way: Way) -> tuple[MapForm, ...] | None:
        """What the maps of a way are, one for each size; None for all logits."""
        if way.settings is None:
            return None
        classes, native = len(self._teacher.classes), self._teacher.card.native_size
        return tuple(
            way.settings.form(classes, self._grids[size], size / native) for size in way.sizes
        )

    def _crops(
        self, image: torch.Tensor, seed: list[int], count: int
    ) -> tuple[list[CropBox], torch.Tensor]:
        """Random boxes, and what they show at the teacher's own size (B, 3, S, S)."""
        size = [self._teacher.card.native_size] * 2
        height, width = image.shape[1:]
        boxes: list[CropBox] = []
        shown: list[torch.Tensor] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
            for _ in range(count):
                top, left, rows, columns = v2.RandomResizedCrop.get_params(image, _SCALE, _RATIO)
                boxes.append(CropBox.from_pixels(left, top, columns, rows, (height, width)))
                crop = image[:, top : top + rows, left : left + columns]
                shown.append(VF.resize(crop, size, self._interpolation, antialias=True))
        return boxes, torch.stack(shown)

    def _answer(self, shown: torch.Tensor) -> NDArray[np.float64]:
        """The teacher's log-probabilities for crops: (B, C)."""
        logits = self._teacher.logits(self._teacher.normalize(shown))
        return log_softmax(logits.double().cpu().numpy())

    def _logits_map(self, image: torch.Tensor, size: int) -> torch.Tensor:
        """All logits (1, C, H, W) of the whole image at one size."""
        square = VF.resize(image, [size, size], self._interpolation, antialias=True)
        return self._teacher.logits_map(self._teacher.normalize(square[None])).cpu()

    def _kept(
        self, forms: tuple[MapForm, ...] | None, logits: list[torch.Tensor]
    ) -> tuple[list[LabelMap], int]:
        """An image's maps as a file gives them back, and the bytes of their record."""
        if forms is None:
            return [_everything(each) for each in logits], 0
        codec = RecordCodec(forms, len(self._teacher.classes))
        selected = [
            select(resize_grid(each, form.grid), form)
            for each, form in zip(logits, forms, strict=True)
        ]
        records = codec.encode(selected)
        maps = [each[0] for each in codec.decode(records)]
        return maps, len(codec.compress(records.tobytes()))

    def _pooled(
        self, maps: list[LabelMap], zooms: list[float], box: CropBox, method: Method
    ) -> NDArray[np.float64]:
        if len(maps) == 1:
            target = pool(maps[0], box, method=method)
        else:
            target = pool_by_zoom(maps, zooms, box, method=method)
        return target.dense(len(self._teacher.classes)).astype(np.float64)


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-probabilities (..., C)."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _everything(logits: torch.Tensor) -> LabelMap:
    """A map that stores every class in every cell."""
    score = logits[0].float().numpy()
    classes = np.arange(len(score), dtype=np.uint32)
    index = np.broadcast_to(classes[:, None, None], score.shape)
    return LabelMap(index, score, None, classes, logits[0].float().logsumexp(0).numpy())
