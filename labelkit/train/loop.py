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
from labelkit.errors import RecipeError, TrainingError, first_line, is_machine_failure
from labelkit.train.checkpoint import (
    START_AGAIN,
    Checkpoint,
    EpochLog,
    EpochRecord,
    best_record,
    not_finite,
    read_checkpoint,
)
from labelkit.train.data import (
    EpochSampler,
    Loader,
    UnreadableImage,
    WorkerFailed,
    iterate_batches,
    make_loader,
    preprocessing,
)
from labelkit.train.evaluation import NonFiniteLogits, evaluate
from labelkit.train.recipe import Recipe, recipe_fields, without_dotdot
from labelkit.train.run_folder import (
    BEST,
    CONFIG,
    IMAGES,
    LAST,
    LOG,
    locked,
    require_own_folder,
)
from labelkit.train.student import save_student, save_timm_config
from labelkit.train.tasks import Task, build_task
from labelkit.wording import counted, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

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
        data_classes: number of classes of the data, without the tree's inner nodes and *other*.
        folders: number of classes that have a folder in the evaluation data.
        measure: the metric that decides which epoch is best.
        skipped: number of training and of evaluation images left out as unreadable.
        calibrated: whether targets from label maps are calibrated; None without label maps.
        other: whether the student's last output is *other*.
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
    skipped: tuple[int, int] = (0, 0)
    calibrated: bool | None = None
    other: bool = False


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
        TrainingError: another process trains in the output folder; the loss, the weights, the
            logits or a metric are not finite; a file cannot be written; memory ran out or a worker
            was killed. Nothing of that epoch is saved, and the message says what is kept.
        OSError: the output folder is not writable.
    """
    check_model_name(recipe.model)
    device = choose_device(recipe.run.device)
    output = Path(without_dotdot(recipe.run.output))
    done = [0]
    with _machine_failures(recipe, done):
        run = _Run.prepare(recipe, build_task(recipe), device)
        output.mkdir(parents=True, exist_ok=True)
        with locked(output):
            records = run.all_epochs(output, on_event, done)
    return TrainingResult(
        output=output,
        classes=run.task.classes,
        inner=run.task.inner,
        records=tuple(records),
        best=best_record(records, run.task.measure),
        measure=run.task.measure,
    )


@contextmanager
def _machine_failures(recipe: Recipe, done: Sequence[int]) -> Generator[None]:
    """Explain what torch raises for a lack of memory or a killed worker, at any point."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_machine_failure(error):
            raise
        raise TrainingError(
            f"training stopped ({first_line(error)}). {_kept(done[-1])}: run the same command "
            "again; if memory was short, with --set data.workers=0, or in a new folder (-o) with "
            f"run.batch_size below {recipe.run.batch_size}"
        ) from error


