"""The label maps of a batch of images as tensors, on any device.

Legend: B batch, E entries, K entries per cell, H W grid, M classes and P patterns of a background.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import torch

from labelkit.label_maps.label_map import Background, LabelMaps
from labelkit.label_maps.pooling_options import check_options, require_log_sum_exp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from labelkit.label_maps.label_map import LabelMap
    from labelkit.label_maps.pooling_options import Absent

# Stored logits lie above their log-sum-exp by rounding only; those of a wrong file stay finite.
_HIGHEST = 80.0


class MapBatch(NamedTuple):
    """The label maps of B images as tensors, ready to be pooled.

    What stands where a class is not stored is subtracted once, here. A tuple of tensors, which
    pinned memory and data loaders carry along.

    Attributes:
        classes: of every entry (B, E), int64: those that cells store, E - M = K if all cells store
            the same ones, else K*H*W; then those of the background.
        excess: scores less what the class has where it is not stored (B, K, H, W), float32.
        behind: logits of the background's classes, less ``rest`` (B, M), float32.
        coefficients: how much of each pattern they have (B, P, M), float32.
        patterns: (B, P, H, W), float32.
        rest: the logit of all other classes (B,), float32.
    """

    classes: torch.Tensor
    excess: torch.Tensor
    behind: torch.Tensor
    coefficients: torch.Tensor
    patterns: torch.Tensor
    rest: torch.Tensor

    @classmethod
    def stack(cls, maps: Sequence[LabelMap] | LabelMaps, *, absent: Absent = "background") -> Self:
        """Stack the label maps of B images, on the CPU.

        Args:
            maps: all of one form; those of ``LabelMapFile.batch`` lie side by side already.
            absent: as in ``pool``.

        Raises:
            ValueError: no maps, maps of several forms, or another value of ``absent``.
        """
        check_options("relabel", absent, 0)
        every, behind, classes = _opened(maps, absent)
        count, _, *grid = every.score.shape
        size = behind.classes.shape[1]
        rest = np.asarray(behind.rest, np.float32)
        excess = every.score - rest[:, None, None, None]
        logits = behind.logits - rest[:, None]
        if every.index.ndim == 4:
            none = np.zeros_like(rest[:, None])
            excess -= _behind_entries(every.index, behind.classes, logits, none)
        coefficients, patterns = behind.coefficients, behind.patterns
        if coefficients is None or patterns is None:
            coefficients = np.zeros((count, 0, size), np.float32)
            patterns = np.zeros((count, 0, *grid), np.float32)
        return cls(
            _tensor(classes),
            _tensor(excess.astype(np.float32, copy=False)),
            _tensor(logits),
            _tensor(coefficients),
            _tensor(patterns),
            _tensor(rest),
        )

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """The same maps on a device."""
        return type(self)(*(each.to(device, non_blocking=non_blocking) for each in self))


class ProbabilityBatch(NamedTuple):
    """The probabilities that label maps of B images tell of, cell by cell, ready to be pooled.

    A tuple of tensors as ``MapBatch``, for means of probabilities instead of logits.

    Attributes:
        classes: of every entry (B, E), int64, as in ``MapBatch``.
        excess: probabilities of the entries, less what the class has where it is not stored
            (B, K, H, W), float32.
        behind: probabilities of the background's classes, less ``rest`` (B, M, H, W), float32.
        rest: the probability of each other class (B, H, W), float32.
    """

    classes: torch.Tensor
    excess: torch.Tensor
    behind: torch.Tensor
    rest: torch.Tensor

    @classmethod
    def stack(
        cls,
        maps: Sequence[LabelMap] | LabelMaps,
        *,
        absent: Absent = "background",
        num_classes: int | None = None,
    ) -> Self:
        """Stack the label maps of B images, on the CPU.

        Args:
            maps: all of one form, with the log-sum-exp of their cells.
            absent: as in ``pool`` with the method ``probability``.
            num_classes: C; where the maps name all of them, no digits are lost to what would
                stand for others.

        Raises:
            ValueError: maps that do not keep the log-sum-exp, no maps, maps of several forms, or
                another value of ``absent``.
        """
        check_options("probability", absent, 0)
        every, behind, classes = _opened(maps, absent)
        lse = require_log_sum_exp(every.log_sum_exp)[:, None].astype(np.float32, copy=False)
        others = np.asarray(behind.rest, np.float32)[:, None]
        whole = every.index.shape[1] if every.index.ndim == 4 else classes.shape[1]
        if absent == "zeros" or whole == num_classes:
            others = np.full_like(others, -np.inf)
        rest = _shares(others[:, :, None, None], lse)
        fill = rest
        if every.index.ndim == 4 and behind.classes.size:
            own = _behind_entries(every.index, behind.classes, behind.logits, others)
            fill = _shares(own, lse)
        return cls(
            _tensor(classes),
            _tensor(_shares(every.score, lse) - fill),
            _tensor(_shares(_planes(behind, lse.shape[2:]), lse) - rest),
            _tensor(rest[:, 0]),
        )

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """The same probabilities on a device."""
        return type(self)(*(each.to(device, non_blocking=non_blocking) for each in self))


def _opened(
    maps: Sequence[LabelMap] | LabelMaps, absent: Absent
) -> tuple[LabelMaps, Background, NDArray[np.int64]]:
    """Maps side by side, what counts where they store nothing, and all entries' classes (B, E)."""
    every = maps if isinstance(maps, LabelMaps) else LabelMaps.stack(maps)
    behind = every.background
    if absent == "zeros" or behind is None:
        behind = _nothing(len(every))
    own = behind.classes.astype(np.int64)
    stored = every.index.reshape(len(every), -1).astype(np.int64)
    return every, replace(behind, classes=own), np.concatenate([stored, own], axis=1)


