"""Other programs that log a run: W&B, trackio or TensorBoard, imported only if a recipe asks."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from labelkit.errors import RecipeError, TrainingError, first_line
from labelkit.train.epoch_log import flat_record
from labelkit.train.recipe import recipe_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path
    from typing import TypeAlias

    from labelkit.train.checkpoint import EpochRecord
    from labelkit.train.recipe import Recipe

    Logger: TypeAlias = Callable[[EpochRecord], None]

PROJECT = "labelkit"


class RunLogger(Protocol):
    """A started log, with W&B's verbs."""

    def log(self, values: dict[str, float], step: int) -> None:
        """Log numbers by name, for an epoch."""
        ...

    def finish(self) -> None:
        """Write what is left."""
        ...


def require_logger(recipe: Recipe) -> None:
    """Check before a run that the package of its logger is installed.

    Raises:
        RecipeError: it is not; the message says how to install it.
    """
    name = recipe.run.logger
    found = None if name == "none" else importlib.util.find_spec(name)
    # A folder of that name in the current directory, such as W&B's own, has no origin.
    if name != "none" and (found is None or found.origin is None):
        raise RecipeError(
            f"run.logger is {name!r}, but the package {name} is not installed: pip install {name}, "
            "or set run.logger to none"
        )


@contextmanager
def logged(recipe: Recipe, output: Path, done: int) -> Generator[Logger]:
    """A function that logs an epoch; the log ends with the block, also after an error.

    Args:
        recipe: of the run; its fields become the log's configuration.
        output: the run's folder, whose name becomes the run's.
        done: number of epochs that are logged already.

    Raises:
        TrainingError: the logger does not start.
    """
    if recipe.run.logger == "none":
        yield lambda _: None
        return
    try:
        logger = _start(recipe, output, done)
    except Exception as error:
        # Services fail in any way: no account, no network, no disk.
        raise TrainingError(
            f"{recipe.run.logger} does not start ({first_line(error)}). Fix it, or set run.logger "
            "to none"
        ) from error
    try:
        yield lambda record: logger.log(flat_record(record), step=record.epoch)
    finally:
        logger.finish()


def _start(recipe: Recipe, output: Path, done: int) -> RunLogger:
    name, config = recipe.run.logger, recipe_fields(recipe)
    if name == "tensorboard":
        return _TensorBoard(output, config, done)
    module: Any = importlib.import_module(name)
    where: dict[str, object] = {}
    if name == "wandb":  # whose runs go on by their id, trackio's by their name
        known = hashlib.sha256(str(output.resolve()).encode()).hexdigest()[:16]
        where = {"id": known, "dir": str(output)}
    module.init(project=PROJECT, name=output.name, config=config, resume="allow", **where)
    return module


class _TensorBoard:
    """TensorBoard's event files in the run's folder."""

    def __init__(self, output: Path, config: Mapping[str, object], done: int) -> None:
        tensorboard: Any = importlib.import_module("torch.utils.tensorboard")
        # Hides what was logged after the checkpoint by a run that was killed.
        self.writer = tensorboard.SummaryWriter(str(output), purge_step=done + 1)
        for name, value in config.items():
            self.writer.add_text(name, str(value), done)

    def log(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def finish(self) -> None:
        self.writer.close()
