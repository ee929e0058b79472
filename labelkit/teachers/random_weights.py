"""Random weights under which no part of a model is idle, for measuring heads without a download."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@torch.no_grad()
def randomize(model: nn.Module, size: int, seed: int = 0) -> None:
    """Give a model random, non-trivial statistics, scales, offsets and heads, in place.

    Fresh models hide mistakes: their normalisations do nothing, their last layers and residual
    scales are often zero. Weights that were drawn at random already are kept. The statistics of
    batch normalisations are those of noise images, jittered, as in a trained model they fit its
    data without being those of the image at hand.

    Args:
        model: in eval mode.
        size: side in pixels of the noise images.
        seed: the same seed gives the same weights to a model of the same names and shapes.
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
    """Spread a constant: a one or a zero around itself, a tiny residual scale around 0.2."""
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
    """The layers that give as many outputs as the model has classes."""
    classes = getattr(model, "num_classes", None)
    layers = (m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d))
    return [layer for layer in layers if layer.weight.shape[0] == classes]


def _fit_statistics(model: nn.Module, size: int, generator: torch.Generator) -> None:
    """Set every batch normalisation's statistics to nearly those of noise images."""

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
