"""Sparse targets: a few classes with a value each, and one value that all other classes share.

Loads no torch. # B batch, E entries, C classes, h w tokens
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

Method = Literal["relabel", "probability"]
"""What pooling averages: logits, as published, or each cell's probabilities."""

Absent = Literal["background", "zeros"]
"""What a class counts as in cells that do not store it: the map's background, or logit 0."""

OTHER = "*other*"
"""What stands for the class index C of maps with *other*; no class id is likely to be this."""

_SMALLEST, _LARGEST = (
    float(number) for number in (np.finfo(np.float32).tiny, np.finfo(np.float32).max)
)


def check_pooling_options(method: Method, absent: Absent) -> None:
    """Raise unless both are known.

    Raises:
        ValueError: the message names what was found and what is expected.
    """
    if method not in {"relabel", "probability"}:
        raise ValueError(f"method is {method!r}, expected relabel or probability")
    if absent not in {"background", "zeros"}:
        raise ValueError(f"absent is {absent!r}, expected background or zeros")


@dataclass(frozen=True, eq=False)
class SparseLogits:
    """One crop's logits: those of a few classes, and one that all other classes share.

    Attributes:
        classes: class indices (E,), ascending and distinct.
        logits: their logits (E,), float32.
        rest: the logit of every class that is not listed; ``-inf`` gives them no probability.
    """

    classes: NDArray[np.intp]
    logits: NDArray[np.float32]
    rest: float = 0.0

    def dense(self, num_classes: int) -> NDArray[np.float32]:
        """All logits (C,), float32.

        Raises:
            ValueError: a listed class is not among the ``num_classes``.
        """
        _check_classes(self.classes, num_classes)
        dense = np.full(num_classes, self.rest, np.float32)
        dense[self.classes] = self.logits
        return dense

    def softmax(
        self, num_classes: int, temperature: float = 1.0
    ) -> tuple[NDArray[np.float32], float]:
        """Softmax over all classes, computed from the listed ones.

        Args:
            num_classes: C.
            temperature: what the logits are divided by; above 1 softens.

        Returns:
            The probabilities of ``classes`` (E,), float32, and that of each other class.

        Raises:
            ValueError: a listed class is not among the ``num_classes``, the temperature is not
                positive, or no class has a logit above ``-inf``.
        """
        _check_classes(self.classes, num_classes)
        _check_temperature(temperature)
        others = num_classes - len(self.classes)
        highest = max(
            float(self.logits.max()) if len(self.logits) else -np.inf,
            self.rest if others else -np.inf,
        )
        if highest == -np.inf:
            raise ValueError("no class has a logit above -inf, so the softmax is undefined")
        listed = np.exp((self.logits - np.float32(highest)) / np.float32(temperature))
        other = float(np.exp((self.rest - highest) / temperature)) if others else 0.0
        total = float(listed.sum(dtype=np.float64)) + others * other
        return (listed / total).astype(np.float32), other / total

    def probabilities(self, num_classes: int, temperature: float = 1.0) -> NDArray[np.float32]:
        """The softmax as a dense array (C,), float32; sums to one.

        Raises:
            ValueError: as ``softmax``.
        """
        listed, other = self.softmax(num_classes, temperature)
        dense = np.full(num_classes, other, np.float32)
        dense[self.classes] = listed
        return dense


@dataclass(frozen=True, eq=False)
class TokenLogits:
    """Logits for each of h x w tokens: those of a few classes, and one that all others share.

    Targets for a student's spatial outputs, row by row from the top, left to right.

    Attributes:
        classes: class indices (E,), ascending and distinct.
        logits: their logits (E, h, w), float32.
        rest: the logit of every class that is not listed (h, w), float32; ``-inf`` gives them no
            probability.

    Source: Jiang et al. 2021 (arXiv 2104.10858), section 3.2, "token labeling".
    """

    classes: NDArray[np.intp]
    logits: NDArray[np.float32]
    rest: NDArray[np.float32]

    def dense(self, num_classes: int) -> NDArray[np.float32]:
        """All logits (C, h, w), float32.

        Raises:
            ValueError: a listed class is not among the ``num_classes``.
        """
        _check_classes(self.classes, num_classes)
        dense = np.empty((num_classes, *self.rest.shape), np.float32)
        dense[:] = self.rest
        dense[self.classes] = self.logits
        return dense

    def probabilities(self, num_classes: int, temperature: float = 1.0) -> NDArray[np.float32]:
        """Softmax over the classes of each token (C, h, w), float32.

        Args:
            num_classes: C.
            temperature: what the logits are divided by; above 1 softens.

        Raises:
            ValueError: a listed class is not among the ``num_classes``, the temperature is not
                positive, or some token has no class with a logit above ``-inf``.
        """
        _check_temperature(temperature)
        _check_classes(self.classes, num_classes)
        others = num_classes - len(self.classes)
        highest = self.logits.max(axis=0, initial=-np.inf)
        if others:
            highest = np.maximum(highest, self.rest)
        if (highest == -np.inf).any():
            raise ValueError("a token has no class with a logit above -inf")
        listed = np.exp((self.logits - highest) / np.float32(temperature))
        total = listed.sum(axis=0)
        dense = np.empty((num_classes, *total.shape), np.float32)
        if others:
            other = np.exp((self.rest - highest) / np.float32(temperature))
            total += others * other
            dense[:] = other / total
        dense[self.classes] = listed / total
        return dense


