"""What a training recipe holds, field by field. Loads no tensors."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, cast

import msgspec

from labelkit.data.target_options import TargetOptions

Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Smoothing = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]
CountFromZero = Annotated[int, msgspec.Meta(ge=0)]
Side = Annotated[int, msgspec.Meta(ge=8, le=4096)]
Text = Annotated[str, msgspec.Meta(min_length=1)]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One table of the TOML file; paths are relative to the current directory."""


class Data(_Section, frozen=True):
    """The images, and what is done to them.

    Attributes:
        train: folder with one folder of images per class.
        val: likewise, for the evaluation after each epoch.
        image_size: side in pixels of the square that the model sees.
        crop_scale: smallest and largest share of the image's area that a training crop takes.
        crop_pct: in evaluation, ``image_size`` over the side that the short side is resized to.
        hflip: probability of a mirrored training crop.
        workers: processes that read images; 0 reads in the training process. Changes no number.
    """

    train: Text
    val: Text
    image_size: Side = 224
    crop_scale: tuple[Share, Share] = (0.08, 1.0)
    crop_pct: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.875
    hflip: Share = 0.5
    workers: CountFromZero = 2

    def __post_init__(self) -> None:
        low, high = self.crop_scale
        if not 0 < low <= high:
            raise ValueError(f"crop_scale is [{low}, {high}], expected 0 < smallest <= largest")


class HardLabels(_Section, frozen=True, tag_field="kind", tag="hard"):
    """Cross-entropy with each image's folder as its class; the class list is the train folders'."""

    label_smoothing: Smoothing = 0.0


class SemanticSoftmaxLabels(_Section, frozen=True, tag_field="kind", tag="semantic-softmax"):
    """One softmax per level of a tree; the class list is the tree's.

    Attributes:
        tree: a file made by ``labelkit build-tree``; it must hold every folder's name.
        label_smoothing: spread within each level.
        level_weights: ``paper``, ``uniform``, or one number per level from the roots down.
    """

    tree: Text
    label_smoothing: Smoothing = 0.0
    level_weights: Literal["paper", "uniform"] | tuple[float, ...] = "paper"


class LabelMapLabels(_Section, frozen=True, tag_field="kind", tag="label-maps"):
    """Soft targets pooled from label maps over each random crop; the class list is the file's.

    Attributes:
        maps: a file made by ``labelkit relabel`` from the train folder.
        label: of the crop or of the whole image, soft or its strongest class; or the folder's own.
            ``labelkit.data.TargetOptions`` tells of each.
        original: share of the folder's own label, from 0 to 1.
        temperature: what pooled logits are divided by, from 0.001 to 1000.
        method: pool logits (``relabel``) or probabilities.
        absent: what cells count as that do not store a class.
    """

    maps: Text
    label: str = "local-multi"
    original: float = 0.0
    temperature: float = 1.0
    method: str = "relabel"
    absent: str = "background"

    def __post_init__(self) -> None:
        self.options()

    def options(self) -> TargetOptions:
        """The same as the data set takes it.

        Raises:
            ValueError: a value out of its range; the message names it.
        """
        # The words are checked there, where the message lists them.
        label, method, absent = cast("Any", (self.label, self.method, self.absent))
        return TargetOptions(
            label=label,
            original=self.original,
            temperature=self.temperature,
            method=method,
            absent=absent,
        )


Labels: TypeAlias = HardLabels | SemanticSoftmaxLabels | LabelMapLabels


class Model(_Section, frozen=True):
    """The student, ``timm.create_model(name, pretrained, **kwargs)``.

    Attributes:
        name: of a timm model.
        pretrained: begin with timm's weights for that name; the classifier is always new.
        kwargs: anything else that the model takes, such as ``drop_rate`` or ``img_size``.
    """

    name: Text
    pretrained: bool = False
    kwargs: dict[str, object] = {}


class Optimizer(_Section, frozen=True):
    """``timm.optim.create_optimizer_v2(model, opt=name, ...)``.

    Attributes:
        name: of a timm optimizer, such as ``sgd``, ``adamw`` or ``lamb``.
        lr: the peak learning rate, for the recipe's own batch size.
        weight_decay: left off biases and norms, as timm does.
        momentum: where the optimizer has one.
        kwargs: anything else that it takes, such as ``betas``.
    """

    name: Text
    lr: Positive
    weight_decay: NotNegative = 0.0
    momentum: Share = 0.9
    kwargs: dict[str, object] = {}


class Schedule(_Section, frozen=True):
    """``timm.scheduler.create_scheduler_v2(...)``, stepped after every update.

    Attributes:
        name: how the learning rate falls.
        epochs: passes over the train folder.
        warmup_epochs: of these, how many the rate takes to rise.
        warmup_lr: where it starts from.
        min_lr: where it ends.
        kwargs: anything else that the schedule takes, such as ``decay_rate``.
    """

    epochs: Count
    name: Literal["cosine", "tanh", "step", "multistep", "poly"] = "cosine"
    warmup_epochs: CountFromZero = 0
    warmup_lr: NotNegative = 0.0
    min_lr: NotNegative = 0.0
    kwargs: dict[str, object] = {}


class Run(_Section, frozen=True):
    """How the training is run.

    Attributes:
        batch_size: images per update.
        seed: of the weights, the order, the crops and drop-out.
        output: folder for the log and the checkpoints. ``runs/<the recipe's name>`` unless given.
        device: ``auto`` takes a GPU where there is one; else torch's names.
        precision: ``bfloat16`` runs the forward pass under autocast.
    """

    batch_size: Count
    seed: CountFromZero = 0
    output: str = ""
    device: Text = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"


class Recipe(_Section, frozen=True):
    """A whole recipe; the sections are the tables of its TOML file."""

    data: Data
    labels: Labels
    model: Model
    optimizer: Optimizer
    schedule: Schedule
    run: Run


# Where a run happens, not what it computes: these may change between two halves of one run.
FREE_FIELDS = frozenset({"data.workers", "run.device", "run.output"})


def recipe_fields(recipe: Recipe) -> dict[str, object]:
    """Every field that decides a run's numbers, by its dotted name, as JSON values."""
    tables: dict[str, dict[str, object]] = msgspec.json.decode(msgspec.json.encode(recipe))
    fields = {
        f"{table}.{name}": value for table, body in tables.items() for name, value in body.items()
    }
    return {name: value for name, value in fields.items() if name not in FREE_FIELDS}