def _shares(logits: NDArray[np.floating], lse: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities (B, K, H, W) of logits under log-sum-exps (B, 1, H, W)."""
    shares = np.subtract(logits, lse, dtype=np.float32)
    np.minimum(shares, _HIGHEST, out=shares)
    return np.exp(shares, out=shares)


def _planes(behind: Background, grid: tuple[int, ...]) -> NDArray[np.float32]:
    """The logits of the background's classes in every cell: (B, M, H, W)."""
    planes = np.repeat(behind.logits[:, :, None], grid[0] * grid[1], axis=2)
    if behind.coefficients is not None and behind.patterns is not None:
        flat = behind.patterns.reshape(*behind.patterns.shape[:2], -1)
        planes += behind.coefficients.swapaxes(1, 2) @ flat
    return planes.reshape(*planes.shape[:2], *grid)


def _behind_entries(
    index: NDArray[np.integer],
    classes: NDArray[np.integer],
    logits: NDArray[np.float32],
    others: NDArray[np.float32],
) -> NDArray[np.float32]:
    """What the background has where classes are stored: (B, K, H, W).

    Args:
        index: the stored classes.
        classes: its own (B, M).
        logits: of these (B, M).
        others: of all others (B, 1).
    """
    count, size = classes.shape
    if not size:
        return np.broadcast_to(others[:, :, None, None], index.shape)
    span = int(max(index.max(), classes.max())) + 1
    offsets = np.arange(count) * span
    ascending = (classes + offsets[:, None]).ravel()
    wanted = index.reshape(count, -1) + offsets[:, None]
    places = np.searchsorted(ascending, wanted).clip(max=len(ascending) - 1)
    found = np.where(ascending[places] == wanted, logits.ravel()[places], others)
    return found.reshape(index.shape)


def _nothing(count: int) -> Background:
    """A background of logit 0 for some images."""
    empty = np.empty((count, 0), np.float32)
    return Background(empty.astype(np.int64), empty, np.zeros(count, np.float32))


def _tensor(array: NDArray[np.generic]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
