"""A manifest as a folder of class folders with links to the images."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from labelkit.errors import DatasetError
from labelkit.wording import clipped

if TYPE_CHECKING:
    from labelkit.manifests import ImageManifest

SETTINGS = "manifest.json"


def write_links(manifest: ImageManifest, folder: str | os.PathLike[str]) -> None:
    """Write a folder with one folder per class, in which each image is a symbolic link.

    A link is named like its image; two images of a class with one name have their folders in front
    (``a--1.jpg``). The manifest is beside the class folders. The folder appears when it is
    complete.

    Raises:
        DatasetError: an image has several labels, a class cannot name a folder, links would share
            a name, or the images are inside other files.
        FileExistsError: the folder exists.
        OSError: links cannot be written there.
    """
    if manifest.has_several_labels:
        raise DatasetError(
            "images have several labels, which folders cannot show: write a manifest (.json)"
        )
    if not manifest.images.is_dir():
        raise DatasetError(f"links need a folder of images, not {manifest.images}")
    for name in manifest.classes:
        if "/" in name or "\0" in name or name.startswith("."):
            raise DatasetError(f"class {clipped(name)} cannot name a folder: write a manifest")
    target = Path(folder)
    if target.exists():
        raise FileExistsError(f"{target} exists: choose another name")
    scratch = target.with_name(f".{target.name}.{os.urandom(8).hex()}.tmp")
    try:
        _write(manifest, scratch)
        manifest.save(scratch / SETTINGS)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write(manifest: ImageManifest, folder: Path) -> None:
    names = _names(manifest)
    images = manifest.images.resolve()
    for name in manifest.classes:
        (folder / name).mkdir(parents=True)
    for key, labels in zip(manifest.keys, manifest.labels, strict=True):
        link = folder / manifest.classes[labels[0]] / names[key]
        link.symlink_to(images / key)


def _names(manifest: ImageManifest) -> dict[str, str]:
    """The name of each image's link, unique in its class."""
    names: dict[str, str] = {}
    taken: set[tuple[int, str]] = set()
    repeated: set[tuple[int, str]] = set()
    places = [
        (labels[0], key.rpartition("/")[2])
        for key, labels in zip(manifest.keys, manifest.labels, strict=True)
    ]
    for place in places:
        (repeated if place in taken else taken).add(place)
    used: set[tuple[int, str]] = set()
    for key, place in zip(manifest.keys, places, strict=True):
        name = key.replace("/", "--") if place in repeated else place[1]
        if (place[0], name) in used:
            raise DatasetError(f"two links would be named {name!r}: write a manifest (.json)")
        used.add((place[0], name))
        names[key] = name
    return names
