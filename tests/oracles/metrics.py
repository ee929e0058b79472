"""Metrics as plain loops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.oracles.distillation import height_of
from tests.oracles.forests import chain_of

if TYPE_CHECKING:
    from collections.abc import Sequence


def distance_between(parents: Sequence[int], first: int, second: int, kind: str) -> int:
    """Height or depth of the lowest common ancestor, or the steps between the two through it."""
    up, other = chain_of(parents, first), chain_of(parents, second)
    shared = [node for node in up if node in other]
    match kind:
        case "height":
            roots = [node for node, parent in enumerate(parents) if parent < 0]
            top = 1 + max(height_of(parents, root) for root in roots)
            return height_of(parents, shared[-1]) if shared else top
        case "path":
            return len(up) + len(other) - 2 * len(shared)
        case _:
            return len(shared) - 1


def calibration_error(confidences: Sequence[float], hits: Sequence[bool], bins: int = 15) -> float:
    """Percent: the sum over bins (lower, upper] of their share times |accuracy - confidence|."""
    total = 0.0
    for number in range(bins):
        lower, upper = number / bins, (number + 1) / bins
        inside = [at for at, each in enumerate(confidences) if lower < each <= upper]
        if inside:
            accuracy = sum(hits[at] for at in inside) / len(inside)
            confidence = sum(confidences[at] for at in inside) / len(inside)
            total += len(inside) / len(hits) * abs(accuracy - confidence)
    return 100 * total
