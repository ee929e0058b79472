"""Which kind of dump a path is."""

from __future__ import annotations

import glob
import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from labelkit.errors import DatasetError, PrepareError
from labelkit.image_folders import class_folders, is_image_name
from labelkit.prepare.class_tars import TarFolderDump, TarOfTarsDump
from labelkit.prepare.compressed_tars import CompressedDump, is_compressed
from labelkit.prepare.folders import FolderDump
from labelkit.prepare.samples import SamplesDump
from labelkit.sources import tar_members

if TYPE_CHECKING:
    import os

    from labelkit.prepare.dump import Dump

SourceKind = Literal["auto", "class-tars", "webdataset"]
"""What a folder of tars is: ``auto`` looks into the first one."""
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_LOOKED_AT = 64  # members of a tar
_EXPECTED = (
    "expected a folder of class folders, a folder of class tars, a tar of class tars, or "
    "WebDataset shards"
)


def open_dump(source: str | os.PathLike[str], kind: SourceKind = "auto") -> Dump:
    """The classes of a dump.

    Args:
        source: a folder, a tar, or a pattern of WebDataset shards such as
            ``shards/train-{000..127}.tar`` or ``shards/train-*.tar``.
        kind: what a folder of tars is.

    Raises:
        FileNotFoundError: there is nothing of that name.
        PrepareError: it is none of these, is damaged, or has a class name that cannot be used.
        ClassListError: a folder holds splits such as ``train``, not classes.
    """
    path = Path(source)
    if path.is_dir():
        return _folder(path, kind)
    if path.is_file():
        return _file(path)
    shards = expand(str(source))
    if not shards:
        raise FileNotFoundError(f"no such folder, tar or shards: {source}")
    return SamplesDump(path, shards)


def expand(pattern: str) -> list[Path]:
    """The files of a pattern with ``{000..127}`` or ``*``; sorted.

    Raises:
        FileNotFoundError: one of the numbers is missing.
    """
    braces = _BRACES.search(pattern)
    if braces is None:
        return [Path(each) for each in sorted(glob.glob(pattern))]  # noqa: PTH207 -- any pattern
    first, last = braces.groups()
    found: list[Path] = []
    for number in range(int(first), int(last) + 1):
        path = f"{pattern[: braces.start()]}{number:0{len(first)}}{pattern[braces.end() :]}"
        if not (matches := expand(path)):
            raise FileNotFoundError(f"no such shard: {path}")
        found += matches
    return found


def _folder(path: Path, kind: SourceKind) -> Dump:
    tars = sorted(each for each in path.glob("*.tar") if not each.name.startswith("."))
    folders = class_folders(path)
    if tars and folders:
        raise PrepareError(
            f"{path} has folders ({folders[0]}) and tars ({tars[0].name}): move one kind elsewhere"
        )
    if tars:
        mixed = kind == "webdataset" or (kind == "auto" and _is_mixed(tars[0]))
        return SamplesDump(path, tars) if mixed else TarFolderDump(path)
    if folders:
        return FolderDump(path)
    compressed = next((each.name for each in sorted(path.glob("*.tar.*"))), "")
    hint = f"decompress {compressed} and the others" if compressed else _EXPECTED
    raise PrepareError(f"{path} has neither folders nor tars: {hint}")


def _file(path: Path) -> Dump:
    if is_compressed(path):
        return CompressedDump(path)
    names = _first_names(path)
    if any(name.endswith(".tar") for name in names):
        return TarOfTarsDump(path)
    if names:
        return SamplesDump(path, [path])
    raise PrepareError(f"{path} is an empty tar: {_EXPECTED}")


def _is_mixed(tar: Path) -> bool:
    """Whether a tar is a shard: it has labels, or all images are in folders of other names."""
    try:
        names = _first_names(tar)
    except DatasetError:
        return False  # the run names the damaged tar
    folders = {name.rpartition("/")[0].partition("/")[0] for name in names if is_image_name(name)}
    labelled = any(name.endswith((".cls", ".json")) for name in names)
    return labelled or ("" not in folders and bool(folders - {tar.stem}))


def _first_names(tar: Path) -> list[str]:
    with tar.open("rb") as file:
        return [member.name for member in islice(tar_members(file, str(tar)), _LOOKED_AT)]
