"""``model.init``: a run starts from the student of another run."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

from labelkit.errors import RecipeError, TrainingError
from labelkit.train import load_classifier, read_recipe, train
from tests.train.support import recipe_text

if TYPE_CHECKING:
    from pathlib import Path

# Weights hardly move at this rate, so that after an epoch one sees where they started.
STILL = ("optimizer.lr=1e-12", "schedule.epochs=1", "model.kwargs={}", "data.crop_scale=[0.9,1]")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    path = tmp_path_factory.mktemp("fine-tuning") / "r.toml"
    path.write_text(recipe_text(photos, epochs=1))
    return path


def weights_after(path: Path, *changes: str) -> dict[str, torch.Tensor]:
    """The student of a run, without batch norm's running statistics."""
    result = train(read_recipe(path, changes))
    found = load_file(result.output / "best.safetensors")
    return {name: each for name, each in found.items() if not name.endswith(_STATISTICS)}


_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def test_it_starts_from_all_weights_if_the_classes_are_the_same(
    teacher: Path, recipe: Path, tmp_path: Path
) -> None:
    start = load_file(teacher / "best.safetensors")
    changes = (*STILL, f"run.output={tmp_path / 'run'}", f"model.init={teacher}", "run.seed=5")
    for name, each in weights_after(recipe, *changes).items():
        torch.testing.assert_close(each, start[name], atol=1e-6, rtol=0)


def test_other_classes_get_a_new_classifier(
    teacher: Path, photos: Path, recipe: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos, tmp_path / "fewer")
    for part in ("train", "val"):
        shutil.rmtree(tmp_path / "fewer" / part / "leaf")
    start = load_file(teacher / "best.safetensors")
    changes = (
        *(*STILL, f"data.train={tmp_path / 'fewer/train'}", f"data.val={tmp_path / 'fewer/val'}"),
        *(f"run.output={tmp_path / 'run'}", f"model.init={teacher}"),
    )
    found = weights_after(recipe, *changes)
    assert found["fc.weight"].shape == (2, start["fc.weight"].shape[1])
    for name in found.keys() - {"fc.weight", "fc.bias"}:
        torch.testing.assert_close(found[name], start[name], atol=1e-6, rtol=0)


def test_a_run_does_not_resume_from_changed_weights_and_loads_without_them(
    recipe: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    train(read_recipe(recipe, [f"run.output={first}"]))
    fine = read_recipe(recipe, [f"run.output={second}", f"model.init={first}"])
    done = train(fine).records
    assert train(fine).records == done
    shutil.rmtree(first)
    train(read_recipe(recipe, [f"run.output={first}", "run.seed=1"]))
    with pytest.raises(TrainingError, match=r"started from other weights: those of model\.init"):
        train(fine)
    shutil.rmtree(first)
    assert load_classifier(second, device="cpu").epoch == 1
    with pytest.raises(RecipeError, match=r"model\.init is .*no .*first"):
        train(fine)


@pytest.mark.parametrize(
    "changes",
    [
        ["model.name=test_vit", "data.image_size=160", "model.kwargs={}"],
        ["model.kwargs={layers=[2,1,1,1]}"],
    ],
)
def test_weights_that_do_not_fit_are_named(
    changes: list[str], teacher: Path, recipe: Path, tmp_path: Path
) -> None:
    changes = [*changes, f"model.init={teacher}", f"run.output={tmp_path / 'run'}"]
    with pytest.raises(RecipeError, match=r"a test_resnet, do not fit model\.name .*(weight|bias)"):
        train(read_recipe(recipe, changes))


def test_it_excludes_pretrained(recipe: Path) -> None:
    with pytest.raises(RecipeError, match="set one of pretrained and init"):
        read_recipe(recipe, ["model.pretrained=true", "model.init=runs/x"])


def test_a_damaged_file_is_refused(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"\0" * 100)
    changes = [f"model.init={tmp_path / 'x.safetensors'}", f"run.output={tmp_path / 'run'}"]
    with pytest.raises(TrainingError, match="damaged"):
        train(read_recipe(recipe, changes))
