"""Load a teacher from a card, from the name of a timm model, or from a module."""

from __future__ import annotations

import hashlib
import inspect
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import msgspec
import timm
import torch

from labelkit.device import choose_device
from labelkit.errors import TeacherError, first_line, is_machine_failure, is_out_of_memory
from labelkit.files import file_sha256
from labelkit.teachers.card import TeacherCard, class_list_of, find_card, suggestion
from labelkit.teachers.grid_head import split
from labelkit.teachers.shipped_weights import weight_file
from labelkit.teachers.teacher import Precision, Teacher, size_errors
from labelkit.teachers.weights import load_strictly, read_state_dict

if TYPE_CHECKING:
    from collections.abc import Callable

    from timm.models import PretrainedCfg
    from torch import Tensor, nn

    from labelkit.hierarchy import ClassList


def load_teacher(  # noqa: PLR0913 -- what to load, where, and how it computes
    name_or_card: str | TeacherCard,
    *,
    device: str = "auto",
    size: int | None = None,
    force: bool = False,
    precision: Precision = "float32",
    compiled: bool = False,
) -> Teacher:
    """Load a teacher, ready to predict.

    Args:
        name_or_card: a card's name, the path of a card, a card, or the name of a timm model.
        device: torch's name of the device; ``auto`` is a GPU if there is one.
        size: side in pixels of the images, for models that are built for one size; None is the
            card's.
        force: make a map of patch tokens with a model that predicts from its class token.
        precision: compute the features in ``bfloat16`` or ``float16``, the head in float32.
        compiled: compile the features with the first images, and again for each new size. Takes
            half a minute and a C++ compiler, and makes maps in about 2/3 of the time.

    Raises:
        TeacherError: unknown name, missing weights or weights that do not fit, a class list of
            another length, or a model that does not classify colour images.
        DeviceError: torch cannot use ``device`` on this machine.
    """
    chosen = choose_device(device)
    card = name_or_card
    if isinstance(card, str):
        card = find_card(card) or card_of_timm_model(card)
    card = card if size is None else msgspec.structs.replace(card, size=size)
    classes = class_list_of(card)
    weights = ""
    if card.weights is None:
        model = build_model(card, pretrained=True)
    else:
        model = build_model(card, pretrained=False, num_classes=len(classes))
        path = weight_file(card, card.weights)
        weights = file_sha256(path)
        try:
            state = read_state_dict(path, card.weights.layout, model)
            load_strictly(model, _fit_to_model(state, model), card.name)
        except MemoryError as error:
            raise _too_big(card) from error
    outputs = getattr(model, "num_classes", 0)
    if outputs != len(classes):
        raise TeacherError(
            f"teacher {card.name} returns {outputs} scores, but its class list {classes} has "
            f"{len(classes)} classes. Name the right class list in its card"
        )
    teacher = replace(
        prepare(model, classes, card, chosen),
        force=force,
        precision=precision,
        weights_file=weights,
    )
    return replace(teacher, compiled=compile_features(model, card.name)) if compiled else teacher


def move_teacher(teacher: Teacher, device: str, *, compiled: bool = False) -> Teacher:
    """The same teacher on another device. Its model itself is moved.

    Args:
        teacher: on any device.
        device: torch's name of the device; ``auto`` is a GPU if there is one.
        compiled: compile the features for this device, as ``load_teacher``.

    Raises:
        DeviceError: torch cannot use ``device`` on this machine.
        TeacherError: there is not enough memory.
    """
    model, card = teacher.model, teacher.card
    prepare(model, teacher.classes, card, choose_device(device))
    return replace(teacher, compiled=compile_features(model, card.name) if compiled else None)


