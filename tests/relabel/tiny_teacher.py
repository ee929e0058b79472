"""A teacher that runs in microseconds, and photos for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from labelkit.hierarchy import ClassList
from labelkit.relabel import Settings
from labelkit.teachers import TeacherCard, wrap_model

if TYPE_CHECKING:
    from pathlib import Path

    from labelkit.teachers import Teacher

SIDE = 32
SETTINGS = Settings(
    sizes=(SIDE,), batch_size=2, shard_rows=6, workers=0, calibration=None, save_seconds=0
)


class _Squares(torch.nn.Module):
    """Random logits of squares of 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.squares = torch.nn.Conv2d(3, 20, 8, stride=8)

    def logits_map(self, images: torch.Tensor) -> torch.Tensor:
        return self.squares(images)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits_map(images).mean(dim=(2, 3))


def tiny_teacher(device: str = "cpu") -> Teacher:
    card = TeacherCard(
        model="squares",
        name="squares",
        classes="twenty",
        size=SIDE,
        native_size=SIDE,
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
        interpolation="bilinear",
    )
    classes = ClassList.of([f"class {number}" for number in range(20)], "twenty")
    return wrap_model(_Squares(), classes, card, device=device)


def tiny_teachers(device: str) -> list[Teacher]:
    """For a process on another device."""
    return [tiny_teacher(device)]


def draw_photos(folder: Path, count: int = 16) -> Path:
    """Noise; the sixth is torn."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        pixels = rng.integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    (folder / "05.png").write_bytes(b"junk")
    return folder
