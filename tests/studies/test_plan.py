"""Which runs a study has, and what makes a run the same run. Nothing is trained here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from labelkit.errors import StudyError
from labelkit.studies import Study, read_study, study_template
from tests.studies.support import STAGES, STUDY, write_study

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, photos: Path) -> Path:
    return write_study(tmp_path / "study", photos)


def identities(study: Study) -> list[str]:
    return [run.identity for run in study.runs]


def combinations(study: Study) -> list[tuple[str, ...]]:
    return [(*run.axes.values(), str(run.seed)) for run in study.runs]


def test_every_combination_is_a_run_whose_recipe_has_what_its_axes_set(folder: Path) -> None:
    study = read_study(folder)
    assert combinations(study) == [
        (lr, smoothing, seed)
        for seed in "01"
        for lr in ("0.001", "0.003")
        for smoothing in ("none", "10 %")
    ]
    recipe = study.runs[-1].recipe
    assert (recipe.optimizer.lr, recipe.labels.label_smoothing, recipe.run.seed) == (3e-3, 0.1, 1)
    assert len({run.name for run in study.runs}) == 8
    assert recipe.run.output == str(folder / "runs" / study.runs[-1].name)


def test_skip_and_only_leave_combinations_out(folder: Path) -> None:
    text = 'skip = [{ lr = "0.001", smoothing = "10 %" }]\n' + STUDY
    (folder / "study.toml").write_text(text)
    left = [("0.001", "none"), ("0.003", "none"), ("0.003", "10 %")]
    assert combinations(read_study(folder)) == [(*each, seed) for seed in "01" for each in left]
    (folder / "study.toml").write_text('only = [{ lr = ["0.003"] }]\n' + text)
    assert combinations(read_study(folder, only={"seed": ["1"]})) == [
        ("0.003", "none", "1"),
        ("0.003", "10 %", "1"),
    ]


def test_a_stage_starts_from_the_run_of_the_stage_before(tmp_path: Path, photos: Path) -> None:
    study = read_study(write_study(tmp_path / "study", photos, STAGES))
    found = [(run.stage, *run.axes.values(), run.parent and run.parent.stage) for run in study.runs]
    assert found == [
        ("tune", "scratch", "0.001", None),
        ("tune", "scratch", "0.003", None),
        ("pretrain", "smooth", None),
        ("tune", "smooth", "0.001", "pretrain"),
        ("tune", "smooth", "0.003", "pretrain"),
    ]
    assert study.runs[3].recipe.model.init == study.runs[2].recipe.run.output
    assert study.runs[3].recipe.labels.label_smoothing == 0


@pytest.mark.parametrize("text", [STUDY, STAGES])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_are_disjoint_and_complete(
    text: str, count: int, tmp_path: Path, photos: Path
) -> None:
    study = read_study(write_study(tmp_path / "study", photos, text))
    shards = [study.shard(number, count) for number in range(count)]
    assert sorted(run.identity for shard in shards for run in shard) == sorted(identities(study))
    for shard in shards:
        mine = {run.identity for run in shard}
        assert all(run.parent is None or run.parent.identity in mine for run in shard)


def test_where_things_are_is_no_part_of_a_run_and_everything_else_is(
    folder: Path, photos: Path, tmp_path: Path
) -> None:
    before = identities(read_study(folder))
    shutil.copytree(photos, tmp_path / "elsewhere")
    places = [f"data.train={tmp_path / 'elsewhere/train'}", "run.device=cpu", "data.workers=1"]
    assert identities(read_study(folder, places, output=tmp_path / "out")) == before
    assert not set(before) & set(identities(read_study(folder, ["schedule.epochs=2"])))
    # What an axis sets comes after what the command line sets.
    assert read_study(folder, ["optimizer.lr=1"]).runs[0].recipe.optimizer.lr == 1e-3
    assert identities(read_study(folder, ["optimizer.lr=1"])) == before
    text = STUDY.replace('"10 %" = [', '"10 %" = ["data.train=other", ')
    (folder / "study.toml").write_text(text.replace("Rates", "Another title"))
    changed = [new != old for new, old in zip(identities(read_study(folder)), before, strict=True)]
    assert changed == [False, True] * 4


def test_a_changed_parent_changes_its_children(tmp_path: Path, photos: Path) -> None:
    folder = write_study(tmp_path / "study", photos, STAGES)
    before = identities(read_study(folder))
    (folder / "study.toml").write_text(STAGES.replace("smoothing=0.1", "smoothing=0.2"))
    after = identities(read_study(folder))
    assert [new != old for new, old in zip(after, before, strict=True)] == [0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "Rates"', "", "missing required field `title`"),
        ("seeds", "seed", "unknown field `seed`"),
        ('recipe = "recipe.toml"', "", "set one of recipe and stages"),
        ("[0, 1]", "[1, 1]", "seeds are [1, 1]"),
        ('x = "lr"', 'x = "rate"', "plot names the axis 'rate', only lr, smoothing exist"),
        ("none = []", 'none = "skip"', 'axes.smoothing: "skip" leaves out a stage'),
        ("none = []", "none = 3", "$.axes[...][...]"),
        ("[plot]", '[[skip]]\nlr = "1"\n[plot]', "skip.lr is '1', expected one of 0.001, 0.003"),
        ("[axes.lr]", "[axes.seed]", "axes.seed: give it values"),
        ("[axes.lr]", "[axes", "not valid TOML"),
    ],
)
def test_errors_name_the_field(old: str, new: str, message: str, folder: Path) -> None:
    assert old in STUDY
    (folder / "study.toml").write_text(STUDY.replace(old, new))
    with pytest.raises(StudyError) as caught:
        read_study(folder)
    assert message in str(caught.value)
    assert str(folder / "study.toml") in str(caught.value)


def test_what_a_study_sets_in_each_run_cannot_be_set(folder: Path) -> None:
    for change, remedy in (("run.seed=4", "--only seed=N"), ("run.output=x", "Use -o")):
        with pytest.raises(StudyError, match=remedy):
            read_study(folder, [change])
    (folder / "study.toml").write_text(STUDY.replace("none = []", 'none = ["run.seed=4"]'))
    with pytest.raises(StudyError, match=r"cannot set run\.seed: a study sets it"):
        read_study(folder)


def test_only_must_name_values(folder: Path) -> None:
    with pytest.raises(StudyError, match=r"no axis 'rate', only lr, smoothing, seed"):
        read_study(folder, only={"rate": ["1"]})
    with pytest.raises(StudyError, match=r"lr has no value '1', only 0\.001, 0\.003"):
        read_study(folder, only={"lr": ["1"]})
    with pytest.raises(FileNotFoundError, match=r"no study\.toml in .*labelkit study --init"):
        read_study(folder.parent)


def test_the_template_is_a_study(folder: Path) -> None:
    (folder / "study.toml").write_text(study_template())
    assert len(read_study(folder).runs) == 18


def test_planning_loads_no_torch(folder: Path) -> None:
    code = (
        "import sys; from labelkit.cli import run\n"
        f"assert run(['study', {str(folder)!r}, '--dry-run']) == 0\n"
        "assert 'torch' not in sys.modules and 'timm' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "0 of 8 runs are done, 8 left" in done.stdout
