"""Read class lists: text files, folders of class folders, named lists; and synset definitions."""

from __future__ import annotations

import difflib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labelkit.errors import ClassListError
from labelkit.file_kinds import BEGINNING, is_coarsening, is_manifest
from labelkit.files import read_utf8
from labelkit.hierarchy.class_list import ClassList
from labelkit.hierarchy.tree_file import is_tree_file
from labelkit.image_folders import class_folders
from labelkit.manifests import read_manifest
from labelkit.wording import clipped

if TYPE_CHECKING:
    from collections.abc import Iterable

SPLITS = frozenset({"test", "train", "val", "valid", "validation"})
DEFINITIONS = "imagenet_synset_to_definition.txt"
ONE_PER_LINE = "A class list is a text file with one id per line"
LONGEST_ID = 255  # characters, the longest possible folder name
JSON_FIELD = re.compile(r'"(\\.|[^"\\])*"\s*:')
JSON_START = re.compile(r'\s*(\{\s*(["}]|$)|\[\s*["{\[\]])')


@dataclass(frozen=True)
class NamedList:
    """A published class list: a description, its file in timm, and its length and digest."""

    about: str
    file: str
    length: int
    digest: str


NAMED_LISTS = {
    "imagenet-1k": NamedList(
        "ILSVRC 2012",
        "imagenet_synsets.txt",
        1_000,
        "385e0240499426c022b773be1ae4da780f057b89c9694c7f47199f62746b6edd",
    ),
    "imagenet-12k": NamedList(
        "timm's 12k models: classes of the full set with many images",
        "imagenet12k_synsets.txt",
        11_821,
        "009d4c9f19667ccf35878fb10718a90ccc9afe27004b4d42880d5feab073a3b1",
    ),
    "imagenet-21k-p": NamedList(
        "ImageNet-21K-P of the fall 2011 release",
        "imagenet21k_miil_synsets.txt",
        11_221,
        "e96927e3af1cf32cd60c35b4407ba6e16396a2696feefed66c4017b403c5596a",
    ),
    "imagenet-21k-p-winter21": NamedList(
        "ImageNet-21K-P of the winter 2021 release",
        "imagenet21k_miil_w21_synsets.txt",
        10_450,
        "68202583aa200623fa7f326a1a4f8ff8f9a2e33ee8cd78ae16d52fb34e345dd4",
    ),
    "imagenet-22k": NamedList(
        "the full set, as in most of timm's in22k models",
        "imagenet22k_synsets.txt",
        21_841,
        "6320b72b72e43c09a768f0253d28c3b55707760bbf3b9d308887800b0d86658d",
    ),
    "imagenet-22k-ms": NamedList(
        "the full set in Microsoft's order, ImageNet-1k first",
        "imagenet22k_ms_synsets.txt",
        21_842,
        "57d68b4f40ef1181c022b488650d3fcb08ab4a95dc7d75d286fff16922ee6c2d",
    ),
    "imagenet-21k-goog": NamedList(
        "the full set, as in Google's in21k models",
        "imagenet21k_goog_synsets.txt",
        21_843,
        "c03345e3490e010defaeac86b00012db28ecb79af13daba0b72525fa37c66e94",
    ),
}
"""The published class lists that labelkit knows by name."""


def read_class_list(source: str | Path) -> ClassList:
    """Read a class list from a file, a folder or a name.

    A *text file* holds one id per line, in UTF-8. Whitespace around an id, blank lines and lines
    that start with ``#`` are ignored; a byte order mark and any line endings are accepted.

    A *folder* of class folders gives their names, sorted as torchvision's ``ImageFolder`` sorts
    them. Folders whose names start with a dot are skipped.

    A *named list* is a key of ``NAMED_LISTS``. A string that is one always means the list: write
    ``./imagenet-1k`` (or pass a ``Path``) for a file or a folder of that name.

    A *tree file* of labelkit gives the tree's data classes, without inner nodes; a *coarsening*
    (from ``labelkit coarsen``) gives its coarse classes, and a *manifest* of images its classes.

    Raises:
        FileNotFoundError: no such file, folder or named list; the message lists the names.
        ClassListError: the ids are empty, duplicate, or not text; the file is a table, JSON or a
            name file; or a folder contains no class folders.
        TreeFileError: a tree file is damaged or of another version.
        CoarseningFileError: a coarsening is damaged or of another version.
        DatasetError: a manifest is damaged or of another version.
        OSError: the file or folder cannot be read.
    """
    if isinstance(source, str) and source in NAMED_LISTS:
        return _read_named(source)
    path = Path(source)
    if path.is_dir():
        return _read_folder(path)
    if path.exists():
        return _read_file(path)
    near = difflib.get_close_matches(str(source), NAMED_LISTS, n=1)
    raise FileNotFoundError(
        f"no file, folder or named list {str(source)!r}."
        f"{f' Did you mean {near[0]}?' if near else ''} Named lists: {', '.join(NAMED_LISTS)}"
    )


def identify(classes: ClassList) -> str:
    """The name of the named list with the same ids in the same order; empty if there is none."""
    matches = (name for name, known in NAMED_LISTS.items() if known.digest == classes.digest)
    return next(matches, "")


