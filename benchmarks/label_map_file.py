"""The label-map file against loose .pt files: size, reading, writing, and what the codec loses.

Run from the repository root: ``python benchmarks/label_map_file.py FOLDER``, a folder of photos.
EfficientNet-Lite0 makes dense logits on a 15x15 grid, whose five strongest classes a cell are kept:
as the published loose files (a float tensor of (2, 5, 15, 15) each), and as one label-map file.
Reads take turns, row by row in random order, files in the page cache; figures are medians. KL is
from the target pooled over the float32 scores to the one over the stored ones, and from the one
pooled over the dense map to both: without a background, and with one of 64 classes.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as VF

from labelkit.data import list_images, read_image
from labelkit.geometry import CropBox
from labelkit.label_maps import Background, LabelMap, LabelMapFile, LabelMapWriter, pool
from labelkit.label_maps.codec import RecordLayout
from labelkit.label_maps.hdf5 import compress
from labelkit.relabel.backgrounds import background_of
from labelkit.teachers import load_teacher, resize_grid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from labelkit.hierarchy import ClassList

GRID, TOP_K, BACKGROUND, CROPS, ROUNDS = (15, 15), 5, 64, 8, 7
COMMAND = "python benchmarks/label_map_file.py FOLDER"


def dense_maps(folder: Path, keys: list[str]) -> tuple[np.ndarray, ClassList]:
    """All logits (N, C, H, W) of every photo, float32, and their classes."""
    teacher = load_teacher("efficientnet-lite0", device="cpu")
    size = [teacher.card.size] * 2
    maps = np.empty((len(keys), len(teacher.classes), *GRID), np.float32)
    for row, key in enumerate(keys):
        square = VF.resize(read_image(folder / key), size, InterpolationMode.BICUBIC)
        with torch.inference_mode():
            logits = teacher.logits_map(teacher.normalize(square[None]))
        maps[row] = resize_grid(logits, GRID)[0].numpy()
    return maps, teacher.classes


@dataclass(frozen=True)
class Kept:
    """What is kept of the dense maps."""

    keys: list[str]
    classes: ClassList
    index: np.ndarray
    score: np.ndarray
    background: Background

    @classmethod
    def of_dense(cls, keys: list[str], maps: np.ndarray, classes: ClassList) -> Kept:
        """The strongest classes of every cell, and the mean of the strongest others."""
        score, index = torch.from_numpy(maps).topk(TOP_K, dim=1)
        background = background_of(torch.from_numpy(maps), index, score, BACKGROUND)
        return cls(keys, classes, index.numpy(), score.numpy(), background)

    def write(self, path: Path, background: Background | None = None) -> LabelMapFile:
        """One label-map file of all maps."""
        writer = LabelMapWriter(
            path,
            classes=self.classes,
            keys=self.keys,
            top_k=TOP_K,
            grid=GRID,
            source={"benchmark": True},
            background=BACKGROUND if background else 0,
            shard_rows=len(self.keys),
        )
        (shard,) = writer.pending()
        writer.commit(shard, self.index, self.score, {}, background)
        return writer.finalize()


def microseconds(work: Callable[[int], object], order: np.ndarray) -> float:
    """Per call, over all rows in this order."""
    start = time.perf_counter()
    for row in order.tolist():
        work(row)
    return 1e6 * (time.perf_counter() - start) / len(order)


def crops() -> list[CropBox]:
    """Random crops as training takes them."""
    torch.manual_seed(0)
    canvas = torch.empty(3, 1000, 1000)
    drawn = [
        v2.RandomResizedCrop.get_params(canvas, [0.08, 1], [3 / 4, 4 / 3]) for _ in range(CROPS)
    ]
    return [
        CropBox(left / 1000, top / 1000, (left + width) / 1000, (top + height) / 1000)
        for top, left, height, width in drawn
    ]


def targets(maps: Iterable[LabelMap], classes: ClassList) -> np.ndarray:
    """The target of every crop of every map: (N * CROPS, C)."""
    boxes = crops()
    return np.array(
        [pool(each, box).probabilities(len(classes)) for each in maps for box in boxes], np.float64
    )


def dense_targets(maps: np.ndarray) -> np.ndarray:
    """The same from all logits, by the weights that a map of one class a time has."""
    weights = []
    for box in crops():
        one_hot = [
            LabelMap(np.zeros((1, *GRID), np.uint16), cell.reshape(1, *GRID))
            for cell in np.eye(GRID[0] * GRID[1], dtype=np.float32)
        ]
        weights.append([pool(cell, box).dense(1)[0] for cell in one_hot])
    logits = np.einsum("nci,bi->nbc", maps.reshape(*maps.shape[:2], -1), np.array(weights))
    logits = logits.reshape(-1, maps.shape[1]).astype(np.float64)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def compare(p: np.ndarray, q: np.ndarray) -> str:
    """Mean KL from p to q in nats, and top-1 agreement."""
    divergence = float((p * np.log(p / q)).sum(axis=1).mean())
    return f"KL {divergence:.2g}, top-1 agreement {(p.argmax(1) == q.argmax(1)).mean():.2%}"


def reading(kept: Kept, file: LabelMapFile, folder: Path) -> str:
    """Sizes and times of one file against loose ones."""
    layout = RecordLayout(TOP_K, GRID, len(kept.classes))
    plain = [record.tobytes() for record in layout.encode(kept.index, kept.score)]
    loose = [folder / f"{row}.pt" for row in range(len(kept.keys))]
    for path, *pair in zip(loose, kept.score, kept.index, strict=True):
        torch.save(torch.tensor(np.stack(pair), dtype=torch.float32), path)
    generator = np.random.default_rng(0)
    ways = (lambda row: torch.load(loose[row]), file.at, lambda row: layout.decode(plain[row]))
    rounds = []
    for _ in range(ROUNDS):
        order = generator.permutation(len(plain))
        start = time.perf_counter()
        for record in layout.encode(kept.index, kept.score):
            compress(record.tobytes(), layout.breaks)
        rows = len(plain) / (time.perf_counter() - start)
        rounds.append([*(microseconds(way, order) for way in ways), rows])
    pt, whole, decode, rows = map(statistics.median, zip(*rounds, strict=True))
    return (
        f"a loose .pt of float32 {loose[0].stat().st_size:,}; a random row read and decoded in "
        f"{whole:.0f} us, decoding {decode:.0f}, torch.load {pt:.0f} us ({pt / whole:.1f}x); "
        f"{rows:,.0f} rows/s encoded"
    )


def main(folder: Path) -> str:
    """Measure, and put it into one line."""
    keys = sorted(list_images(folder), key=str.encode)
    maps, classes = dense_maps(folder, keys)
    kept = Kept.of_dense(keys, maps, classes)
    with tempfile.TemporaryDirectory() as output:
        plain = kept.write(Path(output, "plain.h5"))
        behind = kept.write(Path(output, "background.h5"), kept.background)
        sizes = [file.path.stat().st_size / len(keys) for file in (plain, behind)]
        times = reading(kept, plain, Path(output))
        rows = range(len(keys))
        stored, filled = (targets(map(file.at, rows), classes) for file in (plain, behind))
    index, score = kept.index.astype(np.uint16), kept.score
    exact = targets(map(LabelMap, index, score), classes)
    dense = dense_targets(maps)
    return (
        f"label-map file of {len(keys)} photos: {sizes[0]:,.0f} bytes/image, with a background of "
        f"{BACKGROUND} classes {sizes[1]:,.0f}, {times}; codec: {compare(exact, stored)}; against "
        f"the dense map: zeros {compare(dense, stored)}, background {compare(dense, filled)}"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"{main(Path(sys.argv[1]))}  [{COMMAND}]")