def wrap_model(
    model: nn.Module, classes: ClassList, card: TeacherCard, *, device: str = "auto"
) -> Teacher:
    """Make a teacher from any module.

    Args:
        model: a ``SplitModel`` or a ``DenseModel``; it is put into eval mode and on the device.
        classes: the classes of its outputs, in order.
        card: name, input size and preprocessing; ``model`` is any text that names it.
        device: torch's name of the device; ``auto`` is a GPU if there is one.

    Raises:
        TeacherError: the module lacks the methods that a teacher needs, does not take images of the
            card's size, has no grid, or returns scores that are not finite or do not match the
            number of classes.
        DeviceError: torch cannot use ``device`` on this machine.
    """
    teacher = prepare(model, classes, card, choose_device(device))
    image = torch.zeros(1, 3, card.size, card.size, device=teacher.device)
    with size_errors(card, card.size):
        logits = teacher.logits_map(image)
    if logits.ndim != 4 or logits.shape[1] != len(classes):
        raise TeacherError(
            f"{card.name or card.model} returns a map of shape {list(logits.shape)}, expected "
            f"(1, {len(classes)}, H, W) for {classes}. Pass the right class list"
        )
    if not torch.isfinite(logits).all():
        raise TeacherError(
            f"{card.name or card.model} returns scores that are not finite for a grey image: its "
            "weights are damaged"
        )
    return teacher


def prepare(
    model: nn.Module, classes: ClassList, card: TeacherCard, device: torch.device
) -> Teacher:
    """Put a model into eval mode, on a device and in channels-last order, as a teacher."""
    model.eval().requires_grad_(requires_grad=False)
    try:
        model.to(device)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise _too_big(card) from error
        raise
    for weight in model.parameters():
        if weight.ndim == 4:  # the weights of 3D convolutions have no such order
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return Teacher(model, classes, card, weights_digest(model))


def weights_digest(model: nn.Module) -> str:
    """SHA-256 over the names, shapes and bytes of all weights, whatever file they came from."""
    digest = hashlib.sha256()
    state: dict[str, Any] = model.state_dict()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


# timm's models.


def card_of_timm_model(name: str, *, classes: str | None = None) -> TeacherCard:
    """A card for the name of a timm model.

    Args:
        name: the model's name, with or without a weights tag.
        classes: the card's class list; None is the class list that the weights tag implies.

    Raises:
        TeacherError: unknown name, no weights, or weights whose class list the tag does not imply.
    """
    if not timm.is_model(name):
        raise TeacherError(f"unknown teacher {name!r}. {suggestion(name, timm.list_models())}")
    config = timm.get_pretrained_cfg(name, allow_unregistered=False)
    if config is None:
        raise TeacherError(f"timm has no preprocessing for {name!r}. Write a card that names it")
    return _card(name, config, _implied_classes(name, config) if classes is None else classes)


def _implied_classes(name: str, config: PretrainedCfg) -> str:
    if not config.has_weights:
        raise TeacherError(
            f"timm has no weights for {name!r}. Write a card that names a weight file"
        )
    if config.num_classes != 1000 or not re.search(r"in1k(_\d+)?$", str(config.tag)):
        raise TeacherError(
            f"the class list of {name} (weights tag {config.tag!r}, {config.num_classes} classes) "
            "is not known for certain. Write a card that names it"
        )
    return "imagenet-1k"


def _card(name: str, config: PretrainedCfg, classes: str) -> TeacherCard:
    size = config.input_size[-1]
    tag = f".{config.tag}" if config.tag else ""
    card = TeacherCard(
        model=f"{config.architecture}{tag}",
        classes=classes,
        size=size if config.fixed_input_size else round(size * 4 / 3 / 32) * 32,
        native_size=size,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        interpolation="bilinear" if config.interpolation == "bilinear" else "bicubic",
        licence=str(config.license or ""),
        name=name,
    )
    return msgspec.structs.replace(card, mean=tuple(config.mean), std=tuple(config.std))


