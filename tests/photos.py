"""Real photos for tests: those that scikit-image carries, or the ones in ../shared."""

from __future__ import annotations

from pathlib import Path

import pytest
from skimage import data

CHECKOUT = Path(__file__).parents[1]
SHARED = CHECKOUT.parent / "shared"

needs_shared = pytest.mark.skipif(
    not (SHARED / "data" / "imagenet_sample").is_dir(),
    reason="the ImageNet sample photos are not beside this checkout (../shared/data)",
)


def write_photos(folder: Path) -> list[str]:
    """Four photos in two folders below ``folder``; returns their keys in sorted order."""
    from PIL import Image

    photos = {
        "animals/cat.jpg": data.chelsea(),
        "animals/grey.jpg": data.camera(),
        "things/coffee.png": data.coffee(),
        "things/rocket.jpg": data.rocket(),
    }
    for key, pixels in photos.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / key)
    return list(photos)
