"""The trained student: ``best.safetensors``, and the ``config.json`` with which timm loads it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from labelkit import __version__
from labelkit.errors import TrainingError, first_line
from labelkit.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from labelkit.hierarchy import ClassList
    from labelkit.train.recipe import Recipe


def save_student(
    path: Path, model: Mapping[str, Tensor], classes: ClassList, facts: Mapping[str, str]
) -> None:
    """Write weights as safetensors, with the class list and its digest in the metadata.

    Args:
        path: the file to create or replace.
        model: a ``state_dict``.
        classes: the class list of its outputs, a JSON list in the metadata.
        facts: more metadata.

    Raises:
        OSError: the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    metadata = {
        **facts,
        "labelkit": __version__,
        "classes": msgspec.json.encode(list(classes)).decode(),
        "classes_digest": classes.digest,
    }
    # Cloned, since safetensors rejects tensors that share memory.
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.items()}
    try:
        replace_file(path, lambda temporary: save_file(tensors, temporary, metadata))
    except SafetensorError as error:  # of a full disk, whose error number it loses
        raise OSError(None, str(error), str(path)) from error


def save_timm_config(
    path: Path,
    student: nn.Module,
    recipe: Recipe,
    classes: ClassList,
    preprocessing: Mapping[str, Any],
) -> None:
    """Write what ``timm.create_model("local-dir:FOLDER", pretrained=True)`` reads beside weights.

    timm then builds the recipe's model with its number of classes, and its ``resolve_data_config``
    gives the preprocessing of the run's evaluation.

    Args:
        path: the file to create or replace.
        student: the timm model.
        recipe: what it is trained with.
        classes: the class list of its outputs.
        preprocessing: ``mean``, ``std`` and ``interpolation`` of the evaluation.

    Raises:
        OSError: the file cannot be written.
    """
    known: Mapping[str, Any] = getattr(student, "pretrained_cfg", {})
    size = recipe.data.image_size
    names = ("first_conv", "classifier", "fixed_input_size")
    config = {
        "architecture": known.get("architecture") or recipe.model.name.partition(".")[0],
        "num_classes": len(classes),
        "model_args": recipe.model.kwargs,
        "labelkit": __version__,
        "classes_digest": classes.digest,
        "pretrained_cfg": {
            **{name: known[name] for name in names if known.get(name) is not None},
            "custom_load": False,
            "input_size": [3, size, size],
            "mean": list(preprocessing["mean"]),
            "std": list(preprocessing["std"]),
            "interpolation": preprocessing["interpolation"],
            "crop_pct": timm_crop_pct(size, recipe.data.crop_pct),
            "crop_mode": "center",
            "num_classes": len(classes),
            "label_names": list(classes),
        },
    }
    replace_file(path, msgspec.json.format(msgspec.json.encode(config)) + b"\n")


def timm_crop_pct(size: int, crop_pct: float) -> float:
    """The ``crop_pct`` with which timm resizes to the same side as a recipe's.

    timm rounds ``size / crop_pct`` down, a recipe rounds it to the nearest number.

    >>> timm_crop_pct(224, 0.875), round(timm_crop_pct(96, 0.875), 4)
    (0.875, 0.8727)
    """
    side = round(size / crop_pct)
    if math.floor(size / crop_pct) == side:
        return crop_pct
    nearest = size / side
    return nearest if math.floor(size / nearest) == side else math.nextafter(nearest, 0)


def read_student(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata and the weights of a file that ``save_student`` wrote; no code is run.

    Raises:
        TrainingError: the file is damaged, or not from ``labelkit train``.
        OSError: it cannot be read.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        with safe_open(path, "pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
        weights: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise TrainingError(f"{path} is damaged ({first_line(error)}). Copy it again") from error
    missing = {"classes", "classes_digest", "recipe"} - metadata.keys()
    if missing:
        raise TrainingError(
            f"{path} is not from labelkit train: its metadata lacks {', '.join(sorted(missing))}. "
            "Pass best.safetensors or last.pt of a run"
        )
    return metadata, weights
