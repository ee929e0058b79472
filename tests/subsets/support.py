"""Folders of tiny images, and label maps over them with chosen cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy
from labelkit.label_maps import LabelMapFile, LabelMaps, LabelMapWriter, MapForm

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

EDGES = [
    ("cat", "pet"),
    ("dog", "pet"),
    ("pet", "animal"),
    ("cow", "animal"),
    ("oak", "plant"),
    ("plant", "thing"),
    ("animal", "thing"),
]


def draw(root: Path, counts: Mapping[str, int]) -> Path:
    """A folder with so many grey images of each class."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.new("L", (4, 4), number).save(root / name / f"{number:03}.png")
    return root


def animals() -> SemanticTree:
    """Cat and dog below pet, pet and cow below animal, oak below plant; both below thing."""
    classes = ClassList.of(["cat", "dog", "cow", "oak", "pet"])
    return SemanticTree.build(classes, Taxonomy.from_edges(EDGES), inner_levels="all")


def write_maps(
    path: Path, images: Mapping[str, list[list[float]]], classes: tuple[str, ...]
) -> LabelMapFile:
    """Maps of 1 x W cells; each cell of an image is given as its probabilities of all classes."""
    cells = len(next(iter(images.values())))
    form = MapForm(top_k=len(classes), grid=(1, cells), scores="float32")
    writer = LabelMapWriter(
        path, classes=ClassList.of(classes), keys=list(images), forms=[form], source={}
    )
    for shard in writer.pending():
        keys = writer.keys[shard.start : shard.stop]
        score = np.log(np.array([images[key] for key in keys], np.float32))
        order = np.argsort(-score, axis=-1, kind="stable")
        sorted_score = np.take_along_axis(score, order, -1)
        index = order.transpose(0, 2, 1)[:, :, None, :].astype(np.uint16)
        writer.commit(shard, [LabelMaps(index, sorted_score.transpose(0, 2, 1)[:, :, None, :])], {})
    return writer.finalize()
