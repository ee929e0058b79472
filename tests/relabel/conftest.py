"""What most of these tests start from: a teacher with weights, and a folder of photos."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labelkit.teachers import load_teacher
from tests.photos import write_photos

if TYPE_CHECKING:
    from pathlib import Path

    from labelkit.teachers import Teacher


@pytest.fixture(scope="session")
def teacher() -> Teacher:
    return load_teacher("efficientnet-lite0", device="cpu")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_photos(tmp_path / "photos")
    return tmp_path / "photos"
