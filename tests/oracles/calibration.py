"""The calibration of pooled logits, from its definition in ``label_maps/SPEC.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.geometry import CropBox
    from labelkit.label_maps import Calibration


def calibrated_logits(
    pooled: Sequence[np.ndarray], box: CropBox, calibration: Calibration
) -> np.ndarray:
    """Logits (C,) from the mean logits (C,) of each map over the crop."""
    side = np.sqrt((box.right - box.left) * (box.bottom - box.top))
    zoom = np.clip(side, 0.01, 1)
    shares = softmax([c + d * np.log(zoom) for c, d in calibration.mixing])
    mixed = np.zeros(len(pooled[0]))
    for share, logits in zip(shares, pooled, strict=True):
        mixed += share * logits.astype(np.float64)
    a, b = calibration.scale
    fourth_moment = np.mean((mixed - mixed.mean()) ** 4)
    spread = np.clip(fourth_moment**0.25, 1e-6, 1e6)
    factor = np.exp(a) * zoom**b / spread**calibration.compression
    return mixed * np.clip(factor, np.exp(-12), np.exp(12))
