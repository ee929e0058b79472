"""What pooled targets cost a data loader: JPEG to sample, against the same with hard labels.

Run from the repository root: ``python benchmarks/data_loading.py FOLDER``, with a folder of class
folders. Its photos are relabelled first by EfficientNet-Lite0. One process, one thread; the ways
take turns photo by photo, on the same crop.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from labelkit.data import LabelMapDataset, open_image

if TYPE_CHECKING:
    from torch.utils.data import Dataset

ROUNDS, IMAGES = 7, 200

AUGMENT = v2.Compose(
    [
        v2.RandomResizedCrop(224, antialias=True),
        v2.RandomHorizontalFlip(),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
)


def make_maps(folder: str, output: Path) -> Path:
    """Label maps of the folder over the teacher's classes."""
    command = [sys.executable, "-m", "labelkit.cli", "relabel", folder]
    subprocess.run([*command, "--teacher", "efficientnet-lite0", "-o", str(output)], check=True)
    return output


def seconds(dataset: Dataset[tuple[torch.Tensor, object]], position: int) -> float:
    """Time of one sample, with the crop that the position stands for."""
    torch.manual_seed(position)
    start = time.perf_counter()
    dataset[position]
    return time.perf_counter() - start


def main() -> None:
    """Make the maps, time both ways, print one line."""
    torch.set_num_threads(1)
    (folder,) = sys.argv[1:]
    with tempfile.TemporaryDirectory() as work:
        maps = make_maps(folder, Path(work, "maps.h5"))
        hard = ImageFolder(folder, AUGMENT, loader=open_image)
        plain = ImageFolder(folder, loader=open_image)
        soft = {
            "dense": LabelMapDataset(plain, maps, AUGMENT),
            "sparse": LabelMapDataset(plain, maps, AUGMENT, sparse=True),
        }
        positions = range(0, len(hard), max(len(hard) // IMAGES, 1))
        for position in positions:  # the page cache
            seconds(hard, position)
        times: dict[str, list[float]] = {name: [] for name in ("hard", *soft)}
        for _ in range(ROUNDS):
            for position in positions:
                times["hard"].append(seconds(hard, position))
                for name, dataset in soft.items():
                    times[name].append(seconds(dataset, position))
    base = statistics.median(times["hard"])
    parts = []
    for name in soft:
        gaps = [ours - own for ours, own in zip(times[name], times["hard"], strict=True)]
        extra = statistics.median(gaps)
        parts.append(f"{name} targets {extra * 1e6:+.0f} us ({100 * extra / base:+.1f} %)")
    print(
        f"JPEG to sample with a hard label {base * 1e3:.2f} ms; {', '.join(parts)}  "
        f"[python benchmarks/data_loading.py FOLDER]"
    )


if __name__ == "__main__":
    main()
