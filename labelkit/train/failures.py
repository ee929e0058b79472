"""What can stop a run: the machine, a full disk, numbers that are not finite; what to do next."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from labelkit.errors import (
    RecipeError,
    TrainingError,
    first_line,
    is_machine_failure,
    why_stopped,
)
from labelkit.wording import summary

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from labelkit.train.recipe import Recipe

_SHOWN = 20


@contextmanager
def machine_failures(what: str, remedy: Callable[[], str]) -> Generator[None]:
    """Explain what torch raises for a lack of memory or a killed worker, at any point.

    Args:
        what: was going on, for the message.
        remedy: what to do, asked for when it fails.

    Raises:
        TrainingError: with what to do.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_machine_failure(error):
            raise
        raise TrainingError(f"{what} stopped ({why_stopped(error)}). {remedy()}") from error


def run_again(recipe: Recipe, done: Sequence[int]) -> str:
    """What to do when a training run stopped after so many epochs, the last of ``done``."""
    return (
        f"{kept(done[-1])}: run the same command again; if memory was short, with --set "
        "data.workers=0, or in a new folder (-o) with run.batch_size below "
        f"{recipe.run.batch_size}"
    )


def kept(done: int) -> str:
    """What is on the disk after so many epochs."""
    return f"The checkpoint of epoch {done} is kept" if done else "No epoch was finished"


def diverged(epoch: int, problem: str, images: Sequence[str] = ()) -> TrainingError:
    """The error for numbers that are not finite; nothing of their epoch is saved.

    Args:
        epoch: the one that is lost.
        problem: what is not finite.
        images: the keys of the batch's images, if it happened in one batch.
    """
    batch = f". The batch's images: {summary(images, _SHOWN)}" if images else ""
    return TrainingError(
        f"{problem}. {kept(epoch - 1)}. Lower optimizer.lr or set schedule.warmup_epochs, and use "
        f"another folder (-o){batch}"
    )


def batch_of_one(recipe: Recipe, processes: int) -> RecipeError:
    """The error for batch norm that has one image to take a mean of."""
    run = recipe.run
    parts = f" in {run.accumulate} parts (run.accumulate)" if run.accumulate > 1 else ""
    shared = f" on {processes} processes" if processes > 1 else ""
    return RecipeError(
        f"{recipe.model.name} has batch norm, which needs at least two images at once, but gets "
        f"one: run.batch_size is {run.batch_size}{parts}{shared}. Use a larger one, and as many "
        "images"
    )


@contextmanager
def update_failures(table: str) -> Generator[None]:
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
def save_failures(done: int) -> Generator[None]:
    """Explain a full disk or a folder that is gone."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise TrainingError(
            f"cannot write {error.filename} ({reason}). {kept(done)}: free space on the disk or "
            "fix the folder, then run the same command again"
        ) from error
