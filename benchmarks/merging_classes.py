"""Which way of merging a teacher's classes names the classes of photos best, and *other*.

DATA is a folder of photos in folders named by wnid. EfficientNet's answers to the whole photos and
to random crops are merged onto random groups of ImageNet's coarser classes in WordNet, 3, 5 or 10
of them, which differ in how many of the thousand classes they hold; all else is *other*. Printed
for each way: accuracy on photos of the groups, every group counting the same, and on photos of
*other*; the cross-entropy of both; the mean probability of *other* on each. The spread is the
standard deviation over draws of groups.

    python benchmarks/merging_classes.py DATA --teacher efficientnet-lite0
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from labelkit.data import list_images, read_image
from labelkit.files import evenly_spaced
from labelkit.hierarchy import ClassList, Projection, SemanticTree, Taxonomy, coarsen
from labelkit.relabel.batches import InputSize, resized
from labelkit.relabel.predictions import LogitsProjection, Merge
from labelkit.relabel.random_crops import random_crops
from labelkit.teachers import Teacher, load_teacher

WAYS: tuple[Merge, ...] = ("sum", "root", "mean", "max")
DRAWS = 10


def answers(teacher: Teacher, root: Path, keys: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of whole photos (N, S), and of four crops of each (4 N, S)."""
    size = InputSize(teacher.card.native_size, teacher.card.interpolation)
    whole, crops = [], []
    with torch.inference_mode():
        for key in keys:
            image = read_image(root / key)
            whole.append(teacher.logits(teacher.normalize(resized(image, size)[None])))
            shown = random_crops(image, key, 4, [size], seed=0).pixels[0]
            crops.append(teacher.logits(teacher.normalize(shown)))
    return torch.cat(whole).float(), torch.cat(crops).float()


def measure(logits: torch.Tensor, labels: torch.Tensor, groups: Projection, way: Merge) -> list:
    """Accuracy, cross-entropy and probability of *other*: each within the groups, and outside."""
    merged = LogitsProjection(groups, torch.device("cpu"), way, other=True)
    log_probability = merged(logits[:, :, None, None])[:, :, 0, 0].log_softmax(dim=1)
    count = len(groups.target)
    index = torch.from_numpy(groups.index.copy())
    truth = torch.where(index < 0, count, index)[labels]
    right = (log_probability.argmax(dim=1) == truth).float()
    loss = -log_probability.gather(1, truth[:, None])[:, 0]
    inside = [truth == group for group in range(count) if (truth == group).any()]
    other = log_probability[:, count].exp()

    def balanced(values: torch.Tensor) -> float:
        return float(torch.stack([values[group].mean() for group in inside]).mean())

    outside = truth == count
    return [
        *(balanced(right), float(right[outside].mean())),
        *(balanced(loss), float(loss[outside].mean())),
        *(balanced(other), float(other[outside].mean())),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--teacher", default="efficientnet-lite0")
    parser.add_argument("--images", type=int, default=250)
    options = parser.parse_args()
    torch.set_num_threads(1)
    teacher = load_teacher(options.teacher, device="cpu")
    every = list_images(options.data)
    keys = [every[place] for place in evenly_spaced(len(every), options.images)]
    labels = torch.tensor([teacher.classes.index[key.split("/")[0]] for key in keys])
    tree = SemanticTree.build(teacher.classes, Taxonomy.wordnet(), inner_levels="all")
    place = np.array([tree.classes.index[each] for each in teacher.classes])
    names = ("right in", "right out", "loss in", "loss out", "other in", "other out")
    print(f"{len(keys)} photos\n| photos | groups of | merged by | {' | '.join(names)} |")
    for shown, logits in zip(("whole", "crops"), answers(teacher, options.data, keys), strict=True):
        truth = labels.repeat_interleave(len(logits) // len(labels))
        for size in (20, 50, 100):
            index = coarsen(tree, size).index[place]
            rng = np.random.default_rng(0)
            present = np.unique(index[labels.numpy()])
            draws = [rng.choice(present, count, replace=False) for count in (3, 5, 10) * DRAWS]
            for way in WAYS:
                rows = []
                for draw in draws:
                    onto = np.full(len(index), -1)
                    for number, group in enumerate(draw):
                        onto[index == group] = number
                    ids = ClassList.of(map(str, draw))
                    rows.append(measure(logits, truth, Projection(teacher.classes, ids, onto), way))
                mean, spread = np.mean(rows, axis=0), np.std(rows, axis=0)
                cells = [f"{m:.3f} ({s:.3f})" for m, s in zip(mean, spread, strict=True)]
                print(f"| {shown} | {size} | {way} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
