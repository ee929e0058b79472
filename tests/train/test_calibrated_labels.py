"""Training on calibrated label maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from msgspec.structs import replace

from labelkit.errors import TrainingError
from labelkit.label_maps import Calibration
from labelkit.train import build_task, read_recipe
from tests.command import labelkit
from tests.train.support import recipe_text, save_maps
from tests.train.test_loop import run

if TYPE_CHECKING:
    from pathlib import Path

CALIBRATION = Calibration(scale=(-1.0, 0.5), compression=0.5, mixing=((0, 0),), classes=3)
LINE = "Targets: from label maps, {}\n"


def labels_of(tmp_path: Path, more: str = "") -> str:
    return f'kind = "label-maps"\nmaps = "{tmp_path / "maps.h5"}"\n{more}'


@pytest.mark.parametrize(
    ("calibration", "more", "line"),
    [
        (CALIBRATION, "", LINE.format("calibrated")),
        (CALIBRATION, 'absent = "zeros"', LINE.format("calibrated")),  # maps without a background
        (CALIBRATION, "calibrated = false", LINE.format("not calibrated")),
        (None, "", LINE.format("not calibrated")),
        (CALIBRATION, 'label = "original"', ""),
    ],
)
def test_the_run_says_whether_its_targets_are_calibrated(
    tmp_path: Path, photos: Path, calibration: Calibration | None, more: str, line: str
) -> None:
    save_maps(tmp_path / "maps.h5", photos / "train", calibration=calibration)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(recipe_text(photos, labels_of(tmp_path, more), epochs=1))
    shown = labelkit("train", recipe, "-o", tmp_path / "run")
    assert shown.code == 0, shown
    assert (line or "Targets") in shown.out if line else "Targets" not in shown.out


def test_a_recipe_switches_the_calibration_off(tmp_path: Path, photos: Path) -> None:
    save_maps(tmp_path / "maps.h5", photos / "train", calibration=CALIBRATION)
    save_maps(tmp_path / "plain.h5", photos / "train")
    targets = {}
    for name, more in (("maps", ""), ("maps", "calibrated = false"), ("plain", "")):
        text = recipe_text(photos, labels_of(tmp_path, more)).replace("maps.h5", f"{name}.h5")
        (tmp_path / "recipe.toml").write_text(text)
        torch.manual_seed(0)
        task = build_task(read_recipe(tmp_path / "recipe.toml"))
        targets[name, more] = task.train_set[0][1]
    calibrated, off, plain = targets.values()
    assert torch.equal(off, plain)
    assert (calibrated - plain).abs().max() > 0.01


def test_a_changed_calibration_is_refused_on_resuming(tmp_path: Path, photos: Path) -> None:
    """The rows are the same, but other targets would follow."""
    path = save_maps(tmp_path / "maps.h5", photos / "train", calibration=CALIBRATION)
    text = recipe_text(photos, labels_of(tmp_path), epochs=1)
    run(tmp_path, text)
    path.unlink()
    facts = replace(CALIBRATION, images=5, divergence=(0.5, 0.4))
    save_maps(path, photos / "train", calibration=facts)
    run(tmp_path, text)  # other facts, the same targets
    path.unlink()
    save_maps(path, photos / "train", calibration=replace(CALIBRATION, compression=0.6))
    with pytest.raises(TrainingError, match=r"other labels for the same classes.*label-map file"):
        run(tmp_path, text)
    with pytest.raises(TrainingError, match=r"labels\.calibrated = True, the recipe has False"):
        run(tmp_path, text, "labels.calibrated=false")
