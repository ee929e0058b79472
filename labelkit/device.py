"""The device that tensors are computed on, by the name that a user gives."""

from __future__ import annotations

import torch

from labelkit.errors import DeviceError, first_line


def choose_device(name: str) -> torch.device:
    """The device with torch's name for it; ``auto`` is a GPU if there is one, else the CPU.

    Raises:
        DeviceError: torch cannot use such a device on this machine.
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
            f"torch cannot use the device {name!r} on this machine ({first_line(error)}): use auto "
            "or cpu"
        ) from error
    return device
