"""Fit a file's calibration: show the teacher random crops, and compare with the pooled logits.

# F maps of an image, N images, Z crops of each, C classes
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

import torch

from labelkit.files import evenly_spaced
from labelkit.label_maps import Calibration, RecordCodec, zooms_ascend
from labelkit.relabel.batches import ImageBatch, readable_image, resized
from labelkit.relabel.crop_logits import (
    CropLogits,
    ImageCrops,
    crop_logits,
    divergence,
    pool_crops,
)
from labelkit.relabel.random_crops import random_crops

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labelkit.label_maps import MapForm
    from labelkit.relabel.maps import MapMaker
    from labelkit.relabel.settings import CalibrationSample
    from labelkit.sources import ImageSource

# Where a fit starts, and stays if there are very few crops; measured (docs/decisions/0010).
_SLOPE, _COMPRESSION, _PREFERENCE = 0.3, 0.8, 3.0
_PRIOR_WEIGHT = 0.3  # as if so many images supported each of these
_ITERATIONS = 100


def calibrate(
    source: ImageSource,
    keys: Sequence[str],
    maker: MapMaker,
    sample: CalibrationSample,
    on_progress: Callable[[int, int], None] | None = None,
) -> Calibration | None:
    """Fit the calibration of a data set's maps.

    Images are skipped that cannot be read, or for one of whose crops a score is not finite.
    Those that are gone since their maps were made are skipped too.

    Args:
        source: of the images.
        keys: all images of the data set.
        maker: of the maps.
        sample: how many images and crops.
        on_progress: called with (images done, images in total).

    Returns:
        None if ``why_uncalibrated`` names a reason, or no image of the sample can be read and
        predicted.
    """
    if why_uncalibrated(maker):
        return None
    chosen = sample_of(keys, sample)
    found: list[ImageCrops] = []
    for done, key in enumerate(chosen, 1):
        image = None
        with suppress(FileNotFoundError):
            image = readable_image(source, key)
        crops = None if image is None else _compare(image, key, maker, sample)
        if crops and crops.predicted.isfinite().all():
            found.append(crops)
        if on_progress:
            on_progress(done, len(chosen))
    return fit(crop_logits(found), maker.forms, sample.seed) if found else None


def sample_of(keys: Sequence[str], sample: CalibrationSample) -> list[str]:
    """The images of a data set that its calibration is fitted on."""
    return [keys[place] for place in evenly_spaced(len(keys), sample.images)]


def why_uncalibrated(maker: MapMaker) -> str:
    """Why such maps cannot be calibrated, in words; empty if they can."""
    if maker.outputs == 1:
        return "there is only one class"
    if len(maker.forms) > 1 and not zooms_ascend([form.zoom for form in maker.forms]):
        return "the maps of an image are not in ascending order of their input sizes"
    return ""


def fit(logits: CropLogits, forms: Sequence[MapForm], seed: int = 0) -> Calibration:
    """The calibration with the lowest KL from the teacher's predictions.

    Its ``divergence`` is that of targets on images that they were not fitted on.

    Args:
        logits: of the crops.
        forms: of the F maps.
        seed: of the crops, for the record.
    """
    count, crops, classes = logits.predicted.shape
    numbers = torch.cat([part.flatten() for part in _minimise(logits, forms)])
    within = numbers.clamp(-Calibration.LARGEST, Calibration.LARGEST).tolist()
    # Never -0.0, which would be another spelling of the same file.
    start, slope, compression, *mixing = (
        round(number, Calibration.DECIMALS) + 0.0 for number in within
    )
    measured = None
    if count > 1:
        plain, fitted = (
            round(float(divergence(logits.predicted, targets).mean()), Calibration.DECIMALS)
            for targets in (logits.plain, held_out_targets(logits, forms))
        )
        measured = (plain, fitted)
    return Calibration(
        scale=(start, slope),
        compression=compression,
        mixing=tuple(zip(mixing[::2], mixing[1::2], strict=True)),
        classes=classes,
        images=count,
        crops=crops,
        seed=seed,
        divergence=measured,
    )


def held_out_targets(logits: CropLogits, forms: Sequence[MapForm]) -> torch.Tensor:
    """Calibrated targets for crops of images that the calibration was not fitted on.

    Each half of the images, every second one, gets what is fitted on the other half.

    Args:
        logits: of the crops of at least two images.
        forms: of the F maps.

    Returns:
        Log-probabilities (N, Z, C).
    """
    targets = torch.empty_like(logits.predicted)
    halves = [slice(start, None, 2) for start in (0, 1)]
    for half, other in zip(halves, reversed(halves), strict=True):
        numbers = _minimise(logits.images(other), forms)
        targets[half] = _log_targets(logits.images(half), *numbers).float()
    return targets


def _compare(
    image: torch.Tensor, key: str, maker: MapMaker, sample: CalibrationSample
) -> ImageCrops:
    """Show the teacher random crops of an image, and pool its maps, as a file would hold them."""
    predictions = maker.predictions
    crops = random_crops(image, key, sample.crops, predictions.crop_sizes, sample.seed)
    pixels = tuple(resized(image, size)[None] for size in predictions.input_sizes)
    codec = RecordCodec(maker.forms, maker.outputs, other=maker.other)
    stored = codec.decode(codec.encode(maker(ImageBatch([key], pixels))))
    pooled = pool_crops([each[0] for each in stored], maker.forms, crops.boxes)
    return ImageCrops(crops.boxes, predictions.of_crops(crops.pixels), pooled)


_Numbers = tuple[
    torch.Tensor, torch.Tensor, torch.Tensor
]  # scale (2,), compression (), mixing (F, 2)


def _minimise(logits: CropLogits, forms: Sequence[MapForm]) -> _Numbers:
    """Fit by L-BFGS, in units in which all numbers are of order 1."""
    start = _start(forms)
    fitted = start.clone().requires_grad_()
    unit = _spread(logits.pooled.double().mean(dim=0)).log().mean()
    optimiser = torch.optim.LBFGS([fitted], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        targets = _log_targets(logits, *_numbers(fitted, unit))
        prior = (fitted - start).square().sum() * (_PRIOR_WEIGHT / len(logits.predicted))
        total = divergence(logits.predicted, targets).mean() + prior
        total.backward()
        return total

    with torch.enable_grad():
        optimiser.step(loss)
    return _numbers(fitted.detach(), unit)


def _start(forms: Sequence[MapForm]) -> torch.Tensor:
    """a, b and k in the units of ``_numbers``, then c_f and d_f of all maps but the first."""
    zooms = [form.zoom or 1.0 for form in forms]
    slopes = [-_PREFERENCE * math.log2(zoom / zooms[0]) for zoom in zooms[1:]]
    mixing = [number for slope in slopes for number in (0.0, slope)]
    compression = math.log(_COMPRESSION / (1 - _COMPRESSION))
    return torch.tensor([0.0, _SLOPE, compression, *mixing], dtype=torch.float64)


def _numbers(fitted: torch.Tensor, unit: torch.Tensor) -> _Numbers:
    """What a ``Calibration`` holds, from what is fitted.

    Args:
        fitted: a for logits of a usual spread, b, the logit of k, and the mixing.
        unit: the logarithm of the usual spread.
    """
    compression = fitted[2].sigmoid()
    scale = torch.stack([fitted[0] + compression * unit, fitted[1]])
    mixing = torch.cat([fitted.new_zeros(2), fitted[3:]]).view(-1, 2)
    return scale, compression, mixing


def _log_targets(
    logits: CropLogits, scale: torch.Tensor, compression: torch.Tensor, mixing: torch.Tensor
) -> torch.Tensor:
    """Calibrated log-probabilities (N, Z, C), as ``Calibration`` defines them."""
    start, slope = mixing[:, :, None, None].unbind(dim=1)
    shares = (start + slope * logits.log_zooms).softmax(dim=0)
    mixed = (logits.pooled.double() * shares[..., None]).sum(dim=0)
    limit = Calibration.LARGEST_EXPONENT
    factor = scale[0] + scale[1] * logits.log_zooms - compression * _spread(mixed).log()
    return (mixed * factor.clamp(-limit, limit).exp()[..., None]).log_softmax(dim=-1)


def _spread(logits: torch.Tensor) -> torch.Tensor:
    """The fourth root of the mean fourth power of deviations from the mean: (..., C) to (...)."""
    deviations = logits - logits.mean(dim=-1, keepdim=True)
    return (
        deviations.square()
        .square()
        .mean(dim=-1)
        .clamp(min=Calibration.SMALLEST_SPREAD**4)
        .pow(0.25)
    )
