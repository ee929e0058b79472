"""Crop fidelity: how close targets pooled from label maps come to the teacher's prediction.

Random crops are taken as training takes them. The teacher sees each at its native size, and its
prediction is compared with the target pooled from the image's label map: the KL divergence from
prediction to target, and how often both name the same class. Nothing is trained.

Legend: B crops of an image, C classes, H W grid, S side of a crop, T temperatures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as VF

from labelkit.data import list_images, read_image
from labelkit.errors import DatasetError
from labelkit.files import evenly_spaced
from labelkit.geometry import CropBox
from labelkit.label_maps import LabelMap, RecordCodec, pool, pool_by_zoom
from labelkit.relabel.maps import Settings
from labelkit.relabel.predictions import native_grid
from labelkit.relabel.selection import select
from labelkit.teachers import count_flops, resize_grid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from labelkit.label_maps import MapForm
    from labelkit.targets import Method
    from labelkit.teachers import Teacher

_SIZE_MULTIPLE = 32
_ZOOMS = (9 / 7, 10 / 7, 2)
_SCALE, _RATIO = [0.08, 1.0], [3 / 4, 4 / 3]


@dataclass(frozen=True)
class Configuration:
    """One kind of label map and how its targets are pooled.

    Attributes:
        name: how tables name it.
        sizes: input sides in pixels; with several, maps are mixed by the crop's zoom.
        settings: what is stored of the logits; None stores all of them.
        method: how a crop's target is pooled; ``probability`` needs maps with log-sum-exp.
    """

    name: str
    sizes: tuple[int, ...]
    settings: Settings | None = None
    method: Method = "relabel"


@dataclass(frozen=True)
class Fidelity:
    """The fidelity of one configuration at one temperature.

    Attributes:
        configuration: which.
        temperature: what pooled logits are divided by.
        divergence: mean KL from the teacher's prediction to the target, in nats.
        error: standard error of that mean, over images.
        agreement: share of crops for which both name the same class.
        record_bytes: mean size of an image's record; 0 if all logits are stored.
        cost: floating-point operations for the teacher's maps of an image, relative to its
            prediction for one image at its native size.
    """

    configuration: Configuration
    temperature: float
    divergence: float
    error: float
    agreement: float
    record_bytes: float
    cost: float


def default_sizes(native: int) -> tuple[int, ...]:
    """Input sides to try: from the one that the teacher was trained at up to twice that."""
    sides = (round(native * zoom / _SIZE_MULTIPLE) * _SIZE_MULTIPLE for zoom in _ZOOMS)
    return tuple(sorted({native, *sides}))


def default_configurations(sizes: Sequence[int], published: int) -> list[Configuration]:
    """What ``labelkit fidelity`` compares: each size with all logits and several kinds of maps.

    Args:
        sizes: input sides in pixels.
        published: the input side that gives 15x15 cells, for the published kind of map.

    Source: Yun et al. 2021 (arXiv 2101.05022), section 3.1, for the published kind.
    """
    kinds = {
        "default": Settings(),
        "12 classes, background 192": Settings(top_k=12, background=192),
        "no patterns": Settings(patterns=0),
        "15x15 cells": Settings(grid=(15, 15)),
        "5 per cell": Settings("cell", grid=(15, 15)),
        "5 per cell, zeros": Settings("cell", grid=(15, 15), background=0),
    }
    dense, pooled = "all logits", "probabilities"
    with_sum = Settings(log_sum_exp=True)
    found = [Configuration(dense, (size,)) for size in sizes]
    found += [Configuration(name, (size,), kind) for size in sizes for name, kind in kinds.items()]
    found += [Configuration(f"{dense}, {pooled}", (size,), None, "probability") for size in sizes]
    found += [
        Configuration(f"default, {pooled}", (size,), with_sum, "probability") for size in sizes
    ]
    if len(sizes) > 1:
        pair = (sizes[0], sizes[-1])
        found += [Configuration(dense, pair), Configuration("default", pair, Settings())]
    return [*found, Configuration("as published", (published,), kinds["5 per cell, zeros"])]


def measure_fidelity(  # noqa: PLR0913 -- what to compare, with which teacher, on how many crops
    root: Path,
    teacher: Teacher,
    configurations: Sequence[Configuration],
    *,
    temperatures: Sequence[float] = (1.0,),
    sample: int = 100,
    crops: int = 8,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Fidelity]:
    """Measure several configurations on the same crops.

    Args:
        root: folder of images, at any depth.
        teacher: the classifier.
        configurations: what to compare.
        temperatures: each configuration is measured at all of them.
        sample: how many images, evenly spaced over the folder; fewer if there are not as many.
        crops: random crops per image, with torchvision's defaults (8 to 100 % of the area).
        seed: of the crops; an image's crops depend only on its path and this.
        on_progress: called with (images done, images in total).

    Returns:
        First the floor, where the target is the teacher's prediction for the mirrored crop; then
        each configuration at each temperature.

    Raises:
        DatasetError: the folder holds no readable images.
        TeacherError: the model has no spatial grid, or does not accept such an input size.
        ClassListError: fewer classes than a configuration stores.
    """
    measurement = _Measurement(teacher, configurations, temperatures)
    keys = list_images(root)
    chosen = [keys[place] for place in evenly_spaced(len(keys), sample)]
    for done, key in enumerate(chosen, 1):
        measurement.add(root / key, [seed, *key.encode()], crops)
        if on_progress:
            on_progress(done, len(chosen))
    return measurement.results()


def recommend(results: Sequence[Fidelity], budget: float, least: float = 0.01) -> Fidelity | None:
    """The cheapest of the configurations that are nearly the best within a budget.

    Args:
        results: from ``measure_fidelity``.
        budget: bytes that an image's record may take.
        least: KL in nats by which a more expensive configuration must improve on a cheaper one.

    Returns:
        None if nothing but all logits fits the budget. Only temperature 1 counts, since a file
        stores logits as they are, and only the pooling method ``relabel``, which is the default.
    """
    fitting = [
        each
        for each in results
        if each.configuration.settings
        and each.configuration.method == "relabel"
        and each.temperature == 1
        and each.record_bytes <= budget
    ]
    best = min((each.divergence for each in fitting), default=0.0)
    near = [each for each in fitting if each.divergence <= best + least]
    return min(
        near, key=lambda each: (each.record_bytes * each.cost, each.divergence), default=None
    )


class _Tally:
    """The figures of one configuration: one item for each image."""

    def __init__(self) -> None:
        self.divergence: list[NDArray[np.float64]] = []  # (T,) each
        self.agreement: list[float] = []
        self.record_bytes: list[int] = []

    def add(
        self, predicted: NDArray[np.float64], targets: NDArray[np.float64], record_bytes: int
    ) -> None:
        """Add an image: log-probabilities of the teacher (B, C) and of the targets (T, B, C)."""
        divergence = (np.exp(predicted) * (predicted - targets)).sum(axis=2)
        self.divergence.append(divergence.mean(axis=1))
        self.agreement.append(float((predicted.argmax(1) == targets[0].argmax(1)).mean()))
        self.record_bytes.append(record_bytes)

    def mean(
        self, configuration: Configuration, temperature: float, place: int, cost: float
    ) -> Fidelity:
        """The means over all images, at the temperature with this index."""
        values = np.array(self.divergence)[:, place]
        spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        return Fidelity(
            configuration=configuration,
            temperature=temperature,
            divergence=float(values.mean()),
            error=spread / len(values) ** 0.5,
            agreement=float(np.mean(self.agreement)),
            record_bytes=float(np.mean(self.record_bytes)),
            cost=cost,
        )


class _Measurement:
    """Measures image by image.

    Args:
        teacher: the classifier.
        configurations: what to compare.
        temperatures: each configuration is measured at all of them.

    Raises:
        TeacherError: the model has no spatial grid, or does not accept such an input size.
        ClassListError: fewer classes than a configuration stores.
    """

    def __init__(
        self,
        teacher: Teacher,
        configurations: Sequence[Configuration],
        temperatures: Sequence[float],
    ) -> None:
        self._teacher = teacher
        self._native = teacher.card.native_size
        self._configurations = configurations
        self._temperatures = temperatures
        self._interpolation = InterpolationMode(teacher.card.interpolation)
        self._floor = _Tally()
        self._tallies = [_Tally() for _ in configurations]
        sizes = sorted({size for each in configurations for size in each.sizes})
        self._grids = {size: native_grid(teacher, size) for size in sizes}
        flops = count_flops(teacher, self._native)
        self._costs = {size: count_flops(teacher, size, dense=True) / flops for size in sizes}
        self._forms = [self._form(each) for each in configurations]

    def add(self, path: Path, seed: list[int], crops: int) -> None:
        """Measure one more image; an unreadable one is skipped."""
        try:
            image = read_image(path)
        except DatasetError:
            return
        boxes, pixels = self._crops(image, seed, crops)
        predicted = self._predict(pixels)
        self._floor.add(predicted, self._predict(pixels.flip(3))[None], 0)
        logits = {size: self._logits_map(image, size) for size in self._grids}
        for each, forms, tally in zip(
            self._configurations, self._forms, self._tallies, strict=True
        ):
            maps, record_bytes = self._stored(forms, [logits[size] for size in each.sizes])
            zooms = [size / self._native for size in each.sizes]
            pooled = [self._pooled(maps, zooms, box, each.method) for box in boxes]
            targets = [_log_softmax(np.array(pooled) / t) for t in self._temperatures]
            tally.add(predicted, np.array(targets), record_bytes)

    def results(self) -> list[Fidelity]:
        """The floor, and every configuration at every temperature.

        Raises:
            DatasetError: no image could be read.
        """
        if not self._floor.divergence:
            raise DatasetError("none of the images could be read: nothing was measured")
        floor = Configuration("the mirrored crop", (self._native,))
        found = [self._floor.mean(floor, 1.0, 0, 0.0)]
        for each, tally in zip(self._configurations, self._tallies, strict=True):
            cost = sum(self._costs[size] for size in each.sizes)
            found += [tally.mean(each, t, n, cost) for n, t in enumerate(self._temperatures)]
        return found

    def _form(self, configuration: Configuration) -> tuple[MapForm, ...] | None:
        """The forms of a configuration's maps, one for each size; None for all logits."""
        settings = configuration.settings
        if settings is None:
            return None
        return tuple(
            settings.form(len(self._teacher.classes), self._grids[size], size / self._native)
            for size in configuration.sizes
        )

    def _crops(
        self, image: torch.Tensor, seed: list[int], count: int
    ) -> tuple[list[CropBox], torch.Tensor]:
        """Random boxes, and their pixels at the teacher's native size (B, 3, S, S)."""
        size = [self._native] * 2
        height, width = image.shape[1:]
        boxes: list[CropBox] = []
        pixels: list[torch.Tensor] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
            for _ in range(count):
                top, left, rows, columns = v2.RandomResizedCrop.get_params(image, _SCALE, _RATIO)
                boxes.append(CropBox.from_pixels(left, top, columns, rows, (height, width)))
                crop = image[:, top : top + rows, left : left + columns]
                pixels.append(VF.resize(crop, size, self._interpolation, antialias=True))
        return boxes, torch.stack(pixels)

    def _predict(self, pixels: torch.Tensor) -> NDArray[np.float64]:
        """The teacher's log-probabilities for crops: (B, C)."""
        logits = self._teacher.logits(self._teacher.normalize(pixels))
        return _log_softmax(logits.double().cpu().numpy())

    def _logits_map(self, image: torch.Tensor, size: int) -> torch.Tensor:
        """All logits (1, C, H, W) of the whole image at one size."""
        square = VF.resize(image, [size, size], self._interpolation, antialias=True)
        return self._teacher.logits_map(self._teacher.normalize(square[None])).cpu()

    def _stored(
        self, forms: tuple[MapForm, ...] | None, logits: list[torch.Tensor]
    ) -> tuple[list[LabelMap], int]:
        """An image's maps as a file returns them, and the bytes of their record."""
        if forms is None:
            return [_dense_map(each) for each in logits], 0
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


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-probabilities (..., C)."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _dense_map(logits: torch.Tensor) -> LabelMap:
    """A map that stores every class in every cell."""
    score = logits[0].float().numpy()
    classes = np.arange(len(score), dtype=np.uint32)
    index = np.broadcast_to(classes[:, None, None], score.shape)
    return LabelMap(index, score, None, classes, logits[0].float().logsumexp(0).numpy())
