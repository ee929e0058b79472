"""Which label maps a ReLabel folder holds, and which image each of them is of."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labelkit.errors import LabelMapError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ENDING = ".pt"


@dataclass(frozen=True)
class Pairs:
    """The images of a ReLabel folder's maps.

    Attributes:
        keys: images with a map.
        without_map: images that the folder has no map of.
        without_image: maps of no image, by their paths below the folder.
    """

    keys: list[str]
    without_map: list[str]
    without_image: list[str]


def map_path(key: str) -> str:
    """Where a ReLabel folder keeps an image's map: its key with ``.pt`` for its own ending.

    >>> map_path("n04355338/n04355338_22023.JPEG")
    'n04355338/n04355338_22023.pt'
    """
    return _stem(key) + ENDING


def list_maps(folder: Path) -> list[str]:
    """The paths of all ``.pt`` files below a folder, without the ending, with ``/``, sorted.

    Links to folders are followed, but not in circles.

    Raises:
        LabelMapError: there is none.
        OSError: a folder may not be read.
    """
    stems = sorted(_walk(folder, "", frozenset()))
    if not stems:
        raise LabelMapError(
            f"{folder} holds no {ENDING} files: a ReLabel folder has one for each image. Label "
            "maps of photos are made by: labelkit relabel"
        )
    return stems


def pair_by_suffix(stems: Sequence[str], suffix: str) -> Pairs:
    """Take every map to be of an image of the same path that ends in ``suffix``."""
    return Pairs([stem + suffix for stem in stems], [], [])


def pair_with_images(stems: Sequence[str], images: Sequence[str]) -> Pairs:
    """Find each map's image among those of a data set: the same path but for the ending.

    Args:
        stems: the maps' paths without their ending, sorted.
        images: the images' keys.

    Raises:
        LabelMapError: a map could be of two images, or none is of any.
    """
    keys: list[str] = []
    without_map: list[str] = []
    without_image: list[str] = []
    at = 0
    for key in sorted(images, key=lambda key: (_stem(key), key)):
        stem = _stem(key)
        while at < len(stems) and stems[at] < stem:
            without_image.append(stems[at] + ENDING)
            at += 1
        if keys and _stem(keys[-1]) == stem:
            raise LabelMapError(
                f"{stem}{ENDING} could be of {keys[-1]} or of {key}: move one of the images away, "
                "or say --suffix"
            )
        if at < len(stems) and stems[at] == stem:
            keys.append(key)
            at += 1
        else:
            without_map.append(key)
    without_image += [stem + ENDING for stem in stems[at:]]
    if not keys:
        raise LabelMapError(
            f"no label map is of any image: they look like {without_image[0]!r}, the images like "
            f"{without_map[0]!r}. Give both folders at the same height"
        )
    return Pairs(keys, without_map, without_image)


def _stem(key: str) -> str:
    """A path without its last ending; a name that is nothing else, such as ``.jpg``, stays."""
    stem, dot, ending = key.rpartition(".")
    return stem if dot and "/" not in ending and stem and not stem.endswith("/") else key


def _walk(folder: Path, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                inner = f"{prefix}{entry.name}/"
                yield from _walk(Path(entry.path), inner, above | {identity})
            elif entry.name.endswith(ENDING):
                yield prefix + entry.name.removesuffix(ENDING)
