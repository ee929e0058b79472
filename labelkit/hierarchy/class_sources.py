"""Where class lists come from: a text file, a folder of class folders, or a list known by name."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labelkit.errors import ClassListError, LabelkitError
from labelkit.hierarchy.class_list import ClassList
from labelkit.wording import clipped

if TYPE_CHECKING:
    from collections.abc import Iterable

SPLITS = frozenset({"test", "train", "val", "valid", "validation"})
UTF_16 = "looks like UTF-16: save it as UTF-8 (in Excel: CSV UTF-8)"
DEFINITIONS = "imagenet_synset_to_definition.txt"
ONE_A_LINE = "a class list is a text file with one id a line"
LONGEST_ID = 255  # characters, as long as a folder's name can be
JSON_START = re.compile(r'\s*(\{\s*["}]|\[\s*["{\[\]])')


@dataclass(frozen=True)
class NamedList:
    """A published class list: what it is, the file in timm that holds it, and its identity."""

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


def read_class_list(source: str | Path) -> ClassList:
    """Read a class list from wherever it stands.

    A *text file* holds one id a line, in UTF-8. White space around an id, blank lines and lines
    that begin with ``#`` do not count; a byte order mark and any line ends are fine.

    A *folder* of class folders gives their names, sorted as torchvision's ``ImageFolder`` sorts
    them. Folders whose names begin with a dot are passed over.

    A *named list* is a key of ``NAMED_LISTS``. A string that is one always means the list: write
    ``./imagenet-1k`` (or give a ``Path``) for a file or a folder of that name.

    A *tree file* of labelkit gives the tree's own classes, without inner nodes that were added.

    Raises:
        FileNotFoundError: no such file, folder or named list; the message lists the names.
        ClassListError: the ids are empty, repeated, or not text; the file is a table, JSON or a
            name file; or a folder holds no classes.
        TreeFileError: a tree file is damaged or of another version.
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
    """The named list with exactly these ids in this order; an empty string if there is none."""
    matches = (name for name, known in NAMED_LISTS.items() if known.digest == classes.digest)
    return next(matches, "")


def _timm_file(file: str) -> Path | None:
    """The path of a file in timm's ``data/_info``, which holds ImageNet's facts; None without it.

    timm keeps them as text files; importing timm for them would take six seconds.
    """
    spec = importlib.util.find_spec("timm")
    folders = (spec.submodule_search_locations if spec else None) or []
    paths = (Path(folder, "data", "_info", file) for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def definitions(ids: Iterable[str]) -> dict[str, str]:
    """The definitions of the ids that have one: ImageNet's 21,844 synsets, from timm's data.

    They are for people to read, so an id without one is left out, and so are all of them where
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


def _read_named(name: str) -> ClassList:
    known = NAMED_LISTS[name]
    path = _timm_file(known.file)
    if path is None:
        raise ClassListError(
            f"{name} stands in timm's data/_info/{known.file}, which is not installed: "
            "install timm 1.0.20 or newer, or give the ids as a text file"
        )
    return _checked(
        ClassList.of(_lines(read_text(path, ClassListError, ONE_A_LINE)).values(), name), known
    )


def _checked(classes: ClassList, known: NamedList) -> ClassList:
    if classes.digest != known.digest:
        raise ClassListError(
            f"timm's {known.file} holds {len(classes):,} classes with the digest "
            f"{classes.digest[:6]}, {classes.name} has {known.length:,} with {known.digest[:6]}: "
            "install another timm, or give the ids as a text file"
        )
    return classes


def _read_file(path: Path) -> ClassList:
    """The ids of a text file, or a tree's own classes."""
    text = read_text(path, ClassListError, ONE_A_LINE)
    if text.lstrip().startswith("{"):
        from labelkit.hierarchy.tree_file import is_tree_file, read_tree

        if is_tree_file(path):
            return read_tree(path).data_classes
    lines = _lines(text)
    _refuse_other_files(path, text, lines)
    first: dict[str, int] = {}
    for number, class_id in lines.items():
        if len(class_id) > LONGEST_ID:
            raise ClassListError(
                f"{path}, line {number} has {len(class_id):,} characters and is no class id "
                f"({clipped(class_id)}): {ONE_A_LINE}"
            )
        if first.setdefault(class_id, number) != number:
            raise ClassListError(
                f"class id {clipped(class_id)} stands twice in {path} (lines {first[class_id]} and "
                f"{number}): remove one"
            )
    return ClassList.of(lines.values(), path.name)


def looks_like_utf16(content: bytes) -> bool:
    """Whether bytes begin as UTF-16 does: with its mark, or with a NUL in every second place."""
    start = content[: len(content) // 2 * 2][:64]
    marked = start.startswith((b"\xff\xfe", b"\xfe\xff"))
    return marked or (bool(start) and not (any(start[::2]) and any(start[1::2])))


def read_text(path: Path, refused: type[LabelkitError], way_out: str) -> str:
    """A text file, with line feeds for whatever ends its lines and without a byte order mark.

    Raises:
        LabelkitError: of the type ``refused``: it is no text in UTF-8.
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    if looks_like_utf16(content):
        raise refused(f"{path} {UTF_16}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refused(
            f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}): {way_out}"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _lines(text: str) -> dict[int, str]:
    """The ids by their line numbers, without blank lines and comments."""
    lines = ((number, line.strip()) for number, line in enumerate(text.split("\n"), start=1))
    return {number: line for number, line in lines if line and not line.startswith("#")}


def _refuse_other_files(path: Path, text: str, lines: dict[int, str]) -> None:
    """Refuse JSON, name files and tables, whose lines would all pass for ids."""
    if JSON_START.match(text):
        what, instead = "JSON", f"A taxonomy goes with --taxonomy {path}"
    elif (heading := next(iter(lines.values()), "")).startswith("class\twnid"):
        what = "a name file of match-names"
        instead = f"Give the list that it was made from, and --names {path}"
    elif number := next((at for at, line in lines.items() if "\t" in line), 0):
        what = f"a table with tabs (line {number})"
        instead = f"A taxonomy goes with --taxonomy {path}; else keep the column with the ids only"
    elif path.suffix.lower() == ".csv" and ("," in heading or ";" in heading):
        what = "a table with several columns"
        instead = f"A taxonomy goes with --taxonomy {path}; else keep the column with the ids only"
    else:
        return
    raise ClassListError(f"{path} is {what}, and {ONE_A_LINE}. {instead}")


def _read_folder(path: Path) -> ClassList:
    with os.scandir(path) as entries:
        names = sorted(
            entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")
        )
    if not names:
        raise ClassListError(
            f"{path} holds no folders: give the folder that holds one folder per class"
        )
    if SPLITS.issuperset(names):
        raise ClassListError(
            f"{path} holds {', '.join(names)}, which are parts of a data set and no classes: "
            f"give one of them, such as {path / names[0]}"
        )
    return ClassList.of(names, path.resolve().name)
