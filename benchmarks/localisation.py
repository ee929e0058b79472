"""Whether label maps locate classes: composites of photos of different classes.

Run from the repository root: ``python benchmarks/localisation.py FOLDER``, a folder of wnid folders
of photos. Photos that the teacher classifies correctly on their own are put together, two side by
side or four in a square. Each composite gets a label map as ``labelkit relabel`` makes it, at the
card's input size and at twice the native size, where each of four photos has the native size.
Reported are the share of composites in which the highest logit of every class is in that class's
part, the share in which the target pooled over every part has the right top class, and the share of
such parts.

``--min-probability`` and ``--as-part`` are stricter about which photos the teacher classifies
correctly.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as VF

from labelkit.data import list_images, read_image
from labelkit.geometry import CropBox
from labelkit.label_maps import LabelMap, RecordCodec, pool
from labelkit.relabel import Settings
from labelkit.relabel.selection import select
from labelkit.teachers import Teacher, load_teacher, resize_grid

TILE = 320
SHUFFLES = 4
LAYOUTS = {"two side by side": (1, 2), "four in a square": (2, 2)}
COMMAND = "python benchmarks/localisation.py FOLDER"


def read_photos(folder: Path, teacher: Teacher) -> list[tuple[int, torch.Tensor]]:
    """The class and a square of every photo whose class the teacher has."""
    photos: list[tuple[int, torch.Tensor]] = []
    for key in list_images(folder):
        label = teacher.classes.index.get(key.split("/")[0])
        if label is not None:
            image = read_image(folder / key)
            square = VF.center_crop(image, [min(image.shape[1:])] * 2)
            photos.append((label, VF.resize(square, [TILE, TILE])))
    return photos


def correct_photos(
    photos: list[tuple[int, torch.Tensor]],
    teacher: Teacher,
    size: list[int],
    min_probability: float,
) -> list[tuple[int, torch.Tensor]]:
    """The first photo of each class that the teacher classifies correctly on its own.

    Args:
        photos: class and square of each.
        teacher: the classifier.
        size: rows and columns of pixels that it gets.
        min_probability: the least probability of the class.
    """
    correct: dict[int, torch.Tensor] = {}
    for label, square in photos:
        if label in correct:
            continue
        image = VF.resize(square, size, InterpolationMode.BICUBIC)
        probabilities = teacher.logits(teacher.normalize(image[None]))[0].softmax(0)
        is_top = int(probabilities.argmax()) == label
        if is_top and float(probabilities[label]) >= min_probability:
            correct[label] = square
    return list(correct.items())


def map_of(image: torch.Tensor, teacher: Teacher, size: int) -> LabelMap:
    """An image's label map, as it is read back from a file."""
    square = VF.resize(image, [size, size], InterpolationMode.BICUBIC, antialias=True)
    logits = teacher.logits_map(teacher.normalize(square[None]))
    form = Settings().form(len(teacher.classes), tuple(logits.shape[2:]), 0)
    codec = RecordCodec([form], len(teacher.classes))
    (found,) = codec.decode(codec.encode([select(resize_grid(logits, form.grid), form)]))
    return found[0]


def parts(rows: int, columns: int) -> list[CropBox]:
    """The parts of a composite, row by row."""
    return [
        CropBox(column / columns, row / rows, (column + 1) / columns, (row + 1) / rows)
        for row in range(rows)
        for column in range(columns)
    ]


def contains(box: CropBox, cell: int, grid: tuple[int, int]) -> bool:
    """Whether a part contains the centre of a cell."""
    row, column = divmod(cell, grid[1])
    y, x = (row + 0.5) / grid[0], (column + 0.5) / grid[1]
    return box.top <= y <= box.bottom and box.left <= x <= box.right


def measure(
    photos: list[tuple[int, torch.Tensor]], teacher: Teacher, layout: tuple[int, int], size: int
) -> str:
    """The three shares for composites of one layout at one input size."""
    count = layout[0] * layout[1]
    random = np.random.default_rng(0)
    peaks: list[bool] = []
    top1: list[list[bool]] = []
    for _ in range(SHUFFLES):
        order = random.permutation(len(photos)).tolist()
        for start in range(0, len(order) - count + 1, count):
            chosen = [photos[index] for index in order[start : start + count]]
            peaks_correct, parts_correct = evaluate(chosen, teacher, layout, size)
            peaks.append(peaks_correct)
            top1.append(parts_correct)
    if not peaks:
        return f"at {size} px too few photos ({len(photos)})"
    return (
        f"at {size} px {np.mean(peaks):.0%} peaks, {np.mean([all(each) for each in top1]):.0%} "
        f"top-1, {np.mean(top1):.0%} of parts, from {len(photos)} photos"
    )


def evaluate(
    photos: list[tuple[int, torch.Tensor]], teacher: Teacher, layout: tuple[int, int], size: int
) -> tuple[bool, list[bool]]:
    """Whether all peaks of a composite are in their parts, and which parts have the right class."""
    tiles = torch.stack([square for _, square in photos]).view(*layout, 3, TILE, TILE)
    image = tiles.permute(2, 0, 3, 1, 4).reshape(3, layout[0] * TILE, layout[1] * TILE)
    label_map = map_of(image, teacher, size)
    dense = label_map.dense(len(teacher.classes))
    placed = [(label, box) for (label, _), box in zip(photos, parts(*layout), strict=True)]
    peaks = all(contains(box, int(dense[label].argmax()), label_map.grid) for label, box in placed)
    return peaks, [
        int(pool(label_map, box).dense(len(dense)).argmax()) == label for label, box in placed
    ]


def main(options: argparse.Namespace) -> str:
    """All measurements, on one line."""
    teacher = load_teacher(options.teacher, device="cpu")
    native = teacher.card.native_size
    photos = read_photos(options.folder, teacher)
    results: list[str] = []
    for name, layout in LAYOUTS.items():
        correct = correct_photos(photos, teacher, [native, native], options.min_probability)
        for size in options.sizes or (teacher.card.size, 2 * native):
            if options.as_part:
                part = [size // layout[0], size // layout[1]]
                correct = correct_photos(photos, teacher, part, options.min_probability)
            results.append(f"{name}, {measure(correct, teacher, layout, size)}")
    return f"localisation by {options.teacher}: {'; '.join(results)}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Whether label maps locate classes.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("teacher", nargs="?", default="efficientnet-lite0")
    parser.add_argument("--sizes", type=int, nargs="+", help="input sizes of the composites")
    parser.add_argument(
        "--min-probability", type=float, default=0.0, help="of the class, for a photo alone"
    )
    parser.add_argument(
        "--as-part", action="store_true", help="classify single photos at the size of their part"
    )
    torch.set_num_threads(1)
    print(f"{main(parser.parse_args())}  [{COMMAND}]")
