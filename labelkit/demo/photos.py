"""The demo's photos: those of scikit-image and scikit-learn, and composites of them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from labelkit.errors import DatasetError

if TYPE_CHECKING:
    from PIL.Image import Image

SINGLES = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "cat": ("skimage", "data/chelsea.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "motorcycle": ("skimage", "data/motorcycle_left.png"),
    "photographer": ("skimage", "data/camera.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "temple": ("sklearn", "datasets/images/china.jpg"),
    "dahlia": ("sklearn", "datasets/images/flower.jpg"),
}
COMPOSITES = {
    "cat-coffee": ("cat", "coffee"),
    "motorcycle-dahlia": ("motorcycle", "dahlia"),
    "rocket-cat": ("rocket", "cat"),
    "four": ("cat", "coffee", "motorcycle", "dahlia"),
}
_TILE = 320


def write_photos(folder: Path) -> list[str]:
    """Copy the packaged photos to ``folder/single`` and write composites to ``folder/composite``.

    Returns:
        The keys of all photos: paths below ``folder``.

    Raises:
        DatasetError: the packages with the photos are not installed.
    """
    for kind in ("single", "composite"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    photos = {name: _read(_packaged(*place)) for name, place in SINGLES.items()}
    for name, photo in photos.items():
        photo.save(folder / "single" / f"{name}.jpg", quality=92)
    for name, parts in COMPOSITES.items():
        composite = _tile([photos[part] for part in parts])
        composite.save(folder / "composite" / f"{name}.jpg", quality=92)
    return [f"single/{name}.jpg" for name in SINGLES] + [
        f"composite/{name}.jpg" for name in COMPOSITES
    ]


def _packaged(package: str, file: str) -> Path:
    spec = find_spec(package)
    path = Path(spec.origin).parent / file if spec and spec.origin else None
    if path is None or not path.is_file():
        raise DatasetError(
            f"the demo's photos come with the package {package}, which is not installed: "
            'pip install "labelkit[demo]"'
        )
    return path


def _read(path: Path) -> Image:
    from PIL import Image

    with Image.open(path) as photo:
        return photo.convert("RGB")


def _tile(parts: list[Image]) -> Image:
    """Two photos next to each other, or four in a square; each cropped to its central square."""
    from PIL import Image, ImageOps

    columns, rows = 2, len(parts) // 2
    sheet = Image.new("RGB", (columns * _TILE, rows * _TILE))
    for number, part in enumerate(parts):
        place = (number % columns * _TILE, number // columns * _TILE)
        sheet.paste(ImageOps.fit(part, (_TILE, _TILE)), place)
    return sheet
