"""Soft targets that list a few classes and share one value among all others. Loads no torch.

Legend: B batch, E entries, C classes, h w tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor


_SMALLEST, _LARGEST = (
    float(number) for number in (np.finfo(np.float32).tiny, np.finfo(np.float32).max)
)


@dataclass(frozen=True, eq=False)
class SparseLogits:
    """Logits of a few classes and the one logit that all others share: one crop's.

    Attributes:
        classes: class indices (E,), ascending and distinct.
        logits: their logits (E,), float32.
        background: the logit of every class that is not listed; ``-inf`` for none of the mass.
    """

    classes: NDArray[np.intp]
    logits: NDArray[np.float32]
    background: float = 0.0

    def dense(self, num_classes: int) -> NDArray[np.float32]:
        """All logits (C,), float32.

        Raises:
            ValueError: a listed class does not exist among ``num_classes``.
        """
        self._check(num_classes)
        dense = np.full(num_classes, self.background, np.float32)
        dense[self.classes] = self.logits
        return dense

    def softmax(
        self, num_classes: int, temperature: float = 1.0
    ) -> tuple[NDArray[np.float32], float]:
        """Softmax over all classes, without an array of all classes.

        Args:
            num_classes: C.
            temperature: what the logits are divided by; above 1 softens.

        Returns:
            The probabilities of ``classes`` (E,), float32, and the one of each other class.

        Raises:
            ValueError: a listed class does not exist among ``num_classes``, the temperature is
                not positive, or no class has a logit above ``-inf``.
        """
        self._check(num_classes)
        _check_temperature(temperature)
        others = num_classes - len(self.classes)
        highest = max(
            float(self.logits.max()) if len(self.logits) else -np.inf,
            self.background if others else -np.inf,
        )
        if highest == -np.inf:
            raise ValueError("no class has a logit above -inf: there is no probability to share")
        listed = np.exp((self.logits - np.float32(highest)) / np.float32(temperature))
        other = float(np.exp((self.background - highest) / temperature)) if others else 0.0
        whole = float(listed.sum(dtype=np.float64)) + others * other
        return (listed / whole).astype(np.float32), other / whole

    def probabilities(self, num_classes: int, temperature: float = 1.0) -> NDArray[np.float32]:
        """``softmax`` as one array (C,), float32; sums to one.

        Raises:
            ValueError: as ``softmax``.
        """
        listed, other = self.softmax(num_classes, temperature)
        dense = np.full(num_classes, other, np.float32)
        dense[self.classes] = listed
        return dense

    def _check(self, num_classes: int) -> None:
        _check_classes(self.classes, num_classes)


@dataclass(frozen=True, eq=False)
class TokenLogits:
    """Logits of a few classes, and the one that all others share, for each of h x w tokens.

    Targets for the spatial outputs of a student, row by row from the top, each from the left.

    Attributes:
        classes: class indices (E,), ascending and distinct.
        logits: their logits (E, h, w), float32.
        background: the logit of every class that is not listed (h, w), float32; ``-inf`` for none
            of the mass.

    Source: Jiang et al. 2021 (arXiv 2104.10858), section 3.2, "token labeling".
    """

    classes: NDArray[np.intp]
    logits: NDArray[np.float32]
    background: NDArray[np.float32]

    def dense(self, num_classes: int) -> NDArray[np.float32]:
        """All logits (C, h, w), float32.

        Raises:
            ValueError: a listed class does not exist among ``num_classes``.
        """
        _check_classes(self.classes, num_classes)
        dense = np.empty((num_classes, *self.background.shape), np.float32)
        dense[:] = self.background
        dense[self.classes] = self.logits
        return dense

    def probabilities(self, num_classes: int, temperature: float = 1.0) -> NDArray[np.float32]:
        """Softmax over the classes of each token (C, h, w), float32.

        Args:
            num_classes: C.
            temperature: what the logits are divided by; above 1 softens.

        Raises:
            ValueError: a listed class does not exist among ``num_classes``, the temperature is
                not positive, or no class of some token has a logit above ``-inf``.
        """
        _check_temperature(temperature)
        _check_classes(self.classes, num_classes)
        others = num_classes - len(self.classes)
        highest = self.logits.max(axis=0, initial=-np.inf)
        if others:
            highest = np.maximum(highest, self.background)
        if (highest == -np.inf).any():
            raise ValueError("a token has no class with a logit above -inf")
        listed = np.exp((self.logits - highest) / np.float32(temperature))
        whole = listed.sum(axis=0)
        dense = np.empty((num_classes, *whole.shape), np.float32)
        if others:
            other = np.exp((self.background - highest) / np.float32(temperature))
            whole += others * other
            dense[:] = other / whole
        dense[self.classes] = listed / whole
        return dense


def _check_classes(classes: NDArray[np.intp], num_classes: int) -> None:
    if classes.size and int(classes[-1]) >= num_classes:
        raise ValueError(f"class {classes[-1]} is not one of {num_classes} classes")


def _check_temperature(temperature: float) -> None:
    # Divided by in float32, which makes 0 of 1e-46 and infinity of 1e39.
    if not _SMALLEST <= temperature <= _LARGEST:
        raise ValueError(
            f"temperature is {temperature}, expected a positive number that float32 can hold"
        )


class SparseProbabilities(NamedTuple):
    """Rows of (B, C) that are one value almost everywhere, as torch tensors.

    ``value[b, c] = rest[b] + sum of excess[b, e] over the entries with classes[b, e] == c``. So
    an entry of excess 0 is padding, a class may be listed twice, and mixing two targets is joining
    their entries. A tuple of tensors, which data loaders, pinned memory and trainers carry along.

    Attributes:
        classes: class indices (B, E), int64; in any order.
        excess: what each entry adds to ``rest`` (B, E), floats.
        rest: the value of every class that is not listed (B,), floats.
    """

    classes: Tensor
    excess: Tensor
    rest: Tensor

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """The same targets on a device."""
        return type(self)(*(each.to(device, non_blocking=non_blocking) for each in self))

    def dense(self, num_classes: int) -> Tensor:
        """All values (B, C), of the type of ``excess``."""
        rows = self.rest.unsqueeze(1).repeat(1, num_classes)
        return rows.scatter_add_(1, self.classes, self.excess)

    def softmax(self, num_classes: int, temperature: float = 1.0) -> Self:
        """Softmax of each row's values, without a row of all classes.

        Args:
            num_classes: C.
            temperature: what the values are divided by; above 1 softens.

        Returns:
            Probabilities, of the same entries. Where a class is listed twice, they are wrong: take
            ``dense(num_classes).softmax(dim=1)`` for those.

        Raises:
            ValueError: the temperature is not positive, or float32 cannot hold it.
        """
        _check_temperature(temperature)
        others = num_classes - self.classes.shape[1]
        values = self.excess + self.rest[:, None]
        # Where all classes are listed, nothing has it.
        highest = values.amax(dim=1).maximum(self.rest) if others else values.amax(dim=1)
        listed = ((values - highest[:, None]) / temperature).exp()
        other = ((self.rest - highest) / temperature).clamp(max=0).exp()
        whole = listed.sum(dim=1) + others * other
        rest = other / whole
        return type(self)(self.classes, listed / whole[:, None] - rest[:, None], rest)

    def mixed(self, other: Self, share: float) -> Self:
        """Row by row ``(1 - share) * self + share * other``, as MixUp and CutMix do it."""
        import torch

        kept = 1.0 - share
        return type(self)(
            torch.cat([self.classes, other.classes], dim=1),
            torch.cat([self.excess * kept, other.excess * share], dim=1),
            self.rest * kept + other.rest * share,
        )
