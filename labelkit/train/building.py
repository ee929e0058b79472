"""The student, its optimizer and its schedule, as timm builds them from a recipe.

# S image side
"""

from __future__ import annotations

import difflib
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import timm
import timm.optim
import timm.scheduler
import torch
from timm.layers.norm_act import convert_sync_batchnorm
from torch import nn

import labelkit.train.inverted_mlp  # noqa: F401  # pyright: ignore[reportUnusedImport] -- registers
from labelkit.errors import RecipeError, first_line
from labelkit.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from timm.scheduler.scheduler import Scheduler

    from labelkit.train.recipe import Model, Optimizer, Recipe, Schedule

# timm's packages export these without declaring it to type checkers.
_optim: Any = timm.optim
_scheduler: Any = timm.scheduler
_create_model: Callable[..., nn.Module] = timm.create_model


def check_model_name(model: Model) -> None:
    """Reject an unknown model name before any data is read.

    Raises:
        RecipeError: timm has no such model; the message suggests similar names.
    """
    if not timm.is_model(model.name):
        raise RecipeError(_unknown("model.name", model.name, timm.list_models(), "timm model"))


def check_warmup(settings: Schedule, epochs: int) -> None:
    """Reject a warm-up after which no epoch is left.

    Raises:
        RecipeError: the learning rate would only rise.
    """
    if settings.warmup_epochs < epochs:
        return
    budget = "" if settings.epochs else f" that schedule.images = {settings.images:,} takes"
    raise RecipeError(
        f"schedule.warmup_epochs is {settings.warmup_epochs:,}, expected less than the "
        f"{counted(epochs, 'epoch', 'epochs')}{budget}: the learning rate would rise to the end "
        "and never fall. Lower schedule.warmup_epochs, or train longer"
    )


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


def synchronized(student: nn.Module, device: torch.device) -> nn.Module:
    """The student with batch norm over the images of all processes.

    Raises:
        RecipeError: torch has no such batch norm for the device.
    """
    if device.type != "cuda":
        raise RecipeError(
            f"run.sync_bn needs GPUs, not {device.type}: torch synchronises batch norm only there. "
            "Set it to false"
        )
    return convert_sync_batchnorm(student)


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
    settings: Schedule, optimizer: torch.optim.Optimizer, updates: int, images: int
) -> tuple[Scheduler, int]:
    """The timm schedule, stepped per update, and its number of epochs including cool-down.

    The learning rate is a function of the number of updates alone, so checkpoints need not store
    the schedule.

    Args:
        settings: the recipe's.
        optimizer: whose learning rate it sets.
        updates: per epoch.
        images: per update.

    Raises:
        RecipeError: the warm-up fills all epochs, or timm rejects its arguments.
    """
    epochs = settings.whole_epochs(updates * images)
    check_warmup(settings, epochs)
    with _explained("schedule", f"timm cannot build {settings.name}"):
        schedule, with_cooldown = _scheduler.create_scheduler_v2(
            optimizer,
            sched=settings.name,
            num_epochs=epochs,
            warmup_epochs=settings.warmup_epochs,
            warmup_lr=settings.warmup_lr,
            min_lr=settings.min_lr,
            step_on_epochs=False,
            updates_per_epoch=updates,
            **settings.kwargs,
        )
    if schedule is None:
        raise RecipeError(
            f"schedule.name is {settings.name!r}: the installed timm has no such schedule"
        )
    return schedule, int(with_cooldown)


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
