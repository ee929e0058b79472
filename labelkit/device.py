"""The device that tensors are computed on, and how much of a batch it takes at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from labelkit.errors import DeviceError, first_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

_CPU_PIXELS = 8 * 224 * 224


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


def forward_in_parts(forward: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """What ``forward`` gives for a batch; on a CPU, for a few images at a time.

    The features of a large batch leave a CPU's caches, and each of its buffers is faulted in again
    (labelkit.memory). Parts of about 400,000 pixels, eight images of 224 pixels a side, take 6 to
    40 % less time than batches of 64; ``benchmarks/README.md`` has the figures.

    Args:
        forward: without gradients; each row of its result depends on one image only.
        images: (B, 3, S, S).

    Returns:
        Its rows for all B images, up to rounding.
    """
    largest = max(_CPU_PIXELS // images[0, 0].numel(), 1) if len(images) else 1
    if images.device.type != "cpu" or len(images) <= largest:
        return forward(images)
    return torch.cat([forward(part) for part in images.tensor_split(-(-len(images) // largest))])
