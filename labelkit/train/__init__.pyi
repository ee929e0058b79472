from .checkpoint import (
    Checkpoint as Checkpoint,
    EpochRecord as EpochRecord,
    read_checkpoint as read_checkpoint,
)
from .evaluation import MeanLoss as MeanLoss, Metric as Metric, evaluate as evaluate
from .loop import (
    Event as Event,
    RunStarted as RunStarted,
    StepRecord as StepRecord,
    TrainingResult as TrainingResult,
    train as train,
)
from .recipe import Recipe as Recipe, read_recipe as read_recipe
from .tasks import Task as Task, build_task as build_task
