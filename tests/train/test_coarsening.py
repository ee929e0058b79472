"""``data.coarsening``: each folder counts as its coarse class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from labelkit.data import ClassFolders
from labelkit.errors import (
    ClassListError,
    ClassListMismatch,
    CoarseningFileError,
    RecipeError,
    TrainingError,
)
from labelkit.hierarchy import (
    ClassList,
    SemanticTree,
    Taxonomy,
    coarsen_to_ancestors,
    coarsen_to_depth,
    read_class_list,
    save_coarsening,
)
from labelkit.train import read_recipe, train
from labelkit.train.tasks import build_task
from tests.command import labelkit
from tests.train.support import EDGES, recipe_text, save_maps

if TYPE_CHECKING:
    from labelkit.train.recipe import Recipe

COARSE = {"apple": "thing", "leaf": "thing", "sky": "nothing"}
COLOURS = SemanticTree.build(
    ClassList.of(["thing", "sky", "nothing", "leaf", "apple"], "colours"),
    Taxonomy.from_edges(EDGES),
)


@pytest.fixture
def coarse(tmp_path: Path) -> Path:
    """The colours below *thing* and *nothing*."""
    save_coarsening(coarsen_to_depth(COLOURS, 0), tmp_path / "coarse.json")
    return tmp_path / "coarse.json"


def recipe(folder: Path, photos: Path, coarse: Path, labels: str = 'kind = "hard"') -> Recipe:
    (folder / "recipe.toml").write_text(recipe_text(photos, labels, epochs=2))
    changes = [f"data.coarsening={coarse}", f"run.output={folder / 'run'}"]
    return read_recipe(folder / "recipe.toml", changes)


@pytest.mark.parametrize("kind", ["hard", "semantic-softmax", "label-maps"])
def test_every_kind_of_labels_has_the_coarse_classes(
    kind: str, tmp_path: Path, photos: Path, coarse: Path
) -> None:
    classes = read_class_list(coarse)
    SemanticTree(classes, classes.ids, np.array([-1, -1])).save(tmp_path / "two.json")
    maps = save_maps(tmp_path / "maps.h5", photos / "train", ("nothing", "thing"), COARSE)
    labels = {
        "hard": 'kind = "hard"',
        "semantic-softmax": f'kind = "semantic-softmax"\ntree = "{tmp_path / "two.json"}"',
        "label-maps": f'kind = "label-maps"\nmaps = "{maps}"\noriginal = 0.5',
    }[kind]
    task = build_task(recipe(tmp_path, photos, coarse, labels))
    assert sorted(task.classes) == ["nothing", "thing"]
    for split, samples in (("train", task.train_set), ("val", task.val_set)):
        for position, (path, _) in enumerate(ClassFolders(photos / split).samples):
            _, target = samples[position]
            found = int(target.argmax()) if target.ndim else int(target)
            assert task.classes[found] == COARSE[Path(path).parent.name]


def test_maps_and_trees_over_the_folders_are_refused_with_what_takes_the_coarsening(
    tmp_path: Path, photos: Path, coarse: Path
) -> None:
    """The coarse classes are no folders of the data, so no folder is named as missing."""
    maps = save_maps(tmp_path / "maps.h5", photos / "train")
    fine = SemanticTree.build(ClassList.of(["sky", "leaf", "apple"]), Taxonomy.from_edges(EDGES))
    fine.save(tmp_path / "tree.json")
    tree = f'tree = "{tmp_path / "tree.json"}"'
    train = photos / "train"
    makes = {
        f'kind = "label-maps"\nmaps = "{maps}"': f"relabel {train} --classes {coarse} -o MAPS",
        f'kind = "semantic-softmax"\n{tree}': f"build-tree {coarse} -o TREE",
        f'kind = "hierarchical-cross-entropy"\n{tree}': f"build-tree {coarse} -o TREE",
        'kind = "semantic-softmax"\ntree = "none.json"': f"build-tree {coarse} -o none.json",
        'kind = "label-maps"\nmaps = "none.h5"': f"--classes {coarse} -o none.h5",
    }
    for labels, command in makes.items():
        with pytest.raises((ClassListMismatch, RecipeError)) as caught:
            build_task(recipe(tmp_path, photos, coarse, labels))
        assert command in str(caught.value)
        assert "folders that are not" not in str(caught.value)
        if "none" not in labels:
            assert f"{coarse} has coarse classes that are not in" in str(caught.value)


def test_a_run_says_that_its_classes_are_coarse(tmp_path: Path, photos: Path, coarse: Path) -> None:
    recipe(tmp_path, photos, coarse)
    changes = ["--set", f"data.coarsening={coarse}", "-o", tmp_path / "out"]
    run = labelkit("train", tmp_path / "recipe.toml", *changes)
    assert run.code == 0, run.text
    text = " ".join(run.text.split())
    assert f"coarse classes of {coarse} for the folders of {photos / 'train'} (2 classes" in text
    assert f"Each folder counts as its coarse class, from {coarse}" in text


def test_two_coarse_classes_are_learned(tmp_path: Path, photos: Path, coarse: Path) -> None:
    result = train(recipe(tmp_path, photos, coarse))
    assert result.best.metrics["top1"] > 80


def test_a_run_does_not_resume_with_another_mapping(
    tmp_path: Path, photos: Path, coarse: Path
) -> None:
    """The coarse classes are the same, but the leaf is nothing now."""
    train(recipe(tmp_path, photos, coarse))
    edges = [(low, "nothing" if low == "leaf" else high) for low, high in EDGES]
    moved = SemanticTree.build(COLOURS.classes, Taxonomy.from_edges(edges))
    save_coarsening(coarsen_to_depth(moved, 0), coarse)
    with pytest.raises(TrainingError, match=r"tree, label-map file or coarsening has changed"):
        train(recipe(tmp_path, photos, coarse))


def test_a_missing_or_foreign_file_or_folder_is_named(
    tmp_path: Path, photos: Path, coarse: Path
) -> None:
    with pytest.raises(RecipeError, match=r"data\.coarsening: no such file: .*labelkit coarsen"):
        build_task(recipe(tmp_path, photos, tmp_path / "nowhere.json"))
    COLOURS.save(tmp_path / "tree.json")
    with pytest.raises(CoarseningFileError, match="is a labelkit tree"):
        build_task(recipe(tmp_path, photos, tmp_path / "tree.json"))
    save_coarsening(coarsen_to_ancestors(COLOURS, ["thing"]), coarse)
    with pytest.raises(ClassListError, match=r"train with .*coarse\.json: 1 folders belong to"):
        build_task(recipe(tmp_path, photos, coarse))
