"""Find a class, a row or a photo by the name that a person gives; or say what is close."""

from __future__ import annotations

import bisect
import difflib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from labelkit.data import open_image
from labelkit.errors import DatasetError, LabelkitError, LabelMapError
from labelkit.inspection.wording import readable

if TYPE_CHECKING:
    import os

    from PIL import Image

    from labelkit.hierarchy import SemanticTree
    from labelkit.label_maps import LabelMap, LabelMapFile

_CLOSE = 0.75
_NEIGHBOURS = 2000  # comparing a key with a million others would take a minute


def find_classes(tree: SemanticTree, wanted: str) -> list[int]:
    """The indices of the classes with an id, or else with a name: several may share one.

    Case counts for ids only; spaces and underscores are one.

    Raises:
        LabelkitError: no such class; the message names those that are close.
    """
    if wanted in tree.classes.index:
        return [tree.classes.index[wanted]]
    names = [readable(name).casefold() for name in tree.names]
    name = readable(wanted).casefold()
    found = [at for at, known in enumerate(names) if known == name]
    if not found:
        close = difflib.get_close_matches(name, {*names, *tree.classes.ids}, n=3, cutoff=_CLOSE)
        hint = f"Did you mean {' or '.join(close)}?" if close else "Give an id or a name."
        raise LabelkitError(f"no class {wanted!r} in the tree of {tree.classes}. {hint}")
    return found


def find_label_map(file: LabelMapFile, key: str) -> LabelMap:
    """The label map of a key.

    Raises:
        LabelMapError: no such row, or a damaged one; the message names keys that are close.
    """
    if key in file:
        return file[key]
    if key in file.unreadable:
        raise LabelMapError(f"{file.path} has no label map for {key!r}: {file.why_not(key)}")
    close = close_keys(file, key)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else file.why_not(key)
    raise LabelMapError(f"{file.path} has no label map for {key!r}: {hint}")


def close_keys(file: LabelMapFile, key: str, limit: int = 3) -> list[str]:
    """The keys that may have been meant, ``limit`` at most: same file name, or nearly the same."""
    keys = list(file.keys())
    name = PurePosixPath(key).name
    same_name = [known for known in keys if name and PurePosixPath(known).name == name]
    if same_name:
        return same_name[:limit]
    # Keys ascend by their bytes, which for the place of a near miss is as good as by characters.
    place = bisect.bisect(keys, key)
    near = keys[max(place - _NEIGHBOURS // 2, 0) : place + _NEIGHBOURS // 2]
    return difflib.get_close_matches(key, near, n=limit, cutoff=_CLOSE)


def open_photo(images: str | os.PathLike[str], key: str) -> Image.Image:
    """The photo of a row, its pixels as the teacher and training see them.

    Args:
        images: the data set's folder, the one that was relabelled.
        key: the row's key.

    Raises:
        DatasetError: no such file below the folder, or not a readable image.
    """
    path = Path(images) / key
    if not path.is_file():
        raise DatasetError(
            f"{images} has no file {key!r}: give the folder that the label maps were made from"
        )
    try:
        return open_image(path)
    except DatasetError as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
