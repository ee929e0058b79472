"""Calibration error: is a model that predicts with 80 % confidence right 80 % of the time?

# B batch, C classes
"""

from __future__ import annotations

import torch
from torch import Tensor

from labelkit.metrics.counting import NOTHING_COUNTED, Sums
from labelkit.tensor_checks import check_logits, check_target


def calibration_error(logits: Tensor, target: Tensor, bins: int = 15) -> float:
    """Expected calibration error in percent; ``CalibrationError`` for a single batch.

    Raises:
        ValueError: a wrong shape or type, a class out of range, no bins, or an empty batch.

    >>> round(calibration_error(torch.zeros(4, 2), torch.tensor([0, 0, 0, 1])), 2)
    25.0
    """
    error = CalibrationError(bins)
    error.update(logits, target)
    return error.compute()


class CalibrationError:
    """Expected calibration error (ECE) in percent, over any number of batches.

    Samples are put into bins of equal width by their confidence, which is the highest softmax
    probability; a bin includes its upper edge. The error is the mean, weighted by samples, of the
    absolute difference between a bin's accuracy and its mean confidence.

    Args:
        bins: the number of bins.

    Raises:
        ValueError: ``bins`` is below 1.

    Source: Guo et al. 2017 (arXiv 1706.04599), section 2.
    """

    def __init__(self, bins: int = 15) -> None:
        if bins < 1:
            raise ValueError(f"bins is {bins}, expected at least 1")
        self.bins = bins
        self.reset()

    @torch.no_grad()
    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count a batch of logits (B, C) against class indices (B,).

        Raises:
            ValueError: a wrong shape or type, or a class outside the list.
        """
        check_logits(logits)
        check_target(target, len(logits), logits.shape[1], on_accelerators=True)
        dtype = torch.promote_types(logits.dtype, torch.float32)
        best = logits.softmax(dim=1, dtype=dtype).max(dim=1)
        bin_index = ((best.values * self.bins).ceil().long() - 1).clamp(0, self.bins - 1)
        self._samples.add(bin_index.bincount(minlength=self.bins))
        self._hits.add(bin_index[best.indices == target].bincount(minlength=self.bins))
        confidence = torch.zeros(self.bins, dtype=torch.float64)
        self._confidence.add(confidence.index_add_(0, bin_index.cpu(), best.values.cpu().double()))

    def compute(self) -> float:
        """The error in percent over all batches since the start or the last reset.

        Raises:
            ValueError: no samples were counted.
        """
        samples, hits = self._samples.total(), self._hits.total()
        confidence = self._confidence.total()
        if not int(samples.sum()):
            raise ValueError(NOTHING_COUNTED)
        return 100.0 * float((hits - confidence).abs().sum() / samples.sum())

    def reset(self) -> None:
        """Forget all batches."""
        self._samples = Sums(self.bins)
        self._hits = Sums(self.bins)
        self._confidence = Sums(self.bins, torch.float64)
