"""The losses of one epoch's updates, which stay on their device until somebody reads them."""

from __future__ import annotations

import math

import torch


class EpochLoss:
    """The mean of an epoch's losses, and the first update whose loss is not finite."""

    def __init__(self, device: torch.device) -> None:
        self.updates = 0
        self._sum = torch.zeros((), device=device)
        self._first_bad = torch.zeros((), dtype=torch.long, device=device)

    def add(self, loss: torch.Tensor) -> None:
        """Count the loss () of an update, without waiting for it."""
        self.updates += 1
        self._sum += loss
        is_first = (self._first_bad == 0) & ~torch.isfinite(loss)
        self._first_bad = torch.where(is_first, self.updates, self._first_bad)

    def mean(self) -> float:
        """The mean over all updates so far; this waits for the device."""
        return float(self._sum) / self.updates

    def diverged_at(self) -> int | None:
        """The number of the first update with a loss that is not finite, from 1."""
        return None if math.isfinite(self.mean()) else int(self._first_bad) or self.updates
