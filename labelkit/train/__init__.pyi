from .checkpoint import (
    Checkpoint as Checkpoint,
    EpochRecord as EpochRecord,
    read_checkpoint as read_checkpoint,
)
from .classifier import Classifier as Classifier, load_classifier as load_classifier
from .epoch_log import flat_record as flat_record
from .evaluation import MeanLoss as MeanLoss, Metric as Metric, evaluate as evaluate
from .events import (
    Event as Event,
    RunStarted as RunStarted,
    StepRecord as StepRecord,
    TrainingResult as TrainingResult,
)
from .folder_evaluation import (
    ClassAccuracy as ClassAccuracy,
    ConfusedPair as ConfusedPair,
    FolderEvaluation as FolderEvaluation,
    evaluate_folder as evaluate_folder,
)
from .inverted_mlp import InvertedMlp as InvertedMlp
from .label_study import LabelStudy as LabelStudy
from .loop import dry_run as dry_run, train as train
from .predictions import (
    ImagePrediction as ImagePrediction,
    predict_folder as predict_folder,
    write_predictions as write_predictions,
)
from .processes import StoppedElsewhere as StoppedElsewhere
from .readable import (
    ReadImages as ReadImages,
    read_images as read_images,
    reading_failures as reading_failures,
)
from .recipe import (
    Recipe as Recipe,
    read_recipe as read_recipe,
    recipe_fields as recipe_fields,
)
from .resolved_recipe import recipe_toml as recipe_toml
from .run_folder import has_student as has_student
from .task import Task as Task
from .tasks import build_task as build_task
from .template import label_kinds as label_kinds, recipe_template as recipe_template
from .training_plan import TrainingPlan as TrainingPlan
from .transforms import evaluation_transform as evaluation_transform
