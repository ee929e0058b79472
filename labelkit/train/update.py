"""One update: forward, loss, backward, and the optimizer's step.

# B batch, S image side
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import timm.models
import timm.utils
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from labelkit.errors import RecipeError, first_line, is_machine_failure
from labelkit.train.building import (
    create_optimizer,
    create_schedule,
    create_student,
    synchronized,
)
from labelkit.train.failures import batch_of_one, update_failures
from labelkit.train.starting_weights import load_starting_weights
from labelkit.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from timm.scheduler.scheduler import Scheduler
    from timm.utils.model_ema import ModelEmaV3

    from labelkit.train.live_teacher import TaughtTarget
    from labelkit.train.processes import Processes
    from labelkit.train.recipe import Recipe
    from labelkit.train.task import Task

# timm's packages export these without declaring it to type checkers.
_utils: Any = timm.utils
_models: Any = timm.models


@dataclass(frozen=True, eq=False)
class Updater:
    """What an update changes and needs.

    Attributes:
        recipe: what is trained.
        device: the student's.
        processes: those that share each batch.
        batch_size: number of images of an update, over all processes.
        task: prepares a batch, and has the loss.
        student: maps images (B, 3, S, S) to logits.
        forward: the student, compiled if the recipe says so.
        optimizer: of the student's weights.
        schedule: of the optimizer's learning rate, stepped per update.
        epochs: of the whole run.
        scaler: of the loss, so that gradients in float16 do not vanish; it does nothing otherwise.
        average: the moving average of the student, or None.
        start: the digest of the weights of ``model.init``; empty without it.
    """

    recipe: Recipe
    device: torch.device
    processes: Processes
    batch_size: int
    task: Task
    student: nn.Module
    forward: Callable[[Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    schedule: Scheduler
    epochs: int
    scaler: GradScaler
    average: ModelEmaV3 | None
    start: str = ""

    @classmethod
    def build(
        cls,
        recipe: Recipe,
        task: Task,
        device: torch.device,
        processes: Processes,
        batches: Sequence[int],
    ) -> Updater:
        """The student and all that trains it.

        Args:
            recipe: what is trained.
            task: has the class list and the loss, which move to the device.
            device: the student's.
            processes: those that share each batch.
            batches: the sizes of an epoch's batches, which are the same.

        Raises:
            RecipeError: timm rejects a part of the recipe, or an update has too few images.
        """
        run, decay = recipe.run, recipe.model.ema_decay
        if batches[0] < run.accumulate * processes.count:
            raise RecipeError(
                f"an update has {counted(batches[0], 'image', 'images')}, too few for "
                f"{counted(processes.count, 'process', 'processes')} with run.accumulate = "
                f"{run.accumulate}: use a larger run.batch_size and as many images"
            )
        student = create_student(recipe, len(task.classes))
        init, start = recipe.model.init, ""
        if init is not None:
            start = load_starting_weights(student, init, task.classes)
        student = student.to(device)
        if run.sync_bn and processes.count > 1:
            student = synchronized(student, device)
        if run.channels_last:
            # 1.8 times as fast on a CPU, and the layout that GPUs' tensor cores use.
            student = student.to(memory_format=torch.channels_last)
        task.to(device)
        optimizer = create_optimizer(recipe.optimizer, student)
        schedule, epochs = create_schedule(recipe.schedule, optimizer, len(batches), batches[0])
        return cls(
            recipe=recipe,
            device=device,
            processes=processes,
            batch_size=batches[0],
            task=task,
            student=student,
            forward=torch.compile(student) if run.compile else student,
            optimizer=optimizer,
            schedule=schedule,
            epochs=epochs,
            scaler=GradScaler(device.type, enabled=run.precision == "float16"),
            # At first a short average, as in TensorFlow: its weight is at most t / (t + 10).
            average=None
            if decay is None
            else _utils.ModelEmaV3(
                student, decay, use_warmup=True, warmup_gamma=10.0, warmup_power=1.0
            ),
            start=start,
        )

    @property
    def lr(self) -> float:
        """The learning rate of the next update."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def evaluated(self) -> nn.Module:
        """What is evaluated and exported: the student's average if there is one, or the student."""
        return self.student if self.average is None else self.average.module

    def state(self) -> dict[str, Mapping[str, Any]]:
        """What a checkpoint keeps, by the names of its attributes."""
        return {
            "model": self.student.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": {} if self.average is None else self.average.module.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Continue from what ``state`` gave; torch raises many types of errors if it cannot."""
        self.student.load_state_dict(state["model"])
        # It has the learning rate; the schedule needs only the number of updates.
        self.optimizer.load_state_dict(dict(state["optimizer"]))
        if self.average is not None:
            self.average.module.load_state_dict(state["ema"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(dict(state["scaler"]))

    def update(self, images: Tensor, target: Tensor, number: int) -> Tensor:
        """Train on this process's share of a batch, in ``run.accumulate`` parts.

        Args:
            images: (B, 3, S, S).
            target: what the train set yields.
            number: of this update in the run, from 1; schedule and average follow it.

        Returns:
            The mean loss of the whole batch, without gradient.
        """
        layout = torch.channels_last if self.recipe.run.channels_last else torch.preserve_format
        images = images.to(self.device, non_blocking=True, memory_format=layout)
        target = target.to(self.device, non_blocking=True)
        images, prepared = self.task.prepare(images, target, number)
        self.optimizer.zero_grad()
        loss = torch.zeros((), device=self.device)
        for part, part_target in self._parts(images, prepared):
            # The weights of all parts in all processes add up to 1, and so the gradients add up to
            # those of the whole batch.
            share = self.task.loss(self._logits(part), part_target) * (len(part) / self.batch_size)
            self.scaler.scale(share).backward()
            loss += share.detach()
        gradients = [each.grad for each in self.student.parameters() if each.grad is not None]
        self.processes.add_up([*gradients, loss])
        self._step(number)
        return loss

    def share_state(self) -> None:
        """Give all processes the first one's weights, and the mean of batch norm's statistics."""
        for model in (self.student, *([] if self.average is None else [self.average.module])):
            self.processes.average_statistics(model)
            self.processes.copy_from_first(list(model.parameters()))

    def _parts(
        self, images: Tensor, target: Tensor | TaughtTarget
    ) -> Iterator[tuple[Tensor, Tensor | TaughtTarget]]:
        count = self.recipe.run.accumulate
        yield from zip(images.tensor_split(count), target.tensor_split(count), strict=True)

    def _step(self, number: int) -> None:
        """Change the weights by their gradients."""
        with update_failures("optimizer"):
            self._clip(self.recipe.optimizer.clip_grad, self.recipe.optimizer.clip_mode)
            self.scaler.step(self.optimizer)
            self.scaler.update()
        if self.average is not None:
            self.average.update(self.student, number)
        with update_failures("schedule"):
            self.schedule.step_update(number)

    def _clip(self, limit: float | None, mode: str) -> None:
        if limit is None:
            return
        self.scaler.unscale_(self.optimizer)
        # As in timm: adaptive clipping leaves out the classifier.
        weights = _models.model_parameters(self.student, exclude_head=mode == "agc")
        _utils.dispatch_clip_grad(weights, limit, mode)

    def _logits(self, images: Tensor) -> Tensor:
        precision = self.recipe.run.precision
        kind = torch.float16 if precision == "float16" else torch.bfloat16
        try:
            with torch.autocast(self.device.type, kind, enabled=precision != "float32"):
                return self.forward(images).float()
        except ValueError as error:
            if len(images) > 1:
                raise
            raise batch_of_one(self.recipe, self.processes.count) from error
        except RuntimeError as error:
            if not self.recipe.run.compile or is_machine_failure(error):
                raise
            raise RecipeError(
                f"run.compile: torch cannot compile {self.recipe.model.name} on this machine "
                f"({first_line(error)}): set run.compile to false, or install a C++ compiler if "
                "there is none"
            ) from error
