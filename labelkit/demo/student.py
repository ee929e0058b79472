"""A small student that learns from random crops and their pooled targets.

Legend: B batch, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import timm
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, RandomSampler
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from labelkit.data import LabelMapDataset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STUDENT = "resnet10t"
_SIDE = 96
_BATCH = 32
_LEARNING_RATE = 2e-3


def crop_dataset(photos: Path, maps: Path) -> LabelMapDataset:
    """The photos as random crops with pooled targets."""
    crops = v2.Compose(
        [
            v2.RandomResizedCrop(_SIDE, scale=(0.08, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ]
    )
    return LabelMapDataset(ImageFolder(photos), maps, crops)


def train_student(dataset: LabelMapDataset, steps: int, seed: int = 0) -> Iterator[float]:
    """Train from scratch on ``steps`` batches of 32 crops.

    Yields:
        For each batch the mean KL divergence of the student from the pooled targets, in nats: the
        cross-entropy minus the entropy of the targets, so 0 is a perfect student.
    """
    torch.manual_seed(seed)
    model = timm.create_model(STUDENT, num_classes=len(dataset.classes))
    optimizer = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps)
    sampler = RandomSampler(dataset, replacement=True, num_samples=steps * _BATCH)
    for images, targets in DataLoader(dataset, _BATCH, sampler=sampler, num_workers=1):
        loss = F.cross_entropy(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        entropy = torch.special.entr(targets).sum(dim=1).mean()
        yield loss.item() - entropy.item()
