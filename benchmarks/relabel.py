"""``relabel`` against the teacher's bare forward pass over the same images.

For the bare pass images are decoded and resized beforehand, so the difference is all that relabel
adds: reading, decoding, resizing, the grid, the selection, encoding, writing and checking the file.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as VF

from labelkit.data import list_images, read_image
from labelkit.relabel import Settings, relabel
from labelkit.teachers import load_teacher

BATCH, ROUNDS = 8, 3


def main(folder: str) -> str:
    """One line: images per second of both, medians of interleaved rounds."""
    teacher = load_teacher("efficientnet-lite0")
    keys = list_images(folder)
    size = [teacher.card.size] * 2
    squares = torch.stack(
        [VF.resize(read_image(Path(folder) / key), size, InterpolationMode.BICUBIC) for key in keys]
    )
    settings = Settings(batch_size=BATCH)
    bare, whole = [], []
    bytes_per_image = 0.0
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for batch in squares.split(BATCH):
            teacher.logits(teacher.normalize(batch))
        bare.append(time.perf_counter() - start)
        with tempfile.TemporaryDirectory() as output:
            start = time.perf_counter()
            result = relabel(folder, teacher, Path(output) / "maps.h5", settings)
            whole.append(time.perf_counter() - start)
            bytes_per_image = result.path.stat().st_size / len(keys)
    forward, total = statistics.median(bare), statistics.median(whole)
    return (
        f"relabel {len(keys)} photos with efficientnet-lite0 at 320 px: bare forward "
        f"{len(keys) / forward:.1f} images/s, relabel {len(keys) / total:.1f} images/s "
        f"({total / forward - 1:+.1%}), {bytes_per_image:.0f} bytes/image"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"{main(sys.argv[1])}  (python benchmarks/relabel.py FOLDER)")
