"""LabelPooling to a grid of tokens: RoIAlign of a label map to h x w outputs.

Only the classes that a map names are looked at: an (E, H, W) map instead of the dense (C, H, W).

# E classes that a map names, K entries per cell, H W grid, h w tokens
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labelkit.label_maps.pooling.crop import mean_probabilities, named_logits
from labelkit.label_maps.pooling.weights import axis_weights
from labelkit.targets import TokenLogits, check_pooling_options

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from labelkit.geometry import CropBox
    from labelkit.label_maps.label_map import LabelMap
    from labelkit.targets import Absent, Method


def pool_tokens(
    label_map: LabelMap,
    box: CropBox,
    grid: tuple[int, int],
    *,
    method: Method = "relabel",
    absent: Absent = "background",
) -> TokenLogits:
    """Average a label map over each of the h x w equal parts of a crop, as RoIAlign does.

    Equal to ``torchvision.ops.roi_align(dense, box * grid - 0.5, (h, w))``, mirrored and transposed
    as the crop is; targets for a student's spatial outputs.

    Args:
        label_map: top-K logits on an (H, W) grid.
        box: the crop, as fractions of the whole image; may extend beyond it.
        grid: rows and columns of tokens, (h, w).
        method: as in ``pool``.
        absent: as in ``pool``.

    Returns:
        The classes that the map names, with a logit for each token. A token outside the image has
        the same logit for all classes.

    Raises:
        ValueError: as ``pool``, or a grid without tokens.

    Source: Jiang et al. 2021 (arXiv 2104.10858), section 3.2; Yun et al. 2021 (arXiv 2101.05022),
    section 3.2.
    """
    check_pooling_options(method, absent)
    if min(grid) < 1:
        raise ValueError(f"the grid is {grid[0]}x{grid[1]} tokens, expected at least 1x1")
    rows, columns = label_map.grid
    high, wide = grid[::-1] if box.transposed else grid
    weight_y = axis_weights(box.top, box.bottom, rows, high)
    weight_x = axis_weights(box.left, box.right, columns, wide)
    mean = _mean_logits if method == "relabel" else mean_probabilities
    return _as_shown(mean(label_map, absent, weight_y, weight_x), box)


def _as_shown(tokens: TokenLogits, box: CropBox) -> TokenLogits:
    """Tokens in the order of the image, reordered as the crop shows them."""
    logits, rest = tokens.logits, tokens.rest
    if box.transposed:
        logits, rest = logits.swapaxes(1, 2), rest.T
    rows = slice(None, None, -1 if box.upside_down else 1)
    columns = slice(None, None, -1 if box.flipped else 1)
    return TokenLogits(tokens.classes, logits[:, rows, columns], rest[rows, columns])


def _mean_logits(
    label_map: LabelMap,
    absent: Absent,
    weight_y: NDArray[np.float32],
    weight_x: NDArray[np.float32],
) -> TokenLogits:
    background = label_map.background if absent == "background" else None
    total = np.outer(weight_y.sum(axis=1), weight_x.sum(axis=1))
    stored = label_map.classes
    if stored is None:
        classes, logits, rest = named_logits(label_map, background, 0.0)
        return TokenLogits(classes, _sums(logits, weight_y, weight_x), np.float32(rest) * total)
    pooled = _sums(label_map.score, weight_y, weight_x)
    if background is None:
        return TokenLogits(stored.astype(np.intp), pooled, np.zeros_like(total))
    # All cells store the same classes, so only the patterns of the others have to be pooled.
    means = background.logits[:, None, None] * total
    if background.coefficients is not None and background.patterns is not None:
        strength = _sums(background.patterns, weight_y, weight_x)
        means += np.tensordot(background.coefficients, strength, axes=(0, 0))
    classes = np.concatenate([stored, background.classes]).astype(np.intp)
    order = classes.argsort()
    logits = np.concatenate([pooled, means])[order]
    return TokenLogits(classes[order], logits, np.float32(background.rest) * total)


def _sums(
    planes: NDArray[np.float32], weight_y: NDArray[np.float32], weight_x: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Sums (E, h, w) of planes (E, H, W) under weights (h, H) and (w, W)."""
    return (weight_y @ planes @ weight_x.T).astype(np.float32, copy=False)
