"""What becomes of one class: kept or dropped, the names of its images, and which are validation."""

from __future__ import annotations

import hashlib
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.prepare.settings import PrepareSettings

_JPEG_ENDINGS = (".jpg", ".jpeg")


def why_dropped(found: int, settings: PrepareSettings) -> str:
    """Why a class is dropped, by the number of images found in it; empty if it is kept."""
    return f"fewer than {settings.min_images:,} images" if found < settings.min_images else ""


def output_names(names: Sequence[str], settings: PrepareSettings) -> list[str]:
    """The name of each image in the output, which no other has in any spelling.

    Encoded images end in ``.jpg`` or as before. In shards, whose readers split a name at its first
    dot, other dots become ``_``. Where two names would be the same, the later one gets ``-2``.

    Args:
        names: of the images of one class, sorted.
        settings: of the run.
    """
    used: set[str] = set()
    result: list[str] = []
    for name in names:
        stem, ending = _parts(name, settings)
        number = 1
        while _spelling(chosen := f"{stem}{f'-{number}' * (number > 1)}", ending, settings) in used:
            number += 1
        used.add(_spelling(chosen, ending, settings))
        result.append(chosen + ending)
    return result


def validation(class_id: str, names: Sequence[str], settings: PrepareSettings) -> frozenset[str]:
    """The images of one class that are for validation.

    Args:
        class_id: the class.
        names: its readable images as the dump names them, sorted.
        settings: of the run.
    """
    if settings.split == "first":
        return frozenset(names[: settings.val])
    ranked = sorted(names, key=lambda name: _hash(settings.seed, class_id, name))
    return frozenset(ranked[: settings.val])


def shuffled(keys: Sequence[str], seed: int) -> list[int]:
    """The positions of keys in an order that depends on the seed and each key alone."""
    return sorted(range(len(keys)), key=lambda at: _hash(seed, "shards", keys[at]))


def _hash(seed: int, *words: str) -> bytes:
    return hashlib.sha256("/".join((str(seed), *words)).encode()).digest()


def _parts(name: str, settings: PrepareSettings) -> tuple[str, str]:
    """An output name's stem, with its folders, and its ending."""
    folder, slash, file = name.rpartition("/")
    stem, dot, ending = file.rpartition(".")
    ending = dot + ending
    if settings.mode != "keep" and ending.lower() not in _JPEG_ENDINGS:
        ending = ".jpg"
    if settings.shards is not None:
        stem, ending = stem.replace(".", "_"), ending.lower().replace(".jpeg", ".jpg")
    return folder + slash + stem, ending


def _spelling(stem: str, ending: str, settings: PrepareSettings) -> str:
    """What must be unique: in shards the name without its ending, as labels share it."""
    name = stem if settings.shards is not None else stem + ending
    return unicodedata.normalize("NFC", name).casefold()
