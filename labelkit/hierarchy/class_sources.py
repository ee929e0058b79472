"""Where class lists come from: a text file, a folder of class folders, or a list known by name."""

from __future__ import annotations

import difflib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from labelkit.errors import ClassListError
from labelkit.hierarchy.class_list import ClassList

SPLITS = frozenset({"test", "train", "val", "valid", "validation"})


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

    Raises:
        FileNotFoundError: no such file, folder or named list; the message lists the names.
        ClassListError: the ids are empty, repeated, or not text; or a folder holds no classes.
        OSError: the file or folder cannot be read.
    """
    if isinstance(source, str) and source in NAMED_LISTS:
        return _read_named(source)
    path = Path(source)
    if path.is_dir():
        return _read_folder(path)
    if path.exists():
        return ClassList.of(_read_lines(path), path.name)
    near = difflib.get_close_matches(str(source), NAMED_LISTS, n=1)
    raise FileNotFoundError(
        f"no file, folder or named list {str(source)!r}."
        f"{f' Did you mean {near[0]}?' if near else ''} Named lists: {', '.join(NAMED_LISTS)}"
    )


def identify(classes: ClassList) -> str:
    """The named list with exactly these ids in this order; an empty string if there is none."""
    matches = (name for name, known in NAMED_LISTS.items() if known.digest == classes.digest)
    return next(matches, "")


def timm_file(file: str) -> Path | None:
    """The path of a file in timm's ``data/_info``, which holds ImageNet's facts; None without it.

    timm keeps them as text files; importing timm for them would take six seconds.
    """
    spec = importlib.util.find_spec("timm")
    folders = (spec.submodule_search_locations if spec else None) or []
    paths = (Path(folder, "data", "_info", file) for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def _read_named(name: str) -> ClassList:
    known = NAMED_LISTS[name]
    path = timm_file(known.file)
    if path is None:
        raise ClassListError(
            f"{name} stands in timm's data/_info/{known.file}, which is not installed: "
            "install timm 1.0.20 or newer, or give the ids as a text file"
        )
    return _checked(ClassList.of(_read_lines(path), name), known)


def _checked(classes: ClassList, known: NamedList) -> ClassList:
    if classes.digest != known.digest:
        raise ClassListError(
            f"timm's {known.file} holds {len(classes):,} classes with the digest "
            f"{classes.digest[:6]}, {classes.name} has {known.length:,} with {known.digest[:6]}: "
            "install another timm, or give the ids as a text file"
        )
    return classes


def _read_lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ClassListError(
            f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}): "
            "a class list is a text file with one id a line"
        ) from error
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


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
