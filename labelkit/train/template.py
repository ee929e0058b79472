"""A commented recipe to start from, made from the fields' descriptions. Loads no tensors."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from typing import TYPE_CHECKING, get_args

import msgspec

from labelkit.train.recipe import Recipe
from labelkit.train.recipe_labels import Labels

if TYPE_CHECKING:
    from collections.abc import Iterator

# Values to start from: of fields without a default, and of those that are off by default.
EXAMPLES: dict[str, object] = {
    "data.train": "photos/train",
    "data.val": "photos/val",
    "data.coarsening": "coarse.json",
    "data.augment": "3-augment",
    "data.labels": "10%",
    "data.unlabelled": "more-photos",
    "data.key_column": "id",
    "data.image_column": "image",
    "labels.teacher": "efficientnet-lite0",
    "labels.tree": "tree.json",
    "labels.maps": "maps.h5",
    "labels.level_weights": "paper",
    "labels.names": "names.tsv",
    "labels.unlabelled_maps": "more.h5",
    "model.name": "resnet50",
    "model.init": "runs/pretraining",
    "model.ema_decay": 0.9999,
    "optimizer.name": "lamb",
    "optimizer.lr": 0.002,
    "optimizer.clip_grad": 1.0,
    "schedule.epochs": 100,
    "schedule.images": 100_000_000,
    "run.batch_size": 256,
}
# Set although they have a default, which suits fewer runs.
_CHANGED: dict[str, object] = {
    "optimizer.weight_decay": 0.02,
    "schedule.warmup_epochs": 5,
}
_WIDTH = 98


def label_kinds() -> tuple[str, ...]:
    """What ``labels.kind`` can be."""
    return tuple(str(kind.__struct_config__.tag) for kind in get_args(Labels))


def recipe_template(kind: str) -> str:
    """A recipe with all fields: those to fill in, and as comments the others with their defaults.

    Args:
        kind: of labels, one of ``label_kinds()``.

    Raises:
        ValueError: no such kind.

    >>> print(recipe_template("hard")[:30])
    # A recipe for labelkit train.
    """
    kinds = dict(zip(label_kinds(), get_args(Labels), strict=True))
    if kind not in kinds:
        raise ValueError(f"no labels of kind {kind!r}, only {', '.join(kinds)}")
    lines = [
        "# A recipe for labelkit train. Fill in the paths; lines that begin with # show the other",
        "# fields with their defaults, or with an example if they are off.",
    ]
    for table in msgspec.structs.fields(Recipe):
        fields = kinds[kind] if table.name == "labels" else table.type
        lines += ["", *_comment(_about(fields)), f"[{table.name}]"]
        if table.name == "labels":
            lines.append(f'kind = "{kind}"')
        lines += _fields(table.name, fields)
    return "\n".join(lines) + "\n"


def _fields(table: str, fields: type[msgspec.Struct]) -> Iterator[str]:
    """The lines of a table's fields."""
    described = _descriptions(fields)
    for field in msgspec.structs.fields(fields):
        name = f"{table}.{field.name}"
        yield from _comment(described.get(field.name, ""))
        default = None if field.required else field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        value = json.dumps(_CHANGED.get(name, EXAMPLES[name] if default is None else default))
        if field.required or name in _CHANGED or name == "schedule.epochs":
            yield f"{field.name} = {value}"
        else:
            yield f"# {field.name} = {value}{'  # off by default' if default is None else ''}"


def _about(fields: type[msgspec.Struct]) -> str:
    """The first paragraph of a table's description."""
    return (inspect.getdoc(fields) or "").split("\n\n")[0]


def _descriptions(fields: type[msgspec.Struct]) -> dict[str, str]:
    """The description of each field of a table."""
    _, _, listed = (inspect.getdoc(fields) or "").partition("Attributes:\n")
    parts = re.split(r"^ {4}(\w+): ", listed, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _comment(text: str) -> list[str]:
    """Text as comments, without the marks of code."""
    plain = " ".join(text.replace("``", "").split())
    return textwrap.wrap(plain, _WIDTH, initial_indent="# ", subsequent_indent="# ")
