"""Several correct classes per image: ImageNet's reassessed labels (ReaL), or a data set's own.

# N images, M largest number of labels of one image
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from labelkit.errors import DatasetError
from labelkit.files import decode_json, require_regular_file
from labelkit.hierarchy import read_class_list
from labelkit.metrics import real_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from labelkit.hierarchy import ClassList

_VALIDATION = re.compile(r"(?:.*/)?ILSVRC2012_val_(\d{8})\.\w+")
_FORMS = (
    "expected real.json of google-research/reassessed-imagenet (a list of class indices for each "
    'of the 50,000 validation images), or an object such as {"cats/1.jpg": ["n02123045"]}'
)


def reassessed_labels(
    keys: Sequence[str], classes: ClassList, path: Path | None = None
) -> Tensor | None:
    """The correct classes of each image, as indices of ``classes``: (N, M), padded with -1.

    Labels outside ``classes`` are dropped: an image without any other has none, and does not count.

    Args:
        keys: of N images. ImageNet's are found by their names, ``ILSVRC2012_val_00000001.JPEG``.
        classes: what a model predicts.
        path: a JSON file: ``real.json``, or an object from keys to class ids. None takes the copy
            of ``real.json`` in timm if an image has such a name and all classes are ImageNet's.

    Returns:
        None if no image has a label.

    Raises:
        DatasetError: the file is neither of the two, or has no label for any image.
        OSError: it cannot be read.
    """
    if path is not None:
        table = _as_table(_read(path, keys), classes)
        if table is None:
            raise DatasetError(
                f"{path} has no label in {classes} for any of the {len(keys):,} images, such as "
                f"{keys[0]}. ImageNet's are found by names such as ILSVRC2012_val_00000001.JPEG"
            )
        return table
    known = read_class_list("imagenet-1k").index
    if not any(map(_number, keys)) or not all(each in known for each in classes):
        return None
    return _as_table(_by_number(real_labels().tolist(), keys, "timm's real.json"), classes)


def _read(path: Path, keys: Sequence[str]) -> list[list[str]]:
    """The class ids of each image."""
    require_regular_file(path, DatasetError)
    content = path.read_bytes()
    if content.lstrip()[:1] != b"{":
        rows = decode_json(content, list[list[int]], path, DatasetError, _FORMS)
        return _by_number(rows, keys, str(path))
    by_key: Mapping[str, list[str]] = decode_json(
        content, dict[str, list[str]], path, DatasetError, _FORMS
    )
    return [by_key.get(key, []) for key in keys]


def _number(key: str) -> int:
    """The number of an image of ImageNet's validation data, from 1; 0 for any other."""
    found = _VALIDATION.fullmatch(key)
    return int(found[1]) if found else 0


def _by_number(rows: Sequence[Sequence[int]], keys: Sequence[str], source: str) -> list[list[str]]:
    """The class ids of each image from rows of ImageNet's class indices; -1 is none."""
    classes = read_class_list("imagenet-1k")
    ids = list[list[str]]()
    for key in keys:
        number = _number(key)
        row = rows[number - 1] if 0 < number <= len(rows) else []
        if any(not -1 <= label < len(classes) for label in row):
            raise DatasetError(f"{source} has label {max(row)} for {key}, expected 0 to 999")
        ids.append([classes[label] for label in row if label >= 0])
    return ids


def _as_table(ids: Sequence[Sequence[str]], classes: ClassList) -> Tensor | None:
    rows = [[classes.index[each] for each in row if each in classes.index] for row in ids]
    most = max(map(len, rows), default=0)
    return torch.tensor([row + [-1] * (most - len(row)) for row in rows]) if most else None
