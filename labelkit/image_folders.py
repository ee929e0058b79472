"""What counts as a class folder and as an image file, and which keys name the same image.

Names that start with a dot are hidden: Jupyter's ``.ipynb_checkpoints``, a Mac's ``._cat.jpg``. No
class and no image is hidden, and none is inside a hidden folder.
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

# The same file extensions as torchvision's ImageFolder.
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""The file name endings of images, in lower case; those of torchvision's ImageFolder."""


MAX_KEY_BYTES = 4096
"""The longest key."""


def key_fault(key: str) -> str:
    """Why a text cannot be an image's key, in words; empty if it can.

    >>> key_fault("cats/1.jpg"), key_fault("../1.jpg")
    ('', "key '../1.jpg' points outside the data set's folder")
    """
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return f"file name {key!r} is not valid UTF-8: rename it"
    if not key or "\0" in key or size > MAX_KEY_BYTES:
        return f"key {key[:80]!r} is empty, contains NUL or exceeds {MAX_KEY_BYTES} bytes"
    if key.startswith("/") or (".." in key and ".." in key.split("/")):
        return f"key {key!r} points outside the data set's folder"
    return ""


def is_hidden(key: str) -> bool:
    """Whether a path below a data set's root is hidden, or inside a hidden folder.

    >>> is_hidden(".ipynb_checkpoints/cat.jpg"), is_hidden("cats/._1.jpg"), is_hidden("cats/1.jpg")
    (True, True, False)
    """
    return key.startswith(".") or "/." in key


def is_pattern(path: str) -> bool:
    """Whether a path has braces or wildcards, and so may stand for several files.

    >>> is_pattern("train-{000..146}.tar"), is_pattern("photos")
    (True, False)
    """
    return any(each in path for each in "{*?[")


def is_image_name(name: str) -> bool:
    """Whether a file of this name is an image, judged by the name alone.

    >>> is_image_name("cat.JPG"), is_image_name("._cat.jpg"), is_image_name("cat.txt")
    (True, False, False)
    """
    return name.lower().endswith(EXTENSIONS) and not is_hidden(name)


def iterate_images(root: str | os.PathLike[str]) -> Iterator[str]:
    """The keys of all images below a folder, in the order of ``sorted``, one at a time.

    Memory holds the names in the folders on the way to the current image, not all keys. Links to
    folders are followed, but not in circles.

    Raises:
        OSError: ``root`` is not a folder, or a folder below it is not readable.
    """
    # Folders end with "/": sorted so, every key of a folder is in its place among its neighbours.
    pending: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while pending:
        key, above = pending.pop()
        if key and not key.endswith("/"):
            yield key
            continue
        folder = Path(root, key)
        status = folder.stat()
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            continue
        with os.scandir(folder) as entries:
            found = [key + name for name in map(_folder_or_image, entries) if name]
        pending += [(each, above | {identity}) for each in sorted(found, reverse=True)]


def _folder_or_image(entry: os.DirEntry[str]) -> str:
    """The name of an image, or of a folder with a slash; empty for others and what is hidden."""
    if entry.is_dir():
        return "" if is_hidden(entry.name) else f"{entry.name}/"
    return entry.name if is_image_name(entry.name) else ""


def walk_images(folder: Path) -> list[str]:
    """The keys of all images below a folder, in no order: faster than ``iterate_images``.

    Raises:
        OSError: a folder is not readable.
    """
    keys: list[str] = []
    above: dict[str, frozenset[tuple[int, int]]] = {}
    for parent, children, files in os.walk(folder, onerror=_reraise, followlinks=True):
        status = Path(parent).stat()
        identity = (status.st_dev, status.st_ino)
        ancestors = above.pop(parent, frozenset())
        if identity in ancestors:
            children.clear()
            continue
        children[:] = [child for child in children if not is_hidden(child)]
        above |= {str(Path(parent, child)): ancestors | {identity} for child in children}
        inner = Path(parent).relative_to(folder)
        keys += [(inner / name).as_posix() for name in files if is_image_name(name)]
    return keys


def _reraise(error: OSError) -> NoReturn:
    """Without this, ``os.walk`` silently skips folders that it cannot read."""
    raise error


def class_folders(root: str | os.PathLike[str]) -> list[str]:
    """The names of the class folders in a folder, sorted as torchvision's ``ImageFolder`` does.

    Links to folders count.

    Raises:
        OSError: ``root`` is not a folder, or cannot be read.
    """
    with os.scandir(root) as entries:
        return sorted(
            entry.name for entry in entries if entry.is_dir() and not is_hidden(entry.name)
        )


def plain_spelling(key: str) -> str:
    r"""A key with composed characters (NFC) and ``/``: copies from a Mac or Windows may differ.

    >>> plain_spelling("cafe\u0301\\1.jpg") == "caf\u00e9/1.jpg"
    True
    """
    return unicodedata.normalize("NFC", key.replace("\\", "/"))


def image_path(root: str | os.PathLike[str], key: str) -> Path:
    """Where a key's image is, even if its names are spelled in another way on this disk.

    If there is no such file, or several that differ in their spelling only, the path as the key
    spells it.
    """
    exact = Path(root, key)
    if exact.exists():
        return exact
    found = [Path(root)]
    for part in plain_spelling(key).split("/"):
        found = [
            child
            for folder in found
            if folder.is_dir()
            for child in folder.iterdir()
            if plain_spelling(child.name) == part
        ]
    return found[0] if len(found) == 1 else exact
