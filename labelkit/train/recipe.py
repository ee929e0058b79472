"""A training recipe: its fields, and how to read it from a TOML file. Loads no tensors."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args, get_origin

import msgspec

from labelkit.errors import RecipeError
from labelkit.files import decode_toml, read_utf8
from labelkit.train.recipe_data import Data
from labelkit.train.recipe_labels import Labels
from labelkit.train.recipe_types import (
    Count,
    CountFromZero,
    NotNegative,
    Positive,
    RecipeTable,
    Seed,
    Share,
    Text,
)
from labelkit.wording import shown

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping


class Mix(RecipeTable, frozen=True):
    """CutMix and MixUp of each batch, with any kind of labels; the names are timm's.

    Attributes:
        mixup: alpha of MixUp's Beta distribution; 0 for none. 0.2 to 1 are usual.
        cutmix: the same for CutMix.
        prob: probability of mixing a batch.
        switch_prob: probability of CutMix for a mixed batch, if both are on.
    """

    mixup: NotNegative = 0.0
    cutmix: NotNegative = 0.0
    prob: Share = 1.0
    switch_prob: Share = 0.5

    def __post_init__(self) -> None:
        if not self.on and (self.prob, self.switch_prob) != (1, 0.5):
            raise ValueError("prob or switch_prob without mixup or cutmix: set one of these")

    @property
    def on(self) -> bool:
        """Whether any batch is mixed."""
        return self.mixup > 0 or self.cutmix > 0


class Model(RecipeTable, frozen=True):
    """The student, ``timm.create_model(name, pretrained, **kwargs)``.

    Attributes:
        name: the name of a timm model.
        pretrained: start from timm's weights for that name; the classifier is always new.
        init: start from the weights of another run's best epoch, by its folder; the classifier is
            new unless that run has the same class list.
        ema_decay: keep a moving average of the weights with this decay, such as 0.9999; it is what
            is evaluated and exported. In update t the decay is at most t / (t + 10).
        kwargs: other arguments of the model, such as ``drop_rate`` or ``img_size``.
    """

    name: Text
    pretrained: bool = False
    init: Text | None = None
    ema_decay: Annotated[float, msgspec.Meta(gt=0, lt=1)] | None = None
    kwargs: dict[str, object] = msgspec.field(default_factory=dict[str, object])

    def __post_init__(self) -> None:
        if self.pretrained and self.init is not None:
            raise ValueError("set one of pretrained and init: a student starts from one of them")


class Optimizer(RecipeTable, frozen=True):
    """``timm.optim.create_optimizer_v2(model, opt=name, ...)``.

    Attributes:
        name: the name of a timm optimizer, such as ``sgd``, ``adamw`` or ``lamb``.
        lr: the peak learning rate, for the recipe's batch size.
        weight_decay: not applied to biases and norms, as in timm.
        momentum: for optimizers that have one.
        clip_grad: the largest norm of all gradients together; with ``agc``, of a unit's gradient
            relative to its weights (Brock et al. 2021, arXiv 2102.06171).
        clip_mode: ``norm`` or ``agc``, as in timm.
        kwargs: other arguments of the optimizer, such as ``betas``.
    """

    name: Text
    lr: Positive
    weight_decay: NotNegative = 0.0
    momentum: Share = 0.9
    clip_grad: Positive | None = None
    clip_mode: Literal["norm", "agc"] = "norm"
    kwargs: dict[str, object] = msgspec.field(default_factory=dict[str, object])


class Schedule(RecipeTable, frozen=True):
    """``timm.scheduler.create_scheduler_v2(...)``, stepped after every update.

    Attributes:
        name: the shape of the learning rate's decay.
        epochs: passes over the train folder, including warm-up.
        images: instead of ``epochs``: train for the fewest whole epochs with so many images.
        warmup_epochs: epochs in which the learning rate rises.
        warmup_lr: the learning rate at the start of the warm-up.
        min_lr: the learning rate at the end.
        kwargs: other arguments of the schedule, such as ``decay_rate``.
    """

    epochs: Count | None = None
    images: Annotated[int, msgspec.Meta(ge=1, le=2**62)] | None = None
    name: Literal["cosine", "tanh", "step", "multistep", "poly"] = "cosine"
    warmup_epochs: CountFromZero = 0
    warmup_lr: NotNegative = 0.0
    min_lr: NotNegative = 0.0
    kwargs: dict[str, object] = msgspec.field(default_factory=dict[str, object])

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.images is None):
            raise ValueError("set one of epochs and images")

    def whole_epochs(self, images: int) -> int:
        """The number of epochs, of so many images each."""
        return self.epochs or -(-(self.images or 0) // images)


class Run(RecipeTable, frozen=True):
    """How to run the training.

    Attributes:
        batch_size: images per update.
        accumulate: number of parts of a batch whose gradients are added up, to save memory.
        seed: for the weights, the order, the crops and dropout.
        output: folder for the log and the checkpoints; ``runs/<the recipe's name>`` by default.
        device: ``auto``, which is a GPU if there is one, or a torch device.
        evaluate_every: epochs from one evaluation to the next; the last epoch is always evaluated.
        precision: ``bfloat16`` and ``float16`` run the forward pass under autocast; ``float16``
            also scales the loss.
        channels_last: the memory layout of weights and images; faster on almost all devices.
        sync_bn: with several processes on GPUs, batch norm over the images of all of them.
        logger: also log each epoch with this program; its package must be installed.
        compile: compile the student's forward and backward pass with ``torch.compile``.
    """

    batch_size: Count
    seed: Seed = 0
    output: str = ""
    device: Text = "auto"
    evaluate_every: Count = 1
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    accumulate: Count = 1
    channels_last: bool = True
    sync_bn: bool = False
    logger: Literal["none", "wandb", "trackio", "tensorboard"] = "none"
    compile: bool = False

    def __post_init__(self) -> None:
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"accumulate is {self.accumulate}, expected at most batch_size, {self.batch_size}"
            )

    @property
    def part_size(self) -> int:
        """The largest number of images that the student gets at once."""
        return -(-self.batch_size // self.accumulate)


class Recipe(RecipeTable, frozen=True):
    """A whole recipe; the sections are the tables of its TOML file."""

    data: Data
    labels: Labels
    model: Model
    optimizer: Optimizer
    schedule: Schedule
    run: Run
    mix: Mix = Mix()

    def __post_init__(self) -> None:
        if self.data.repeats > self.run.batch_size:
            raise ValueError(
                f"data.repeats is {self.data.repeats}, expected at most run.batch_size, "
                f"{self.run.batch_size}: a batch has all repetitions of an image"
            )


FIELDS = "train/README.md describes the fields"

# Fields that do not change what a run computes, and so may change when it resumes.
# A checkpoint knows its images: it does not matter why others were left out.
FREE_FIELDS = frozenset(
    {
        *("data.workers", "data.unreadable", "run.output", "run.logger"),
        *("run.device", "run.channels_last", "run.compile"),  # these change only the rounding
    }
)


def recipe_fields(recipe: Recipe) -> dict[str, object]:
    """The fields that determine a run's results, by dotted name, as JSON values."""
    tables: dict[str, dict[str, object]] = msgspec.json.decode(msgspec.json.encode(recipe))
    fields = {
        f"{table}.{name}": value for table, body in tables.items() for name, value in body.items()
    }
    return {name: value for name, value in fields.items() if name not in FREE_FIELDS}


