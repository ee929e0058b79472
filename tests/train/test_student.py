"""timm loads a run's student with its weights, its classes and its preprocessing."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

import pytest
import timm
import timm.data
import torch
from torchvision.datasets import ImageFolder

from labelkit.train import read_recipe, train
from tests.train.support import recipe_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_timm: Any = timm
_data: Any = timm.data


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_files_have_the_usual_permissions_and_timm_repeats_the_accuracy(
    tmp_path: Path, photos: Path
) -> None:
    """At 40 pixels timm rounds the resized side down where the run rounds it up (45.7)."""
    (tmp_path / "r.toml").write_text(recipe_text(photos, epochs=2))
    changes = [f"run.output={tmp_path / 'run'}", "data.image_size=40"]
    found = train(read_recipe(tmp_path / "r.toml", changes))
    for path in (tmp_path / "run").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o640, path.name
    model = _timm.create_model(f"local-dir:{tmp_path / 'run'}", pretrained=True).eval()
    config = _data.resolve_model_data_config(model)
    assert (model.num_classes, tuple(config["input_size"]), config["crop_mode"]) == (
        3,
        (3, 40, 40),
        "center",
    )
    images = ImageFolder(str(photos / "val"), _data.create_transform(**config))
    assert images[0][0].shape == (3, 40, 40)
    assert images.transform.transforms[0].size == 46
    with torch.no_grad():
        right = [int(model(image[None]).argmax()) == target for image, target in images]
        loss = torch.stack(
            [
                torch.nn.functional.cross_entropy(model(image[None]), torch.tensor([target]))
                for image, target in images
            ]
        ).mean()
    assert 100 * sum(right) / len(right) == pytest.approx(found.best.metrics["top1"])
    assert float(loss) == pytest.approx(found.best.metrics["loss"], abs=0.01)
