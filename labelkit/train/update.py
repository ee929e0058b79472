"""One update: forward, loss, backward, and the optimizer's step.

# B batch, S image side
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from labelkit.train.failures import batch_of_one, update_failures

if TYPE_CHECKING:
    from timm.scheduler.scheduler import Scheduler

    from labelkit.train.recipe import Recipe
    from labelkit.train.task import Task


@dataclass(frozen=True, eq=False)
class Updater:
    """What an update changes and needs.

    Attributes:
        recipe: what is trained.
        device: the student's.
        student: maps images (B, 3, S, S) to logits.
        task: prepares a batch, and has the loss.
        optimizer: of the student's weights.
        schedule: of the optimizer's learning rate, stepped per update.
    """

    recipe: Recipe
    device: torch.device
    student: nn.Module
    task: Task
    optimizer: torch.optim.Optimizer
    schedule: Scheduler

    @property
    def lr(self) -> float:
        """The learning rate of the next update."""
        return float(self.optimizer.param_groups[0]["lr"])

    def update(self, images: Tensor, target: Tensor, number: int) -> Tensor:
        """Train on a batch (B, 3, S, S).

        Args:
            images: the batch.
            target: what the train set yields.
            number: of this update in the run, from 1; the schedule follows it.

        Returns:
            The batch's loss, without gradient.
        """
        images = images.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        target = target.to(self.device, non_blocking=True)
        images, target = self.task.prepare(images, target, number)
        loss = self.task.loss(self._logits(images), target)
        self.optimizer.zero_grad()
        loss.backward()
        with update_failures("optimizer"):
            self.optimizer.step()
        with update_failures("schedule"):
            self.schedule.step_update(number)
        return loss.detach()

    def _logits(self, images: Tensor) -> Tensor:
        half = self.recipe.run.precision == "bfloat16"
        try:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
                return self.student(images).float()
        except ValueError as error:
            if len(images) > 1:
                raise
            raise batch_of_one(self.recipe) from error
