"""A tiny feature model from a card, and a process that a test can kill."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import timm
import torch
from safetensors.torch import save_file

import labelkit.clusters.feature_file
import labelkit.clusters.making_features
from labelkit.clusters import load_feature_model, make_features

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 32
CARD = """
model = "test_resnet"
classes = "classes.txt"
size = 32
native_size = 32
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
interpolation = "bilinear"
name = "tiny"
licence = "none: random weights"
[weights]
file = "tiny.safetensors"
"""


def write_card(folder: Path, seed: int = 0) -> Path:
    """A card of test_resnet with random weights, as ``tiny.toml`` in a new folder."""
    folder.mkdir()
    torch.manual_seed(seed)
    model = timm.create_model("test_resnet", num_classes=3)
    save_file(model.state_dict(), folder / "tiny.safetensors")
    (folder / "classes.txt").write_text("a\nb\nc\n")
    (folder / "tiny.toml").write_text(CARD)
    return folder / "tiny.toml"


def use_small_chunks(rows: int) -> None:
    """Let a chunk have few rows, in this process."""
    labelkit.clusters.feature_file.CHUNK = rows
    labelkit.clusters.making_features.CHUNK = rows


def main(images: str, card: str, folder: str) -> None:
    """Make features in chunks of four images, and wait after the second chunk to be killed."""
    use_small_chunks(4)

    def wait(done: int, _: int) -> None:
        if done == 8:
            time.sleep(99)

    model = load_feature_model(card, device="cpu")
    make_features(images, model, folder, batch_size=2, on_progress=wait)


if __name__ == "__main__":
    main(*sys.argv[1:])
