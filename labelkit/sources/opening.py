"""Recognise where images are stored, from a path or a pattern."""

from __future__ import annotations

import glob
import itertools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from labelkit.errors import DatasetError
from labelkit.file_kinds import BEGINNING, is_manifest
from labelkit.image_folders import EXTENSIONS, is_pattern, iterate_images
from labelkit.manifests import read_manifest
from labelkit.sources.columns import Columns
from labelkit.sources.folder import FolderImages
from labelkit.sources.manifest_images import ManifestImages
from labelkit.sources.source import ImageSource
from labelkit.sources.tar_headers import TAR_ENDINGS, is_tar
from labelkit.sources.tars import TarImages

if TYPE_CHECKING:
    from collections.abc import Iterable

_BRACES = re.compile(r"\{([^{}]*)\}")
_MOST_FILES = 1_000_000
_SAVED, _SPLITS = ("state.json", "dataset_info.json"), "dataset_dict.json"
_LISTS = (".csv", ".tsv", ".txt")


def as_source(images: ImageSource | str | os.PathLike[str]) -> ImageSource:
    """A source, or the one at a path.

    Raises:
        As ``open_source``.
    """
    return images if isinstance(images, ImageSource) else open_source(images)


def open_source(path: str | os.PathLike[str], columns: Columns | None = None) -> ImageSource:
    """The images at a path.

    A path names a folder of images; a tar; a folder of tars or parquet files; a data set that
    Hugging Face's ``datasets`` saved on disk; a parquet file; a list of paths (.csv, .tsv, .txt),
    or a parquet file with such a list; a manifest from ``labelkit subset`` or ``cluster``. A
    pattern names several tars or parquet files: ``train-{0000..0146}.tar``, ``train-*.parquet``.

    Args:
        path: a path or a pattern.
        columns: of a table.

    Raises:
        DatasetError: there are no images, or not of one kind; two keys are equal, or not allowed.
        FileNotFoundError: there is no such file or folder.
        OSError: it cannot be read.
    """
    path, columns = os.fspath(path), columns or Columns()
    if not os.path.lexists(path) and is_pattern(path):
        return _open_files(path, _matching(path), columns)
    if not Path(path).is_dir():
        if not Path(path).exists():
            raise FileNotFoundError(f"no such folder or file: {path}")
        if not Path(path).is_file():
            raise DatasetError(f"{path} is neither a folder nor a regular file")
        if _is_manifest(path):
            _require_no_columns(path, columns)
            return _open_manifest(path)
        return _open_files(path, [path], columns)
    return _open_folder(path, columns)


def _is_manifest(path: str) -> bool:
    with Path(path).open("rb") as file:
        return is_manifest(file.read(BEGINNING))


def _open_manifest(path: str) -> ImageSource:
    """The images of a manifest; those that it was made from may be of any kind.

    Raises:
        DatasetError: the manifest is damaged, or its images are gone.
    """
    manifest = read_manifest(path)
    try:
        images = open_source(manifest.images)
    except FileNotFoundError as error:
        raise DatasetError(
            f"{path} is a manifest of {manifest.images}, which is not there. Correct the path in "
            'its line "images"; the digest does not depend on it'
        ) from error
    return ManifestImages(path, manifest, images)


def _open_folder(path: str, columns: Columns) -> ImageSource:
    folder = Path(path)
    if (folder / _SPLITS).is_file():
        raise DatasetError(_name_split(folder))
    if all((folder / name).is_file() for name in _SAVED):
        from labelkit.sources.tables import open_saved

        return open_saved(path, columns)
    if next(iterate_images(folder), None) is not None:
        _require_no_columns(path, columns)
        return FolderImages(path)
    files = sorted(str(file) for file in folder.rglob("*") if not _hidden(folder, file))
    for endings in (TAR_ENDINGS, ".parquet"):
        found = [file for file in files if file.lower().endswith(endings)]
        if found:
            return _open_files(path, found, columns)
    raise DatasetError(
        f"{path} holds no images (extensions {' '.join(EXTENSIONS)}), and neither tars nor parquet "
        "files"
    )


def _open_files(path: str, files: list[str], columns: Columns) -> ImageSource:
    if all(map(is_tar, files)):
        _require_no_columns(path, columns)
        return TarImages(path, files)
    from labelkit.sources.listed import open_list
    from labelkit.sources.tables import is_parquet, open_parquet

    if all(map(is_parquet, files)):
        return open_parquet(path, files, columns)
    if len(files) == 1 and path.lower().endswith(_LISTS):
        return open_list(path, columns)
    raise DatasetError(
        f"{path}: expected tars, parquet files, or one list of paths ({', '.join(_LISTS)}), found "
        f"{next((each for each in files if not is_tar(each)), path)}"
    )


def _require_no_columns(path: str, columns: Columns) -> None:
    if columns != Columns():
        raise DatasetError(f"{path} has no columns: leave out --key-column and --image-column")


def _matching(pattern: str) -> list[str]:
    """The files of a pattern, sorted.

    Raises:
        DatasetError: a part of the pattern names no file.
    """
    found: dict[str, None] = {}
    for each in _expanded(pattern):
        # Path.glob takes no absolute pattern.
        matches = sorted(glob.glob(each)) if glob.has_magic(each) else [each]  # noqa: PTH207
        if not matches or not os.path.lexists(matches[0]):
            raise DatasetError(f"{pattern}: no such file: {each}")
        found |= dict.fromkeys(matches)
    return list(found)


def _expanded(pattern: str) -> Iterable[str]:
    """A pattern with each choice of its braces, ``{0..9}`` or ``{a,b}``, as a shell makes them."""
    parts = _BRACES.split(pattern)  # every second one is the inside of braces
    choices = [_choices(part) if at % 2 else [part] for at, part in enumerate(parts)]
    count = 1
    for each in choices:
        count *= len(each)
    if count > _MOST_FILES:
        raise DatasetError(f"{pattern} stands for {count:,} files, more than {_MOST_FILES:,}")
    return map("".join, itertools.product(*choices))


def _choices(inside: str) -> list[str]:
    ends = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
    if not ends:
        return inside.split(",")
    first, last = map(int, ends.groups())
    width = len(ends[1]) if ends[1].startswith("0") else 0
    if abs(last - first) >= _MOST_FILES:
        raise DatasetError(f"{{{inside}}} stands for more than {_MOST_FILES:,} files")
    step = 1 if first <= last else -1
    return [f"{number:0{width}}" for number in range(first, last + step, step)]


def _hidden(folder: Path, file: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _name_split(folder: Path) -> str:
    splits = sorted(child.name for child in folder.iterdir() if child.is_dir())
    return (
        f"{folder} holds several splits ({', '.join(splits)}): pass one of them, such as "
        f"{folder / splits[0] if splits else folder}"
    )
