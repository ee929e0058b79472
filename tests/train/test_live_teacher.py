"""Live teachers: their inputs, their classes, and runs that learn from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from labelkit.errors import LabelkitError, TrainingError
from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy
from labelkit.relabel.predictions import Predictions
from labelkit.teachers import load_teacher
from labelkit.train import build_task, read_recipe
from labelkit.train.live_teacher import LiveTeacher
from labelkit.train.transforms import preprocessing
from tests.train.support import COLOURS, EDGES, recipe_text, save_tree
from tests.train.test_loop import numbers, run

if TYPE_CHECKING:
    from pathlib import Path

STUDENT = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def test_a_card_says_of_a_batch_what_relabel_says_of_crops() -> None:
    """Dogs are 118 of the teacher's classes, a tabby is one; crops of its native size."""
    pixels = torch.randint(0, 256, (2, 3, 224, 224), generator=torch.Generator().manual_seed(0))
    pixels = pixels.to(torch.uint8)
    lite0 = load_teacher("efficientnet-lite0", device="cpu")
    classes = ClassList.of(["n02123045", "n02084071"])
    expected = Predictions([lite0], classes, []).of_crops([pixels])
    mean, std = (torch.tensor(STUDENT[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    found = LiveTeacher(lite0, classes, STUDENT)((pixels / 255 - mean) / std)
    torch.testing.assert_close(found.log_softmax(1), expected, atol=1e-4, rtol=1e-4)
    assert not found.is_inference()


def test_small_inputs_are_enlarged_to_the_teachers_side(
    teacher: Path, tmp_path: Path, photos: Path
) -> None:
    """A constant image stays constant, whatever its size."""
    labels = f'kind = "distillation"\nteacher = "{teacher}"'
    (tmp_path / "recipe.toml").write_text(recipe_text(photos, labels))
    live = build_task(read_recipe(tmp_path / "recipe.toml")).teacher
    assert live is not None
    inputs = torch.tensor([0.3, -0.2, 0.1]).view(1, 3, 1, 1)
    small, right = (live(inputs.expand(1, 3, side, side).contiguous()) for side in (20, 32))
    torch.testing.assert_close(small, right, atol=1e-4, rtol=1e-4)


def test_a_run_learns_from_a_teacher_without_any_label(
    tmp_path: Path, photos: Path, teacher: Path
) -> None:
    """One label a class, which the loss ignores; all images, and photos without classes, teach."""
    labels = f'kind = "distillation"\nteacher = "{teacher}"\ntemperature = 2.0'
    text = recipe_text(photos, labels, epochs=4)
    changes = ["data.labels=1", f"data.unlabelled={photos / 'val'}"]
    result = run(tmp_path, text, *changes)
    assert result.best.metrics["top1"] > 80
    assert str(result.study) == "3 of 72 training images keep theirs"
    task = build_task(read_recipe(tmp_path / "recipe.toml", changes))
    assert len(task.train_set) == 72 + 24
    again = run(tmp_path, text, *changes, "data.workers=1", name="again")
    assert numbers(again) == numbers(result)


def test_another_teacher_is_refused_on_resuming(
    tmp_path: Path, photos: Path, teacher: Path
) -> None:
    """The same path, but other weights: the run's labels have changed."""
    first = run(tmp_path, recipe_text(photos, epochs=1), name="first")
    labels = f'kind = "distillation"\nteacher = "{first.output}"'
    run(tmp_path, recipe_text(photos, labels, epochs=1), name="student")
    for name in ("best.safetensors", "config.json"):
        (first.output / name).write_bytes((teacher / name).read_bytes())
    with pytest.raises(TrainingError, match="other labels for the same classes"):
        run(tmp_path, recipe_text(photos, labels, epochs=1), name="student")


def test_the_outputs_of_inner_nodes_are_left_out(tmp_path: Path, photos: Path) -> None:
    """A run on a tree of which all classes are on one level teaches these classes alone."""
    classes = ClassList.of(["apple", "leaf", "sky"])
    tree = SemanticTree.build(classes, Taxonomy.from_edges(EDGES), inner_levels="all")
    tree.ordered_by_level().save(tmp_path / "inner.json")
    labels = f'kind = "semantic-softmax"\ntree = "{tmp_path / "inner.json"}"'
    of_tree = run(tmp_path, recipe_text(photos, labels, epochs=1), name="tree")
    labels = f'kind = "distillation"\nteacher = "{of_tree.output}"'
    (tmp_path / "recipe.toml").write_text(recipe_text(photos, labels))
    live = build_task(read_recipe(tmp_path / "recipe.toml")).teacher
    assert live is not None
    assert live.teacher.classes.ids == ("apple", "leaf", "sky")
    assert live(torch.randn(2, 3, 32, 32)).shape == (2, 3)


def test_teachers_that_cannot_teach_are_refused(tmp_path: Path, photos: Path) -> None:
    labels = f'kind = "semantic-softmax"\ntree = "{save_tree(tmp_path / "tree.json")}"'
    several = run(tmp_path, recipe_text(photos, labels, epochs=1), name="levels").output
    wrong = {
        "efficientnet-lite0": "has nothing for 3 of the classes in folders of .*: apple, leaf",
        "resnet-999": "resnet-999",
        str(several): "on several levels of a tree.*Use a run with hard labels",
        str(photos): "is not the folder of a run",
    }
    for name, message in wrong.items():
        text = recipe_text(photos, f'kind = "distillation"\nteacher = "{name}"')
        (tmp_path / "recipe.toml").write_text(text)
        with pytest.raises(LabelkitError, match=message):
            build_task(read_recipe(tmp_path / "recipe.toml"))


def test_folders_with_plain_names_need_their_synsets(tmp_path: Path, photos: Path) -> None:
    """As in labelkit relabel --names: the teacher's answer is that for Granny Smith apples."""
    names = tmp_path / "names.tsv"
    text = recipe_text(
        photos, f'kind = "distillation"\nteacher = "efficientnet-lite0"\nnames = "{names}"'
    )
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(LabelkitError, match=r"labels.names: no such file: .*match-names"):
        build_task(read_recipe(tmp_path / "recipe.toml"))
    wnids = ("n07742313", "n07715103", "n02814860")  # Granny Smith, cauliflower, beacon
    names.write_text("".join(f"{n}\t{w}\n" for n, w in zip(COLOURS, wnids, strict=True)))
    task = build_task(read_recipe(tmp_path / "recipe.toml"))
    assert task.teacher is not None
    inputs = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)) / 2
    teacher = load_teacher("efficientnet-lite0", device="cpu")
    columns = [teacher.classes.index[wnid] for wnid in wnids]
    student = preprocessing("test_resnet")
    mean, std = (torch.tensor(student[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    pixels = (inputs * std + mean).clamp(0, 1) * 255
    expected = teacher.logits(teacher.normalize(pixels))[:, columns]
    torch.testing.assert_close(task.teacher(inputs), expected.clone(), atol=1e-3, rtol=1e-3)


def test_weights_scale_each_samples_divergence() -> None:
    from labelkit.losses import DistillationLoss

    rng = torch.Generator().manual_seed(0)
    logits, theirs = torch.randn(2, 4, 5, generator=rng)
    loss, weight = DistillationLoss(3.0), torch.tensor([0.0, 1.0, 0.5, 2.0])
    rows = [float(loss(logits[at : at + 1], theirs[at : at + 1])) for at in range(4)]
    expected = np.dot(weight.numpy(), rows) / 4
    assert float(loss(logits, theirs, weight)) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="shape"):
        loss(logits, theirs, weight[:, None])
