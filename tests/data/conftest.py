"""Photos in class folders, and label maps of them."""

from __future__ import annotations

import pytest

from tests.data.support import write_maps
from tests.photos import write_photos


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    return folder, write_photos(folder)


@pytest.fixture
def maps(photos, tmp_path):
    return write_maps(tmp_path / "maps.h5", photos[1])
