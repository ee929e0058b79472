"""All label maps of one image: from a label-map file to a plain ``.npz`` for numpy, and back.

Names in the ``.npz``: ``key``; ``classes``, all class ids, and ``classes_name``; ``forms`` and
``source``, JSON; and of each map ``index`` and ``score`` (K, H, W), and where it has them
``log_sum_exp`` (H, W), ``background_classes`` (M,), ``background_logits`` (M,), ``background_rest``
(), ``background_coefficients`` (P, M) and ``background_patterns`` (P, H, W). Where an image has
several maps, the arrays of the first begin with ``0.``, of the next with ``1.``.

Legend: K entries per cell, H W grid, M classes and P patterns of a background.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from labelkit.errors import LabelMapError
from labelkit.label_maps import Background, LabelMaps, LabelMapWriter
from labelkit.label_maps.form_checks import check_maps

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from labelkit.hierarchy import ClassList
    from labelkit.label_maps import LabelMap, LabelMapFile, MapForm


@dataclass(frozen=True)
class ImageMaps:
    """All label maps of one image, and what a file says of them.

    Attributes:
        key: the image.
        classes: the class list of their indices.
        forms: of each map.
        maps: the maps.
        source: how they were made.
    """

    key: str
    classes: ClassList
    forms: tuple[MapForm, ...]
    maps: tuple[LabelMap, ...]
    source: Mapping[str, Any]

    @classmethod
    def of(cls, file: LabelMapFile, key: str) -> ImageMaps:
        """Those of one image of a file.

        Raises:
            LabelMapError: the file has no such key, or the row is damaged.
        """
        return cls(key, file.classes, file.forms, file.maps(key), file.attrs)

    def save(self, path: Path) -> None:
        """Write them as ``.npz``, whole or not at all.

        Raises:
            OSError: the file cannot be written.
        """
        arrays: dict[str, NDArray[np.generic]] = {
            "key": np.array(self.key),
            "classes": np.array(self.classes.ids),
            "classes_name": np.array(self.classes.name),
            "forms": np.array(msgspec.json.encode(self.forms).decode()),
            "source": np.array(msgspec.json.encode(self.source).decode()),
        }
        for prefix, label_map in zip(prefixes(len(self.maps)), self.maps, strict=True):
            arrays |= {prefix + name: array for name, array in _arrays(label_map).items()}
        temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
        try:
            with temporary.open("xb") as file:
                np.savez_compressed(file, allow_pickle=False, **arrays)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def write(self, path: Path) -> LabelMapFile:
        """Write a label-map file of this one row.

        Raises:
            LabelMapError: the maps are not of their forms, the key is none, or ``path`` was begun
            with other maps.
            FileExistsError: ``path`` exists.
            OSError: the disk fails.
        """
        maps = [_batch(label_map) for label_map in self.maps]
        try:
            # Before the writer, which would leave a folder of shards behind.
            for each, form in zip(maps, self.forms, strict=True):
                form.check(len(self.classes))
                check_maps(each, form, len(self.classes))
            writer = LabelMapWriter(
                path,
                classes=self.classes,
                keys=[self.key],
                forms=self.forms,
                source={**self.source},
                made_from=self._digest(),
            )
        except ValueError as error:
            raise LabelMapError(f"the map of {self.key!r} cannot be written: {error}") from error
        for shard in writer.pending():
            writer.commit(shard, maps, {})
        return writer.finalize()

    def _digest(self) -> str:
        """SHA-256 of the maps' arrays."""
        digest = hashlib.sha256()
        for label_map in self.maps:
            for name, array in _arrays(label_map).items():
                digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
                digest.update(array.tobytes())
        return digest.hexdigest()


def prefixes(count: int) -> list[str]:
    """What the names of each map's arrays begin with."""
    return [""] if count == 1 else [f"{number}." for number in range(count)]


def _arrays(label_map: LabelMap) -> dict[str, NDArray[np.generic]]:
    arrays: dict[str, NDArray[Any] | None] = {
        "index": label_map.index,
        "score": label_map.score,
        "log_sum_exp": label_map.log_sum_exp,
    }
    if background := label_map.background:
        arrays |= {
            "background_classes": background.classes,
            "background_logits": background.logits,
            "background_rest": np.array(background.rest, np.float32),
            "background_coefficients": background.coefficients,
            "background_patterns": background.patterns,
        }
    return {name: array for name, array in arrays.items() if array is not None}


def _batch(label_map: LabelMap) -> LabelMaps:
    """A map as those of one image."""
    index = label_map.index if label_map.classes is None else label_map.classes
    behind = label_map.background
    background = behind and Background(
        behind.classes[None],
        behind.logits[None],
        np.array([behind.rest], np.float32),
        None if behind.coefficients is None else behind.coefficients[None],
        None if behind.patterns is None else behind.patterns[None],
    )
    lse = label_map.log_sum_exp
    return LabelMaps(
        index[None].astype(np.int64),
        label_map.score[None],
        background,
        None if lse is None else lse[None],
    )
