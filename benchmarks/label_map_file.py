"""The label-map file against loose .pt files: size, reading, writing, and what the codec loses.

Run from the repository root: ``python benchmarks/label_map_file.py FOLDER``, a folder of photos.
EfficientNet-Lite0 makes dense logits on a 15x15 grid, whose five strongest classes a cell are kept:
as the published loose files (a float tensor of (2, 5, 15, 15) each), and as one label-map file.
Reads take turns, row by row in random order, files in the page cache; figures are medians. KL is
from the target pooled over the float32 scores to the one over the stored ones, for random crops.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as VF

from labelkit.data import list_images, read_image
from labelkit.geometry import CropBox
from labelkit.label_maps import LabelMap, LabelMapFile, LabelMapWriter, pool
from labelkit.label_maps.codec import RecordLayout
from labelkit.label_maps.hdf5 import compress
from labelkit.teachers import load_teacher, resize_grid

if TYPE_CHECKING:
    from collections.abc import Callable

GRID, TOP_K, CROPS, ROUNDS = (15, 15), 5, 8, 7
COMMAND = "python benchmarks/label_map_file.py FOLDER"


def strongest(folder: Path, keys: list[str]) -> tuple[np.ndarray, np.ndarray, int]:
    """Class indices and float32 logits (N, K, H, W) of every photo, and the number of classes."""
    teacher = load_teacher("efficientnet-lite0", device="cpu")
    size = [teacher.card.size] * 2
    found = []
    for key in keys:
        square = VF.resize(read_image(folder / key), size, InterpolationMode.BICUBIC)
        with torch.inference_mode():
            logits = resize_grid(teacher.logits_map(teacher.normalize(square[None])), GRID)
        found.append(logits.topk(TOP_K, dim=1))
    index = torch.cat([top.indices for top in found]).numpy()
    return index, torch.cat([top.values for top in found]).numpy(), len(teacher.classes)


def write(path: Path, keys: list[str], index: np.ndarray, score: np.ndarray) -> LabelMapFile:
    """One label-map file of all maps."""
    classes = load_teacher("efficientnet-lite0", device="cpu").classes
    writer = LabelMapWriter(
        path, classes=classes, keys=keys, top_k=TOP_K, grid=GRID, source={"benchmark": True}
    )
    for shard in writer.pending():
        part = slice(shard.start, shard.stop)
        writer.commit(shard, index[part], score[part], {})
    return writer.finalize()


def microseconds(work: Callable[[int], object], order: np.ndarray) -> float:
    """Per call, over all rows in this order."""
    start = time.perf_counter()
    for row in order.tolist():
        work(row)
    return 1e6 * (time.perf_counter() - start) / len(order)


def loss(
    file: LabelMapFile, index: np.ndarray, score: np.ndarray, classes: int
) -> tuple[float, float]:
    """Mean KL of pooled targets in nats, and top-1 agreement."""
    torch.manual_seed(0)
    divergences, agreements = [], []
    for row in range(len(index)):
        exact, stored = LabelMap(index[row].astype(np.uint16), score[row]), file.at(row)
        for _ in range(CROPS):
            crop = v2.RandomResizedCrop.get_params(
                torch.empty(3, 1000, 1000), [0.08, 1], [3 / 4, 4 / 3]
            )
            top, left, height, width = (side / 1000 for side in crop)
            box = CropBox(left, top, left + width, top + height)
            p, q = (
                pool(each, box).probabilities(classes).astype(float) for each in (exact, stored)
            )
            divergences.append(float((p * np.log(p / q)).sum()))
            agreements.append(p.argmax() == q.argmax())
    return float(np.mean(divergences)), float(np.mean(agreements))


def main(folder: Path) -> str:
    """Measure, and put it into one line."""
    keys = sorted(list_images(folder), key=str.encode)
    index, score, classes = strongest(folder, keys)
    layout = RecordLayout(TOP_K, GRID, classes)
    plain = [record.tobytes() for record in layout.encode(index, score)]
    with tempfile.TemporaryDirectory() as output:
        loose = [Path(output, f"{row}.pt") for row in range(len(keys))]
        for path, *pair in zip(loose, score, index, strict=True):
            torch.save(torch.tensor(np.stack(pair), dtype=torch.float32), path)
        file = write(Path(output, "maps.h5"), keys, index, score)
        size = file.path.stat().st_size / len(keys)
        generator = np.random.default_rng(0)
        ways = (lambda row: torch.load(loose[row]), file.at, lambda row: layout.decode(plain[row]))
        rounds = []
        for _ in range(ROUNDS):
            order = generator.permutation(len(keys))
            encoding = time.perf_counter()
            for record in layout.encode(index, score):
                compress(record.tobytes(), layout.breaks)
            rows = len(keys) / (time.perf_counter() - encoding)
            rounds.append([*(microseconds(way, order) for way in ways), rows])
        pt, whole, decode, rows = map(statistics.median, zip(*rounds, strict=True))
        divergence, agreement = loss(file, index, score, classes)
        loose_size = loose[0].stat().st_size
    return (
        f"label-map file of {len(keys)} photos: {size:,.0f} bytes/image (a loose .pt of float32: "
        f"{loose_size:,}); one random row read and decoded in {whole:.0f} us, {decode:.0f} of them "
        f"decoding, torch.load {pt:.0f} us ({pt / whole:.1f}x); {rows:,.0f} rows/s encoded; KL of "
        f"pooled targets {divergence:.1e}, top-1 agreement {agreement:.2%}"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"{main(Path(sys.argv[1]))}  [{COMMAND}]")
