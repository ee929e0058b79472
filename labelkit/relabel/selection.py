"""What a label map stores of a teacher's logits: the strongest classes, and a background.

Legend: B batch, C classes, K entries per cell, M classes and P patterns of a background, H W grid,
G = H*W cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from labelkit.label_maps import Background, LabelMaps

if TYPE_CHECKING:
    from labelkit.label_maps import MapForm

_ITERATIONS = 6


@dataclass(frozen=True)
class Selection:
    """What maps of B images store, as tensors on any device; ``LabelMaps`` describes the fields.

    Attributes:
        index: of the entries' classes.
        score: the entries' logits.
        background: the classes, logits, rest, coefficients and patterns of the ``Background``.
        log_sum_exp: of each cell's logits.
    """

    index: torch.Tensor
    score: torch.Tensor
    background: tuple[torch.Tensor | None, ...] = ()
    log_sum_exp: torch.Tensor | None = None

    def to_host(self) -> Selection:
        """A copy in memory that is complete once the device has done all that it was asked so far.

        On a CPU it is the same tensors.
        """
        return Selection(
            self.index.to("cpu", non_blocking=True),
            self.score.to("cpu", non_blocking=True),
            tuple(
                None if part is None else part.to("cpu", non_blocking=True)
                for part in self.background
            ),
            None if self.log_sum_exp is None else self.log_sum_exp.to("cpu", non_blocking=True),
        )

    def maps(self) -> LabelMaps:
        """The label maps."""
        background: list[Any] = [
            None if part is None else part.cpu().numpy() for part in self.background
        ]
        return LabelMaps(
            self.index.cpu().numpy(),
            self.score.cpu().numpy(),
            Background(*background) if background else None,
            None if self.log_sum_exp is None else self.log_sum_exp.cpu().numpy(),
        )


def selection_of(logits: torch.Tensor, form: MapForm, *, other: bool = False) -> Selection:
    """Select from all logits what a form stores.

    Args:
        logits: (B, C, H, W), on the form's grid; at least K classes, and K + M if all cells store
            the same ones.
        form: of the maps.
        other: whether the last class is *other*, which every cell stores, however weak it is.

    Returns:
        For the maps of B images, on the logits' device.
    """
    flat = logits.float().flatten(2)
    background: tuple[torch.Tensor | None, ...] = ()
    if form.selection == "cell":
        score, index = _strongest_of_cells(flat, form.top_k, other=other)
        if form.background:
            background = _cell_background(flat, index, score, form.background)
        shape = (len(flat), form.top_k, *form.grid)
        index, score = index.view(shape), score.view(shape)
    else:
        index, rest = _strongest(flat, form, other=other)
        if form.background:
            flat = _centred(flat, rest)
            background = _image_background(flat, index, rest, form)
        score = _gather(flat, index).view(len(flat), form.top_k, *form.grid)
    lse = flat.logsumexp(dim=1).view(-1, *form.grid) if form.log_sum_exp else None
    return Selection(index, score, background, lse)


def selection_of_log_probabilities(
    logits: torch.Tensor, form: MapForm, *, other: bool = False
) -> Selection:
    """Select from log-probabilities: like ``selection_of``, but shifted without a background.

    Such maps count absent classes as 0, which is far above any log-probability. So a constant per
    cell is subtracted, which changes no softmax, to give the absent classes a mean of 0.

    Args:
        logits: (B, C, H, W), on the form's grid.
        form: of the maps.
        other: as in ``selection_of``.
    """
    found = selection_of(logits, form, other=other)
    absent = logits.shape[1] - form.top_k
    if form.background or not absent:
        return found
    shift = (logits.float().sum(dim=1) - found.score.sum(dim=1)) / absent
    lse = None if found.log_sum_exp is None else found.log_sum_exp - shift
    return Selection(found.index, found.score - shift[:, None], log_sum_exp=lse)


def select(logits: torch.Tensor, form: MapForm, *, other: bool = False) -> LabelMaps:
    """The maps of what ``selection_of`` finds."""
    return selection_of(logits, form, other=other).maps()


def select_log_probabilities(
    logits: torch.Tensor, form: MapForm, *, other: bool = False
) -> LabelMaps:
    """The maps of what ``selection_of_log_probabilities`` finds."""
    return selection_of_log_probabilities(logits, form, other=other).maps()


def _strongest_of_cells(
    flat: torch.Tensor, top_k: int, *, other: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The highest logits of each cell (B, K, G), in descending order, and their classes.

    *Other* comes last, whatever its logit.
    """
    if not other:
        score, index = flat.topk(top_k, dim=1)
        return score, index
    score, index = flat[:, :-1].topk(top_k - 1, dim=1)
    last = torch.full_like(index[:, :1], flat.shape[1] - 1)
    return torch.cat([score, flat[:, -1:]], dim=1), torch.cat([index, last], dim=1)


def _strongest(
    flat: torch.Tensor, form: MapForm, *, other: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The image's strongest classes (B, K) and the next ones (B, M), both ascending.

    Strength is the sum of two probabilities: the mean over the cells, which finds small objects,
    and that of the mean logits, which is the target for the whole image. Measured with
    EfficientNet-Lite0 against the dense map's pooled target, the sum is better than either
    (``docs/decisions/0005``).
    """
    strength = flat.softmax(dim=1).mean(dim=2) + flat.mean(dim=2).softmax(dim=1)
    if other:
        strength[:, -1] = torch.inf
    order = strength.topk(form.top_k + form.background, dim=1).indices
    stored, rest = order.split([form.top_k, form.background], dim=1)
    return stored.sort(dim=1).values, rest.sort(dim=1).values


def _centred(flat: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    """Logits minus what the background's classes have in common in each cell.

    A constant per cell changes no softmax. Without it the background is nearly the same in all
    cells, which is how it is stored.
    """
    others = _gather(flat, rest)
    mean = others.mean(dim=2, keepdim=True)
    return flat - (mean.softmax(dim=1) * (others - mean)).sum(dim=1, keepdim=True)


def _image_background(
    flat: torch.Tensor, stored: torch.Tensor, rest: torch.Tensor, form: MapForm
) -> tuple[torch.Tensor | None, ...]:
    """The background of images whose cells all store the same classes."""
    others = _gather(flat, rest)
    mean = others.mean(dim=2)
    means = flat.mean(dim=2).double()
    remaining = (
        means.sum(dim=1) - means.gather(1, stored).sum(dim=1) - means.gather(1, rest).sum(dim=1)
    )
    count = max(flat.shape[1] - form.top_k - form.background, 1)
    coefficients, patterns = _patterns(others - mean[:, :, None], mean, form.patterns)
    remaining = (remaining / count).float()
    if not form.patterns:
        return rest, mean, remaining
    return rest, mean, remaining, coefficients, patterns.view(len(flat), -1, *form.grid)


def _patterns(
    deviation: torch.Tensor, mean: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Patterns (B, P, G) that explain most of the deviations (B, M, G) of classes from their means.

    Probable classes have more weight. Power iteration finds one pattern after the other: a few
    matrix products for a whole batch, instead of a decomposition for every image.

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


def _cell_background(
    flat: torch.Tensor, index: torch.Tensor, score: torch.Tensor, size: int
) -> tuple[torch.Tensor, ...]:
    """The mean logits, over the cells that do not store them, of the classes with the highest mean.

    All other classes share one mean. A class that every cell stores comes last, as it has none.
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
    return classes, means.float(), rest.float()


def _gather(flat: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Logits (B, C, G) of some classes (B, V): (B, V, G)."""
    return flat.gather(1, classes[:, :, None].expand(-1, -1, flat.shape[2]))
