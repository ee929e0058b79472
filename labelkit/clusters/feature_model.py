"""The model whose pooled features are clustered, with its preprocessing."""

# B images, D features, S image side

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import timm
import torch
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from labelkit.device import choose_device, forward_in_parts
from labelkit.errors import TeacherError, first_line, is_machine_failure
from labelkit.teachers import find_card, weights_digest
from labelkit.train import evaluation_transform, load_classifier

if TYPE_CHECKING:
    import os

    from torchvision.transforms import v2

_SMALLEST_BATCH = 8


@dataclass(frozen=True, eq=False)
class FeatureModel:
    """A timm model without its classifier.

    Attributes:
        name: what it was loaded from, for messages.
        model: in eval mode, on its device; has timm's ``forward_features`` and ``forward_head``.
        transform: an image to (3, S, S).
        size: S, in pixels.
        length: D, the number of features.
        digest: SHA-256 of the weights and the preprocessing.
    """

    name: str
    model: nn.Module
    transform: v2.Transform
    size: int
    length: int
    digest: str

    @property
    def device(self) -> torch.device:
        """The device that the model is on."""
        return next(self.model.parameters()).device

    def features(self, images: Tensor) -> Tensor:
        """What the classifier would see of images (B, 3, S, S): (B, D), float32, on the CPU.

        Batches of less than 8 are filled up, since some kernels round differently for one image.

        Raises:
            TeacherError: the model has no pooled features.
        """
        filled = images
        if len(images) < _SMALLEST_BATCH:
            repeats = -(-_SMALLEST_BATCH // len(images))
            filled = images.repeat(repeats, 1, 1, 1)[:_SMALLEST_BATCH]
        with torch.inference_mode():
            placed = filled.to(self.device, memory_format=torch.channels_last)
            pooled = forward_in_parts(self._pooled, placed)
        return pooled[: len(images)].float().cpu()

    def _pooled(self, images: Tensor) -> Tensor:
        """Of images on the device."""
        model: Any = self.model
        pooled = model.forward_head(model.forward_features(images), pre_logits=True)
        if not isinstance(pooled, Tensor) or pooled.ndim != 2:
            shape = list(getattr(pooled, "shape", []))
            raise TeacherError(
                f"{self.name} has features of shape {shape}, expected (images, features): use a "
                "timm model that pools before its classifier"
            )
        return pooled


def load_feature_model(source: str | os.PathLike[str], *, device: str = "auto") -> FeatureModel:
    """Load a model for its features.

    Args:
        source: a teacher's card or its name; the folder of a run of ``labelkit train``, its
            ``best.safetensors`` or ``last.pt``; or a timm model with weights, whose class list need
            not be known, such as a self-supervised one.
        device: torch's name of the device; ``auto`` is a GPU if there is one.

    Raises:
        TeacherError: the weights are missing, or the model has no pooled features.
        TrainingError: a run's file is damaged.
        DeviceError: torch cannot use the device on this machine.
        FileNotFoundError: ``source`` is none of these.
    """
    name = str(source)
    if not Path(name).exists() and find_card(name) is None and timm.is_model(name):
        return timm_feature_model(name, device=device)
    loaded = load_classifier(source, device=device)
    return _checked(name, loaded.model, loaded.transform, loaded.size)


def timm_feature_model(name: str, *, pretrained: bool = True, device: str = "auto") -> FeatureModel:
    """A timm model without its classifier, with the weights that timm downloads.

    Raises:
        TeacherError: timm cannot build it, or has no weights for it.
        DeviceError: torch cannot use the device on this machine.
    """
    chosen = choose_device(device)
    try:
        model = timm.create_model(name, pretrained=pretrained, num_classes=0)
    except Exception as error:
        # Hubs, proxies and timm raise dozens of types here; the user needs one line.
        if is_machine_failure(error):
            raise
        raise TeacherError(
            f"timm cannot build {name} with weights ({first_line(error)}). Without a network, "
            "write a card that names a weight file (teachers/README.md)"
        ) from error
    config: Any = resolve_model_data_config(model)
    size = int(config["input_size"][-1])
    transform = evaluation_transform(size, float(config["crop_pct"]), config)
    placed = model.to(chosen).to(memory_format=torch.channels_last).eval()
    return _checked(name, placed, transform, size)


def _checked(name: str, model: nn.Module, transform: v2.Transform, size: int) -> FeatureModel:
    """The model, once one image has gone through it.

    Raises:
        TeacherError: it has no pooled features.
    """
    if not hasattr(model, "forward_features") or not hasattr(model, "forward_head"):
        raise TeacherError(
            f"{name} has no forward_features and forward_head, as timm's models do: use one of "
            "those"
        )
    found = FeatureModel(name, model, transform, size, 0, _digest(model, transform))
    return replace(found, length=found.features(torch.zeros(1, 3, size, size)).shape[1])


def _digest(model: nn.Module, transform: v2.Transform) -> str:
    return hashlib.sha256(f"{transform!r}\n{weights_digest(model)}".encode()).hexdigest()
