"""Read the label maps of one image from a plain ``.npz``; ``one_map`` says what is in it.

Legend: K entries per cell, H W grid, M classes and P patterns of a background.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from labelkit.convert.one_map import ImageMaps, prefixes
from labelkit.convert.plain_file import require_plain_file
from labelkit.errors import ClassListError, LabelMapError, first_line
from labelkit.hierarchy import ClassList
from labelkit.label_maps import Background, LabelMap, MapForm

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import IO

    from numpy.typing import NDArray

LARGEST = 1 << 28  # bytes of all arrays; those of one row cannot exceed 64 MiB
_DAMAGE = (
    ClassListError,
    EOFError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
    msgspec.DecodeError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_npz(path: Path, classes: ClassList | None = None) -> ImageMaps:
    """Read the label maps of one image from ``.npz``, as ``ImageMaps.save`` writes it.

    Where each cell stores its own classes, they are put strongest first. One made by hand needs
    ``key``, ``index`` and ``score`` only, and a class list: without
    ``forms`` its map is taken to store each cell's own classes, to 1/255 of the range of scores.

    Args:
        path: the file.
        classes: the class list; must equal that in the file, if it has one.

    Raises:
        LabelMapError: not such a file, damaged, too large, or with pickled objects.
        ClassListMismatch: the file has another class list.
        OSError: the file cannot be read.
    """
    require_plain_file(path, LabelMapError)
    try:
        arrays = _load(path)
        key, source, name = (_text(arrays, field) for field in ("key", "source", "classes_name"))
        own = _classes(arrays, name)
        forms = _forms(arrays)
        pairs = zip(prefixes(len(forms)), forms, strict=True)
        maps = tuple(_label_map(arrays, *pair) for pair in pairs)
        told = msgspec.json.decode(source, type=dict[str, Any]) if source else {}
    except _DAMAGE as error:
        raise LabelMapError(f"{path} is no .npz of a label map: {first_line(error)}") from error
    if not key:
        raise LabelMapError(f"{path} does not say of which image it is: it has no array 'key'")
    if own is not None and classes is not None:
        hint = "Leave --classes away, or give that list"
        own.require_equal(classes, ours=str(path), theirs="--classes", hint=hint)
    chosen = own or classes
    if chosen is None:
        raise LabelMapError(f"{path} has no list of its classes: give it with --classes")
    return ImageMaps(key, chosen, forms, maps, told)


def _load(path: Path) -> dict[str, NDArray[np.generic]]:
    """All arrays of the file; refuses objects, and more than is stored or than we need."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > LARGEST:
            raise ValueError(f"its arrays take more than {LARGEST:,} bytes")
        for entry in entries:
            with archive.open(entry) as file:
                _check_header(file, entry)
    with np.load(path, allow_pickle=False) as loaded:
        return {name: loaded[name] for name in loaded.files}


def _check_header(file: IO[bytes], entry: zipfile.ZipInfo) -> None:
    """Raise unless an array's header declares just what follows it."""
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"{entry.filename} is of version {version}")
    shape, _, dtype = read(file)
    if dtype.kind not in "biufU":
        raise ValueError(f"{entry.filename} holds {dtype}, expected numbers or text: refused")
    if math.prod(shape) * dtype.itemsize != entry.file_size - file.tell():
        raise ValueError(f"{entry.filename} declares {shape} of {dtype} and holds something else")


def _text(arrays: Mapping[str, NDArray[np.generic]], name: str) -> str:
    array = arrays.get(name)
    if array is None:
        return ""
    if array.shape or array.dtype.kind != "U":
        raise ValueError(f"{name} is {array.dtype} of shape {array.shape}, expected one text")
    return str(array[()])


def _classes(arrays: Mapping[str, NDArray[np.generic]], name: str) -> ClassList | None:
    array = arrays.get("classes")
    if array is None:
        return None
    if array.ndim != 1 or array.dtype.kind != "U":
        raise ValueError(f"classes is {array.dtype} of shape {array.shape}, expected texts")
    return ClassList.of(array.tolist(), name)


def _forms(arrays: Mapping[str, NDArray[np.generic]]) -> tuple[MapForm, ...]:
    if told := _text(arrays, "forms"):
        forms = msgspec.json.decode(told, type=tuple[MapForm, ...])
        if not forms:
            raise ValueError("forms is empty")
        return forms
    index = _numbers(arrays, "index", "iu")
    behind = arrays.get("background_classes", np.empty(0))
    if index.ndim != 3:
        raise ValueError(f"index has shape {index.shape}, expected (k, rows, columns)")
    top_k, rows, columns = index.shape
    return (
        MapForm(
            top_k=top_k,
            grid=(rows, columns),
            background=behind.size,
            log_sum_exp="log_sum_exp" in arrays,
        ),
    )


def _label_map(arrays: Mapping[str, NDArray[np.generic]], prefix: str, form: MapForm) -> LabelMap:
    index = _numbers(arrays, f"{prefix}index", "iu")
    score = _numbers(arrays, f"{prefix}score", "f")
    classes = None
    if form.selection == "image":
        if index.ndim != 3 or not index.size or (index != index[:, :1, :1]).any():
            raise ValueError("index differs between cells, but the form is the selection 'image'")
        classes = index[:, 0, 0]
    else:
        index, score = _strongest_first(index, score)
    background = None
    if form.background:
        parts = [f"{prefix}background_{name}" for name in ("coefficients", "patterns")]
        floats = [_numbers(arrays, part, "f") if form.patterns else None for part in parts]
        rest = _numbers(arrays, f"{prefix}background_rest", "f")
        if rest.shape:
            raise ValueError(f"background_rest has shape {rest.shape}, expected one number")
        background = Background(
            _numbers(arrays, f"{prefix}background_classes", "iu"),
            _numbers(arrays, f"{prefix}background_logits", "f"),
            float(rest),
            *floats,
        )
    lse = _numbers(arrays, f"{prefix}log_sum_exp", "f") if form.log_sum_exp else None
    return LabelMap(index, score, background, classes, lse)


def _strongest_first(index: NDArray[Any], score: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The entries of each cell by descending score; raises where one stores a class twice."""
    if index.ndim != 3 or index.shape != score.shape:
        return index, score  # which LabelMap refuses
    ordered = np.sort(index, axis=0)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if twice.size:
        raise ValueError(f"a cell stores class {twice[0]} twice: leave one of them out")
    order = np.argsort(-score, axis=0, kind="stable")
    return np.take_along_axis(index, order, axis=0), np.take_along_axis(score, order, axis=0)


def _numbers(arrays: Mapping[str, NDArray[np.generic]], name: str, kinds: str) -> NDArray[Any]:
    array = arrays.get(name)
    if array is None:
        raise ValueError(f"it has no array {name!r}")
    if array.dtype.kind not in kinds:
        wanted = "whole numbers" if "i" in kinds else "floats"
        raise ValueError(f"{name} holds {array.dtype}, expected {wanted}")
    return array
