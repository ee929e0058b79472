"""What most of these tests start from: a teacher with weights, and a folder of photos."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from labelkit.teachers import load_teacher
from tests.photos import write_photos

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labelkit.teachers import Teacher


@pytest.fixture(scope="session")
def teacher() -> Teacher:
    return load_teacher("efficientnet-lite0", device="cpu")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For processes that are forked, which torch's threads forbid, and for sums in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_photos(tmp_path / "photos")
    return tmp_path / "photos"
