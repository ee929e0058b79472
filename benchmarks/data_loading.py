"""What pooled targets cost a data loader: JPEG to batch, against the same with hard labels.

Run from the repository root: ``python benchmarks/data_loading.py FOLDER [MAPS PAIRS]``, with a
folder of class folders. Without label maps of its images (MAPS the default ones, PAIRS those of
``--size 224,448 --log-sum-exp``), they are relabelled first by EfficientNet-Lite0. One process, one
thread; all loaders load the same batch in turn, in changing order, with the same crops.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from labelkit.data import LabelMapDataset, TargetOptions, collate_sparse, open_image

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH, BATCHES = 64, 200

AUGMENT = v2.Compose(
    [
        v2.RandomResizedCrop(224, antialias=True),
        v2.RandomHorizontalFlip(),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
)


def make_maps(folder: str, output: Path, *options: str) -> Path:
    """Label maps of the folder over the teacher's classes."""
    command = [sys.executable, "-m", "labelkit", "relabel", folder, *options]
    subprocess.run([*command, "--teacher", "efficientnet-lite0", "-o", str(output)], check=True)
    return output


def loaders(folder: str, maps: Path, pairs: Path) -> dict[str, DataLoader[object]]:
    """A loader for each kind of target, with the same batches in the same order."""
    hard = ImageFolder(folder, AUGMENT, loader=open_image)
    plain = ImageFolder(folder, loader=open_image)
    rng = np.random.default_rng(0)
    batches = rng.integers(len(plain), size=(BATCHES, BATCH)).tolist()
    sparse = LabelMapDataset(plain, maps, AUGMENT, sparse=True)

    def dense(file: Path, options: TargetOptions | None = None) -> DataLoader[object]:
        dataset = LabelMapDataset(plain, file, AUGMENT, options=options)
        return DataLoader(dataset, batch_sampler=batches)

    return {
        "hard": DataLoader(hard, batch_sampler=batches),
        "dense": dense(maps),
        "sparse": DataLoader(sparse, batch_sampler=batches, collate_fn=collate_sparse),
        "of two sizes": dense(pairs),
        "of their probabilities": dense(pairs, TargetOptions(method="probability")),
        "of 7x7 positions": dense(maps, TargetOptions(tokens=(7, 7))),
    }


def seconds(batches: Iterator[object], number: int) -> float:
    """Time of the next batch, a sample; the number stands for its crops."""
    torch.manual_seed(number)
    start = time.perf_counter()
    next(batches)
    return (time.perf_counter() - start) / BATCH


def main() -> None:
    """Make the maps where there are none, time all loaders, print one line."""
    torch.set_num_threads(1)
    folder, *given = sys.argv[1:]
    with tempfile.TemporaryDirectory() as work:
        if given:
            maps, pairs = map(Path, given)
        else:
            maps = make_maps(folder, Path(work, "maps.h5"))
            options = ("--size", "224,448", "--log-sum-exp")
            pairs = make_maps(folder, Path(work, "pairs.h5"), *options)
        batches = {name: iter(loader) for name, loader in loaders(folder, maps, pairs).items()}
        times: dict[str, list[float]] = {name: [] for name in batches}
        rng = np.random.default_rng(1)
        for number in range(BATCHES):
            for name in rng.permutation(list(batches)).tolist():
                times[name].append(seconds(batches[name], number))
    base = statistics.median(times["hard"])
    parts: list[str] = []
    for name in list(times)[1:]:
        gaps = [soft - hard for soft, hard in zip(times[name], times["hard"], strict=True)]
        low, extra, high = statistics.quantiles(gaps, n=4)
        error = (high - low) * 0.93 / len(gaps) ** 0.5
        spread = f"{extra * 1e6:+.0f} +- {error * 1e6:.0f} us"
        parts.append(f"{name} targets {spread} ({100 * extra / base:+.1f} %)")
    print(
        f"JPEG to batch with hard labels {base * 1e3:.2f} ms a sample; {', '.join(parts)}  "
        f"[python benchmarks/data_loading.py FOLDER]"
    )


if __name__ == "__main__":
    main()
