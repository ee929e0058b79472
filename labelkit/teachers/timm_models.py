"""timm's models: built for an input size, and described by a card where timm knows enough."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, cast

import msgspec
import timm
import torch

from labelkit.errors import TeacherError, first_line
from labelkit.teachers.card import TeacherCard, suggestion

if TYPE_CHECKING:
    from timm.models import PretrainedCfg
    from torch import nn


def card_of_timm_model(name: str) -> TeacherCard:
    """A card for a bare timm name; its class list is known from the weights' tag, or not at all.

    Raises:
        TeacherError: unknown name, no weights, or weights whose class list is not known for sure.
    """
    config = _config(name)
    if not config.has_weights:
        raise TeacherError(f"timm has no weights for {name!r}: write a card that names a file")
    if config.num_classes != 1000 or not re.search(r"in1k(_\d+)?$", str(config.tag)):
        raise TeacherError(
            f"the class list of {name} (weights tag {config.tag!r}, {config.num_classes} classes) "
            "is not known for sure: write a card that names it"
        )
    return _card(name, config, classes="imagenet-1k")


def card_without_classes(name: str) -> TeacherCard:
    """A card for a bare timm name whose weights are not wanted; it names no class list.

    Raises:
        TeacherError: unknown name.
    """
    return _card(name, _config(name), classes="")


def build_model(
    card: TeacherCard, *, pretrained: bool, num_classes: int | None = None
) -> nn.Module:
    """Build a card's model so that it takes images of the card's size.

    Position embeddings and windows of some models are made for one size. Those are built with
    ``dynamic_img_size`` or without ``strict_img_size`` where they know it, which leaves their
    weights as they are, and else with ``img_size``, to which timm then fits the weights.

    Args:
        card: which model, at which size.
        pretrained: let timm fetch its weights.
        num_classes: how many scores it is to give, for weights that were tuned on other classes;
            None leaves timm's number.

    Raises:
        TeacherError: timm cannot build it, or it is no classifier of colour images.
    """
    try:
        with torch.device("meta"):
            sketch = timm.create_model(card.model)
        options = _size_options(sketch, card)
        if num_classes is not None and num_classes != getattr(sketch, "num_classes", num_classes):
            options["num_classes"] = num_classes
        model = timm.create_model(card.model, pretrained=pretrained, **options)
    except Exception as error:
        # Hubs, proxies and timm raise dozens of types here; the user needs one line and a way out.
        raise TeacherError(
            f"timm cannot build {card.model} for {card.size} pixels ({first_line(error)}). Without "
            "network its weights must come from a file that a card names; a model that takes no "
            f"other size needs its own, {card.native_size}"
        ) from error
    channels = _default_config(model).get("input_size", (3,))[0]
    if channels != 3:
        raise TeacherError(
            f"{card.model} takes images of {channels} channels, labelkit gives it red, green and "
            "blue: take a model of three channels"
        )
    if getattr(model, "num_classes", 0) == 0:
        raise TeacherError(
            f"{card.model} is no classifier: it gives features, not class scores. Take a model "
            "that was fine-tuned on classes"
        )
    return model


def fit_to_model(state: dict[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
    """Weights of another input size, resampled by the model's own rule in timm, if it has one."""
    fit = getattr(inspect.getmodule(type(model)), "checkpoint_filter_fn", None)
    own = model.state_dict()
    fits = all(value.shape == own[name].shape for name, value in state.items() if name in own)
    return state if fits or fit is None else cast("dict[str, torch.Tensor]", fit(state, model))


def _config(name: str) -> PretrainedCfg:
    if not timm.is_model(name):
        raise TeacherError(f"unknown teacher {name!r}. {suggestion(name, timm.list_models())}")
    config = timm.get_pretrained_cfg(name, allow_unregistered=False)
    if config is None:
        raise TeacherError(f"timm knows no preprocessing for {name!r}: write a card")
    return config


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


def _default_config(model: nn.Module) -> dict[str, Any]:
    return dict(cast("dict[str, Any]", getattr(model, "pretrained_cfg", None) or {}))


def _size_options(sketch: nn.Module, card: TeacherCard) -> dict[str, Any]:
    """What to build a model with, so that it takes images of the card's size."""
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
    """The names that a model's class takes, with those that it hands on to the class below."""
    names: set[str] = set()
    for kind in model.__mro__:
        parameters = inspect.signature(kind.__init__).parameters
        names.update(parameters)
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
            break
    return names
