from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from tests.train.support import draw_folders

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folders(tmp_path_factory.mktemp("colours"), train=8, val=4)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
