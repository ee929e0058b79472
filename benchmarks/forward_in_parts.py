"""Predictions of a batch on a CPU, at once and a few images at a time.

Run from the repository root: ``python benchmarks/forward_in_parts.py [MODEL...]``, any timm models;
their weights do not matter. A batch of 64 images of 224 pixels, one thread, with freed memory kept,
as all commands do. The two alternate; the figures are medians of the CPU's time.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import TYPE_CHECKING

import timm
import torch

from labelkit.device import forward_in_parts
from labelkit.memory import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 64
ROUNDS = 5
MODELS = ("tf_efficientnet_lite0", "resnet50", "vit_small_patch16_224")


def milliseconds(forward: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> float:
    """The CPU's time for an image."""
    start = time.process_time()
    forward(images)
    return 1e3 * (time.process_time() - start) / len(images)


def main() -> None:
    """Print one line per model."""
    keep_freed_memory()
    torch.set_num_threads(1)
    images = torch.randn(BATCH, 3, 224, 224).to(memory_format=torch.channels_last)
    for name in sys.argv[1:] or MODELS:
        model = timm.create_model(name).eval().to(memory_format=torch.channels_last)
        with torch.inference_mode():
            rounds = [
                (
                    milliseconds(model, images),
                    milliseconds(lambda batch: forward_in_parts(model, batch), images),  # noqa: B023
                )
                for _ in range(ROUNDS)
            ]
        whole, parts = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(
            f"{name}: {whole:.1f} ms an image at once, {parts:.1f} ms in parts, "
            f"{whole / parts:.2f}x; python benchmarks/forward_in_parts.py {name}"
        )


if __name__ == "__main__":
    main()
