"""What is kept of a teacher's logits: the strongest classes, and a background for all others.

Legend: B batch, C classes, K entries per cell, M classes and P patterns of a background, H W grid,
G = H*W cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from labelkit.label_maps import Background, LabelMaps

if TYPE_CHECKING:
    from labelkit.label_maps import MapForm

_ITERATIONS = 6


def select(logits: torch.Tensor, form: MapForm) -> LabelMaps:
    """Keep of all logits what a form has room for.

    Args:
        logits: (B, C, H, W), on the form's grid; at least K classes, and K + M if all cells are to
            store the same ones.
        form: what the maps have in common.

    Returns:
        The maps of B images, on the CPU.
    """
    flat = logits.float().flatten(2)
    if form.selection == "cell":
        score, index = flat.topk(form.top_k, dim=1)
        background = _behind_cells(flat, index, score, form.background) if form.background else None
        shape = (len(flat), form.top_k, *form.grid)
        index, score = index.view(shape), score.view(shape)
    else:
        index, rest = _strongest(flat, form)
        background = None
        if form.background:
            flat = _centred(flat, rest)
            background = _behind_image(flat, index, rest, form)
        score = _gather(flat, index).view(len(flat), form.top_k, *form.grid)
    lse = flat.logsumexp(dim=1).view(-1, *form.grid) if form.log_sum_exp else None
    return LabelMaps(
        index.cpu().numpy(),
        score.cpu().numpy(),
        background,
        None if lse is None else lse.cpu().numpy(),
    )


def select_log_probabilities(logits: torch.Tensor, form: MapForm) -> LabelMaps:
    """Select from log-probabilities: like ``select``, but maps without a background are shifted.

    Such maps count absent classes as 0, which is far above any log-probability. So a constant per
    cell is subtracted, which changes no softmax, to give the absent classes a mean of 0.

    Args:
        logits: (B, C, H, W), on the form's grid.
        form: what the maps have in common.
    """
    maps = select(logits, form)
    absent = logits.shape[1] - form.top_k
    if form.background or not absent:
        return maps
    total = logits.float().sum(dim=1).cpu().numpy()
    shift = (total - maps.score.sum(axis=1)) / absent
    lse = None if maps.log_sum_exp is None else maps.log_sum_exp - shift
    return LabelMaps(maps.index, maps.score - shift[:, None], None, lse)


def _strongest(flat: torch.Tensor, form: MapForm) -> tuple[torch.Tensor, torch.Tensor]:
    """The image's strongest classes (B, K) and the next ones (B, M), both ascending.

    Strongest by the sum of two probabilities: the mean over the cells, which finds small things,
    and that of the mean logits, which is what a crop of the whole image is told. Measured with
    EfficientNet-Lite0 against the dense map's pooled target, the sum serves better than either
    (``docs/decisions/0005``).
    """
    strength = flat.softmax(dim=1).mean(dim=2) + flat.mean(dim=2).softmax(dim=1)
    order = strength.topk(form.top_k + form.background, dim=1).indices
    stored, rest = order.split([form.top_k, form.background], dim=1)
    return stored.sort(dim=1).values, rest.sort(dim=1).values


def _centred(flat: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    """Logits less what the background's classes have in common in each cell.

    A constant that all classes of a cell share moves no softmax; without it the background is
    nearly the same everywhere, which is how it is stored.
    """
    behind = _gather(flat, rest)
    mean = behind.mean(dim=2, keepdim=True)
    return flat - (mean.softmax(dim=1) * (behind - mean)).sum(dim=1, keepdim=True)


def _behind_image(
    flat: torch.Tensor, stored: torch.Tensor, rest: torch.Tensor, form: MapForm
) -> Background:
    """The background of images whose cells all store the same classes."""
    behind = _gather(flat, rest)
    mean = behind.mean(dim=2)
    every = flat.mean(dim=2).double()
    others = (
        every.sum(dim=1) - every.gather(1, stored).sum(dim=1) - every.gather(1, rest).sum(dim=1)
    )
    left = max(flat.shape[1] - form.top_k - form.background, 1)
    coefficients, patterns = _patterns(behind - mean[:, :, None], mean, form.patterns)
    return Background(
        classes=rest.cpu().numpy(),
        logits=mean.cpu().numpy(),
        rest=(others / left).float().cpu().numpy(),
        coefficients=coefficients.cpu().numpy() if form.patterns else None,
        patterns=patterns.view(len(flat), -1, *form.grid).cpu().numpy() if form.patterns else None,
    )


def _patterns(
    deviation: torch.Tensor, mean: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The patterns (B, P, G) that explain most of how classes deviate from their means (B, M, G).

    Likely classes count more. One after the other by power iteration, a few products of matrices
    for a whole batch, rather than by a decomposition of every image.

    Returns:
        Coefficients (B, P, M) and patterns.
    """
    weight = mean.softmax(dim=1).sqrt()[:, :, None]
    coefficients: list[torch.Tensor] = []
    patterns: list[torch.Tensor] = []
    for _ in range(count):
        weighted = deviation * weight
        first = weighted.square().sum(dim=2).argmax(dim=1)
        pattern = weighted[torch.arange(len(weighted), device=first.device), first]
        for _ in range(_ITERATIONS):
            pattern = torch.nn.functional.normalize(pattern, dim=1)
            pattern = torch.einsum(
                "bmg,bm->bg", weighted, torch.einsum("bmg,bg->bm", weighted, pattern)
            )
        pattern = torch.nn.functional.normalize(pattern, dim=1)
        coefficient = torch.einsum("bmg,bg->bm", deviation, pattern)
        deviation = deviation - coefficient[:, :, None] * pattern[:, None]
        coefficients.append(coefficient)
        patterns.append(pattern)
    empty = deviation[:, :0]
    return (
        torch.stack(coefficients, dim=1) if count else empty,
        torch.stack(patterns, dim=1) if count else empty,
    )


def _behind_cells(
    flat: torch.Tensor, index: torch.Tensor, score: torch.Tensor, size: int
) -> Background:
    """The mean logit of the classes with the highest mean, where they are not stored.

    And that of all others. A class that every cell stores is taken last, since it has none.
    """
    total = flat.sum(dim=2).double()
    places = index.flatten(1)
    stored = total.new_zeros(total.shape).scatter_add_(1, places, score.flatten(1).double())
    ones = total.new_ones(()).expand(places.shape)
    count = total.new_zeros(total.shape).scatter_add_(1, places, ones)
    absent = flat.shape[2] - count
    sums = (total - stored).where(absent > 0, 0)
    strength = total.where(absent > 0, -torch.inf)
    classes = strength.topk(size, dim=1).indices.sort(dim=1).values
    chosen_sums, chosen_absent = sums.gather(1, classes), absent.gather(1, classes)
    rest = (sums.sum(1) - chosen_sums.sum(1)) / (absent.sum(1) - chosen_absent.sum(1)).clamp(min=1)
    means = chosen_sums / chosen_absent.clamp(min=1)
    return Background(
        classes=classes.cpu().numpy(),
        logits=means.float().cpu().numpy(),
        rest=rest.float().cpu().numpy(),
    )


def _gather(flat: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Logits (B, C, G) of some classes (B, V): (B, V, G)."""
    return flat.gather(1, classes[:, :, None].expand(-1, -1, flat.shape[2]))
