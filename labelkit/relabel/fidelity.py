"""Crop fidelity: how close targets pooled from label maps come to the teacher's prediction.

Random crops are taken as training takes them. The teacher sees each at its native size, and its
prediction is compared with the target pooled from the image's label map: the KL divergence from
prediction to target, and how often both name the same class. Nothing is trained.

Legend: Z crops of an image, C classes, H W grid, S side of a crop.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from labelkit.errors import DatasetError
from labelkit.files import evenly_spaced
from labelkit.label_maps import LabelMap, RecordCodec
from labelkit.relabel.batches import readable_image, resized
from labelkit.relabel.calibrating import held_out_targets
from labelkit.relabel.crop_logits import ImageCrops, crop_logits, divergence, pool_crops
from labelkit.relabel.maps import MapMaker
from labelkit.relabel.random_crops import random_crops
from labelkit.relabel.settings import Settings
from labelkit.sources import as_source
from labelkit.teachers import Teacher, count_flops, resize_grid

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from labelkit.label_maps import MapForm
    from labelkit.sources import ImageSource
    from labelkit.targets import Method

    OnProgress = Callable[[int, int], None]

_SIZE_MULTIPLE = 32
_ZOOMS = (9 / 7, 10 / 7, 2)
_DEFAULT_TOP_K = 8  # default maps of so few classes store all of them
_FEWEST_IMAGES = 2  # to fit on one half and to measure the other


@dataclass(frozen=True)
class Configuration:
    """One kind of label map and how its targets are pooled.

    Attributes:
        name: how tables name it.
        sizes: input sides in pixels; with several, an image has a map of each, and they are mixed
            by the crop's zoom.
        settings: what is stored of the logits; None stores all of them.
        method: how a crop's target is pooled; ``probability`` needs maps with log-sum-exp.
        calibrated: whether pooled logits are calibrated; those of ``probability`` never are.
    """

    name: str
    sizes: tuple[int, ...]
    settings: Settings | None = None
    method: Method = "relabel"
    calibrated: bool = True


@dataclass(frozen=True)
class Fidelity:
    """The fidelity of one configuration.

    Attributes:
        configuration: which.
        divergence: mean KL from the teacher's prediction to the target, in nats.
        error: standard error of that mean, over images.
        agreement: share of crops for which both name the same class.
        top_probability: mean probability of the target's most probable class.
        teacher_top_probability: the same of the teacher's predictions for the crops.
        record_bytes: mean size of an image's record; 0 if all logits are stored.
        cost: floating-point operations for the teacher's maps of an image, relative to its
            prediction for one image at its native size.
        by_image: mean KL of each image's crops.
    """

    configuration: Configuration
    divergence: float
    error: float
    agreement: float
    top_probability: float
    teacher_top_probability: float
    record_bytes: float
    cost: float
    by_image: tuple[float, ...] = field(default=(), repr=False)


def default_sizes(native: int) -> tuple[int, ...]:
    """Input sides to try: from the one that the teacher was trained at up to twice that."""
    sides = (round(native * zoom / _SIZE_MULTIPLE) * _SIZE_MULTIPLE for zoom in _ZOOMS)
    return tuple(sorted({native, *sides}))


def default_configurations(sizes: Sequence[int], num_classes: int = 1000) -> list[Configuration]:
    """What ``labelkit fidelity`` compares: each size with all logits and several kinds of maps.

    Args:
        sizes: input sides in pixels.
        num_classes: length of the class list. What a short list has no room for is reduced, and
            left out where it would equal the default.

    Source: Yun et al. 2021 (arXiv 2101.05022), section 3.1, for the published kind.
    """
    kinds = _kinds(num_classes)
    dense, plain, pooled = "all logits", "not calibrated", "probabilities"
    published = Settings("cell", grid=(15, 15), background=0)
    with_sum = Settings(log_sum_exp=True)
    one = [(size,) for size in sizes]
    pair = [(sizes[0], sizes[-1])] if len(sizes) > 1 else []
    found = [Configuration(dense, each) for each in one]
    found += [Configuration(name, each, kind) for each in one for name, kind in kinds.items()]
    found += [
        Configuration(name, each, kinds.get(name)) for each in pair for name in (dense, "default")
    ]
    found += [
        Configuration(f"{name}, {plain}", each, kinds.get(name), calibrated=False)
        for each in (*one, *pair)
        for name in (dense, "default")
    ]
    found += [Configuration("as published", each, published, calibrated=False) for each in one]
    for name, kind in ((dense, None), ("default", with_sum)):
        found += [
            Configuration(f"{name}, {pooled}", each, kind, "probability", calibrated=False)
            for each in one
        ]
    return found


def _kinds(num_classes: int) -> dict[str, Settings]:
    """Different kinds of maps by name; the default is the first."""
    kinds = {"default": Settings()}
    if num_classes > _DEFAULT_TOP_K:
        top_k = min(12, num_classes)
        background = min(192, num_classes - top_k)
        name = f"{top_k} classes, background {background}"
        kinds[name] = Settings(top_k=top_k, background=background)
        kinds["no patterns"] = Settings(patterns=0)
    kinds["15x15 cells"] = Settings(grid=(15, 15))
    kinds["5 per cell"] = Settings("cell", grid=(15, 15))
    return kinds


def measure_fidelity(  # noqa: PLR0913 -- what to compare, with which teacher, on how many crops
    images: ImageSource | str | os.PathLike[str],
    teacher: Teacher | Sequence[Teacher],
    configurations: Sequence[Configuration],
    *,
    shared: Settings | None = None,
    sample: int = 100,
    crops: int = 8,
    seed: int = 0,
    on_progress: OnProgress | None = None,
    on_calibration: OnProgress | None = None,
) -> list[Fidelity]:
    """Measure several configurations on the same crops.

    Half of the images, every second one, are measured with a calibration that is fitted to the
    crops of the other half, and the other way round.

    Args:
        images: a source, or the path of one.
        teacher: the classifier, or several whose predictions are averaged.
        configurations: what to compare.
        shared: what all of them share: the classes and their synsets, and how predictions are
            averaged. None for the teacher's own classes.
        sample: how many images, evenly spaced over them; fewer if there are not as many.
        crops: random crops per image, with torchvision's defaults (8 to 100 % of the area).
        seed: of the crops; an image's crops depend only on its path and this.
        on_progress: called with (images done, images in total).
        on_calibration: called with (configurations done, configurations in total), afterwards.

    Returns:
        First the floor, where the target is the teacher's prediction for the mirrored crop; then
        each configuration.

    Raises:
        DatasetError: there are fewer than two readable images.
        ClassListMismatch: a teacher lacks one of the classes, or their class lists differ.
        TeacherError: the model has no spatial grid, or does not accept such an input size.
        ClassListError: fewer classes than a configuration stores.
    """
    teachers = [teacher] if isinstance(teacher, Teacher) else list(teacher)
    measurement = _Measurement(teachers, configurations, shared or Settings())
    source = as_source(images)
    keys = source.keys
    chosen = [keys[place] for place in evenly_spaced(len(keys), sample)]
    for done, key in enumerate(chosen, 1):
        image = readable_image(source, key)
        if image is not None:
            measurement.add(image, key, crops, seed)
        if on_progress:
            on_progress(done, len(chosen))
    return measurement.results(on_calibration or (lambda _done, _total: None))


class _Measurement:
    """Measures image by image.

    Args:
        teachers: the classifiers.
        configurations: what to compare.
        shared: the classes, and how predictions are averaged.

    Raises:
        TeacherError: the model has no spatial grid, or does not accept such an input size.
        ClassListError: fewer classes than a configuration stores.
    """

    def __init__(
        self, teachers: Sequence[Teacher], configurations: Sequence[Configuration], shared: Settings
    ) -> None:
        self._configurations = configurations
        self._sizes = sorted({size for each in configurations for size in each.sizes})
        self._maker = MapMaker(teachers, replace(shared, sizes=tuple(self._sizes)))
        self._forms = [self._forms_of(each) for each in configurations]
        self._costs = _costs(teachers, self._sizes)
        self._crops: list[list[ImageCrops]] = [[] for _ in configurations]
        self._bytes: list[list[int]] = [[] for _ in configurations]
        self._predicted: list[torch.Tensor] = []
        self._mirrored: list[torch.Tensor] = []

    def add(self, image: torch.Tensor, key: str, count: int, seed: int) -> None:
        """Measure one more image (3, height, width), uint8."""
        predictions = self._maker.predictions
        boxes, pixels = random_crops(image, key, count, predictions.crop_sizes, seed)
        predicted = predictions.of_crops(pixels)
        self._predicted.append(predicted)
        self._mirrored.append(predictions.of_crops([each.flip(3) for each in pixels]))
        maps = _MapsOfImage(self._maker, image)
        for each, forms, crops, sizes in zip(
            self._configurations, self._forms, self._crops, self._bytes, strict=True
        ):
            numbers = [self._sizes.index(size) for size in each.sizes]
            stored, record_bytes = maps.stored(numbers, forms, dense=each.settings is None)
            crops.append(
                ImageCrops(boxes, predicted, pool_crops(stored, forms, boxes, each.method))
            )
            sizes.append(record_bytes)

    def results(self, on_calibration: OnProgress) -> list[Fidelity]:
        """The floor, and every configuration.

        Raises:
            DatasetError: fewer than two images could be read.
        """
        count = len(self._predicted)
        if count < _FEWEST_IMAGES:
            found = "only one" if count else "none"
            raise DatasetError(
                f"{found} of the images could be read, expected at least {_FEWEST_IMAGES}: nothing "
                "was measured"
            )
        native = self._maker.predictions.crop_sizes[0].side
        floor = Configuration("the mirrored crop", (native,), calibrated=False)
        found = [self._figures(floor, torch.stack(self._mirrored), 0, 0)]
        for done, configuration in enumerate(self._configurations):
            on_calibration(done, len(self._configurations))
            logits = crop_logits(self._crops[done])
            targets = logits.plain
            if configuration.calibrated:
                targets = held_out_targets(logits, self._forms[done])
            record_bytes = float(np.mean(self._bytes[done]))
            cost = sum(self._costs[size] for size in configuration.sizes)
            found.append(self._figures(configuration, targets, record_bytes, cost))
        on_calibration(len(self._configurations), len(self._configurations))
        return found

    def _figures(
        self, configuration: Configuration, targets: torch.Tensor, record_bytes: float, cost: float
    ) -> Fidelity:
        """The means over all crops of log-probabilities (N, Z, C)."""
        predicted = torch.stack(self._predicted)
        by_image = divergence(predicted, targets).mean(dim=1)
        same = predicted.argmax(dim=2) == targets.argmax(dim=2)
        return Fidelity(
            configuration=configuration,
            divergence=float(by_image.mean()),
            error=float(by_image.std() / len(by_image) ** 0.5),
            agreement=float(same.double().mean()),
            top_probability=float(targets.amax(dim=2).exp().mean()),
            teacher_top_probability=float(predicted.amax(dim=2).exp().mean()),
            record_bytes=record_bytes,
            cost=cost,
            by_image=tuple(by_image.tolist()),
        )

    def _forms_of(self, configuration: Configuration) -> tuple[MapForm, ...]:
        """The forms of a configuration's maps, one for each size."""
        numbers = [self._sizes.index(size) for size in configuration.sizes]
        return tuple(
            self._maker.form(configuration.settings or Settings(), each) for each in numbers
        )


