"""The training loop: epochs of steps, each followed by evaluation, a checkpoint and a log line.

Legend: B batch, C classes, S image side.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec
import numpy as np
import torch
from torch import nn

from labelkit.device import choose_device
from labelkit.errors import TrainingError
from labelkit.train.batches import EpochSampler, Loader, make_loader, whole_batches
from labelkit.train.checkpoint import Checkpoint, read_checkpoint, save_student
from labelkit.train.evaluation import evaluate
from labelkit.train.files import without_detours
from labelkit.train.recipe import Recipe, recipe_fields
from labelkit.train.records import (
    EpochLog,
    EpochRecord,
    Event,
    Outcome,
    RunStarted,
    StepRecord,
    best_record,
)
from labelkit.train.student import (
    check_model_name,
    create_optimizer,
    create_schedule,
    create_student,
)
from labelkit.train.tasks import Task, build_task

if TYPE_CHECKING:
    from collections.abc import Callable

    from timm.scheduler.scheduler import Scheduler
    from torch.utils.data import Dataset

    from labelkit.train.batches import Batch

REPORT_SECONDS = 0.25  # reading the loss waits for the device, so it is read this often at most


def train(recipe: Recipe, *, on_event: Callable[[Event], object] = lambda _: None) -> Outcome:
    """Train the student of a recipe, or go on where an earlier run of it stopped.

    After each epoch the output folder holds ``log.jsonl``, ``last.pt`` and ``best.safetensors``. A
    run that was interrupted, in whatever way, repeats the epoch it was in. All randomness follows
    from the seed, the epoch and the image, so on the CPU the numbers are those of a run without
    interruption, with any number of workers; they depend on torch's number of threads.

    Args:
        recipe: what to train; see ``read_recipe``.
        on_event: called with a ``RunStarted``, then ``StepRecord``s and an ``EpochRecord`` per
            epoch.

    Raises:
        RecipeError: the recipe names what does not exist, or timm refuses it.
        LabelkitError: data, a class list or a checkpoint does not fit.
        TrainingError: the loss is not finite; the last checkpoint is from before.
        OSError: the output folder cannot be written to.
    """
    check_model_name(recipe.model)
    device = choose_device(recipe.run.device)
    run = _Run.prepare(recipe, build_task(recipe), device)
    output = Path(without_detours(recipe.run.output))
    output.mkdir(parents=True, exist_ok=True)
    last = output / "last.pt"
    log = EpochLog(output / "log.jsonl", run.resume(last) if last.exists() else ())
    on_event(run.started(len(log.records)))
    for epoch in range(len(log.records) + 1, run.epochs + 1):
        log.append(run.epoch(epoch, on_event))
        run.save(output, log.records)
        on_event(log.records[-1])
    best = best_record(log.records, run.task.measure)
    return Outcome(
        output=output,
        classes=run.task.classes,
        inner=run.task.inner,
        records=tuple(log.records),
        best=best,
        measure=run.task.measure,
    )


@dataclass(frozen=True, eq=False)
class _Run:
    """Everything that one run has in memory."""

    recipe: Recipe
    task: Task
    device: torch.device
    student: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Scheduler
    epochs: int
    sampler: EpochSampler
    train_loader: Loader
    val_loader: Loader

    @classmethod
    def prepare(cls, recipe: Recipe, task: Task, device: torch.device) -> _Run:
        """Build the student, the optimizer, the schedule and the loaders."""
        student = create_student(recipe, len(task.classes)).to(device)
        # Channels last: 1.8 times faster on a CPU, and the layout of a GPU's tensor cores.
        student = student.to(memory_format=torch.channels_last)
        task.loss.to(device)
        task.val_loss.to(device)
        optimizer = create_optimizer(recipe.optimizer, student)
        sampler = EpochSampler(len(task.train_set), recipe.run.seed, shuffle=True)
        in_order = EpochSampler(len(task.val_set), recipe.run.seed, shuffle=False)
        cuda = device.type == "cuda"
        size, workers = recipe.run.batch_size, recipe.data.workers
        # Dense targets: a recipe asks for no other kind.
        samples = cast("Dataset[Batch]", task.train_set)
        train_loader = make_loader(
            samples, sampler, batch_size=size, workers=workers, pin_memory=cuda
        )
        val_loader = make_loader(
            task.val_set, in_order, batch_size=size, workers=workers, pin_memory=cuda
        )
        schedule, epochs = create_schedule(recipe.schedule, optimizer, len(train_loader))
        return cls(
            *(recipe, task, device, student, optimizer, schedule, epochs),
            *(sampler, train_loader, val_loader),
        )

    def started(self, done: int) -> RunStarted:
        """What is about to run."""
        return RunStarted(
            classes=self.task.classes,
            images=(len(self.task.train_set), len(self.task.val_set)),
            parameters=sum(weights.numel() for weights in self.student.parameters()),
            epochs=self.epochs,
            done=done,
            device=str(self.device),
            data_classes=len(self.task.classes) - self.task.inner,
            folders=len(self.task.val_set.targets),
            measure=self.task.measure,
        )

    def resume(self, path: Path) -> tuple[EpochRecord, ...]:
        """Take over a checkpoint's weights, and return its epochs."""
        checkpoint = read_checkpoint(path)
        checkpoint.require_same_run(path, self.recipe, self.task.classes, self.task.labels)
        try:
            self.student.load_state_dict(checkpoint.model)
            self.optimizer.load_state_dict(dict(checkpoint.optimizer))
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise TrainingError(f"{path} does not fit this timm's model: {reason}") from error
        # The rate came with the optimizer, and each update asks the schedule anew.
        return checkpoint.records

    def epoch(self, epoch: int, on_event: Callable[[Event], object]) -> EpochRecord:
        """Train and evaluate once over the data."""
        begin = time.perf_counter()
        loss, lr = self._train_epoch(epoch, on_event)
        trained = time.perf_counter()
        metrics = dict(evaluate(self.student, whole_batches(self.val_loader), self.task.metrics()))
        images = len(self.train_loader) * min(self.recipe.run.batch_size, self.sampler.count)
        return EpochRecord(
            epoch,
            loss,
            lr,
            metrics,
            seconds=round(time.perf_counter() - begin, 3),
            images_per_second=round(images / (trained - begin), 1),
        )

    def save(self, output: Path, records: list[EpochRecord]) -> None:
        """Write ``best.safetensors`` if this epoch is the best, then ``last.pt``."""
        recipe, measure = self.recipe, self.task.measure
        weights = self.student.state_dict()
        if best_record(records, measure) is records[-1]:
            facts = {
                "model": recipe.model.name,
                "epoch": str(records[-1].epoch),
                measure: str(records[-1].metrics[measure]),
                "recipe": msgspec.json.encode(recipe).decode(),
            }
            save_student(output / "best.safetensors", weights, self.task.classes, facts)
        Checkpoint(
            recipe=recipe_fields(recipe),
            classes=self.task.classes,
            labels=self.task.labels,
            records=tuple(records),
            model=weights,
            optimizer=self.optimizer.state_dict(),
        ).save(output / "last.pt")

    def _train_epoch(self, epoch: int, on_event: Callable[[Event], object]) -> tuple[float, float]:
        """The mean loss over an epoch's updates, and the last learning rate."""
        self.sampler.epoch = epoch
        # Drop-out and its kin draw from torch's own generators, afresh in every epoch.
        state = np.random.SeedSequence([self.recipe.run.seed, epoch]).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0]))
        total = torch.zeros((), device=self.device)
        steps, size = len(self.train_loader), self.recipe.run.batch_size
        begin = reported = time.perf_counter()
        lr = 0.0
        for step, (images, target) in enumerate(whole_batches(self.train_loader), start=1):
            lr = float(self.optimizer.param_groups[0]["lr"])
            total += self._update(images, target)
            self.schedule.step_update((epoch - 1) * steps + step)
            now = time.perf_counter()
            if now - reported >= REPORT_SECONDS or step == steps:
                mean = _finite(float(total) / step, epoch, step)
                rate = min(size, self.sampler.count) * step / (now - begin)
                on_event(StepRecord(epoch, step, steps, mean, rate))
                reported = now
        return float(total) / steps, lr

    def _update(self, images: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """One step on a batch (B, 3, S, S); its loss, without gradient."""
        images = images.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        target = target.to(self.device, non_blocking=True)
        half = self.recipe.run.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            logits = self.student(images)
        loss = self.task.loss(logits.float(), target)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def _finite(loss: float, epoch: int, step: int) -> float:
    if np.isfinite(loss):
        return loss
    raise TrainingError(
        f"the loss is {loss} in epoch {epoch}, by step {step}. The checkpoint of the epoch before "
        "is kept. Lower optimizer.lr, or give schedule.warmup_epochs, in another folder (-o)"
    )
