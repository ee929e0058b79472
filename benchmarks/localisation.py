"""Whether label maps say what is where: composites of photos of different classes.

Run from the repository root: ``python benchmarks/localisation.py FOLDER [TEACHER]``, a folder of
wnid folders of photos. Photos that the teacher names rightly on their own are put side by side, two
or four in a square. Each composite gets a label map as ``labelkit relabel`` makes it, at the card's
input size and at twice the teacher's own, where each of four is as large as the teacher is used to.
Counted are the composites in which the cell of every class's highest logit lies in that class's own
part; those in which the target pooled over every part names that part's class; and such parts.
"""

from __future__ import annotations

import sys
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
LAYOUTS = {"two side by side": (1, 2), "four in a square": (2, 2)}
COMMAND = "python benchmarks/localisation.py FOLDER"


def known_photos(folder: Path, teacher: Teacher) -> list[tuple[int, torch.Tensor]]:
    """The class and a square of every photo that the teacher names rightly, one a class."""
    size = [teacher.card.native_size] * 2
    found: dict[int, torch.Tensor] = {}
    for key in list_images(folder):
        own = teacher.classes.index.get(key.split("/")[0])
        if own is None or own in found:
            continue
        image = read_image(folder / key)
        square = VF.resize(VF.center_crop(image, [min(image.shape[1:])] * 2), [TILE, TILE])
        shown = VF.resize(square, size, InterpolationMode.BICUBIC)
        if int(teacher.logits(teacher.normalize(shown[None])).argmax()) == own:
            found[own] = square
    return list(found.items())


def map_of(image: torch.Tensor, teacher: Teacher, size: int) -> LabelMap:
    """An image's label map, as a file gives it back."""
    square = VF.resize(image, [size, size], InterpolationMode.BICUBIC, antialias=True)
    logits = teacher.logits_map(teacher.normalize(square[None]))
    form = Settings().form(len(teacher.classes), tuple(logits.shape[2:]), 0)
    codec = RecordCodec([form], len(teacher.classes), raw=False)
    (found,) = codec.decode(codec.encode([select(resize_grid(logits, form.grid), form)])[0])
    return found


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
    order = np.random.default_rng(0).permutation(len(photos)).tolist()
    peaks: list[bool] = []
    names: list[list[bool]] = []
    for start in range(0, len(order) - count + 1, count):
        chosen = [photos[at] for at in order[start : start + count]]
        tiles = torch.stack([square for _, square in chosen]).view(*layout, 3, TILE, TILE)
        image = tiles.permute(2, 0, 3, 1, 4).reshape(3, layout[0] * TILE, layout[1] * TILE)
        label_map = map_of(image, teacher, size)
        dense = label_map.dense(len(teacher.classes))
        placed = [(own, box) for (own, _), box in zip(chosen, parts(*layout), strict=True)]
        peaks.append(
            all(is_in(box, int(dense[own].argmax()), label_map.grid) for own, box in placed)
        )
        names.append(
            [int(pool(label_map, box).dense(len(dense)).argmax()) == own for own, box in placed]
        )
    return (
        f"at {size} px {np.mean(peaks):.0%} peaks, {np.mean([all(each) for each in names]):.0%} "
        f"names, {np.mean(names):.0%} of parts"
    )


def main(folder: Path, name: str) -> str:
    """Measure, and put it into one line."""
    teacher = load_teacher(name, device="cpu")
    photos = known_photos(folder, teacher)
    told = [
        f"{what}, {measure(photos, teacher, layout, size)}"
        for what, layout in LAYOUTS.items()
        for size in (teacher.card.size, 2 * teacher.card.native_size)
    ]
    return f"localisation by {name}, {len(photos)} photos that it knows: {'; '.join(told)}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"{main(Path(sys.argv[1]), (sys.argv[2:] or ['efficientnet-lite0'])[0])}  [{COMMAND}]")
