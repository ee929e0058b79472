"""How close targets over a class list of one's own come to the teacher's answer, with *other*.

EfficientNet-Lite0's maps over Imagenette's ten classes (DATA: its folder with ``train`` and
``val``), as ``labelkit relabel`` makes them, are pooled over random crops of validation photos; the
calibration is fitted on training photos. The teacher sees each crop at its native size; its answer
is projected onto the ten classes and *other* in the same way.

First table: KL from that answer to the target, without and with calibration, at several
temperatures, by the crop's zoom z (the square root of its share of the area). Second: how much
probability (total variation) the target of each choice has in other places than the teacher's
answer, where all that a choice leaves out counts as *other*.

    python benchmarks/open_world_fidelity.py DATA
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from labelkit.data import list_images, read_image
from labelkit.data.other_share import share_out
from labelkit.files import evenly_spaced
from labelkit.hierarchy import ClassList
from labelkit.label_maps import Calibration, RecordCodec, log_zoom, pool
from labelkit.relabel import CalibrationSample, Settings
from labelkit.relabel.batches import ImageBatch, resized
from labelkit.relabel.calibrating import calibrate
from labelkit.relabel.maps import MapMaker
from labelkit.relabel.random_crops import random_crops
from labelkit.teachers import load_teacher

TEMPERATURES = (0.7, 1.0, 1.5, 2.0)
BANDS = {"all": (0, 1.01), "z < 0.45": (0, 0.45), "0.45-0.8": (0.45, 0.8), "z > 0.8": (0.8, 1.01)}


def crops_of(
    root: Path, key: str, maker: MapMaker, count: int, calibration: Calibration | None
) -> tuple[np.ndarray, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Zooms (Z,), the teacher's log-probabilities (Z, C), logits plain and calibrated (Z, C)."""
    image = read_image(root / key)
    predictions = maker.predictions
    crops = random_crops(image, key, count, predictions.crop_sizes, seed=1)
    pixels = tuple(resized(image, size)[None] for size in predictions.input_sizes)
    codec = RecordCodec(maker.forms, maker.outputs, other=maker.other)
    (maps,) = codec.decode(codec.encode(maker(ImageBatch([key], pixels))))
    with torch.inference_mode():
        predicted = predictions.of_crops(crops.pixels).log_softmax(dim=1)
    found = []
    for each in (None, calibration):
        label_map = type(maps[0])(
            *(maps[0].index, maps[0].score, maps[0].background, maps[0].classes, None, each)
        )
        found.append(np.stack([pool(label_map, box).dense(maker.outputs) for box in crops.boxes]))
    zooms = np.exp([log_zoom(box) for box in crops.boxes])
    return zooms, predicted, *map(torch.from_numpy, found)


def means(values: torch.Tensor, images: torch.Tensor) -> str:
    """The mean over crops, and its standard error over images."""
    per_image = torch.stack([values[images == n].mean() for n in images.unique()])
    error = per_image.std() / len(per_image) ** 0.5
    return f"{float(values.mean()):.3f} ± {float(error):.3f}"


def print_temperatures(
    zooms: np.ndarray,
    images: torch.Tensor,
    predicted: torch.Tensor,
    logits: dict[str, torch.Tensor],
) -> None:
    """KL by zoom and temperature."""
    for name, values in logits.items():
        for temperature in TEMPERATURES:
            targets = (values / temperature).log_softmax(dim=1)
            divergence = (predicted.exp() * (predicted - targets)).sum(dim=1)
            cells = []
            for low, high in BANDS.values():
                inside = torch.from_numpy((zooms >= low) & (zooms < high))
                cells.append(means(divergence[inside], images[inside]))
            print(f"| {name}, T = {temperature:g} | {' | '.join(cells)} |")


def print_choices(
    images: torch.Tensor, predicted: torch.Tensor, target: torch.Tensor, labels: torch.Tensor
) -> None:
    """Total variation of each choice."""
    truth = predicted.exp()
    for choice in ("output", "weight", "label", "even", "drop"):
        if choice == "drop":
            made = target[:, :-1] / (1 - target[:, -1:])
        else:
            made = share_out(target, choice, labels)
        if made.shape[1] < truth.shape[1]:
            left = (1 - made.sum(dim=1, keepdim=True)).clamp(min=0)
            made = torch.cat([made, left], dim=1)
        print(f"| {choice} | {means((made - truth).abs().sum(dim=1) / 2, images)} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--crops", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    train, val = options.data / "train", options.data / "val"
    classes = ClassList.of(sorted(each.name for each in train.iterdir()))
    teacher = load_teacher("efficientnet-lite0", device="cpu")
    keys = list_images(val)
    keys = [keys[place] for place in evenly_spaced(len(keys), options.images)]
    for other in (True, False):
        maker = MapMaker([teacher], Settings(classes=classes, other=other))
        calibration = calibrate(train, list_images(train), maker, CalibrationSample())
        parts = [crops_of(val, key, maker, options.crops, calibration) for key in keys]
        zooms = np.concatenate([part[0] for part in parts])
        predicted, plain, calibrated = (torch.cat([p[n] for p in parts]) for n in (1, 2, 3))
        images = torch.arange(len(keys)).repeat_interleave(options.crops)
        print(f"\n{'with' if other else 'without'} *other*; calibration {calibration}")
        answers = {"teacher": predicted, "plain": plain, "calibrated": calibrated}
        shares = {
            name: float(each.softmax(dim=1)[:, len(classes) :].sum(dim=1).mean())
            for name, each in answers.items()
        }
        print("mean probability of *other*:", {name: round(x, 3) for name, x in shares.items()})
        print(f"| | {' | '.join(BANDS)} |")
        print_temperatures(zooms, images, predicted, {"plain": plain, "calibrated": calibrated})
        if other:
            labels = torch.tensor([classes.index[key.split("/")[0]] for key in keys])
            labels = labels.repeat_interleave(options.crops)
            print_choices(images, predicted, calibrated.softmax(dim=1), labels)


if __name__ == "__main__":
    main()
