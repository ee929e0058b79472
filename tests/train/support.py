"""Tiny image folders with one colour per class, a tree over them, and their label maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy
from labelkit.label_maps import Calibration, LabelMaps, LabelMapWriter, MapForm

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SIDE = 40
COLOURS = {"apple": (200, 40, 40), "leaf": (40, 180, 60), "sky": (60, 80, 220)}
# Garter snake, Shetland sheepdog, collie, porcupine, cradle, ski and alp, in order: the reassessed
# labels of the validation images 2, 3, 5, 6, 7 and 21 are among them.
WNIDS = (
    *("n01735189", "n02105855", "n02106030", "n02346627", "n03125729", "n04228054", "n09193705"),
)
EDGES = [("apple", "thing"), ("leaf", "thing"), ("sky", "nothing")]


def draw_folders(root: Path, *, train: int = 24, val: int = 8, seed: int = 0) -> Path:
    """``root/train`` and ``root/val`` with one folder per colour: noise with a coloured square."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", train), ("val", val)):
        for name, colour in COLOURS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(60, 160, (SIDE, SIDE, 3)).astype(np.uint8)
                top, left = rng.integers(0, 12, 2)
                pixels[top : top + 28, left : left + 28] = colour
                Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return root


def save_tree(path: Path) -> Path:
    """A tree of two levels: the three colours below two classes that have no folder."""
    classes = ClassList.of(["thing", "sky", "nothing", "leaf", "apple"], "colours")
    SemanticTree.build(classes, Taxonomy.from_edges(EDGES)).save(path)
    return path


def save_maps(
    path: Path,
    root: Path,
    classes: tuple[str, ...] = ("sky", "leaf", "apple"),
    class_of: Mapping[str, str] | None = None,
    calibration: Calibration | None = None,
) -> Path:
    """Label maps with each image's class in every cell; the class list is not in folder order.

    An image's class is its folder, or that which ``class_of`` gives the folder.
    """
    keys = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    listed = ClassList.of(classes, "a teacher's colours")
    form = MapForm(top_k=1, grid=(3, 3))
    writer = LabelMapWriter(path, classes=listed, keys=keys, forms=[form], source={})
    folders = [key.split("/")[0] for key in sorted(keys)]
    named = [class_of[folder] if class_of else folder for folder in folders]
    index = np.array([listed.index[name] for name in named], np.uint16)
    index = np.broadcast_to(index[:, None, None, None], (len(keys), 1, 3, 3))
    for shard in writer.pending():
        part = index[shard.start : shard.stop]
        writer.commit(shard, [LabelMaps(part, np.full(part.shape, 6.0, np.float32))], {})
    writer.finalize(calibration)
    return path


def recipe_text(root: Path, labels: str = 'kind = "hard"', *, epochs: int = 3) -> str:
    """A recipe that learns the colours in a few seconds."""
    return f"""
[data]
train = "{root}/train"
val = "{root}/val"
image_size = 32
crop_scale = [0.5, 1.0]
workers = 0
[labels]
{labels}
[model]
name = "test_resnet"
kwargs = {{ drop_rate = 0.1 }}
[optimizer]
name = "adamw"
lr = 3e-3
[schedule]
epochs = {epochs}
[run]
batch_size = 12
device = "cpu"
"""


def draw_wnid_folders(root: Path, *, train: int = 6, val: int = 5) -> Path:
    """``root/train`` and ``root/val`` with seven ImageNet classes that a short run confuses.

    Validation images are named as ImageNet's, with the numbers 1 to 35 in the order of the folders.
    """
    rng = np.random.default_rng(0)
    number = 0
    for split, count in (("train", train), ("val", val)):
        for shade, wnid in enumerate(WNIDS):
            folder = root / split / wnid
            folder.mkdir(parents=True)
            for _ in range(count):
                number += 1
                noise = rng.integers(0, 60, (SIDE, SIDE, 3)) + rng.integers(0, 60)
                name = (
                    f"ILSVRC2012_val_{number - train * len(WNIDS):08}" if split == "val" else number
                )
                pixels = (noise + 20 * shade).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{name}.png")
    return root