def _kept(done: int) -> str:
    """What is on the disk after so many epochs."""
    return f"The checkpoint of epoch {done} is kept" if done else "No epoch was finished"


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
            data_classes=len(self.task.classes) - self.task.inner - self.task.other,
            folders=len(self.task.val_set.targets),
            measure=self.task.measure,
            skipped=self.task.images.skipped,
            calibrated=self.task.calibrated,
            other=self.task.other,
        )

    def all_epochs(
        self, output: Path, on_event: Callable[[Event], object], done: list[int]
    ) -> list[EpochRecord]:
        """Train the epochs that a checkpoint does not have; ``done`` gets each one's number."""
        last = output / LAST
        if last.exists():
            earlier = self.resume(last)
        else:
            require_own_folder(output)
            earlier = ()
        done.append(len(earlier))
        with _save_failures(len(earlier)):
            log = EpochLog(output / LOG, earlier)
            self.task.images.save(output / IMAGES)
        on_event(self.started(len(earlier)))
        for epoch in range(len(earlier) + 1, self.epochs + 1):
            record = self.epoch(epoch, on_event)
            with _save_failures(epoch - 1):
                self.save(output, [*log.records, record])
                log.append(record)
            done.append(epoch)
            on_event(record)
        return log.records

    def resume(self, path: Path) -> tuple[EpochRecord, ...]:
        """Load the weights of a checkpoint, and return its epochs."""
        checkpoint = read_checkpoint(path)
        checkpoint.require_same_run(
            path,
            self.recipe,
            self.task.classes,
            labels=self.task.labels,
            images=self.task.images.digest,
        )
        try:
            self.student.load_state_dict(checkpoint.model)
            self.optimizer.load_state_dict(dict(checkpoint.optimizer))
            best_record(checkpoint.records, self.task.measure)
        except Exception as error:
            # torch assumes a state of the right structure, and raises a dozen types of errors.
            raise TrainingError(
                f"{path} does not fit the recipe with the installed timm ({first_line(error)}). "
                f"{START_AGAIN}"
            ) from error
        # The optimizer's state has the learning rate; the schedule needs only the update count.
        return checkpoint.records

    def epoch(self, epoch: int, on_event: Callable[[Event], object]) -> EpochRecord:
        """Train and evaluate once over the data."""
        begin = time.perf_counter()
        try:
            loss, lr = self._train_epoch(epoch, on_event)
            trained = time.perf_counter()
            self._require_finite_state(epoch)
            metrics = self._evaluate(epoch)
        except UnreadableImage as error:
            raise self.task.images.explained(error, self.recipe.data.workers) from error
        except WorkerFailed as error:
            raise TrainingError(
                f"a data-loading worker failed to return a batch ({error}). {_kept(epoch - 1)}: "
                "run the same command again with --set data.workers=0, or first fix the cause, "
                "such as a limit on file sizes or open files (ulimit -f, ulimit -n), full shared "
                "memory (/dev/shm), or too little memory"
            ) from error
        images = len(self.train_loader) * min(self.recipe.run.batch_size, self.sampler.count)
        return EpochRecord(
            epoch,
            loss,
            lr,
            metrics,
            seconds=round(time.perf_counter() - begin, 3),
            images_per_second=round(images / (trained - begin), 1),
            skipped=sum(self.task.images.skipped),
        )

    def _evaluate(self, epoch: int) -> dict[str, float]:
        """The metrics on the evaluation data.

        Raises:
            TrainingError: a logit or a metric is not finite.
        """
        ruined = NonFiniteLogits()
        observed = {**self.task.metrics(), "": ruined}
        metrics = dict(evaluate(self.student, iterate_batches(self.val_loader), observed))
        if count := int(metrics.pop("")):
            images = counted(count, "evaluation image", "evaluation images")
            raise _ruined(epoch, f"the logits of {images} are not finite in epoch {epoch}")
        for name, value in metrics.items():
            if not np.isfinite(value):
                raise _ruined(epoch, f"the evaluation's {name} is {value} in epoch {epoch}")
        return metrics

    def _require_finite_state(self, epoch: int) -> None:
        """Raise unless all weights and the optimizer's state are finite."""
        bad = not_finite(dict(self.student.named_parameters()))
        if bad:
            raise _ruined(epoch, f"weights are not finite after epoch {epoch} ({summary(bad)})")
        if not_finite(self.optimizer.state_dict()["state"]):
            raise _ruined(epoch, f"the optimizer's state is not finite after epoch {epoch}")

    def save(self, output: Path, records: list[EpochRecord]) -> None:
        """Write the student and timm's config if this epoch is the best, then ``last.pt``."""
        recipe, measure = self.recipe, self.task.measure
        weights = self.student.state_dict()
        if best_record(records, measure) is records[-1]:
            facts = {
                "model": recipe.model.name,
                "epoch": str(records[-1].epoch),
                measure: str(records[-1].metrics[measure]),
                "recipe": msgspec.json.encode(recipe).decode(),
                "labels": self.task.labels,
            }
            classes = self.task.classes
            save_student(output / BEST, weights, classes, facts)
            config = preprocessing(recipe.model.name)
            save_timm_config(output / CONFIG, self.student, recipe, classes, config)
        Checkpoint(
            recipe=recipe_fields(recipe),
            classes=self.task.classes,
            labels=self.task.labels,
            images=self.task.images.digest,
            records=tuple(records),
            model=weights,
            optimizer=self.optimizer.state_dict(),
        ).save(output / LAST)

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
            with _update_failures("schedule"):
                self.schedule.step_update((epoch - 1) * steps + step)
            now = time.perf_counter()
            if now - reported >= REPORT_SECONDS or step == steps:
                mean = float(total) / step
                if not np.isfinite(mean):
                    raise _ruined(epoch, f"the loss is {mean} in epoch {epoch}, step {step}")
                rate = min(size, self.sampler.count) * step / (now - begin)
                on_event(StepRecord(epoch, step, steps, mean, rate))
                reported = now
        return float(total) / steps, lr

    def _update(self, images: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """One update on a batch (B, 3, S, S); returns its loss, without gradient."""
        images = images.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        target = target.to(self.device, non_blocking=True)
        half = self.recipe.run.precision == "bfloat16"
        try:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
                logits = self.student(images)
        except ValueError as error:
            if len(images) > 1:
                raise
            raise _batch_of_one(self.recipe) from error
        loss = self.task.loss(logits.float(), target)
        self.optimizer.zero_grad()
        loss.backward()
        with _update_failures("optimizer"):
            self.optimizer.step()
        return loss.detach()


def _ruined(epoch: int, problem: str) -> TrainingError:
    """The error for numbers that are not finite; nothing of their epoch is saved."""
    return TrainingError(
        f"{problem}. {_kept(epoch - 1)}. Lower optimizer.lr or set schedule.warmup_epochs, and use "
        "another folder (-o)"
    )


def _batch_of_one(recipe: Recipe) -> RecipeError:
    reason = "run.batch_size is 1" if recipe.run.batch_size == 1 else "there is one training image"
    return RecipeError(
        f"{recipe.model.name} has batch norm, which needs at least two images per update, but "
        f"{reason}. Use run.batch_size of 2 or more, and as many images"
    )


@contextmanager
def _update_failures(table: str) -> Generator[None]:
    """Explain what timm accepts when it builds something, and cannot use in an update."""
    try:
        yield
    except Exception as error:
        # An odd argument, or an odd state in a checkpoint, fails in any way.
        if is_machine_failure(error):
            raise
        raise TrainingError(
            f"the {table} failed in an update ({first_line(error)}). Correct {table}.kwargs in the "
            "recipe; if the run was resumed, its last.pt may hold another state: delete it to "
            "start again"
        ) from error


@contextmanager
def _save_failures(done: int) -> Generator[None]:
    """Explain a full disk or a folder that is gone."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise TrainingError(
            f"cannot write {error.filename} ({reason}). {_kept(done)}: free space on the disk or "
            "fix the folder, then run the same command again"
        ) from error


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
