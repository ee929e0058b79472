"""The studies of train/studies start: every value of every axis, for an epoch on stand-in data."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy
from labelkit.studies import Study, StudyRun, read_study
from labelkit.train import Recipe, train
from tests.command import labelkit
from tests.train.support import WNIDS, draw_wnid_folders, save_maps

ROOT = Path(__file__).parents[2]
STUDIES = sorted(path.parent.name for path in (ROOT / "train" / "studies").glob("*/study.toml"))
TINY = ("data.workers=0", "run.batch_size=7", "run.device=cpu")


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A current directory with the files that the recipes name, of seven classes."""
    here = tmp_path_factory.mktemp("stand-in")
    for name in ("tiny-imagenet", "imagenette"):
        draw_wnid_folders(here / "data" / name, train=2, val=1)
    data = here / "data" / "tiny-imagenet"
    classes = ClassList.of(WNIDS, "seven classes")
    tree = SemanticTree.build(classes, Taxonomy.wordnet(), inner_levels=3)
    tree.save(data / "tree.json")
    tree.save(data / "semantic-tree.json")
    for name in (*(f"depth-{depth}" for depth in (4, 5, 6, 7)), "target", "random"):
        found = labelkit("coarsen", data / "tree.json", "--classes", 3, "-o", data / f"{name}.json")
        assert found.code == 0, found.err
    clusters = labelkit("subset", data / "train", "--per-class", 2, "-o", data / "clusters.json")
    assert clusters.code == 0, clusters.err
    save_maps(here / "data" / "imagenette.h5", here / "data" / "imagenette" / "train", WNIDS)
    return here


@pytest.mark.parametrize("name", STUDIES)
def test_the_page_has_the_table_of_its_results(name: str) -> None:
    folder = ROOT / "train" / "studies" / name
    table = labelkit("study", folder, "--table").out
    assert table in (folder / "README.md").read_text()


def one_change_each(study: Study) -> list[StudyRun]:
    """Runs that differ from the first one in at most one axis, and the runs they start from."""
    first = {axis: next(iter(values)) for axis, values in study.file.axes.items()}
    seed = study.file.seeds[0]
    return [
        run
        for run in study.runs
        if run.seed == seed and sum(first[axis] != value for axis, value in run.axes.items()) <= 1
    ]


def _narrowed(recipe: Recipe) -> Recipe:
    """The plain MLP with few weights: its checkpoint takes 750 MB otherwise."""
    if recipe.model.name != "inverted_mlp":
        return recipe
    model = msgspec.structs.replace(recipe.model, kwargs={"width": 16})
    return msgspec.structs.replace(recipe, model=model)


@pytest.mark.parametrize("name", STUDIES)
def test_it_starts(
    name: str, stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stand_in)
    study = read_study(ROOT / "train" / "studies" / name, TINY, output=tmp_path)
    seen: dict[str, set[str]] = {}
    for run in one_change_each(study):
        schedule = msgspec.structs.replace(
            run.recipe.schedule, epochs=1, images=None, warmup_epochs=0
        )
        recipe = msgspec.structs.replace(run.recipe, schedule=schedule)
        result = train(_narrowed(recipe))
        assert 0 < result.records[0].train_loss < 50
        for axis, value in run.axes.items():
            seen.setdefault(axis, set()).add(value)
        if run.stage == study.file.chain[-1].name:
            assert study.file.metric in result.records[-1].metrics
    assert seen == {axis: set(values) for axis, values in study.file.axes.items()}


@pytest.mark.parametrize("name", STUDIES)
def test_its_page_says_what_was_and_was_not_done(name: str) -> None:
    text = (ROOT / "train" / "studies" / name / "README.md").read_text()
    file = read_study(ROOT / "train" / "studies" / name).file
    assert file.title == text.splitlines()[0].removeprefix("# ")
    for part in ("**Claim.**", "**Paper", "**Results.** ", "## Differences from the paper"):
        assert part in text, part
    assert f"labelkit study train/studies/{name}" in text
    assert len(file.seeds) >= 3
    assert file.plot
    assert f"`train/studies/{name}`" in (ROOT / "docs" / "studies.md").read_text()


def test_there_are_the_four_of_the_papers() -> None:
    assert STUDIES == ["granularity", "mlps", "scratch-or-pretrained", "semantic-pretraining"]
