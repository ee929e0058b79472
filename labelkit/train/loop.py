"""The training loop: every epoch trains, evaluates, writes a checkpoint and logs one line.

# B batch, C classes, S image side
"""

from __future__ import annotations

import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec
import numpy as np
import torch

from labelkit.errors import TrainingError, first_line
from labelkit.train.batches import BatchShares
from labelkit.train.building import check_model_name, check_warmup
from labelkit.train.checkpoint import (
    START_AGAIN,
    Checkpoint,
    EpochRecord,
    best_record,
    not_finite,
    read_checkpoint,
)
from labelkit.train.data import (
    EpochSampler,
    Loader,
    WorkerFailed,
    image_name,
    iterate_batches,
    make_loader,
)
from labelkit.train.described_labels import describe_labels
from labelkit.train.epoch_log import write_log
from labelkit.train.epoch_loss import EpochLoss
from labelkit.train.evaluation import NonFiniteLogits, evaluate
from labelkit.train.events import Event, RunStarted, StepRecord, TrainingResult
from labelkit.train.failures import diverged, kept, machine_failures, run_again, save_failures
from labelkit.train.image_reading import UnreadableImage
from labelkit.train.loggers import logged, require_logger
from labelkit.train.processes import Processes, joined
from labelkit.train.recipe import Recipe, recipe_fields, without_dotdot
from labelkit.train.run_folder import (
    BEST,
    CONFIG,
    IMAGES,
    LAST,
    locked,
    require_own_folder,
    require_usable,
)
from labelkit.train.student import save_student, save_timm_config
from labelkit.train.tasks import build_task
from labelkit.train.training_plan import TrainingPlan, checkpoint_bytes
from labelkit.train.transforms import preprocessing
from labelkit.train.update import Updater
from labelkit.wording import counted, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager

    from torch.utils.data import Dataset

    from labelkit.train.data import Batch
    from labelkit.train.loggers import Logger
    from labelkit.train.task import Task

# Reading the loss waits for the device, so it is reported at most this often.
REPORT_SECONDS = 0.25


def train(
    recipe: Recipe, *, on_event: Callable[[Event], object] = lambda _: None
) -> TrainingResult:
    """Train the student of a recipe, or resume an earlier run of it.

    After each epoch the output folder has ``log.jsonl``, ``last.pt`` and ``best.safetensors``. An
    interrupted run, even a killed one, repeats the epoch that was in progress. All randomness
    follows from the seed, the epoch and the image. On a CPU, therefore, neither interruptions nor
    the number of workers change the results; torch's number of threads does.

    Started by ``torchrun``, all processes train one student, and each has a share of every batch.
    The first one writes the files and calls ``on_event``.

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
        StoppedElsewhere: another process of the run failed, and raised one of these.
        OSError: the output folder is not writable.
    """
    output = Path(without_dotdot(recipe.run.output))
    done = [0]
    with _prepared(recipe, done) as run, _held(output, run.processes):
        report = on_event if run.processes.is_first else _unheard
        records = run.all_epochs(output, report, done)
    return TrainingResult(
        output=output,
        classes=run.task.classes,
        inner=run.task.inner,
        records=tuple(records),
        best=best_record(records, run.task.measure),
        measure=run.task.measure,
        study=run.task.study,
    )


def dry_run(recipe: Recipe) -> TrainingPlan:
    """Do what ``train`` does before its first update, and say what would follow.

    It opens and checks the data, builds the student, and reads an earlier checkpoint, but writes
    nothing.

    Args:
        recipe: what would be trained; see ``read_recipe``.

    Raises:
        LabelkitError: as ``train`` raises it.
        OSError: the output folder cannot be made, or is not writable.
    """
    output = Path(without_dotdot(recipe.run.output))
    with _prepared(recipe, [0]) as run:
        require_usable(output)
        done = len(run.earlier(output))
        run.require_same_start(done)
        return TrainingPlan(
            recipe=recipe,
            start=run.started(done),
            labels=describe_labels(recipe),
            updates=len(run.train_batches.sizes),
            shown=sum(run.train_batches.sizes),
            dropped=run.train_batches.sampler.count - sum(run.train_batches.sizes),
            processes=run.processes.count,
            checkpoint_bytes=checkpoint_bytes(run.updater),
        )


@contextmanager
def _prepared(recipe: Recipe, done: list[int]) -> Generator[_Run]:
    """Everything that a run needs in memory; ``done`` gets the epochs on the disk."""
    with (
        joined(recipe.run.device) as (processes, device),
        machine_failures("training", lambda: run_again(recipe, done)),
    ):
        check_model_name(recipe.model)
        if recipe.schedule.epochs:
            check_warmup(recipe.schedule, recipe.schedule.epochs)
        require_logger(recipe)
        yield _Run.prepare(recipe, build_task(recipe), device, processes)


@contextmanager
def _held(output: Path, processes: Processes) -> Generator[None]:
    """Keep the folder of a run for the first process, which alone writes there."""
    if not processes.is_first:
        yield
        return
    output.mkdir(parents=True, exist_ok=True)
    with locked(output):
        yield