def build_model(
    card: TeacherCard, *, pretrained: bool, num_classes: int | None = None
) -> nn.Module:
    """Build a card's model so that it takes images of the card's size.

    Position embeddings and windows of some models are made for one size. Such a model is built with
    ``dynamic_img_size`` or without ``strict_img_size`` if it has these options, which leaves its
    weights unchanged, and otherwise with ``img_size``, to which timm then resamples the weights.

    Args:
        card: which model, at which size.
        pretrained: let timm download its weights.
        num_classes: the number of scores, for weights that were fine-tuned on other classes; None
            keeps timm's number.

    Raises:
        TeacherError: timm cannot build it, or it does not classify colour images.
    """
    try:
        with torch.device("meta"):
            sketch = timm.create_model(card.model)
        options = _size_options(sketch, card)
        if num_classes is not None and num_classes != getattr(sketch, "num_classes", num_classes):
            options["num_classes"] = num_classes
        model = timm.create_model(card.model, pretrained=pretrained, **options)
    except Exception as error:
        # Hubs, proxies and timm raise dozens of types here; the user needs one line.
        if is_out_of_memory(error):
            raise _too_big(card) from error
        raise TeacherError(
            f"timm cannot build {card.model} for {card.size} pixels ({first_line(error)}). Without "
            "a network, its weights must come from a file that a card names; a model that takes "
            f"only one size needs its native size, {card.native_size}"
        ) from error
    channels = _default_config(model).get("input_size", (3,))[0]
    if channels != 3:
        raise TeacherError(
            f"{card.model} takes images of {channels} channels, but labelkit passes red, green and "
            "blue. Use a model for three channels"
        )
    if getattr(model, "num_classes", 0) == 0:
        raise TeacherError(
            f"{card.model} is not a classifier: it returns features, not class scores. Use a model "
            "that was fine-tuned on classes"
        )
    return model


def _too_big(card: TeacherCard) -> TeacherError:
    return TeacherError(
        f"not enough memory to load {card.name or card.model}: close other programs, or use a "
        "smaller model or another --device"
    )


def _fit_to_model(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Weights of another input size, resampled by timm's function for this model, if it has one."""
    resample = getattr(inspect.getmodule(type(model)), "checkpoint_filter_fn", None)
    expected = model.state_dict()
    fits = all(
        value.shape == expected[name].shape for name, value in state.items() if name in expected
    )
    return state if fits or resample is None else cast("dict[str, Tensor]", resample(state, model))


def _default_config(model: nn.Module) -> dict[str, Any]:
    return dict(cast("dict[str, Any]", getattr(model, "pretrained_cfg", None) or {}))


def _size_options(sketch: nn.Module, card: TeacherCard) -> dict[str, Any]:
    """The options with which a model takes images of the card's size."""
    known = _known_options(type(sketch))
    if "dynamic_img_size" in known:
        return {"dynamic_img_size": True}
    if "strict_img_size" in known:
        return {"strict_img_size": False}
    config = _default_config(sketch)
    native = config.get("input_size", (3, card.size, card.size))[-1]
    if "img_size" in known and config.get("fixed_input_size") and card.size != native:
        return {"img_size": card.size}
    return {}


def _known_options(model: type[nn.Module]) -> set[str]:
    """The parameters of a model's class, and of the parent classes that it passes them on to."""
    names: set[str] = set()
    for kind in model.__mro__:
        parameters = inspect.signature(kind.__init__).parameters
        names.update(parameters)
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
            break
    return names


# Compilation.


def compile_features(model: nn.Module, name: str) -> Callable[[Tensor], object]:
    """A model's features, compiled at the first images of each size, for batches of any length.

    Args:
        model: a ``SplitModel``, on its device and in eval mode.
        name: the teacher's name, for messages.

    Returns:
        A function from images (B, 3, S, S) to the model's features, equal up to rounding. It raises
        what the model raises for images that it does not take, and TeacherError if there is no
        working compiler.

    Raises:
        TeacherError: the model has no ``forward_features`` and ``forward_head``.
    """
    # There is no public name for it, and it takes seconds to load.
    from torch._dynamo import maybe_mark_dynamic

    uncompiled = split(model).features
    compiled = torch.compile(uncompiled)

    def features(images: Tensor) -> object:
        # Torch recompiles for a batch of one, a length that is not marked as dynamic, another
        # memory format, and a tensor from outside inference mode. A copy avoids all of these.
        several = images.expand(max(len(images), 2), -1, -1, -1)
        several = several.clone(memory_format=torch.channels_last)
        maybe_mark_dynamic(several, 0)
        try:
            found = compiled(several)
        except RuntimeError as error:
            if is_machine_failure(error):
                raise
            uncompiled(images)
            raise TeacherError(
                f"{name} cannot be compiled on this machine ({first_line(error)}): omit --compile, "
                "or install a C++ compiler if there is none"
            ) from error
        return found[: len(images)] if isinstance(found, torch.Tensor) else found

    return features
