"""Where tensors are computed, by the name that a user gives."""

from __future__ import annotations

import torch

from labelkit.errors import DeviceError, first_line


def choose_device(name: str) -> torch.device:
    """A device by torch's name; ``auto`` is a GPU where there is one.

    Raises:
        DeviceError: torch cannot compute on such a device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(
            f"no device {name!r} that torch can use here ({first_line(error)}): take auto or cpu"
        ) from error
    return device
