"""What a run would do, before it does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch

from labelkit.train.failures import update_failures

if TYPE_CHECKING:
    from collections.abc import Iterable

    from labelkit.train.events import RunStarted
    from labelkit.train.recipe import Recipe
    from labelkit.train.update import Updater


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What ``train`` would do with a recipe.

    Attributes:
        recipe: the recipe.
        start: what the run would report at its start.
        labels: what the student learns from, in words.
        updates: of an epoch.
        shown: number of images that an epoch shows.
        dropped: number of images in an epoch's incomplete last batch, which is dropped.
        processes: how many train together.
        checkpoint_bytes: size of ``last.pt``, to a few percent.
    """

    recipe: Recipe
    start: RunStarted
    labels: str
    updates: int
    shown: int
    dropped: int
    processes: int
    checkpoint_bytes: int


def checkpoint_bytes(updater: Updater) -> int:
    """The bytes of all tensors in a checkpoint, after an update with gradients of zero.

    An optimizer has a state only after its first update. This changes the student.

    Raises:
        TrainingError: the optimizer fails, as it would in the run.
    """
    if not updater.optimizer.state_dict()["state"]:
        for weights in updater.student.parameters():
            weights.grad = torch.zeros_like(weights) if weights.requires_grad else None
        with update_failures("optimizer"):
            updater.optimizer.step()
    return _bytes(updater.state())


def _bytes(values: object) -> int:
    """The bytes of all tensors in nested dicts and lists."""
    if isinstance(values, torch.Tensor):
        return values.numel() * values.element_size()
    inner: Iterable[Any] = ()
    if isinstance(values, dict):
        inner = cast("dict[object, object]", values).values()
    elif isinstance(values, list | tuple):
        inner = cast("list[object]", values)
    return sum(map(_bytes, inner))
