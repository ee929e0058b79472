"""From a name, a card or a module to a teacher."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch

from labelkit.device import choose_device
from labelkit.errors import TeacherError
from labelkit.hierarchy import NAMED_LISTS, ClassList, read_class_list
from labelkit.teachers.card import TeacherCard, find_card
from labelkit.teachers.compiling import compile_features
from labelkit.teachers.random_weights import randomize
from labelkit.teachers.teacher import Precision, Teacher, size_errors
from labelkit.teachers.timm_models import (
    build_model,
    card_of_timm_model,
    card_without_classes,
    fit_to_model,
)
from labelkit.teachers.weights import load_strictly, read_state_dict, weights_path

if TYPE_CHECKING:
    from torch import nn


def load_teacher(  # noqa: PLR0913 -- which, where, and how it computes
    name_or_card: str | TeacherCard,
    *,
    device: str = "auto",
    size: int | None = None,
    force: bool = False,
    precision: Precision = "float32",
    compiled: bool = False,
) -> Teacher:
    """Load a teacher, ready to answer.

    Args:
        name_or_card: a card's name, the path of a card, a card, or the name of a timm model.
        device: where the model is to run, as torch names it; ``auto`` takes a GPU if there is one.
        size: side in pixels of the images it will see, for models that are built for one size;
            None is the card's.
        force: give a map of patch tokens for a model that answers from its class token.
        precision: compute the features in ``bfloat16`` or ``float16``, the head in float32.
        compiled: compile the features with the first images that it sees, and for each new size:
            half a minute, and a C++ compiler, for maps in about 2/3 of the time.

    Raises:
        TeacherError: unknown name, missing or unfitting weights, a class list of another length,
            or a model that is no classifier of colour images.
        DeviceError: torch cannot compute on ``device`` here.
    """
    where = choose_device(device)
    card = name_or_card
    if isinstance(card, str):
        card = find_card(card) or card_of_timm_model(card)
    card = _of_size(card, size)
    classes = _read_classes(card)
    own = card.weights is not None
    model = build_model(card, pretrained=not own, num_classes=len(classes) if own else None)
    if card.weights is not None:
        path = weights_path(card, card.weights)
        state = read_state_dict(path, card.weights.layout, model)
        load_strictly(model, fit_to_model(state, model), card.name)
    outputs = getattr(model, "num_classes", 0)
    if outputs != len(classes):
        raise TeacherError(
            f"teacher {card.name} gives {outputs} scores, its class list {classes} is of another "
            "length: name the right list in its card"
        )
    teacher = replace(_ready(model, classes, card, where), force=force, precision=precision)
    return replace(teacher, compiled=compile_features(model, card.name)) if compiled else teacher


def random_teacher(
    name_or_card: str | TeacherCard,
    *,
    device: str = "auto",
    size: int | None = None,
    force: bool = False,
) -> Teacher:
    """A teacher with random weights and numbered classes, to measure an architecture by.

    Its statistics, scales and head are random too, so that nothing in it is idle. Nothing is
    fetched.

    Args:
        name_or_card: as for ``load_teacher``.
        device: likewise.
        size: likewise.
        force: likewise.

    Raises:
        TeacherError: unknown name, or a model that is no classifier of colour images.
        DeviceError: torch cannot compute on ``device`` here.
    """
    where = choose_device(device)
    card = name_or_card
    if isinstance(card, str):
        card = find_card(card) or card_without_classes(card)
    card = _of_size(card, size)
    torch.manual_seed(0)
    model = build_model(card, pretrained=False).eval()
    with size_errors(card, card.size):
        randomize(model, card.size)
    classes = ClassList.of(f"class-{n}" for n in range(int(getattr(model, "num_classes", 0))))
    return replace(_ready(model, classes, card, where), force=force)


def wrap_model(
    model: nn.Module, classes: ClassList, card: TeacherCard, *, device: str = "auto"
) -> Teacher:
    """A teacher from a module of your own.

    Args:
        model: a ``SplitModel`` or a ``DenseModel``; it is put into eval mode and on the device.
        classes: what its outputs stand for, in order.
        card: name, input size and preprocessing; ``model`` is any text that names it.
        device: where it is to run, as torch names it.

    Raises:
        TeacherError: the module lacks what a teacher needs, does not take images of the card's
            size, gives no grid, another number of scores than classes, or scores that are not
            finite.
        DeviceError: torch cannot compute on ``device`` here.
    """
    teacher = _ready(model, classes, card, choose_device(device))
    image = torch.zeros(1, 3, card.size, card.size, device=teacher.device)
    with size_errors(card, card.size):
        logits = teacher.logits_map(image)
    if logits.ndim != 4 or logits.shape[1] != len(classes):
        raise TeacherError(
            f"{card.name or card.model} gives a map of shape {list(logits.shape)}; expected "
            f"(1, {len(classes)}, H, W) for {classes}: give the right list"
        )
    if not torch.isfinite(logits).all():
        raise TeacherError(
            f"{card.name or card.model} gives scores that are not finite for a grey image: its "
            "weights are damaged"
        )
    return teacher


def _of_size(card: TeacherCard, size: int | None) -> TeacherCard:
    return card if size is None else msgspec.structs.replace(card, size=size)


def _ready(model: nn.Module, classes: ClassList, card: TeacherCard, where: torch.device) -> Teacher:
    model.eval().requires_grad_(requires_grad=False)
    model.to(where)
    for weight in model.parameters():
        if weight.ndim == 4:  # those of 3D convolutions have no such order
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return Teacher(model, classes, card, _digest(model))


def _read_classes(card: TeacherCard) -> ClassList:
    if card.classes in NAMED_LISTS:
        return read_class_list(card.classes)
    return read_class_list(Path(card.folder) / card.classes)


def _digest(model: torch.nn.Module) -> str:
    """SHA-256 over the names, shapes and bytes of all weights, whatever file they came from."""
    digest = hashlib.sha256()
    state: dict[str, Any] = model.state_dict()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