class _MapsOfImage:
    """The label maps of an image, each made once: its logits at each size, its maps of each form.

    Args:
        maker: of the maps; its sizes are all that are asked for.
        image: (3, height, width), uint8.
    """

    def __init__(self, maker: MapMaker, image: torch.Tensor) -> None:
        self._maker = maker
        sizes = maker.predictions.input_sizes
        self._pixels = tuple(resized(image, size)[None] for size in sizes)
        self._logits: dict[tuple[int, tuple[int, int]], torch.Tensor] = {}
        self._stored: dict[tuple[MapForm, ...], tuple[list[LabelMap], int]] = {}

    def stored(
        self, numbers: Sequence[int], forms: tuple[MapForm, ...], *, dense: bool
    ) -> tuple[list[LabelMap], int]:
        """Maps as a file returns them, and the bytes of their record.

        Args:
            numbers: which of the maker's sizes.
            forms: of their maps.
            dense: store all logits, on the forms' grids, which takes no bytes.
        """
        if dense:
            return [
                _dense_map(self._of(number, form.grid))
                for number, form in zip(numbers, forms, strict=True)
            ], 0
        if forms not in self._stored:
            codec = RecordCodec(forms, self._maker.outputs, other=self._maker.other)
            records = codec.encode(
                [
                    self._maker.select(self._of(number, form.grid), form)
                    for number, form in zip(numbers, forms, strict=True)
                ]
            )
            maps = [each[0] for each in codec.decode(records)]
            self._stored[forms] = maps, len(codec.compress(records.tobytes()))
        return self._stored[forms]

    def _of(self, number: int, grid: tuple[int, int]) -> torch.Tensor:
        """All logits (1, C, H, W) at one size."""
        if (number, grid) not in self._logits:
            predictions = self._maker.predictions
            native = max(predictions.grids(number))
            one_view = len(predictions.teachers) == 1 and not self._maker.settings.flip
            if one_view and grid != native:  # as the teacher's logits are resized for a file
                logits = resize_grid(self._of(number, native), grid)
            else:
                with torch.inference_mode():
                    logits = predictions(self._pixels, number, grid).cpu()
            self._logits[number, grid] = logits
        return self._logits[number, grid]


def _costs(teachers: Sequence[Teacher], sizes: Sequence[int]) -> dict[int, float]:
    """Operations for a map of each size, relative to those for one image at the native size."""
    native = sum(count_flops(each, each.card.native_size) for each in teachers)
    return {
        size: sum(count_flops(each, size, dense=True) for each in teachers) / native
        for size in sizes
    }


def _dense_map(logits: torch.Tensor) -> LabelMap:
    """A map that stores every class in every cell."""
    score = logits[0].float().numpy()
    classes = np.arange(len(score), dtype=np.uint32)
    index = np.broadcast_to(classes[:, None, None], score.shape)
    return LabelMap(index, score, None, classes, logits[0].float().logsumexp(0).numpy())
