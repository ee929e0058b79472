"""The training loop: every epoch trains, evaluates, writes a checkpoint and logs one line.

# B batch, C classes, S image side
"""

from __future__ import annotations

import difflib
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import msgspec
import numpy as np
import timm
import timm.optim
import timm.scheduler
import torch
from torch import nn

from labelkit.device import choose_device
from labelkit.errors import RecipeError, TrainingError, first_line
from labelkit.train.checkpoint import (
    Checkpoint,
    EpochLog,
    EpochRecord,
    best_record,
    read_checkpoint,
    save_student,
)
from labelkit.train.data import EpochSampler, Loader, iterate_batches, make_loader
from labelkit.train.evaluation import evaluate
from labelkit.train.recipe import Recipe, recipe_fields, without_dotdot
from labelkit.train.tasks import Task, build_task

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from timm.scheduler.scheduler import Scheduler
    from torch.utils.data import Dataset

    from labelkit.hierarchy import ClassList
    from labelkit.train.data import Batch
    from labelkit.train.recipe import Model, Optimizer, Schedule

# Reading the loss waits for the device, so it is reported at most this often.
REPORT_SECONDS = 0.25

# timm's packages export these without declaring it to type checkers.
_optim: Any = timm.optim
_scheduler: Any = timm.scheduler
_create_model: Callable[..., nn.Module] = timm.create_model


@dataclass(frozen=True, slots=True)
class RunStarted:
    """Everything is loaded, and training starts.

    Attributes:
        classes: the class list of the student's outputs.
        images: number of training and of evaluation images.
        parameters: number of the student's weights.
        epochs: number of epochs of the whole run.
        done: number of epochs that a checkpoint already has.
        device: the student's device.
        data_classes: number of classes of the data, without the tree's inner nodes.
        folders: number of classes that have a folder in the evaluation data.
        measure: the metric that decides which epoch is best.
    """

    classes: ClassList
    images: tuple[int, int]
    parameters: int
    epochs: int
    done: int
    device: str
    data_classes: int
    folders: int
    measure: str


@dataclass(frozen=True, slots=True)
class StepRecord:
    """The progress of an epoch, a few times per second.

    Attributes:
        epoch: from 1.
        step: updates done in this epoch.
        steps: updates of a whole epoch.
        loss: mean over this epoch's updates so far.
        images_per_second: mean over this epoch so far.
    """

    epoch: int
    step: int
    steps: int
    loss: float
    images_per_second: float


