"""Notice soft targets that a mixer has spoiled: they look like targets, and training runs on.

Timm's ``Mixup`` and ``FastCollateMixup`` take soft targets for class indices unless built with
``multi_label=True``, and then smooth each class towards one half unless built with
``label_smoothing=0``.

# B batch, C classes
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

_REMEDY = (
    "timm's Mixup and FastCollateMixup spoil soft targets unless built with multi_label=True and "
    "label_smoothing=0 (0.1 by default); labelkit.data.mix(mixer, images, targets) takes any "
    "Mixup, and labelkit.data.require_soft_mixing checks a mixer"
)
_TOLERANCE = 0.01  # of a sum over many classes in half precision
_FEWEST = 8  # targets; fewer may all be of class 0 by chance


class SpoiledTargets:
    """Warns once if targets sum to more than one, or are all class 0.

    Looks at the 1st, 2nd, 4th, 8th, ... batch only, since looking makes a GPU wait.
    """

    def __init__(self) -> None:
        self._seen = 0
        self._warned = False

    def look_at(self, target: Tensor, stacklevel: int = 5) -> None:
        """Check a batch of dense targets (B, C); ``stacklevel`` leads to the loop with the loss."""
        if torch.compiler.is_compiling() or self._warned or target.ndim != 2:
            return
        self._seen += 1
        if self._seen & (self._seen - 1) or _cannot_wait(target):
            return
        fault = _fault(target.detach())
        if fault:
            self._warned = True
            warnings.warn(f"{fault}: {_REMEDY}", stacklevel=stacklevel)


def hint_for_shapes(logits: Tensor, target: Tensor) -> str:
    """What has probably made a target of another shape than the logits; empty if not known."""
    rows = logits.shape[0] * logits.shape[1]
    if logits.ndim == target.ndim == 2 and tuple(target.shape) == (rows, logits.shape[1]):
        return f". The target has a row for each class of each sample: {_REMEDY}"
    if target.ndim == 1:
        return ". For class indices, use torch.nn.functional.cross_entropy"
    return ""


def _cannot_wait(target: Tensor) -> bool:
    """Whether values cannot be read now: no data, or a CUDA graph is recorded."""
    return target.is_meta or (target.is_cuda and torch.cuda.is_current_stream_capturing())


def _fault(target: Tensor) -> str | None:
    """What is wrong with targets (B, C), in words; None if nothing is."""
    highest = float(target.float().sum(dim=1).amax())
    if highest > 1 + _TOLERANCE:
        return f"a soft target sums to {highest:.4g}, expected 1"
    batch, classes = target.shape
    if batch < _FEWEST or classes < 2:
        return None
    # One-hot rows of class 0, smoothed or not: all rows are equal, and all classes but the first.
    same = (target == target[:1]).all() & (target[0, 1:] == target[0, 1]).all()
    if bool(same & (target[0, 0] > 0.5)):
        return f"all {batch} soft targets of a batch are class 0"
    return None
