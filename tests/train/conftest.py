from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from labelkit.train import read_recipe, train
from tests.train.support import draw_folders, recipe_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folders(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """The folder of a short run with hard labels."""
    folder = tmp_path_factory.mktemp("teacher")
    (folder / "recipe.toml").write_text(recipe_text(photos, epochs=4))
    train(read_recipe(folder / "recipe.toml", [f"run.output={folder / 'run'}"]))
    return folder / "run"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
