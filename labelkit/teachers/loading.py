"""From a name or a card to a teacher."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import timm
import torch

from labelkit.device import choose_device
from labelkit.errors import TeacherError, first_line
from labelkit.hierarchy import NAMED_LISTS, ClassList, read_class_list
from labelkit.teachers.card import TeacherCard, find_card, suggestion
from labelkit.teachers.teacher import Teacher
from labelkit.teachers.weights import load_strictly, read_state_dict, weights_path


def load_teacher(name_or_card: str | TeacherCard, *, device: str = "auto") -> Teacher:
    """Load a teacher, ready to answer.

    Args:
        name_or_card: a card's name, the path of a card, a card, or the name of a timm model.
        device: where the model is to run, as torch names it; ``auto`` takes a GPU if there is one.

    Raises:
        TeacherError: unknown name, missing or unfitting weights, a class list of another length,
            or a model that gives no grid.
        DeviceError: torch cannot compute on ``device`` here.
    """
    where = choose_device(device)
    card = name_or_card
    if isinstance(card, str):
        card = find_card(card) or _card_of_timm_model(card)
    model = _create_model(card, pretrained=card.weights is None)
    if card.weights is not None:
        path = weights_path(card, card.weights)
        load_strictly(model, read_state_dict(path, card.weights.layout, model), card.name)
    classes = _read_classes(card)
    outputs = getattr(model, "num_classes", 0)
    if outputs != len(classes):
        raise TeacherError(
            f"teacher {card.name} gives {outputs} scores, its class list {classes} is of another "
            "length: name the right list in its card"
        )
    model.eval().requires_grad_(requires_grad=False)
    model.to(where).to(memory_format=torch.channels_last)
    return Teacher(model, classes, card, _digest(model))


def _card_of_timm_model(name: str) -> TeacherCard:
    """A card for a bare timm name; its class list is known from the weights' tag, or not at all."""
    if not timm.is_model(name):
        raise TeacherError(f"unknown teacher {name!r}. {suggestion(name, timm.list_models())}")
    config = timm.get_pretrained_cfg(name, allow_unregistered=False)
    if config is None or not config.has_weights:
        raise TeacherError(f"timm has no weights for {name!r}: write a card that names a file")
    if config.num_classes != 1000 or not re.search(r"in1k(_\d+)?$", str(config.tag)):
        raise TeacherError(
            f"the class list of {name} (weights tag {config.tag!r}, {config.num_classes} classes) "
            "is not known for sure: write a card that names it"
        )
    size = config.input_size[-1]
    return TeacherCard(
        model=f"{config.architecture}.{config.tag}",
        classes="imagenet-1k",
        size=size if config.fixed_input_size else round(size * 4 / 3 / 32) * 32,
        native_size=size,
        mean=_triple(config.mean),
        std=_triple(config.std),
        interpolation="bilinear" if config.interpolation == "bilinear" else "bicubic",
        licence=str(config.license or ""),
        name=name,
    )


def _triple(values: tuple[float, ...]) -> tuple[float, float, float]:
    red, green, blue = values
    return red, green, blue


def _create_model(card: TeacherCard, *, pretrained: bool) -> torch.nn.Module:
    try:
        return timm.create_model(card.model, pretrained=pretrained)
    except Exception as error:
        # Hubs, proxies and timm raise dozens of types here; the user needs one line and a way out.
        raise TeacherError(
            f"timm cannot build {card.model} ({first_line(error)}). "
            "Without network its weights must come from a file that a card names"
        ) from error


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