def with_defaults(fields: Mapping[str, object]) -> Mapping[str, object]:
    """The fields of a checkpoint, and the defaults of those that came into recipes after it.

    Fields that no recipe has are left as they are.
    """
    try:
        return recipe_fields(recipe_of_fields(fields))
    except ValueError:
        return fields


def recipe_of_fields(fields: Mapping[str, object]) -> Recipe:
    """The recipe that ``recipe_fields`` gave these fields of; the free fields have their defaults.

    Raises:
        ValueError: a field is unknown, missing or invalid.
    """
    tables: dict[str, dict[str, object]] = {}
    for name, value in fields.items():
        table, _, field = name.partition(".")
        tables.setdefault(table, {})[field] = value
    return msgspec.convert(tables, Recipe)


_Tables = dict[str, Any]


def read_recipe(path: str | os.PathLike[str], changes: Iterable[str] = ()) -> Recipe:
    """Read and check a recipe.

    Relative paths in a recipe start at the current directory, as on the command line.

    Args:
        path: the TOML file.
        changes: ``table.field=value`` each, applied in order; values that are not valid TOML are
            taken as plain text.

    Raises:
        RecipeError: not TOML, or a field is missing, unknown or invalid; the message names it.
        ValueError: a change does not have the form ``table.field=value``.
        FileNotFoundError: no such file.

    >>> read_recipe("missing.toml", ["run.seed:1"])
    Traceback (most recent call last):
    ValueError: expected table.field=value, such as run.seed=1, got 'run.seed:1'
    """
    parsed = [_parse_change(change) for change in changes]
    source = Path(path)
    if not source.exists():
        raise FileNotFoundError(f"no such recipe: {source}")
    text = read_utf8(source, RecipeError)
    tables = decode_toml(text, _Tables, source, RecipeError, FIELDS)
    for names, value in parsed:
        _set(tables, names, value)
    try:
        recipe = msgspec.convert(tables, Recipe)
    except msgspec.ValidationError as error:
        raise RecipeError(f"{source}: {_explain(tables, str(error))}") from None
    _require_finite(tables, source)
    if recipe.run.output:
        return recipe
    run = msgspec.structs.replace(recipe.run, output=f"runs/{source.stem}")
    return msgspec.structs.replace(recipe, run=run)


