"""Teachers with random weights under which no part of a model is idle: no download needed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from msgspec import structs
from torch import nn

from labelkit.hierarchy import ClassList
from labelkit.teachers import find_card
from labelkit.teachers.loading import build_model, card_of_timm_model, prepare
from labelkit.teachers.teacher import size_errors

if TYPE_CHECKING:
    from torch import Tensor

    from labelkit.teachers import Teacher

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def random_teacher(name: str, *, size: int | None = None, force: bool = False) -> Teacher:
    """A teacher with random weights and numbered classes, on the CPU.

    Args:
        name: a card's name, or that of a timm model.
        size: as for ``load_teacher``.
        force: as for ``load_teacher``.
    """
    card = find_card(name) or card_of_timm_model(name, classes="")
    card = card if size is None else structs.replace(card, size=size)
    torch.manual_seed(0)
    model = build_model(card, pretrained=False).eval()
    with size_errors(card, card.size):
        randomize(model, card.size)
    classes = ClassList.of(f"class-{n}" for n in range(int(getattr(model, "num_classes", 0))))
    return replace(prepare(model, classes, card, torch.device("cpu")), force=force)


@torch.no_grad()
def randomize(model: nn.Module, size: int, seed: int = 0) -> None:
    """Give a model random statistics, scales, offsets and heads, in place.

    A freshly initialised model hides mistakes: its normalisations are the identity, and its last
    layer and residual scales are often zero. Weights that are random already are kept. Batch
    normalisations get the statistics of noise images with some jitter: those of a trained model fit
    its data too, without being those of the image at hand.

    Args:
        model: in eval mode.
        size: side in pixels of the noise images.
        seed: the same seed gives models with the same parameter names and shapes the same weights.
    """
    generator = torch.Generator().manual_seed(seed)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point() and tensor.numel() > 0:
            _spread(tensor, generator)
    for layer in _classifiers(model):
        noise = torch.randn(layer.weight.shape, generator=generator)
        layer.weight.copy_(noise * layer.weight[0].numel() ** -0.5)
    _fit_statistics(model, size, generator)


def _spread(tensor: Tensor, generator: torch.Generator) -> None:
    """Replace a constant tensor by noise around it, or around 0.2 for a tiny residual scale."""
    start = float(tensor.flatten()[0])
    if not bool((tensor == start).all()):
        return
    noise = torch.randn(tensor.shape, generator=generator).to(tensor)
    if tensor.ndim > 1 and start == 0:
        tensor.copy_(noise * tensor[0].numel() ** -0.5)
    else:
        center = 0.2 if 0 < abs(start) < 0.1 else start
        tensor.copy_(center + 0.1 * noise)


def _classifiers(model: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    """The layers with one output per class."""
    classes = getattr(model, "num_classes", None)
    layers = (m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d))
    return [layer for layer in layers if layer.weight.shape[0] == classes]


def _fit_statistics(model: nn.Module, size: int, generator: torch.Generator) -> None:
    """Set the statistics of all batch normalisations to roughly those of noise images."""

    def fit(norm: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        values = arguments[0].transpose(0, 1).flatten(1)
        jitter = torch.randn(2, len(values), generator=generator).to(values) * 0.1
        spread = values.std(dim=1).clamp_min(1e-3)
        norm.running_mean = values.mean(dim=1) + jitter[0] * spread
        norm.running_var = (spread * (1 + jitter[1])).square()

    norms = [norm for norm in model.modules() if isinstance(norm, _BATCH_NORMS)]
    handles = [norm.register_forward_pre_hook(fit) for norm in norms if norm.track_running_stats]
    try:
        if handles:
            model(torch.randn(2, 3, size, size, generator=generator))
    finally:
        for handle in handles:
            handle.remove()
