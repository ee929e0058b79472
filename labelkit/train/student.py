"""The student, its optimizer and its schedule: all timm's, with errors that name the field.

Legend: B batch, C classes, S image side.
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
from torch import nn

from labelkit.errors import RecipeError, first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from timm.scheduler.scheduler import Scheduler

    from labelkit.train.recipe import Model, Optimizer, Recipe, Schedule

# timm's packages export these without saying so to a type checker.
_optim: Any = timm.optim
_scheduler: Any = timm.scheduler
_create_model: Callable[..., nn.Module] = timm.create_model


def check_model_name(model: Model) -> None:
    """Refuse a name that timm does not know, before any data is read.

    Raises:
        RecipeError: with the nearest names.
    """
    if not timm.is_model(model.name):
        raise RecipeError(_unknown("model.name", model.name, timm.list_models(), "timm model"))


def create_student(recipe: Recipe, num_classes: int) -> nn.Module:
    """A timm model with one output per class, whose random weights follow from the recipe's seed.

    Raises:
        RecipeError: timm does not know the model, refuses its arguments or lacks its weights, or
            the model does not take images (B, 3, S, S) of the recipe's size.
    """
    check_model_name(recipe.model)
    torch.manual_seed(recipe.run.seed)
    name, kwargs = recipe.model.name, recipe.model.kwargs
    with _explained("model", f"timm cannot build {name}"):
        student = _create_model(
            name, pretrained=recipe.model.pretrained, num_classes=num_classes, **kwargs
        )
    size = recipe.data.image_size
    hint = "fixed-size models take model.kwargs.img_size"
    with _explained("data.image_size", f"{name} does not take {size}x{size} images ({hint})"):
        student.eval()
        with torch.no_grad():
            shape = tuple(student(torch.zeros(1, 3, size, size)).shape)
        if shape != (1, num_classes):
            raise ValueError(f"its output has shape {shape}, expected {(1, num_classes)}")
    return student.train()


def create_optimizer(settings: Optimizer, student: nn.Module) -> torch.optim.Optimizer:
    """The timm optimizer of that name, without weight decay on biases and norms.

    Raises:
        RecipeError: timm does not know it, or refuses its arguments.
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
    """The timm schedule, stepped by updates, and how many epochs it lasts with its cool-down.

    Its rate is a function of the number of updates alone, so a checkpoint need not hold it.

    Raises:
        RecipeError: timm refuses its arguments.
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
        raise RecipeError(f"schedule.name is {settings.name!r}, which this timm does not know")
    return schedule, int(epochs)


@contextmanager
def _explained(field: str, problem: str) -> Generator[None]:
    """Turn whatever timm raises into one line; its warnings are not ours to show."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        # Hubs and models raise dozens of types here, and each means that the recipe is wrong.
        raise RecipeError(f"{field}: {problem}: {first_line(error)}") from error


def _unknown(field: str, name: str, known: list[str], what: str) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    meant = f"; did you mean {', '.join(near)}?" if near else ""
    return f"{field} is {name!r}, which is no {what}{meant}"
