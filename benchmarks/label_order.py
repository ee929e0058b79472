"""Which labels tell what a crop shows, where images hold several things.

Mosaics of two and of four photos get label maps as ``labelkit relabel`` makes them. Random crops of
8 to 50 % of each mosaic are shown to the teacher, and its answers are compared with the targets
that the four labels of the ReLabel paper give for the crops, and with a hard label, the class of
one of the photos. Reported are the overlap of both distributions (100 % if equal, 0 if they share
no class) and how often their most probable classes agree. Nothing is trained.

Without FOLDER, the photos are those of scikit-image and scikit-learn, as in ``labelkit demo``.
FOLDER has a folder of photos per class; a mosaic never shows a class twice. ``--scale`` takes
other crops, ``--size`` maps made at another size: what is it that small crops lack?

    python benchmarks/label_order.py
    python benchmarks/label_order.py --scale 0.04 0.08 --size 672
    python benchmarks/label_order.py FOLDER
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as VF

from labelkit.data import CropTargets, TargetOptions, list_images, read_image
from labelkit.demo import write_photos
from labelkit.geometry import CropBox
from labelkit.label_maps import LabelMapFile
from labelkit.relabel import Settings, relabel
from labelkit.teachers import Teacher, load_teacher

SIDE, MOST, CROPS = 320, 60, 8
RATIO = [3 / 4, 4 / 3]
LABELS = ("local-multi", "global-multi", "local-single", "global-single")


def photos_of(folder: Path | None, scratch: Path) -> list[list[Path]]:
    """The photos by class."""
    if folder is None:
        write_photos(scratch)
        return [[path] for path in sorted((scratch / "single").iterdir())]
    keys = list_images(folder)
    classes = sorted({key.split("/")[0] for key in keys})
    return [[folder / key for key in keys if key.split("/")[0] == name] for name in classes]


def write_mosaics(classes: list[list[Path]], count: int, folder: Path) -> list[list[Path]]:
    """Mosaics of so many photos, two in a row; returns the photos that each shows."""
    random = np.random.default_rng(count)
    choices = list(combinations(range(len(classes)), count)) if len(classes) < 12 else None
    folder.mkdir()
    shown: list[list[Path]] = []
    for number in range(min(MOST, len(choices) if choices else MOST)):
        drawn = random.permutation(
            choices[number * len(choices) // MOST if len(choices) > MOST else number]
            if choices
            else random.choice(len(classes), count, replace=False)
        )
        photos = [classes[each][random.integers(len(classes[each]))] for each in drawn]
        mosaic = Image.new("RGB", (2 * SIDE, count // 2 * SIDE))
        for place, path in enumerate(photos):
            with Image.open(path) as photo:
                part = ImageOps.fit(photo.convert("RGB"), (SIDE, SIDE))
            mosaic.paste(part, (place % 2 * SIDE, place // 2 * SIDE))
        mosaic.save(folder / f"{number:03}.jpg", quality=92)
        shown.append(photos)
    return shown


def answers(teacher: Teacher, images: list[torch.Tensor]) -> torch.Tensor:
    """The teacher's probabilities (N, C) for whole images (3, height, width)."""
    side = teacher.card.native_size
    sized = [VF.resize(image, [side, side], InterpolationMode.BICUBIC) for image in images]
    with torch.inference_mode():
        return teacher.logits(teacher.normalize(torch.stack(sized))).softmax(1)


def measure(
    teacher: Teacher, folder: Path, shown: list[list[Path]], scale: list[float], size: int
) -> dict[str, tuple[float, float]]:
    """Overlap and agreement of each label, in percent, over all crops of all mosaics."""
    path = folder.with_suffix(".h5")
    relabel(folder, teacher, path, Settings(sizes=(size,), workers=0))
    file = LabelMapFile.open(path)
    torch.manual_seed(0)
    boxes, rows, predicted, hard = [], [], [], []
    for number, photos in enumerate(shown):
        key = f"{number:03}.jpg"
        image = read_image(folder / key)
        places = [v2.RandomResizedCrop.get_params(image, scale, RATIO) for _ in range(CROPS)]
        crops = [image[:, top : top + high, left : left + wide] for top, left, high, wide in places]
        boxes += [
            CropBox.from_pixels(left, top, wide, high, tuple(image.shape[1:]))
            for top, left, high, wide in places
        ]
        rows += [file.position(key)] * CROPS
        predicted.append(answers(teacher, crops))
        hard += [int(answers(teacher, [read_image(photos[0])]).argmax())] * CROPS
    truth = torch.cat(predicted)
    targets = {
        label: torch.stack(
            CropTargets(file, TargetOptions(label=label), sparse=False)(rows, boxes, hard)  # type: ignore[arg-type]
        )
        for label in LABELS
    }
    targets["hard"] = torch.nn.functional.one_hot(torch.tensor(hard), truth.shape[1]).float()
    return {
        label: (
            100 * float(torch.minimum(truth, target).sum(1).mean()),
            100 * float((truth.argmax(1) == target.argmax(1)).float().mean()),
        )
        for label, target in targets.items()
    }


def main() -> None:
    """Print one line per kind of mosaic."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--teacher", default="efficientnet-lite0")
    parser.add_argument("--scale", type=float, nargs=2, default=[0.08, 0.5], help="of the crops")
    parser.add_argument("--size", type=int, default=448, help="of the maps, in pixels")
    options = parser.parse_args()
    torch.set_num_threads(1)
    teacher = load_teacher(options.teacher, device="cpu")
    with tempfile.TemporaryDirectory() as scratch:
        classes = photos_of(options.folder, Path(scratch))
        for count in (2, 4):
            folder = Path(scratch, f"of-{count}")
            shown = write_mosaics(classes, count, folder)
            found = measure(teacher, folder, shown, options.scale, options.size)
            figures = ", ".join(f"{name} {a:.0f} % / {b:.0f} %" for name, (a, b) in found.items())
            print(f"mosaics of {count}, overlap / agreement with the teacher: {figures}")


if __name__ == "__main__":
    main()
