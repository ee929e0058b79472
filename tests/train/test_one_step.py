"""The loss of one batch, for every kind of labels, mixed and not, computed by hand.

The oracle knows the folder of each image, and finds the proportions of a mixed batch in its pixels.
It computes losses class by class in plain Python, from the formulas of the papers.
"""

from __future__ import annotations

from math import exp, log
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
import timm
import torch

from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy
from labelkit.train import build_task, read_recipe
from tests.train.support import COLOURS, EDGES, recipe_text, save_maps, save_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from labelkit.train import Task

NAMES = tuple(COLOURS)  # the folders, in their order
CHAINS = {"apple": ["apple", "thing"], "leaf": ["leaf", "thing"], "sky": ["sky", "nothing"]}
LEVELS = [["thing", "nothing"], ["sky", "leaf", "apple"]]  # sky is below nothing
POSITIONS = (0, 24, 48, 1, 2, 25)  # in a folder of 24 images for each class
MIXES = {
    "none": [],
    "mixup": ["mix.mixup=1.0"],
    "cutmix": ["mix.cutmix=1.0"],
    "both": ["mix.mixup=0.8", "mix.cutmix=1.0"],
}
Row = dict[str, float]


class Step(NamedTuple):
    """One batch: its task, its logits, its loss, what is left of each image, and the inputs."""

    task: Task
    logits: Tensor
    loss: float
    kept: list[float]
    inputs: Tensor

    @property
    def shares(self) -> list[Row]:
        """How much of each folder's images each input shows."""
        return folder_shares(self.kept)


@pytest.fixture
def step(tmp_path: Path, photos: Path) -> Callable[..., Step]:
    """One batch of six images with random logits."""

    def make(labels: str, *changes: str) -> Step:
        (tmp_path / "recipe.toml").write_text(recipe_text(photos, labels))
        task = build_task(read_recipe(tmp_path / "recipe.toml", changes))
        samples = [task.train_set[position] for position in POSITIONS]
        images = torch.stack([image for image, _ in samples])
        target = torch.stack([target for _, target in samples])
        state = torch.get_rng_state()
        mixed, prepared = task.prepare(images, target, 3)
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(9)  # the number of the update decides, not torch's state
        assert torch.equal(task.prepare(images, target, 3)[0], mixed)
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(len(images), len(task.classes), generator=generator)
        return Step(task, logits, float(task.loss(logits, prepared)), kept_of(images, mixed), mixed)

    return make


def kept_of(images: Tensor, mixed: Tensor) -> list[float]:
    """How much of each image is left after mixing with the one before it, from the pixels."""
    shares: list[float] = []
    for at, image in enumerate(mixed):
        kept, other = images[at], images[at - 1]  # torchvision mixes neighbours
        same = float((image == kept).all(0).float().mean())
        both = (kept - other).flatten()
        blend = float((image - other).flatten() @ both / (both @ both))
        shares.append(blend if same < 0.01 else same)
    return shares


