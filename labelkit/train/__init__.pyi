from .checkpoint import Checkpoint as Checkpoint, read_checkpoint as read_checkpoint
from .evaluation import MeanLoss as MeanLoss, Metric as Metric, evaluate as evaluate
from .loop import train as train
from .recipe import Recipe as Recipe
from .recipe_file import read_recipe as read_recipe
from .records import (
    EpochRecord as EpochRecord,
    Event as Event,
    Outcome as Outcome,
    RunStarted as RunStarted,
    StepRecord as StepRecord,
)
from .tasks import Task as Task, build_task as build_task