Event: TypeAlias = RunStarted | StepRecord | EpochRecord
"""What a training run reports to ``on_event``."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """A finished run.

    Attributes:
        output: the folder that holds the log and the checkpoints.
        classes: the class list of the student's outputs.
        inner: how many of these outputs are inner nodes of a tree, not classes of the data.
        records: all epochs, including those before an interruption.
        best: the epoch whose weights are in ``best.safetensors``.
        measure: the metric that chose the best epoch.
    """

    output: Path
    classes: ClassList
    inner: int
    records: tuple[EpochRecord, ...]
    best: EpochRecord
    measure: str


def train(
    recipe: Recipe, *, on_event: Callable[[Event], object] = lambda _: None
) -> TrainingResult:
    """Train the student of a recipe, or resume an earlier run of it.

    After each epoch the output folder has ``log.jsonl``, ``last.pt`` and ``best.safetensors``. An
    interrupted run, even a killed one, repeats the epoch that was in progress. All randomness
    follows from the seed, the epoch and the image. On a CPU, therefore, neither interruptions nor
    the number of workers change the results; torch's number of threads does.

    Args:
        recipe: what to train; see ``read_recipe``.
        on_event: called with a ``RunStarted``, then ``StepRecord``s and an ``EpochRecord`` per
            epoch.

    Raises:
        RecipeError: the recipe names something that does not exist, or timm rejects it.
        LabelkitError: data, a class list or a checkpoint does not fit.
        TrainingError: the loss is not finite; the checkpoint of the epoch before is kept.
        OSError: the output folder is not writable.
    """
    check_model_name(recipe.model)
    device = choose_device(recipe.run.device)
    run = _Run.prepare(recipe, build_task(recipe), device)
    output = Path(without_dotdot(recipe.run.output))
    output.mkdir(parents=True, exist_ok=True)
    last = output / "last.pt"
    log = EpochLog(output / "log.jsonl", run.resume(last) if last.exists() else ())
    on_event(run.started(len(log.records)))
    for epoch in range(len(log.records) + 1, run.epochs + 1):
        log.append(run.epoch(epoch, on_event))
        run.save(output, log.records)
        on_event(log.records[-1])
    best = best_record(log.records, run.task.measure)
    return TrainingResult(
        output=output,
        classes=run.task.classes,
        inner=run.task.inner,
        records=tuple(log.records),
        best=best,
        measure=run.task.measure,
    )


@dataclass(frozen=True, eq=False)
class _Run:
    """The state of one run in memory."""

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
        # Channels last is 1.8 times as fast on a CPU, and the layout that GPUs' tensor cores use.
        student = student.to(memory_format=torch.channels_last)
        task.loss.to(device)
        task.val_loss.to(device)
        optimizer = create_optimizer(recipe.optimizer, student)
        sampler = EpochSampler(len(task.train_set), recipe.run.seed, shuffle=True)
        in_order = EpochSampler(len(task.val_set), recipe.run.seed, shuffle=False)
        # The targets are dense tensors: a recipe has no option for sparse ones.
        samples = cast("Dataset[Batch]", task.train_set)
        loader = partial(
            make_loader,
            batch_size=recipe.run.batch_size,
            workers=recipe.data.workers,
            pin_memory=device.type == "cuda",
        )
        train_loader = loader(samples, sampler)
        schedule, epochs = create_schedule(recipe.schedule, optimizer, len(train_loader))
        return cls(
            recipe=recipe,
            task=task,
            device=device,
            student=student,
            optimizer=optimizer,
            schedule=schedule,
            epochs=epochs,
            sampler=sampler,
            train_loader=train_loader,
            val_loader=loader(task.val_set, in_order),
        )

    def started(self, done: int) -> RunStarted:
        """The facts about the run, before its first step."""
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
        """Load the weights of a checkpoint, and return its epochs."""
        checkpoint = read_checkpoint(path)
        checkpoint.require_same_run(path, self.recipe, self.task.classes, self.task.labels)
        try:
            self.student.load_state_dict(checkpoint.model)
            self.optimizer.load_state_dict(dict(checkpoint.optimizer))
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise TrainingError(
                f"{path} does not fit the model of the installed timm: {reason}"
            ) from error
        # The optimizer's state has the learning rate; the schedule needs only the update count.
        return checkpoint.records

    def epoch(self, epoch: int, on_event: Callable[[Event], object]) -> EpochRecord:
        """Train and evaluate once over the data."""
        begin = time.perf_counter()
        loss, lr = self._train_epoch(epoch, on_event)
        trained = time.perf_counter()
        metrics = dict(
            evaluate(self.student, iterate_batches(self.val_loader), self.task.metrics())
        )
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
        # Dropout and similar layers use torch's global generators, seeded again for each epoch.
        state = np.random.SeedSequence([self.recipe.run.seed, epoch]).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0]))
        total = torch.zeros((), device=self.device)
        steps, size = len(self.train_loader), self.recipe.run.batch_size
        begin = reported = time.perf_counter()
        lr = 0.0
        for step, (images, target) in enumerate(iterate_batches(self.train_loader), start=1):
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
        """One update on a batch (B, 3, S, S); returns its loss, without gradient."""
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
        f"the loss is {loss} in epoch {epoch}, step {step}. The checkpoint of the epoch before is "
        "kept. Lower optimizer.lr or set schedule.warmup_epochs, and use another folder (-o)"
    )


def check_model_name(model: Model) -> None:
    """Reject an unknown model name before any data is read.

    Raises:
        RecipeError: timm has no such model; the message suggests similar names.
    """
    if not timm.is_model(model.name):
        raise RecipeError(_unknown("model.name", model.name, timm.list_models(), "timm model"))


def create_student(recipe: Recipe, num_classes: int) -> nn.Module:
    """A timm model with one output per class, whose random weights follow from the recipe's seed.

    Raises:
        RecipeError: timm does not know the model, rejects its arguments or has no weights for it,
            or the model does not accept images (B, 3, S, S) of the recipe's size.
    """
    check_model_name(recipe.model)
    torch.manual_seed(recipe.run.seed)
    name, kwargs = recipe.model.name, recipe.model.kwargs
    with _explained("model", f"timm cannot build {name}"):
        student = _create_model(
            name, pretrained=recipe.model.pretrained, num_classes=num_classes, **kwargs
        )
    size = recipe.data.image_size
    hint = "for models of a fixed size, set model.kwargs.img_size"
    with _explained("data.image_size", f"{name} does not accept {size}x{size} images ({hint})"):
        student.eval()
        with torch.no_grad():
            shape = tuple(student(torch.zeros(1, 3, size, size)).shape)
        if shape != (1, num_classes):
            raise ValueError(f"output of shape {shape}, expected {(1, num_classes)}")
    return student.train()


def create_optimizer(settings: Optimizer, student: nn.Module) -> torch.optim.Optimizer:
    """The timm optimizer of that name, without weight decay on biases and norms.

    Raises:
        RecipeError: timm does not know the optimizer, or rejects its arguments.
    """
    known: list[str] = _optim.list_optimizers()
    if settings.name.lower() not in known:
        raise RecipeError(_unknown("optimizer.name", settings.name, known, "timm optimizer"))
    with _explained("optimizer", f"timm cannot build {settings.name}"):
        return _optim.create_optimizer_v2(
            student,
            opt=settings.name,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            momentum=settings.momentum,
            **settings.kwargs,
        )


def create_schedule(
    settings: Schedule, optimizer: torch.optim.Optimizer, updates_per_epoch: int
) -> tuple[Scheduler, int]:
    """The timm schedule, stepped per update, and its number of epochs including cool-down.

    The learning rate is a function of the number of updates alone, so checkpoints need not store
    the schedule.

    Raises:
        RecipeError: timm rejects its arguments.
    """
    with _explained("schedule", f"timm cannot build {settings.name}"):
        schedule, epochs = _scheduler.create_scheduler_v2(
            optimizer,
            sched=settings.name,
            num_epochs=settings.epochs,
            warmup_epochs=settings.warmup_epochs,
            warmup_lr=settings.warmup_lr,
            min_lr=settings.min_lr,
            step_on_epochs=False,
            updates_per_epoch=updates_per_epoch,
            **settings.kwargs,
        )
    if schedule is None:
        raise RecipeError(
            f"schedule.name is {settings.name!r}: the installed timm has no such schedule"
        )
    return schedule, int(epochs)


@contextmanager
def _explained(field: str, problem: str) -> Generator[None]:
    """Turn any error of timm into one line that names the field, and silence its warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        # Model hubs and models raise dozens of types here; all mean that the recipe is wrong.
        raise RecipeError(f"{field}: {problem}: {first_line(error)}") from error


def _unknown(field: str, name: str, known: list[str], what: str) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    suggestion = f"; did you mean {', '.join(near)}?" if near else ""
    return f"{field} is {name!r}, which is not a {what}{suggestion}"
