"""The calibration of a file: what brings its pooled logits closer to the teacher's for a crop.

A crop shown to the teacher is a zoom into the image; the map was made at one size. So pooled logits
are too flat for crops that show most of the image and too sure for small ones. Logarithms below
are natural.

# F maps of an image, E listed classes, C classes
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from labelkit.geometry import CropBox

_LARGEST_COUNT = 1 << 53  # every reader of JSON has whole numbers up to here


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a file's pooled logits become a crop's target, by the crop's zoom and their own spread.

    With z the square root of the share of the image's area that a crop covers, x_f the logits
    pooled from map f, and w_f the softmax over maps of ``c_f + d_f log z``::

        x = sum_f w_f x_f,   s = (mean over classes of (x - mean x)^4)^(1/4)
        calibrated logits = x * exp(a + b log z - k log s)

    with z at least 0.01, s between 1e-6 and 1e6, and the exponent between -12 and 12.
    ``label_maps/SPEC.md`` in the repository specifies it for any reader.

    Attributes:
        LARGEST: what all numbers are within, either side of 0.
        DECIMALS: of fitted numbers, so that rounding in a fit rarely shows.
        SMALLEST_ZOOM: of z.
        SMALLEST_SPREAD: of s.
        LARGEST_SPREAD: of s.
        LARGEST_EXPONENT: either side of 0, so that no file makes a target that is not finite.
        scale: a and b.
        compression: k; at 0 logits keep the spread that the map gives them, at 1 all crops of one
            zoom get the same spread.
        mixing: c_f and d_f of every map of an image.
        classes: C, the classes that the mean is taken over, with *other* if the file stores it.
        images: how many images it was fitted on.
        crops: how many crops of each.
        seed: of the crops.
        divergence: KL in nats from the teacher's prediction to the target, for the crops of images
            that it was not fitted on, without and with calibration.
    """

    LARGEST: ClassVar[float] = 16.0
    DECIMALS: ClassVar[int] = 3
    SMALLEST_ZOOM: ClassVar[float] = 0.01
    SMALLEST_SPREAD: ClassVar[float] = 1e-6
    LARGEST_SPREAD: ClassVar[float] = 1e6
    LARGEST_EXPONENT: ClassVar[float] = 12.0

    scale: tuple[float, float]
    compression: float
    mixing: tuple[tuple[float, float], ...]
    classes: int
    images: int = 0
    crops: int = 0
    seed: int = 0
    divergence: tuple[float, float] | None = None

    @property
    def numbers(self) -> list[float]:
        """What was fitted: a, b, k, then c_f and d_f of each map."""
        return [*self.scale, self.compression, *(n for pair in self.mixing for n in pair)]

    def check(self, num_maps: int, num_classes: int) -> None:
        """Raise unless this calibration suits ``num_maps`` maps over ``num_classes`` classes.

        Raises:
            ValueError: a number is out of range; the message names it.
        """
        for number in self.numbers:
            if not abs(number) <= self.LARGEST:
                raise ValueError(
                    f"the calibration has the number {number:g}, expected at most "
                    f"+-{self.LARGEST:g}"
                )
        if not 0 <= self.compression <= 1:
            raise ValueError(f"compression={self.compression:g} is not between 0 and 1")
        if len(self.mixing) != num_maps:
            raise ValueError(f"the calibration mixes {len(self.mixing)} maps, expected {num_maps}")
        if self.classes != num_classes:
            raise ValueError(f"the calibration is of {self.classes} classes, not {num_classes}")
        for name in ("images", "crops", "seed"):
            if not 0 <= getattr(self, name) < _LARGEST_COUNT:
                raise ValueError(f"the calibration's {name} are not between 0 and 2^53")
        if not all(0 <= each < math.inf for each in self.divergence or ()):
            raise ValueError(f"divergence={self.divergence} is not two finite numbers >= 0")

    def shares(self, log_zoom: float) -> NDArray[np.float64]:
        """The weight of each map for a crop (F,), which sum to 1."""
        logits = np.array([c + d * log_zoom for c, d in self.mixing])
        weights = np.exp(logits - logits.max())
        return weights / weights.sum()

    def factor(self, logits: NDArray[np.floating], rest: float, log_zoom: float) -> float:
        """What mean logits are multiplied by.

        Args:
            logits: of E listed classes (E,).
            rest: the logit of all other classes.
            log_zoom: of the crop.
        """
        excess = logits.astype(np.float64)
        excess -= rest
        mean = float(excess.sum()) / self.classes
        excess -= mean
        np.square(excess, out=excess)
        fourth = (float(excess @ excess) + (self.classes - len(excess)) * mean**4) / self.classes
        spread = min(max(fourth**0.25, self.SMALLEST_SPREAD), self.LARGEST_SPREAD)
        start, slope = self.scale
        exponent = start + slope * log_zoom - self.compression * math.log(spread)
        return math.exp(min(max(exponent, -self.LARGEST_EXPONENT), self.LARGEST_EXPONENT))


def log_zoom(box: CropBox) -> float:
    """The logarithm of a crop's zoom: its side over the image's, as a geometric mean.

    At most 0, the whole image, and at least that of 1 % of each side.
    """
    area = (box.right - box.left) * (box.bottom - box.top)
    return math.log(min(max(area**0.5 if area > 0 else 0.0, Calibration.SMALLEST_ZOOM), 1.0))


def average_calibrations(
    calibrations: Sequence[Calibration], weights: Sequence[float]
) -> Calibration:
    """The weighted mean of several calibrations of one form; their order does not matter."""
    first = min(calibrations, key=msgspec.json.encode)
    if all(each == first for each in calibrations):
        return first
    total = math.fsum(weights)

    def mean(values: Iterable[float]) -> float:
        products = (value * weight for value, weight in zip(values, weights, strict=True))
        return round(math.fsum(products) / total, Calibration.DECIMALS) + 0.0  # never -0.0

    numbers = zip(*(each.numbers for each in calibrations), strict=True)
    start, slope, compression, *mixing = map(mean, numbers)
    measured = [each.divergence for each in calibrations if each.divergence]
    divergence = None
    if len(measured) == len(calibrations):
        without, calibrated = map(mean, zip(*measured, strict=True))
        divergence = (without, calibrated)
    return Calibration(
        scale=(start, slope),
        compression=compression,
        mixing=tuple(zip(mixing[::2], mixing[1::2], strict=True)),
        classes=first.classes,
        images=sum(each.images for each in calibrations),
        crops=max(each.crops for each in calibrations),
        seed=min(each.seed for each in calibrations),
        divergence=divergence,
    )