def folder_shares(kept: list[float], known: Sequence[float] = (1,) * 6) -> list[Row]:
    """How much of each folder's labelled images each mixed image shows."""
    folders = [NAMES[position // 24] for position in POSITIONS]
    rows: list[Row] = []
    for at, share in enumerate(kept):
        row = dict.fromkeys(NAMES, 0.0)
        row[folders[at]] += share * known[at]
        row[folders[at - 1]] += (1 - share) * known[at - 1]
        rows.append(row)
    return rows


def log_softmax(values: dict[str, float]) -> Row:
    total = sum(exp(value) for value in values.values())
    return {name: value - log(total) for name, value in values.items()}


def cross_entropy(target: Row, logits: Row, smoothing: float = 0.0) -> float:
    """Of one image; the classes are those of the logits."""
    found, mass = log_softmax(logits), sum(target.values())
    smooth = {
        name: (1 - smoothing) * target.get(name, 0.0) + smoothing * mass / len(found)
        for name in found
    }
    return -sum(smooth[name] * found[name] for name in found)


def mean(losses: Sequence[float]) -> float:
    return sum(losses) / len(losses)


def rows_of(step: Step) -> list[Row]:
    """The logits of each image, by class."""
    return [dict(zip(step.task.classes, row, strict=True)) for row in step.logits.tolist()]


@pytest.mark.parametrize("mixing", MIXES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_hard_labels(step: Callable[..., Step], mixing: str, smoothing: float) -> None:
    done = step(f'kind = "hard"\nlabel_smoothing = {smoothing}', *MIXES[mixing])
    expected = [
        cross_entropy(target, row, smoothing)
        for target, row in zip(done.shares, rows_of(done), strict=True)
    ]
    assert done.loss == pytest.approx(mean(expected), abs=1e-5)
    assert any(0.01 < max(row.values()) < 0.99 for row in done.shares) == (mixing != "none")


def level_losses(target: Row, logits: Row, smoothing: float) -> float:
    """Semantic softmax of one image: both levels, with the paper's weights."""
    upper = dict.fromkeys(("thing", "nothing"), 0.0)
    for name, share in target.items():
        upper[CHAINS[name][1]] += share
    total = 0.0
    for names, chances, weight in zip(LEVELS, (upper, target), (1.0, 5 / 3), strict=True):
        total += weight * cross_entropy(chances, {name: logits[name] for name in names}, smoothing)
    return total


@pytest.mark.parametrize("mixing", MIXES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_semantic_softmax(
    step: Callable[..., Step], tmp_path: Path, mixing: str, smoothing: float
) -> None:
    tree = save_tree(tmp_path / "tree.json")
    labels = f'kind = "semantic-softmax"\ntree = "{tree}"\nlabel_smoothing = {smoothing}'
    done = step(labels, *MIXES[mixing])
    expected = [
        level_losses(target, row, smoothing)
        for target, row in zip(done.shares, rows_of(done), strict=True)
    ]
    assert done.loss == pytest.approx(mean(expected), abs=1e-5)


@pytest.fixture
def inner_tree(tmp_path: Path) -> Path:
    """The three colours, and *thing* as an inner node above two of them; sky is beside it."""
    classes = ClassList.of(["apple", "leaf", "sky"])
    tree = SemanticTree.build(classes, Taxonomy.from_edges(EDGES), inner_levels="all")
    assert sorted(tree.classes) == ["apple", "leaf", "sky", "thing"]
    tree.save(tmp_path / "inner.json")
    return tmp_path / "inner.json"


@pytest.mark.parametrize("mixing", MIXES)
def test_hierarchical_cross_entropy(
    step: Callable[..., Step], inner_tree: Path, mixing: str
) -> None:
    """A split of depth d counts exp(-0.3 d); the two roots are a split as well."""
    labels = f'kind = "hierarchical-cross-entropy"\ntree = "{inner_tree}"\nalpha = 0.3'
    done = step(labels, *MIXES[mixing])
    assert set(done.task.classes) == set(NAMES)
    expected: list[float] = []
    for shares, row in zip(done.shares, rows_of(done), strict=True):
        chance = {name: exp(value) for name, value in log_softmax(row).items()}
        thing = chance["apple"] + chance["leaf"]
        losses = {
            "sky": -exp(-0.3) * log(chance["sky"]),
            "apple": -exp(-0.3) * log(thing) - exp(-0.6) * log(chance["apple"] / thing),
            "leaf": -exp(-0.3) * log(thing) - exp(-0.6) * log(chance["leaf"] / thing),
        }
        expected.append(sum(share * losses[name] for name, share in shares.items()))
    assert done.loss == pytest.approx(mean(expected), abs=1e-5)
    assert set(done.task.metrics()) == {"loss", "top1"}


@pytest.mark.parametrize("mixing", MIXES)
def test_multi_label(step: Callable[..., Step], tmp_path: Path, mixing: str) -> None:
    """The class and all above it are present, all others absent: five yes-or-no questions."""
    tree = save_tree(tmp_path / "tree.json")
    done = step(f'kind = "multi-label"\ntree = "{tree}"', *MIXES[mixing])
    expected: list[float] = []
    for shares, row in zip(done.shares, rows_of(done), strict=True):
        losses = {
            label: -sum(
                log(1 / (1 + exp(-value if name in chain else value)))
                for name, value in row.items()
            )
            for label, chain in CHAINS.items()
        }
        expected.append(sum(share * losses[name] for name, share in shares.items()))
    assert done.loss == pytest.approx(mean(expected), abs=1e-5)
    assert done.task.measure == "semantic_accuracy"


def map_target(shares: Row, original: float, temperature: float) -> Row:
    """Every cell of an image's map has the logit 6 for its class, and 0 for the two others."""
    strong = exp(6 / temperature) / (exp(6 / temperature) + 2)
    weak = (1 - strong) / 2
    target = dict.fromkeys(NAMES, 0.0)
    for shown, share in shares.items():
        for name in NAMES:
            soft = strong if name == shown else weak
            target[name] += share * ((1 - original) * soft + original * (name == shown))
    return target


@pytest.mark.parametrize("mixing", MIXES)
@pytest.mark.parametrize("on_tree", [False, True])
def test_label_maps(
    step: Callable[..., Step], photos: Path, tmp_path: Path, mixing: str, *, on_tree: bool
) -> None:
    maps = save_maps(tmp_path / "maps.h5", photos / "train")
    tree = f'\ntree = "{save_tree(tmp_path / "tree.json")}"' if on_tree else ""
    more = "original = 0.3\ntemperature = 2.0\nlabel_smoothing = 0.1"
    done = step(f'kind = "label-maps"\nmaps = "{maps}"\n{more}{tree}', *MIXES[mixing])
    loss = level_losses if on_tree else cross_entropy
    expected = [
        loss(map_target(shares, 0.3, 2.0), row, 0.1)
        for shares, row in zip(done.shares, rows_of(done), strict=True)
    ]
    assert done.loss == pytest.approx(mean(expected), abs=1e-5)


def taught_rows(teacher: Path, inputs: Tensor) -> list[Row]:
    """The teacher's logits for the student's inputs, from timm's own way to load it."""
    model = timm.create_model(f"local-dir:{teacher}", pretrained=True).eval()
    with torch.no_grad():
        return [dict(zip(NAMES, row, strict=True)) for row in model(inputs).tolist()]


def divergence(taught: Row, logits: Row, temperature: float) -> float:
    """T^2 KL between both, softened."""
    teacher, student = (
        log_softmax({name: value / temperature for name, value in row.items()})
        for row in (taught, logits)
    )
    terms = [exp(teacher[name]) * (teacher[name] - student[name]) for name in taught]
    return temperature**2 * sum(terms)


@pytest.mark.parametrize("mixing", MIXES)
@pytest.mark.parametrize("labels", ["24", "1"])
def test_distillation(step: Callable[..., Step], teacher: Path, mixing: str, labels: str) -> None:
    """The teacher sees the mixed images; without a label, an image has the teacher's word alone."""
    more = "temperature = 2.0\noriginal = 0.3"
    recipe = f'kind = "distillation"\nteacher = "{teacher}"\n{more}'
    done = step(recipe, f"data.labels={labels}", *MIXES[mixing])
    samples = done.task.train_set.folder.samples
    known = [float(samples[position][1] >= 0) for position in POSITIONS]
    assert sum(known) == (6 if labels == "24" else sum(known) < 4 and sum(known))
    taught = taught_rows(teacher, done.inputs)
    expected = [
        (1 - 0.3 * sum(own.values())) * divergence(theirs, row, 2.0) + 0.3 * cross_entropy(own, row)
        for own, row, theirs in zip(
            folder_shares(done.kept, known), rows_of(done), taught, strict=True
        )
    ]
    assert done.loss == pytest.approx(mean(expected), abs=2e-5)


@pytest.mark.parametrize("mixing", ["none", "both"])
def test_semantic_distillation(
    step: Callable[..., Step], teacher: Path, tmp_path: Path, mixing: str
) -> None:
    """Besides the labels: at each level the squared distance, by how sure the teacher is there."""
    classes = ClassList.of(["nothing", "sky", "leaf", "thing", "apple"])
    parents = np.array([-1, 0, 3, -1, 3])
    tree = SemanticTree(classes, tuple(classes), parents, inner=np.array([0, 3]))
    tree.save(tmp_path / "tree.json")
    labels = f'kind = "semantic-softmax"\ntree = "{tmp_path / "tree.json"}"\n'
    plain = step(labels, *MIXES[mixing])
    done = step(f'{labels}teacher = "{teacher}"\nteacher_weight = 3.0', *MIXES[mixing])
    distances: list[float] = []
    for row, theirs in zip(rows_of(done), taught_rows(teacher, done.inputs), strict=True):
        lower = {name: exp(value) for name, value in log_softmax(theirs).items()}
        upper = {"thing": lower["apple"] + lower["leaf"], "nothing": lower["sky"]}
        for level in (upper, lower):
            found = log_softmax({name: row[name] for name in level})
            squares = [(exp(found[name]) - level[name]) ** 2 for name in level]
            distances.append(max(level.values()) * sum(squares))
    expected = plain.loss + 3 * sum(distances) / len(POSITIONS)
    assert done.loss == pytest.approx(expected, abs=2e-5)
