"""The time that pooled targets add to an epoch of training, against hard labels.

Run from the repository root: ``python benchmarks/training_epoch.py FOLDER [MAPS]``, with the
arguments of ``data_loading.py``. Two students of the same architecture alternate, batch by batch,
over the same photos and crops. Loading and training share one process and one thread, so that no
cost is hidden by parallel work.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import timm
import torch
from data_loading import AUGMENT, make_maps
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from labelkit.data import LabelMapDataset, open_image

BATCH, STUDENT = 64, "mobilenetv3_small_050"


class Run:
    """One student, its loader and the seconds of its epoch."""

    def __init__(self, dataset: ImageFolder | LabelMapDataset, classes: int) -> None:
        torch.manual_seed(0)
        order = torch.Generator().manual_seed(0)
        self.loader = DataLoader(dataset, BATCH, shuffle=True, drop_last=True, generator=order)
        self.batches = iter(self.loader)
        self.student = timm.create_model(STUDENT, num_classes=classes)
        self.optimizer = torch.optim.SGD(self.student.parameters(), lr=0.1, momentum=0.9)
        self.seconds = 0.0

    def step(self, number: int) -> None:
        """Load a batch and train on it."""
        torch.manual_seed(number)
        start = time.perf_counter()
        images, targets = next(self.batches)
        F.cross_entropy(self.student(images), targets).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.seconds += time.perf_counter() - start


def main() -> None:
    """Run both epochs, alternating batch by batch, and print one line."""
    torch.set_num_threads(1)
    folder, *given = sys.argv[1:]
    with tempfile.TemporaryDirectory() as work:
        maps = Path(*given) if given else make_maps(folder, Path(work, "maps.h5"))
        soft = LabelMapDataset(ImageFolder(folder, loader=open_image), maps, AUGMENT)
        classes = len(soft.classes)
        runs = [
            Run(ImageFolder(folder, AUGMENT, loader=open_image), classes),
            Run(soft, classes),
        ]
        for number in range(len(runs[0].loader)):
            for run in runs if number % 2 else runs[::-1]:
                run.step(number)
    hard, pooled = (run.seconds for run in runs)
    print(
        f"an epoch of {len(soft):,} photos, {STUDENT} at 224 px: {hard:.1f} s with hard labels, "
        f"{pooled:.1f} s with pooled targets, {100 * (pooled / hard - 1):+.2f} %  "
        f"[python benchmarks/training_epoch.py FOLDER]"
    )


if __name__ == "__main__":
    main()
