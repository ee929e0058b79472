"""Train a timm model from a recipe: hard labels, semantic softmax, or pooled label maps.

Reading a recipe loads no tensors; everything else does, when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelkit.lazy import lazy_names

if TYPE_CHECKING:
    from labelkit.train.checkpoint import Checkpoint, read_checkpoint
    from labelkit.train.evaluation import MeanLoss, Metric, evaluate
    from labelkit.train.loop import train
    from labelkit.train.recipe import Recipe
    from labelkit.train.recipe_file import read_recipe
    from labelkit.train.records import EpochRecord, Event, Outcome, RunStarted, StepRecord
    from labelkit.train.tasks import Task, build_task

__all__ = [
    "Checkpoint",
    "EpochRecord",
    "Event",
    "MeanLoss",
    "Metric",
    "Outcome",
    "Recipe",
    "RunStarted",
    "StepRecord",
    "Task",
    "build_task",
    "evaluate",
    "read_checkpoint",
    "read_recipe",
    "train",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Checkpoint": "checkpoint",
        "EpochRecord": "records",
        "Event": "records",
        "MeanLoss": "evaluation",
        "Metric": "evaluation",
        "Outcome": "records",
        "Recipe": "recipe",
        "RunStarted": "records",
        "StepRecord": "records",
        "Task": "tasks",
        "build_task": "tasks",
        "evaluate": "evaluation",
        "read_checkpoint": "checkpoint",
        "read_recipe": "recipe_file",
        "train": "loop",
    },
)
