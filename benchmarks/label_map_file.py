"""The label-map file against loose .pt files: size, reading, writing, and what is lost.

Run from the repository root: ``python benchmarks/label_map_file.py FOLDER``, a folder of photos.
EfficientNet-Lite0 at 320 pixels makes all logits of every photo on its own grid. Maps of several
forms are kept of them: the five strongest classes of each cell on 15x15 cells, as the published
loose files (a float tensor of (2, 5, 15, 15) each); the same with a background of 64 classes; and
what ``labelkit relabel`` keeps by default. Reads take turns, row by row in random order, files in
the page cache; figures are medians. KL is of the targets of 8 crops a photo: from the target pooled
over float32 maps to the one over the stored ones (codec), and from the one pooled over all logits
(dense).
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
from msgspec import structs
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as VF

from labelkit.data import list_images, read_image
from labelkit.geometry import CropBox
from labelkit.label_maps import LabelMap, LabelMapFile, LabelMapWriter, MapForm, RecordCodec, pool
from labelkit.label_maps.file.reader import stored_rows
from labelkit.relabel import Settings
from labelkit.relabel.selection import select
from labelkit.teachers import load_teacher, resize_grid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from labelkit.hierarchy import ClassList
    from labelkit.label_maps import LabelMaps

CROPS, ROUNDS = 8, 7
TOGETHER = 64
COMMAND = "python benchmarks/label_map_file.py FOLDER"
PLAIN = MapForm(top_k=5, grid=(15, 15))


def all_logits(folder: Path, keys: list[str]) -> tuple[torch.Tensor, ClassList]:
    """All logits (N, C, H, W) of every photo, float32, on the teacher's grid, and their classes."""
    teacher = load_teacher("efficientnet-lite0", device="cpu")
    size = [teacher.card.size] * 2
    maps: list[torch.Tensor] = []
    for key in keys:
        square = VF.resize(read_image(folder / key), size, InterpolationMode.BICUBIC)
        with torch.inference_mode():
            maps.append(teacher.logits_map(teacher.normalize(square[None])))
    return torch.cat(maps), teacher.classes


def write(
    path: Path, keys: list[str], classes: ClassList, form: MapForm, maps: LabelMaps
) -> LabelMapFile:
    """One label-map file of all maps."""
    source = {"benchmark": True}
    writer = LabelMapWriter(
        path, classes=classes, keys=keys, forms=[form], source=source, shard_rows=len(keys)
    )
    (shard,) = writer.pending()
    writer.commit(shard, [maps], {})
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


def targets(maps: Iterable[LabelMap], num_classes: int) -> np.ndarray:
    """The target of every crop of every map: (N * CROPS, C)."""
    boxes = crops()
    return np.array(
        [pool(each, box).probabilities(num_classes) for each in maps for box in boxes], np.float64
    )


def dense_targets(logits: np.ndarray) -> np.ndarray:
    """The same from all logits (N, C, H, W)."""
    every = np.arange(logits.shape[1])[:, None, None]
    index = np.broadcast_to(every, logits.shape[1:])
    classes = every.ravel()
    return targets((LabelMap(index, each, None, classes) for each in logits), len(classes))


def compare(p: np.ndarray, q: np.ndarray) -> str:
    """Mean KL from p to q in nats, and top-1 agreement."""
    divergence = float((p * np.log(p / q)).sum(axis=1).mean())
    return f"KL {divergence:.2g}, agreement {(p.argmax(1) == q.argmax(1)).mean():.2%}"


def kept(
    path: Path, keys: list[str], classes: ClassList, logits: torch.Tensor, form: MapForm
) -> str:
    """Bytes an image, and what is lost, of one form."""
    on_grid = resize_grid(logits, form.grid)
    maps = select(on_grid, form)
    with write(path, keys, classes, form, maps) as file:
        stored = targets(map(file.at, range(len(file))), len(classes))
        size = path.stat().st_size / len(file)
    codec = compare(targets(maps, len(classes)), stored)
    dense = compare(dense_targets(on_grid.numpy()), stored)
    return f"{size:,.0f} bytes/image (codec {codec}; dense {dense})"


def speeds(folder: Path, plain: LabelMaps, maps: LabelMaps, path: Path) -> str:
    """Reading and writing the default form, and reading loose files."""
    file = LabelMapFile.open(path)
    codec = RecordCodec(file.forms, len(file.classes))
    records = codec.encode([maps])
    loose = [folder / f"{row}.pt" for row in range(len(file))]
    for target, *pair in zip(loose, plain.score, plain.index, strict=True):
        torch.save(torch.tensor(np.stack(pair), dtype=torch.float32), target)
    generator = np.random.default_rng(0)
    stored = [row[1] for row in stored_rows(file).unchecked()]
    reads = (
        lambda row: torch.load(loose[row]),
        file.at,
        lambda row: codec.expand(stored[row]),
        lambda row: codec.decode(records[row : row + 1])[0][0],
    )
    rounds: list[list[float]] = []
    for _ in range(ROUNDS):
        order = generator.permutation(len(file))
        start = time.perf_counter()
        for record in codec.encode([maps]):
            codec.compress(bytes(record))
        rows = len(file) / (time.perf_counter() - start)
        some = order[: len(order) // TOGETHER * TOGETHER].reshape(-1, TOGETHER)
        batch = microseconds(file.batch, some) / TOGETHER
        rounds.append([*(microseconds(read, order) for read in reads), batch, rows])
    medians = map(statistics.median, zip(*rounds, strict=True))
    pt, whole, expand, decode, many, rows = medians
    ratio = statistics.median(each[0] / each[1] for each in rounds)
    return (
        f"a random row of it: {whole:.0f} us in all ({ratio:.1f}x torch.load's {pt:.0f}), of "
        f"which reading and inflating {whole - decode:.0f} (zlib {expand:.0f}) and decoding "
        f"{decode:.0f}; {TOGETHER} rows at once {many:.0f} us a row; {rows:,.0f} rows/s encoded; "
        f"a loose .pt of float32 {loose[0].stat().st_size:,} bytes"
    )


def main(folder: Path) -> str:
    """Measure, and put it into one line."""
    keys = sorted(list_images(folder), key=str.encode)
    logits, classes = all_logits(folder, keys)
    default = Settings().form(len(classes), tuple(logits.shape[2:]), 0)
    forms = {
        "cells, top-5, zeros": PLAIN,
        "cells, top-5, background 64": structs.replace(PLAIN, background=64),
        f"default ({default.grid[0]}x{default.grid[1]} cells)": default,
        "default on 15x15 cells": structs.replace(default, grid=(15, 15)),
    }
    with tempfile.TemporaryDirectory() as output:
        paths = [Path(output, f"{number}.h5") for number in range(len(forms))]
        parts = [
            f"{name}: {kept(path, keys, classes, logits, form)}"
            for (name, form), path in zip(forms.items(), paths, strict=True)
        ]
        plain = select(resize_grid(logits, PLAIN.grid), PLAIN)
        parts.append(speeds(Path(output), plain, select(logits, default), paths[2]))
    return f"label-map file of {len(keys)} photos: {'; '.join(parts)}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"{main(Path(sys.argv[1]))}  [{COMMAND}]")
