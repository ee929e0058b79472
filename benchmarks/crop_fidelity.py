"""How close the targets that a training loop gets come to the teacher's answer to its pixels.

Run from the repository root: ``python benchmarks/crop_fidelity.py FOLDER``, a folder of class
folders. ``labelkit relabel`` makes its label maps with all defaults, or with ``--sizes``, and
``LabelMapDataset`` returns random crops, RandomResizedCrop at the teacher's native size and
RandomHorizontalFlip, and their soft targets. The teacher is then shown these very pixels. Images
that the file's calibration was fitted on are left out. Reported are the mean KL from the teacher's
prediction to the target with its standard error over images, how often both name the same class,
the mean probability of the most probable class of both, and the bytes of an image's record.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from labelkit.data import LabelMapDataset, TargetOptions, list_images, open_image
from labelkit.files import evenly_spaced
from labelkit.label_maps import LabelMapFile
from labelkit.relabel import Settings, relabel
from labelkit.teachers import Teacher, load_teacher

if TYPE_CHECKING:
    from collections.abc import Sequence

CROPS = 8
COMMAND = "python benchmarks/crop_fidelity.py FOLDER"


def measured_images(folder: Path, fitted: int, sample: int) -> list[str]:
    """Images that the calibration was not fitted on, evenly spaced.

    Args:
        folder: of the images.
        fitted: how many the calibration was fitted on.
        sample: how many to measure.
    """
    keys = list_images(folder)
    seen = set(evenly_spaced(len(keys), fitted))
    others = [key for place, key in enumerate(keys) if place not in seen]
    return [others[place] for place in evenly_spaced(len(others), sample)]


def figures(
    datasets: Sequence[LabelMapDataset], positions: Sequence[int], teacher: Teacher
) -> list[torch.Tensor]:
    """KL, agreement and both top probabilities of each data set: means of an image's crops (N, 4).

    All data sets draw the same crops, which the teacher sees once.
    """
    found: list[list[torch.Tensor]] = [[] for _ in datasets]
    for position in positions:
        crops = [random_crops(dataset, position) for dataset in datasets]
        pixels = crops[0][0]
        with torch.inference_mode():
            predicted = teacher.logits(teacher.normalize(pixels)).double().log_softmax(dim=1)
        for values, (same, target) in zip(found, crops, strict=True):
            assert torch.equal(same, pixels)
            values.append(compare(predicted, target.double()).mean(dim=0))
    return [torch.stack(values) for values in found]


def random_crops(dataset: LabelMapDataset, position: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels (Z, 3, S, S) and dense targets (Z, C) of an image's crops, the same in every call."""
    torch.manual_seed(position)
    pixels, targets = zip(*(dataset[position] for _ in range(CROPS)), strict=True)
    return torch.stack(pixels), torch.stack(targets)


def compare(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The four figures of each crop, from log-probabilities and probabilities (Z, C): (Z, 4)."""
    divergence = (predicted.exp() * (predicted - target.clamp_min(1e-30).log())).sum(dim=1)
    same = (predicted.argmax(dim=1) == target.argmax(dim=1)).double()
    tops = (predicted.exp().amax(dim=1), target.amax(dim=1))
    return torch.stack([divergence, same, *tops], dim=1)


def line(values: torch.Tensor) -> str:
    """The figures as text."""
    divergence, same, predicted, target = values.mean(dim=0).tolist()
    error = float(values[:, 0].std() / len(values) ** 0.5)
    return (
        f"KL {divergence:.3f} +- {error:.3f}, agreement {same:.1%}, top probability {target:.3f} "
        f"(teacher {predicted:.3f})"
    )


def measure(folder: Path, teacher: Teacher, sizes: tuple[int, ...], sample: int) -> str:
    """Relabel, train-load, and ask the teacher: the figures with and without calibration."""
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "maps.h5"
        relabel(folder, teacher, output, Settings(sizes=sizes))
        file = LabelMapFile.open(output)
        fitted = file.calibration.images if file.calibration else 0
        keys = measured_images(folder, fitted, sample)
        crop = v2.Compose(
            [
                v2.RandomResizedCrop(teacher.card.native_size, antialias=True),
                v2.RandomHorizontalFlip(),
                v2.PILToTensor(),
            ]
        )
        images = ImageFolder(str(folder), loader=open_image)
        places = {
            Path(path).relative_to(folder).as_posix(): n
            for n, (path, _) in enumerate(images.samples)
        }
        positions = [places[key] for key in keys]
        datasets = [
            LabelMapDataset(images, output, crop, options=options)
            for options in (TargetOptions(), TargetOptions(calibrated=False))
        ]
        lines = [line(values) for values in figures(datasets, positions, teacher)]
        record_bytes = file.record_bytes / len(file)
    pixels = "+".join(map(str, sizes)) or str(teacher.card.size)
    return (
        f"{teacher.card.name} at {pixels} px, {record_bytes:,.0f} bytes, {len(keys)} images x "
        f"{CROPS} crops: {lines[0]}; not calibrated: {lines[1]}"
    )


def main() -> None:
    """Print one line for each teacher and each choice of sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--teacher", default="efficientnet-lite0")
    parser.add_argument("--sizes", default="", help="such as 320, or 224,448 for two maps")
    parser.add_argument("--sample", type=int, default=500, help="images to measure")
    options = parser.parse_args()
    torch.set_num_threads(1)
    teacher = load_teacher(options.teacher, device="cpu")
    sizes = tuple(map(int, options.sizes.split(","))) if options.sizes else ()
    print(f"{measure(options.folder, teacher, sizes, options.sample)} [{COMMAND}]")


if __name__ == "__main__":
    main()
