"""Whether label maps say what is where: composites of photos of different classes.

Run from the repository root: ``python benchmarks/localisation.py FOLDER``, a folder of wnid folders
of photos. Photos that the teacher names rightly on their own are put side by side, two or four in a
square. Each composite gets a label map as ``labelkit relabel`` makes it, at the card's input size
and at twice the teacher's own, where each of four is as large as the teacher is used to.
Counted are the composites in which the cell of every class's highest logit lies in that class's own
part; those in which the target pooled over every part names that part's class; and such parts.

``--sure`` and ``--as-part`` ask more of a photo before the teacher is said to know it.
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
from labelkit.label_maps import LabelMap, pool
from labelkit.label_maps.record import RecordCodec
from labelkit.relabel import Settings
from labelkit.relabel.selection import select
from labelkit.teachers import Teacher, load_teacher, resize_grid

TILE = 320
SHUFFLES = 4
LAYOUTS = {"two side by side": (1, 2), "four in a square": (2, 2)}
COMMAND = "python benchmarks/localisation.py FOLDER"


def read_photos(folder: Path, teacher: Teacher) -> list[tuple[int, torch.Tensor]]:
    """The class and a square of every photo whose class the teacher has."""
    found: list[tuple[int, torch.Tensor]] = []
    for key in list_images(folder):
        own = teacher.classes.index.get(key.split("/")[0])
        if own is not None:
            image = read_image(folder / key)
            square = VF.center_crop(image, [min(image.shape[1:])] * 2)
            found.append((own, VF.resize(square, [TILE, TILE])))
    return found


def known_photos(
    photos: list[tuple[int, torch.Tensor]], teacher: Teacher, shown: list[int], sure: float
) -> list[tuple[int, torch.Tensor]]:
    """Those that the teacher names rightly when shown alone, one a class.

    Args:
        photos: class and square of each.
        teacher: the classifier.
        shown: rows and columns of pixels at which it sees a photo.
        sure: the probability that it must give the class.
    """
    found: dict[int, torch.Tensor] = {}
    for own, square in photos:
        if own in found:
            continue
        image = VF.resize(square, shown, InterpolationMode.BICUBIC)
        answer = teacher.logits(teacher.normalize(image[None]))[0].softmax(0)
        if int(answer.argmax()) == own and float(answer[own]) >= sure:
            found[own] = square
    return list(found.items())


def map_of(image: torch.Tensor, teacher: Teacher, size: int) -> LabelMap:
    """An image's label map, as a file gives it back."""
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


def is_in(box: CropBox, cell: int, grid: tuple[int, int]) -> bool:
    """Whether a cell's centre lies in a part."""
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
    names: list[list[bool]] = []
    for _ in range(SHUFFLES):
        order = random.permutation(len(photos)).tolist()
        for start in range(0, len(order) - count + 1, count):
            chosen = [photos[at] for at in order[start : start + count]]
            found = look(chosen, teacher, layout, size)
            peaks.append(found[0])
            names.append(found[1])
    known = f"of {len(photos)} photos"
    if not peaks:
        return f"at {size} px too few: {known}"
    return (
        f"at {size} px {np.mean(peaks):.0%} peaks, {np.mean([all(each) for each in names]):.0%} "
        f"names, {np.mean(names):.0%} of parts, {known}"
    )


def look(
    photos: list[tuple[int, torch.Tensor]], teacher: Teacher, layout: tuple[int, int], size: int
) -> tuple[bool, list[bool]]:
    """Whether every peak of a composite lies in its part, and for each part if it is named."""
    tiles = torch.stack([square for _, square in photos]).view(*layout, 3, TILE, TILE)
    image = tiles.permute(2, 0, 3, 1, 4).reshape(3, layout[0] * TILE, layout[1] * TILE)
    label_map = map_of(image, teacher, size)
    dense = label_map.dense(len(teacher.classes))
    placed = [(own, box) for (own, _), box in zip(photos, parts(*layout), strict=True)]
    peaks = all(is_in(box, int(dense[own].argmax()), label_map.grid) for own, box in placed)
    return peaks, [
        int(pool(label_map, box).dense(len(dense)).argmax()) == own for own, box in placed
    ]


def main(asked: argparse.Namespace) -> str:
    """Measure, and put it into one line."""
    teacher = load_teacher(asked.teacher, device="cpu")
    native = teacher.card.native_size
    photos = read_photos(asked.folder, teacher)
    told: list[str] = []
    for what, layout in LAYOUTS.items():
        known = known_photos(photos, teacher, [native, native], asked.sure)
        for size in asked.sizes or (teacher.card.size, 2 * native):
            if asked.as_part:
                shown = [size // layout[0], size // layout[1]]
                known = known_photos(photos, teacher, shown, asked.sure)
            told.append(f"{what}, {measure(known, teacher, layout, size)}")
    return f"localisation by {asked.teacher}: {'; '.join(told)}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Whether label maps say what is where.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("teacher", nargs="?", default="efficientnet-lite0")
    parser.add_argument("--sizes", type=int, nargs="+", help="input sides of the composites")
    parser.add_argument("--sure", type=float, default=0.0, help="probability for a photo alone")
    parser.add_argument("--as-part", action="store_true", help="alone, but as large as in its part")
    torch.set_num_threads(1)
    print(f"{main(parser.parse_args())}  [{COMMAND}]")
