"""What ``labelkit train`` says about a run before it starts, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelkit.wording import counted, file_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labelkit.train import Recipe, RunStarted, TrainingPlan


def plan_lines(plan: TrainingPlan) -> Iterator[str]:
    """What a run would do, one fact a line."""
    run, start = plan.recipe.run, plan.start
    yield from start_lines(start, plan.recipe)
    yield f"Trained with {plan.labels}"
    epochs = start.epochs
    yield (
        f"{counted(epochs, 'epoch', 'epochs')} of {counted(plan.updates, 'update', 'updates')}: "
        f"{epochs * plan.updates:,} updates, {epochs * plan.shown:,} images shown"
    )
    if plan.dropped:
        images = counted(plan.dropped, "image", "images")
        yield f"Each epoch drops its incomplete last batch, {images}"
    processes = counted(plan.processes, "process", "processes")
    yield f"{processes} on {start.device}, in {run.precision}"
    yield f"{run.output}: {_found(start)}; last.pt takes about {file_size(plan.checkpoint_bytes)}"


def _found(start: RunStarted) -> str:
    """What the output folder has."""
    if start.done == start.epochs:
        return "a finished run"
    return f"a run to resume after epoch {start.done}" if start.done else "no run yet"


def start_lines(event: RunStarted, recipe: Recipe) -> Iterator[str]:
    """The facts about a run before its first step, one a line."""
    train, val = event.images
    yield (
        f"{event.classes}; {train:,} training images, {val:,} evaluation images; "
        f"{event.parameters / 1e6:.2f} M parameters on {event.device}"
    )
    yield from _class_lines(event, recipe.data.coarsening)
    if train < recipe.run.batch_size:
        yield (
            f"One update an epoch, of {train:,} images: fewer than run.batch_size, "
            f"{recipe.run.batch_size:,}"
        )
    if event.calibrated is not None:
        yield f"Targets: from label maps, {'calibrated' if event.calibrated else 'not calibrated'}"
    if event.study and str(event.study):
        yield f"Labels: {event.study}"
    if any(event.skipped):
        yield (
            f"Left out as unreadable: {event.skipped[0]:,} training images, {event.skipped[1]:,} "
            "evaluation images; images.json has the reasons"
        )
    if event.done == event.epochs:
        yield f"All {event.epochs} epochs are already done"
    elif event.done:
        yield f"Resuming after epoch {event.done}"


def _class_lines(event: RunStarted, coarsening: str | None) -> Iterator[str]:
    """What the student's outputs are."""
    if coarsening:
        yield f"Each folder counts as its coarse class, from {coarsening}"
    if event.other:
        yield f"Outputs: {event.data_classes:,} classes, and last *other*, for all else"
    elif event.data_classes < len(event.classes):
        inner = len(event.classes) - event.data_classes
        yield f"Outputs: {event.data_classes:,} classes and {inner:,} inner nodes of the tree"
    if event.folders < event.data_classes:
        yield f"Only {event.folders:,} of the {event.data_classes:,} classes have image folders"
    if event.measure != "top1":
        yield (
            "No top-1 accuracy: the classes are on several levels of the tree, and each level has "
            "a separate softmax"
        )
