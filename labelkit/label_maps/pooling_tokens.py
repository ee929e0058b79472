"""LabelPooling to a grid of tokens: RoIAlign to h x w outputs of a label map.

Only the classes that a map names are looked at: a (E, H, W) map instead of the dense (C, H, W) one.

Legend: E classes that a map names, K entries per cell, H W grid, h w tokens, C classes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from labelkit.label_maps.pooling_options import check_options, require_log_sum_exp
from labelkit.label_maps.pooling_weights import axis_weights
from labelkit.targets import TokenLogits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from labelkit.geometry import CropBox
    from labelkit.label_maps.label_map import Background, LabelMap
    from labelkit.label_maps.pooling_options import Absent, Method


def pool_tokens(  # noqa: PLR0913 -- RoIAlign's own options
    label_map: LabelMap,
    box: CropBox,
    grid: tuple[int, int],
    *,
    method: Method = "relabel",
    absent: Absent = "background",
    aligned: bool = False,
    sampling: int = 0,
) -> TokenLogits:
    """Average a label map over each of the h x w equal parts of a crop, as RoIAlign does.

    Equal to ``torchvision.ops.roi_align(dense, box * grid - 0.5, (h, w))``, mirrored and transposed
    as the crop is; labels for the spatial outputs of a student.

    Args:
        label_map: top-K logits on an (H, W) grid.
        box: the crop, as fractions of the whole image; may reach outside it.
        grid: rows and columns of tokens, (h, w).
        method: as in ``pool``.
        absent: as in ``pool``.
        aligned: as in ``pool``.
        sampling: as in ``pool``.

    Returns:
        The classes that the map names, with a logit for each token. A token outside the image has
        one logit for all.

    Raises:
        ValueError: as ``pool``, or a grid without tokens.

    Source: Jiang et al. 2021 (arXiv 2104.10858), section 3.2; Yun et al. 2021 (arXiv 2101.05022),
    section 3.2.
    """
    check_options(method, absent, sampling)
    if min(grid) < 1:
        raise ValueError(f"a grid of {grid[0]}x{grid[1]} tokens holds nothing")
    rows, columns = label_map.grid
    high, wide = grid[::-1] if box.transposed else grid
    weight_y = axis_weights(box.top, box.bottom, rows, high, aligned=aligned, sampling=sampling)
    weight_x = axis_weights(box.left, box.right, columns, wide, aligned=aligned, sampling=sampling)
    mean = _mean_logits if method == "relabel" else mean_probabilities
    return _shown(mean(label_map, absent, weight_y, weight_x), box)


def mean_probabilities(
    label_map: LabelMap,
    absent: Absent,
    weight_y: NDArray[np.float32],
    weight_x: NDArray[np.float32],
) -> TokenLogits:
    """The logarithms of the mean probabilities under weights (h, H) and (w, W)."""
    lse = require_log_sum_exp(label_map.log_sum_exp).astype(np.float64)
    behind = label_map.background if absent == "background" else None
    empty = -np.inf if absent == "zeros" else 0.0
    classes, logits, rest = _known(label_map, behind, empty)
    whole = np.outer(weight_y.sum(axis=1), weight_x.sum(axis=1))
    outside = whole == 0
    whole[outside] = 1
    shares = np.concatenate([logits, np.full((1, *lse.shape), rest, np.float32)]) - lse
    top = max(float(shares.max(initial=-np.inf)), -1e300)
    shares = np.exp(np.subtract(shares, top, out=shares), out=shares)
    means = weight_y @ shares @ weight_x.T / whole
    with np.errstate(divide="ignore"):
        pooled = (np.log(means, out=means) + top).astype(np.float32)
    pooled[:, outside] = 0
    return TokenLogits(classes, pooled[:-1], pooled[-1])


def _shown(target: TokenLogits, box: CropBox) -> TokenLogits:
    """Tokens in the order of the image, in that of the crop as it is shown."""
    logits, background = target.logits, target.background
    if box.transposed:
        logits, background = logits.swapaxes(1, 2), background.T
    rows = slice(None, None, -1 if box.upside_down else 1)
    columns = slice(None, None, -1 if box.flipped else 1)
    return TokenLogits(target.classes, logits[:, rows, columns], background[rows, columns])


def _mean_logits(
    label_map: LabelMap,
    absent: Absent,
    weight_y: NDArray[np.float32],
    weight_x: NDArray[np.float32],
) -> TokenLogits:
    behind = label_map.background if absent == "background" else None
    whole = np.outer(weight_y.sum(axis=1), weight_x.sum(axis=1))
    stored = label_map.classes
    if stored is None:
        classes, logits, rest = _known(label_map, behind, 0.0)
        return TokenLogits(classes, _pooled(logits, weight_y, weight_x), np.float32(rest) * whole)
    pooled = _pooled(label_map.score, weight_y, weight_x)
    if behind is None:
        return TokenLogits(stored.astype(np.intp), pooled, np.zeros_like(whole))
    # All cells store the same classes: of the others, only patterns have to be pooled.
    means = behind.logits[:, None, None] * whole
    if behind.coefficients is not None and behind.patterns is not None:
        strength = _pooled(behind.patterns, weight_y, weight_x)
        means += np.tensordot(behind.coefficients, strength, axes=(0, 0))
    classes = np.concatenate([stored, behind.classes]).astype(np.intp)
    order = classes.argsort()
    logits = np.concatenate([pooled, means])[order]
    return TokenLogits(classes[order], logits, np.float32(behind.rest) * whole)


def _pooled(
    planes: NDArray[np.float32], weight_y: NDArray[np.float32], weight_x: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Sums (E, h, w) of planes (E, H, W) under weights (h, H) and (w, W)."""
    return (weight_y @ planes @ weight_x.T).astype(np.float32, copy=False)


def _known(
    label_map: LabelMap, behind: Background | None, empty: float
) -> tuple[NDArray[np.intp], NDArray[np.float32], float]:
    """The classes (E,) that a map names, their logits (E, H, W), and that of all others.

    Args:
        label_map: the map.
        behind: what stands where a class is not stored.
        empty: what stands there instead, if that is None.
    """
    grid = label_map.grid
    stored = label_map.classes
    if stored is None:
        stored, places = np.unique(label_map.index, return_inverse=True)
        places = places.reshape(label_map.index.shape)
    else:
        places = np.broadcast_to(np.arange(len(stored))[:, None, None], label_map.index.shape)
    if behind is None:
        logits = np.full((len(stored), *grid), empty, np.float32)
        np.put_along_axis(logits, places, label_map.score, axis=0)
        return stored.astype(np.intp), logits, empty
    classes = np.union1d(stored, behind.classes).astype(np.intp)
    own = np.searchsorted(classes, behind.classes)
    logits = replace(behind, classes=own).dense(len(classes), grid)
    np.put_along_axis(logits, np.searchsorted(classes, stored)[places], label_map.score, axis=0)
    return classes, logits, float(behind.rest)