def _unheard(event: Event) -> None:
    """What processes report that are not the first one."""
    del event


@dataclass(frozen=True, eq=False)
class _Run:
    """The state of one run in memory."""

    recipe: Recipe
    task: Task
    device: torch.device
    processes: Processes
    updater: Updater
    train_batches: BatchShares
    train_loader: Loader
    val_batches: BatchShares
    val_loader: Loader

    @classmethod
    def prepare(
        cls, recipe: Recipe, task: Task, device: torch.device, processes: Processes
    ) -> _Run:
        """Build the student, the optimizer, the schedule and the loaders."""
        repeats = recipe.data.repeats
        sampler = EpochSampler(
            len(task.train_set),
            recipe.run.seed,
            shuffle=True,
            repeats=repeats,
            # A batch has all repetitions of an image, and few next to each other, for mixing.
            apart=max(1, recipe.run.batch_size // repeats),
        )
        in_order = EpochSampler(len(task.val_set), recipe.run.seed, shuffle=False)
        train_batches = BatchShares(sampler, recipe.run.batch_size, processes)
        val_batches = BatchShares(in_order, recipe.run.part_size, processes)
        # The targets are dense tensors: a recipe has no option for sparse ones.
        samples = cast("Dataset[Batch]", task.train_set)
        loader = partial(make_loader, workers=recipe.data.workers, pin_memory=device.type == "cuda")
        return cls(
            recipe=recipe,
            task=task,
            device=device,
            processes=processes,
            updater=Updater.build(recipe, task, device, processes, train_batches.sizes),
            train_batches=train_batches,
            train_loader=loader(samples, train_batches),
            val_batches=val_batches,
            val_loader=loader(task.val_set, val_batches),
        )

    def started(self, done: int) -> RunStarted:
        """The facts about the run, before its first step."""
        return RunStarted(
            classes=self.task.classes,
            images=(len(self.task.train_set), len(self.task.val_set)),
            parameters=sum(weights.numel() for weights in self.updater.student.parameters()),
            epochs=self.updater.epochs,
            done=done,
            device=str(self.device),
            data_classes=len(self.task.classes) - self.task.inner - self.task.other,
            folders=len(self.task.val_set.targets),
            measure=self.task.measure,
            skipped=self.task.images.skipped,
            calibrated=self.task.calibrated,
            other=self.task.other,
            study=self.task.study,
        )

    def all_epochs(
        self, output: Path, on_event: Callable[[Event], object], done: list[int]
    ) -> list[EpochRecord]:
        """Train the epochs that a checkpoint does not have; ``done`` gets each one's number."""
        earlier = self.earlier(output)
        done.append(len(earlier))
        self.require_same_start(len(earlier))
        records = list(earlier)
        if self.processes.is_first:
            with save_failures(len(earlier)):
                write_log(output, records)
                self.task.images.save(output / IMAGES)
        on_event(self.started(len(earlier)))
        with self._logger(output, len(earlier)) as log:
            for epoch in range(len(earlier) + 1, self.updater.epochs + 1):
                records.append(self.epoch(epoch, on_event))
                if self.processes.is_first:
                    with save_failures(epoch - 1):
                        self.save(output, records)
                        write_log(output, records)
                done.append(epoch)
                log(records[-1])
                on_event(records[-1])
        return records

    def _logger(self, output: Path, done: int) -> AbstractContextManager[Logger]:
        """Where the first process logs each epoch, unless all are done."""
        if self.processes.is_first and done < self.updater.epochs:
            return logged(self.recipe, output, done)
        return nullcontext(lambda _: None)

    def require_same_start(self, done: int) -> None:
        """Raise unless all processes train on the same images from the same epoch on."""
        self.processes.require_equal(
            f"{done} epochs of images {self.task.images.digest[:12]}",
            "all processes need the same data.train, data.val and run.output, on a shared disk",
        )
        self.updater.share_state()

    def earlier(self, output: Path) -> tuple[EpochRecord, ...]:
        """The epochs of the folder's checkpoint, whose weights are loaded, if there is one."""
        if (output / LAST).exists():
            return self.resume(output / LAST)
        require_own_folder(output)
        return ()

    def resume(self, path: Path) -> tuple[EpochRecord, ...]:
        """Load the weights of a checkpoint, and return its epochs."""
        checkpoint = read_checkpoint(path)
        checkpoint.require_same_run(
            path,
            self.recipe,
            self.task.classes,
            labels=self.task.labels,
            images=self.task.images.digest,
            start=self.updater.start,
        )
        try:
            self.updater.load_state(checkpoint.state)
            if any(record.metrics for record in checkpoint.records):
                best_record(checkpoint.records, self.task.measure)
        except Exception as error:
            # torch assumes a state of the right structure, and raises a dozen types of errors.
            raise TrainingError(
                f"{path} does not fit the recipe with the installed timm ({first_line(error)}). "
                f"{START_AGAIN}"
            ) from error
        return checkpoint.records

    def epoch(self, epoch: int, on_event: Callable[[Event], object]) -> EpochRecord:
        """Train and evaluate once over the data."""
        begin = time.perf_counter()
        try:
            loss, lr = self._train_epoch(epoch, on_event)
            trained = time.perf_counter()
            self.updater.share_state()
            self._require_finite_state(epoch)
            metrics = self._evaluate(epoch) if self._is_evaluated(epoch) else {}
        except UnreadableImage as error:
            raise self.task.images.explained(error, self.recipe.data.workers) from error
        except WorkerFailed as error:
            raise TrainingError(
                f"a data-loading worker failed to return a batch ({error}). {kept(epoch - 1)}: "
                "run the same command again with --set data.workers=0, or first fix the cause, "
                "such as a limit on file sizes or open files (ulimit -f, ulimit -n), full shared "
                "memory (/dev/shm), or too little memory"
            ) from error
        images = sum(self.train_batches.sizes)
        return EpochRecord(
            epoch,
            loss,
            lr,
            metrics,
            seconds=round(time.perf_counter() - begin, 3),
            images_per_second=round(images / (trained - begin), 1),
            skipped=sum(self.task.images.skipped),
        )

    def _is_evaluated(self, epoch: int) -> bool:
        return epoch % self.recipe.run.evaluate_every == 0 or epoch == self.updater.epochs

    def _evaluate(self, epoch: int) -> dict[str, float]:
        """The metrics on the evaluation data.

        Raises:
            TrainingError: a logit or a metric is not finite.
        """
        ruined = NonFiniteLogits()
        observed = {**self.task.metrics(), "": ruined}
        batches = self.val_batches.loaded(self.val_loader, self.recipe.data.image_size)
        gather = self.processes.gather_rows
        metrics = dict(evaluate(self.updater.evaluated, batches, observed, gather=gather))
        if count := int(metrics.pop("")):
            images = counted(count, "evaluation image", "evaluation images")
            raise diverged(epoch, f"the logits of {images} are not finite in epoch {epoch}")
        for name, value in metrics.items():
            if not np.isfinite(value):
                raise diverged(epoch, f"the evaluation's {name} is {value} in epoch {epoch}")
        return metrics

    def _require_finite_state(self, epoch: int) -> None:
        """Raise unless all weights and the optimizer's state are finite."""
        bad = not_finite(dict(self.updater.student.named_parameters()))
        if bad:
            raise diverged(epoch, f"weights are not finite after epoch {epoch} ({summary(bad)})")
        if not_finite(self.updater.optimizer.state_dict()["state"]):
            raise diverged(epoch, f"the optimizer's state is not finite after epoch {epoch}")

    def save(self, output: Path, records: list[EpochRecord]) -> None:
        """Write the student and timm's config if this epoch is the best, then ``last.pt``."""
        recipe, measure = self.recipe, self.task.measure
        if records[-1].metrics and best_record(records, measure) is records[-1]:
            facts = {
                "model": recipe.model.name,
                "epoch": str(records[-1].epoch),
                measure: str(records[-1].metrics[measure]),
                "recipe": msgspec.json.encode(recipe).decode(),
                "labels": self.task.labels,
            }
            classes = self.task.classes
            save_student(output / BEST, self.updater.evaluated.state_dict(), classes, facts)
            config = preprocessing(recipe.model.name)
            save_timm_config(output / CONFIG, self.updater.student, recipe, classes, config)
        Checkpoint(
            recipe=recipe_fields(recipe),
            classes=self.task.classes,
            labels=self.task.labels,
            images=self.task.images.digest,
            records=tuple(records),
            start=self.updater.start,
            **self.updater.state(),
        ).save(output / LAST)

    def _train_epoch(self, epoch: int, on_event: Callable[[Event], object]) -> tuple[float, float]:
        """The mean loss over an epoch's updates, and the last learning rate."""
        self.train_batches.sampler.epoch = epoch
        # Dropout and similar layers use torch's global generators, seeded again for each epoch.
        other = () if self.processes.is_first else (self.processes.rank,)
        source = np.random.SeedSequence([self.recipe.run.seed, epoch, *other])
        torch.manual_seed(int(source.generate_state(1, np.uint64)[0]))
        loss, steps = EpochLoss(self.device), len(self.train_loader)
        begin = reported = time.perf_counter()
        lr = 0.0
        for step, (images, target) in enumerate(iterate_batches(self.train_loader), start=1):
            lr = self.updater.lr
            loss.add(self.updater.update(images, target, (epoch - 1) * steps + step))
            now = time.perf_counter()
            if now - reported >= REPORT_SECONDS or step == steps:
                self._require_finite_loss(epoch, loss)
                rate = self.updater.batch_size * step / (now - begin)
                on_event(StepRecord(epoch, step, steps, loss.mean(), rate))
                reported = now
        return loss.mean(), lr

    def _require_finite_loss(self, epoch: int, loss: EpochLoss) -> None:
        """Raise unless all losses so far are finite; the error names the batch's images."""
        step = loss.diverged_at()
        if step is None:
            return
        samples = cast("Dataset[Batch]", self.task.train_set)
        images = [image_name(samples, each) for each in self.train_batches.positions(step)]
        problem = f"the loss is {loss.mean()} in epoch {epoch}, step {step}"
        raise diverged(epoch, problem, images)