class SparseLogitsBatch(NamedTuple):
    """Logits (B, C) of many crops that share one value among most classes, as torch tensors.

    ``logit[b, c] = rest[b] + sum of excess[b, e] over the entries with classes[b, e] == c``: a
    class may be listed several times, once for each cell that stores it.

    Attributes:
        classes: class indices (B, E), int64, in any order.
        excess: what each entry adds to ``rest`` (B, E), floats.
        rest: the logit of every class that is not listed (B,), floats.
    """

    classes: Tensor
    excess: Tensor
    rest: Tensor

    def dense(self, num_classes: int) -> Tensor:
        """All logits (B, C), of the type of ``excess``."""
        return _dense(self.classes, self.excess, self.rest, num_classes)

    def softmax(self, num_classes: int, temperature: float = 1.0) -> SparseProbabilities:
        """Softmax over all classes, computed from the entries; each class is listed at most once.

        Args:
            num_classes: C.
            temperature: what the logits are divided by; above 1 softens.

        Returns:
            The probabilities of the same entries. Wrong for a class that is listed twice: use
            ``dense(num_classes).softmax(dim=1)`` there.

        Raises:
            ValueError: the temperature is not positive, or float32 cannot hold it.
        """
        _check_temperature(temperature)
        others = num_classes - self.classes.shape[1]
        logits = self.excess + self.rest[:, None]
        # If every class is listed, no class has the logit ``rest``.
        highest = logits.amax(dim=1).maximum(self.rest) if others else logits.amax(dim=1)
        listed = ((logits - highest[:, None]) / temperature).exp()
        other = ((self.rest - highest) / temperature).clamp(max=0).exp()
        total = listed.sum(dim=1) + others * other
        rest = other / total
        return SparseProbabilities(self.classes, listed / total[:, None] - rest[:, None], rest)


class SparseProbabilities(NamedTuple):
    """Probabilities (B, C) that are one value for most classes, as torch tensors.

    ``p[b, c] = rest[b] + sum of excess[b, e] over the entries with classes[b, e] == c``. So an
    entry with excess 0 is padding, a class may be listed twice, and two targets are mixed by
    joining their entries. A tuple of tensors, which data loaders, pinned memory and trainers pass
    along. One sample's target has no batch axis: (E,), (E,) and ().

    Attributes:
        classes: class indices (B, E), int64, in any order.
        excess: what each entry adds to ``rest`` (B, E), floats.
        rest: the probability of every class that is not listed (B,), floats.
    """

    classes: Tensor
    excess: Tensor
    rest: Tensor

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """The same targets on a device."""
        return type(self)(*(part.to(device, non_blocking=non_blocking) for part in self))

    def dense(self, num_classes: int) -> Tensor:
        """All probabilities (B, C), or (C,) of one sample, of the type of ``excess``."""
        return _dense(self.classes, self.excess, self.rest, num_classes)

    def mixed(self, other: Self, share: float) -> Self:
        """Row by row ``(1 - share) * self + share * other``, as MixUp and CutMix do."""
        import torch

        kept = 1.0 - share
        return type(self)(
            torch.cat([self.classes, other.classes], dim=-1),
            torch.cat([self.excess * kept, other.excess * share], dim=-1),
            self.rest * kept + other.rest * share,
        )


def _dense(classes: Tensor, excess: Tensor, rest: Tensor, num_classes: int) -> Tensor:
    rows = rest.unsqueeze(-1).repeat(*[1] * rest.ndim, num_classes)
    return rows.scatter_add_(-1, classes, excess)


def _check_classes(classes: NDArray[np.intp], num_classes: int) -> None:
    if classes.size and int(classes[-1]) >= num_classes:
        raise ValueError(f"class {classes[-1]} is not one of {num_classes} classes")


def _check_temperature(temperature: float) -> None:
    # Logits are divided in float32, which rounds 1e-46 to 0 and 1e39 to infinity.
    if not _SMALLEST <= temperature <= _LARGEST:
        raise ValueError(
            f"temperature is {temperature}, expected a positive number that float32 can hold"
        )
