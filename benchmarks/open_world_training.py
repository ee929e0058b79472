"""What a student learns from each way of treating *other*, the teacher's classes outside a list.

A small network is trained from scratch on 48-pixel crops of Imagenette (DATA: its folder with
``train`` and ``val``), with the targets of every crop pooled from label maps of EfficientNet-Lite0
over the data set's own classes. Three studies:

- ``wide``: ten classes, crops of 8 to 100 % of the image, of which many miss the object;
- ``narrow``: ten classes, crops of 50 to 100 %;
- ``background``: three classes; as many photos again show one of the other seven and lie in a wrong
  folder.

Each run prints one JSON line: the accuracy on validation photos of the classes, in percent, and for
``background`` how much probability the student gives its best class on photos of the other seven.

    python benchmarks/open_world_training.py DATA --study background --other weight --seed 0
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as VF

from labelkit.data import LabelMapDataset, TargetOptions, read_image
from labelkit.hierarchy import ClassList
from labelkit.losses import SoftTargetCrossEntropy
from labelkit.relabel import Settings, relabel
from labelkit.teachers import load_teacher

SIDE, STORED, BATCH, EPOCHS = 48, 96, 64, 16
KNOWN = ["n01440764", "n02102040", "n03394916"]  # tench, English springer, French horn
STUDIES = ("wide", "narrow", "background")
CHOICES = ("hard", "label", "even", "output", "weight", "drop")


def link_photos(data: Path, folder: Path, study: str) -> None:
    """A tree of class folders that links to photos of the training set."""
    rng = np.random.default_rng(0)
    for source in sorted((data / "train").iterdir()):
        outside = study == "background" and source.name not in KNOWN
        count = 64 if outside else 150 if study == "background" else 120
        for photo in sorted(source.iterdir())[:count]:
            name = str(rng.choice(KNOWN)) if outside else source.name
            place = folder / name / photo.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(photo.resolve())


class Photos(torch.utils.data.Dataset):
    """Photos in memory, as (image, class index)."""

    def __init__(self, folder: Path, classes: list[str], per_class: int | None = None) -> None:
        paths = [
            (path, index)
            for index, name in enumerate(classes)
            for path in sorted((folder / name).iterdir())[:per_class]
        ]
        self.keys = [path.relative_to(folder).as_posix() for path, _ in paths]
        self.classes = classes
        self.samples = [
            (VF.resize(read_image(path), [STORED], antialias=True), index) for path, index in paths
        ]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
        return self.samples[position]


def student(outputs: int) -> nn.Module:
    """Four convolutions and a linear layer."""
    layers: list[nn.Module] = []
    for before, after, stride in ((3, 32, 2), (32, 64, 2), (64, 128, 2), (128, 128, 1)):
        layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)]
        layers += [nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, outputs))


def train(dataset: LabelMapDataset, seed: int) -> nn.Module:
    """Train a student for ``EPOCHS`` epochs."""
    torch.manual_seed(seed)
    model, loss = student(len(dataset.classes)), SoftTargetCrossEntropy()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    steps = len(dataset) // BATCH * EPOCHS
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
    for _ in range(EPOCHS):
        order = torch.randperm(len(dataset)).tolist()
        for start in range(0, len(order) - BATCH + 1, BATCH):
            images, targets = zip(*dataset.__getitems__(order[start : start + BATCH]), strict=True)
            optimizer.zero_grad()
            loss(model(torch.stack(images)), torch.stack(targets)).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def predict(model: nn.Module, photos: Photos) -> torch.Tensor:
    """Probabilities (N, outputs) of the centres of photos."""
    centre = v2.Compose([v2.Resize(56), v2.CenterCrop(SIDE), v2.ToDtype(torch.float32, scale=True)])
    images = torch.stack([centre(image) for image, _ in photos.samples])
    return torch.cat([model(part).softmax(dim=1) for part in images.split(256)])


def measure(model: nn.Module, data: Path, classes: list[str], study: str) -> dict[str, float]:
    """Accuracy on the classes' photos, and the highest probability on others."""
    known = Photos(data / "val", classes, 100)
    labels = torch.tensor([label for _, label in known.samples])
    probabilities = predict(model, known)
    count = len(classes)
    found = {
        "accuracy": 100 * float((probabilities[:, :count].argmax(1) == labels).float().mean()),
        "nll": -float(probabilities[range(len(labels)), labels].log().mean()),
    }
    if study == "background":
        names = [each.name for each in sorted((data / "val").iterdir()) if each.name not in classes]
        best = probabilities[:, :count].amax(1)
        outside = predict(model, Photos(data / "val", names, 40))[:, :count].amax(1)
        # how often a photo of the classes gets a higher probability than one of something else
        found["separated"] = 100 * float((best[:, None] > outside).float().mean())
        found["certain_of_others"] = float(outside.mean())
    return found


def main() -> None:
    """Make the maps, train, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--study", nargs="+", default=STUDIES, choices=STUDIES)
    parser.add_argument("--other", nargs="+", default=CHOICES, choices=CHOICES)
    parser.add_argument("--seed", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    teacher = load_teacher("efficientnet-lite0", device="cpu")
    for study in options.study:
        with tempfile.TemporaryDirectory() as folder:
            photos, maps = Path(folder, "photos"), Path(folder, "maps.h5")
            link_photos(options.data, photos, study)
            classes = sorted(each.name for each in photos.iterdir())
            relabel(photos, teacher, maps, Settings(classes=ClassList.of(classes), workers=0))
            samples = Photos(photos, classes)
            scale = (0.5, 1.0) if study == "narrow" else (0.08, 1.0)
            crops = v2.Compose(
                [
                    v2.RandomResizedCrop(SIDE, scale, antialias=True),
                    v2.RandomHorizontalFlip(),
                    v2.ToDtype(torch.float32, scale=True),
                ]
            )
            for seed in options.seed:
                for choice in options.other:
                    chosen = (
                        TargetOptions(label="original")
                        if choice == "hard"
                        else TargetOptions(other=choice)
                    )
                    started = time.process_time()
                    dataset = LabelMapDataset(
                        samples, maps, crops, key=samples.keys.__getitem__, options=chosen
                    )
                    found = measure(train(dataset, seed), options.data, classes, study)
                    found["seconds"] = time.process_time() - started
                    rounded = {name: round(value, 3) for name, value in found.items()}
                    run = {"study": study, "other": choice, "seed": seed} | rounded
                    rounded = {
                        k: round(v, 3) if isinstance(v, float) else v for k, v in run.items()
                    }
                    print(json.dumps(rounded), flush=True)


if __name__ == "__main__":
    main()
