"""The recipes of the papers start: two updates of each on seven classes of tiny images."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm

from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy
from labelkit.train import Event, StepRecord, read_recipe, train
from labelkit.train.building import create_optimizer
from labelkit.train.recipe_labels import DistillationLabels
from tests.train.support import WNIDS, draw_wnid_folders, recipe_text, save_maps

ROOT = Path(__file__).parents[2]
RECIPES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("imagenet", "imagenet21k")
    for path in (ROOT / "train" / folder).glob("*.toml")
)
TINY = (
    *("data.image_size=32", "data.workers=0", "model.name=test_resnet", "model.pretrained=false"),
    *("schedule.epochs=1", "schedule.warmup_epochs=0", "run.batch_size=21", "run.device=cpu"),
)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``train``, ``val``, a tree and maps of seven classes, and a teacher of them."""
    root = draw_wnid_folders(tmp_path_factory.mktemp("wnids"))
    classes = ClassList.of(WNIDS, "seven classes")
    SemanticTree.build(classes, Taxonomy.wordnet(), inner_levels="all").save(root / "tree.json")
    save_maps(root / "maps.h5", root / "train", WNIDS)
    (root / "teacher.toml").write_text(recipe_text(root, epochs=1))
    train(read_recipe(root / "teacher.toml", [f"run.output={root / 'teacher'}"]))
    return root


def stand_in_changes(text: str, root: Path) -> list[str]:
    """The changes that point a recipe at the stand-in data."""
    files = {"tree": root / "tree.json", "maps": root / "maps.h5", "teacher": root / "teacher"}
    needed = [name for name in files if re.search(rf"^{name} = ", text, re.MULTILINE)]
    labels = [f"labels.{name}={files[name]}" for name in needed]
    return [*TINY, f"data.train={root / 'train'}", f"data.val={root / 'val'}", *labels]


@pytest.mark.parametrize("name", RECIPES)
def test_it_trains_for_two_steps(name: str, stand_in: Path, tmp_path: Path) -> None:
    changes = stand_in_changes((ROOT / name).read_text(), stand_in)
    events: list[Event] = []
    recipe = read_recipe(ROOT / name, [*changes, f"run.output={tmp_path / 'run'}"])
    result = train(recipe, on_event=events.append)
    steps = [event for event in events if isinstance(event, StepRecord)]
    assert (steps[-1].step, steps[-1].steps) == (2, 2)
    assert set(WNIDS) <= set(result.classes)
    assert 0 < result.records[0].train_loss < 50


@pytest.mark.parametrize("name", RECIPES)
def test_timm_has_what_it_names(name: str) -> None:
    recipe = read_recipe(ROOT / name)
    assert timm.is_model(recipe.model.name)
    create_optimizer(recipe.optimizer, timm.create_model("test_resnet"))
    if isinstance(recipe.labels, DistillationLabels):
        assert timm.is_model(recipe.labels.teacher)


@pytest.mark.parametrize("name", RECIPES)
def test_its_head_says_what_to_expect_and_that_it_was_not_run(name: str) -> None:
    text = (ROOT / name).read_text()
    head, _, _ = text.partition("\n\n")
    assert all(line.startswith("#") for line in head.splitlines())
    assert head.startswith("# Claim: ")
    assert "Not run here." in head.replace("\n#   ", " ")
    for part in (r"\n# Paper: ", r"\(arXiv \d{4}\.\d{5}\)", r"\n# Hardware: ", r"\n# Differs: "):
        assert re.search(part, head), part
    command = re.search(r"\n# Command: torchrun --nproc-per-node=\d+ -m labelkit train (\S+)", head)
    assert command is not None
    assert command[1] == name
    assert max(map(len, text.splitlines())) <= 120
    assert f"`{name.removeprefix('train/')}`" in (ROOT / "train" / "README.md").read_text()


def test_there_are_recipes_of_both_papers() -> None:
    assert len([name for name in RECIPES if name.startswith("train/imagenet/")]) == 5
    assert len([name for name in RECIPES if name.startswith("train/imagenet21k/")]) == 4