def definitions(ids: Iterable[str]) -> dict[str, str]:
    """WordNet's definitions of ImageNet's 21,844 synsets, from timm's data files.

    They are for people to read, so ids without a definition are left out, and so are all of them if
    timm is not installed or lacks the file.

    >>> definitions(["n02111889", "my cat"])
    {'n02111889': 'Siberian breed of white or cream-colored dog of the spitz family'}
    """
    path = _timm_file(DEFINITIONS)
    if path is None:
        return {}
    wanted = dict.fromkeys(ids)
    with path.open(encoding="utf-8", errors="replace") as lines:
        rows = (line.rstrip("\n").partition("\t") for line in lines)
        found = {wnid: definition for wnid, _, definition in rows if wnid in wanted}
    return {wnid: found[wnid] for wnid in wanted if wnid in found}


def _timm_file(file: str) -> Path | None:
    """The path of a file in timm's ``data/_info`` folder; None if it is not installed.

    The files are plain text; importing timm to read them would take six seconds.
    """
    spec = importlib.util.find_spec("timm")
    folders = (spec.submodule_search_locations if spec else None) or []
    paths = (Path(folder, "data", "_info", file) for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def _read_named(name: str) -> ClassList:
    known = NAMED_LISTS[name]
    path = _timm_file(known.file)
    if path is None:
        raise ClassListError(
            f"{name} is in timm's data/_info/{known.file}, which is not installed: "
            "install timm 1.0.20 or newer, or pass the ids as a text file"
        )
    classes = ClassList.of(_lines(read_utf8(path, ClassListError)).values(), name)
    if classes.digest != known.digest:
        raise ClassListError(
            f"timm's {known.file} has {len(classes):,} classes with digest {classes.digest[:6]}, "
            f"expected the {known.length:,} classes of {name} with digest {known.digest[:6]}: "
            "install another timm, or pass the ids as a text file"
        )
    return classes


def _read_file(path: Path) -> ClassList:
    """The ids of a text file, or the classes of a tree file, a coarsening or a manifest."""
    text = read_utf8(path, ClassListError, ONE_PER_LINE)
    if text.lstrip().startswith("{") and is_tree_file(path):
        from labelkit.hierarchy.tree import SemanticTree  # numpy, which other lists do not need

        return SemanticTree.load(path).data_classes
    if is_coarsening(text[:BEGINNING].encode()):
        from labelkit.hierarchy.coarsening_file import load_coarsening

        return load_coarsening(path).classes
    if is_manifest(text[:BEGINNING].encode()):
        return ClassList.of(read_manifest(path).classes, path.name)
    lines = _lines(text)
    _refuse_other_files(path, text, lines)
    first: dict[str, int] = {}
    for number, class_id in lines.items():
        if len(class_id) > LONGEST_ID:
            raise ClassListError(
                f"{path}, line {number} has {len(class_id):,} characters, too many for a class id "
                f"({clipped(class_id)}). {ONE_PER_LINE}"
            )
        if first.setdefault(class_id, number) != number:
            raise ClassListError(
                f"duplicate class id {clipped(class_id)} in {path} (lines {first[class_id]} and "
                f"{number}): remove one"
            )
    return ClassList.of(lines.values(), path.name)


def _lines(text: str) -> dict[int, str]:
    """The ids by line number, without blank lines and comments."""
    lines = ((number, line.strip()) for number, line in enumerate(text.split("\n"), start=1))
    return {number: line for number, line in lines if line and not line.startswith("#")}


def _refuse_other_files(path: Path, text: str, lines: dict[int, str]) -> None:
    """Refuse JSON, name files and tables, whose lines would all look like ids."""
    if JSON_START.match(text):
        what, instead = "JSON", f"For a taxonomy, pass --taxonomy {path}"
    elif number := next((at for at, line in lines.items() if JSON_FIELD.match(line)), 0):
        what = f"JSON, and damaged (line {number} is a field of an object)"
        instead = "Copy the file again, or rebuild the tree: labelkit build-tree"
    elif (heading := next(iter(lines.values()), "")).startswith("class\twnid"):
        what = "a name file from match-names"
        instead = f"Pass the list that it was made from, and --names {path}"
    elif number := next((at for at, line in lines.items() if "\t" in line), 0):
        what = f"a table with tabs (line {number})"
        instead = f"For a taxonomy, pass --taxonomy {path}; otherwise keep only the column of ids"
    elif path.suffix.lower() == ".csv" and ("," in heading or ";" in heading):
        what = "a table with several columns"
        instead = f"For a taxonomy, pass --taxonomy {path}; otherwise keep only the column of ids"
    else:
        return
    raise ClassListError(f"{path} is {what}. {ONE_PER_LINE}. {instead}")


def _read_folder(path: Path) -> ClassList:
    names = class_folders(path)
    if not names:
        raise ClassListError(
            f"{path} contains no folders: pass a folder that contains one folder per class"
        )
    if SPLITS.issuperset(names):
        raise ClassListError(
            f"{path} contains {', '.join(names)}, which are splits of a data set, not classes: "
            f"pass one of them, such as {path / names[0]}"
        )
    return ClassList.of(names, path.resolve().name)
