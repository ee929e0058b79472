"""ReLabel folders and label-map files to convert."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from labelkit.hierarchy import ClassList
from labelkit.label_maps import LabelMapFile, LabelMapWriter, MapForm
from tests.label_maps.support.random_maps import random_maps

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CLASSES = ClassList.of([f"class {n}" for n in range(40)], "forty")
KEYS = ("cat/a.JPEG", "cat/b.JPEG", "cat/b2.JPEG", "dog/a.JPEG", "dog/old/a.JPEG")
PLAIN = MapForm(top_k=3, grid=(4, 6))


def write_classes(folder: Path) -> Path:
    """The class list as a text file."""
    path = folder / "classes.txt"
    path.write_text("\n".join(CLASSES))
    return path


def loose_tensor(seed: int = 0, top_k: int = 3, grid: tuple[int, int] = (4, 6)) -> torch.Tensor:
    """A tensor (2, K, H, W) as in ReLabel's files, rows first."""
    form = MapForm(top_k=top_k, grid=grid)
    maps = random_maps(np.random.default_rng(seed), 1, form, len(CLASSES))
    return torch.from_numpy(np.stack([maps.score[0], maps.index[0].astype(np.float32)]))


def write_folder(folder: Path, keys: Sequence[str] = KEYS) -> dict[str, torch.Tensor]:
    """A ReLabel folder, and the tensor of each key."""
    tensors = {key: loose_tensor(seed) for seed, key in enumerate(keys)}
    for key, tensor in tensors.items():
        path = (folder / key).with_suffix(".pt")
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(tensor, path)
    return tensors


def write_file(
    path: Path, forms: Sequence[MapForm] = (PLAIN,), keys: Sequence[str] = KEYS
) -> LabelMapFile:
    """A label-map file of random maps."""
    writer = LabelMapWriter(path, classes=CLASSES, keys=keys, forms=forms, source={"teacher": "x"})
    rng = np.random.default_rng(7)
    for shard in writer.pending():
        count = shard.stop - shard.start
        writer.commit(shard, [random_maps(rng, count, form, len(CLASSES)) for form in forms], {})
    return writer.finalize()