def _require_finite(value: object, source: Path, place: str = "") -> None:
    """Refuse infinity and NaN, which are numbers in TOML.

    Raises:
        RecipeError: the message names the field.
    """
    if isinstance(value, dict):
        for name, inner in cast("_Tables", value).items():
            _require_finite(inner, source, f"{place}.{name}" if place else name)
    elif isinstance(value, list):
        for number, inner in enumerate(cast("list[object]", value)):
            _require_finite(inner, source, f"{place}[{number}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise RecipeError(f"{source}: {place} is {value}, expected a finite number")


def _parse_change(change: str) -> tuple[list[str], object]:
    name, equals, text = change.partition("=")
    names = name.strip().split(".")
    if not equals or not all(names):
        raise ValueError(f"expected table.field=value, such as run.seed=1, got {change!r}")
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return names, text
    return names, parsed["value"] if len(parsed) == 1 else text


def _set(tables: _Tables, names: list[str], value: object) -> None:
    for name in names[:-1]:
        inner = tables.setdefault(name, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"cannot set {'.'.join(names)}: {name} is not a table")
        tables = inner
    tables[names[-1]] = value


def _explain(tables: _Tables, message: str) -> str:
    """A msgspec error in the recipe's terms: the field, what was found, what was expected."""
    problem, _, where = message.partition(" - at `$")
    place = where.rstrip("`").lstrip(".")
    field = re.search(r"field `(\w+)`", problem)
    if "unknown field" in problem and field:
        known = _known_fields(tables, place)
        near = difflib.get_close_matches(field[1], known, n=1)
        suggestion = f" Did you mean {near[0]}?" if near else ""
        return f"{_table(place)} has no field {field[1]}, only {', '.join(known)}.{suggestion}"
    if "missing" in problem and field:
        kinds = f": one of {', '.join(_kinds())}" if field[1] == "kind" else ""
        return f"{_table(place)} needs the field {field[1]}{kinds}"
    if place == "labels.kind":
        return f"labels.kind is {shown(_at(tables, place))}, expected one of {', '.join(_kinds())}"
    if problem.startswith("Invalid enum value"):
        return f"{place} is {shown(_at(tables, place))}, expected {_choices(tables, place)}"
    if problem.startswith("Expected"):
        expected = re.sub(r", got .*| \| null|`", "", problem).lower()
        return f"{place} is {shown(_at(tables, place))}, {expected}"
    return f"{place}: {problem}" if place else problem


def _table(place: str) -> str:
    return f"[{place}]" if place else "the recipe"


def _kinds() -> list[str]:
    return [str(kind.__struct_config__.tag) for kind in get_args(Labels)]


def _known_fields(tables: _Tables, place: str) -> list[str]:
    return [field.name for field in msgspec.structs.fields(_section(tables, place))]


def _section(tables: _Tables, place: str) -> type[msgspec.Struct]:
    """The type of one table of the recipe, or of the whole recipe."""
    kinds = dict(zip(_kinds(), get_args(Labels), strict=True))
    match place:
        case "":
            return Recipe
        case "labels":
            return kinds[tables["labels"]["kind"]]
        case _:
            return next(f.type for f in msgspec.structs.fields(Recipe) if f.name == place)


def _choices(tables: _Tables, place: str) -> str:
    """The valid values of a field."""
    table, _, name = place.partition(".")
    fields = msgspec.structs.fields(_section(tables, table))
    kind = next(field.type for field in fields if field.name == name)
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    words = next(part for part in get_args(kind) if get_origin(part) is Literal)
    return f"{', '.join(get_args(words))} or a list of numbers"


def _at(tables: _Tables, place: str) -> object:
    """The value at a dotted name, such as ``data.crop_scale[1]``."""
    value: Any = tables
    for name in re.findall(r"\w+", place):
        value = value[int(name) if isinstance(value, list) else name]
    return value


def without_dotdot(path: str) -> str:
    """The same path without ``..`` in it, with links followed, for readable messages."""
    return str(Path(path).resolve()) if ".." in Path(path).parts else path
