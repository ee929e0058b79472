"""A small dump of real photos with all that goes wrong in large ones, in every kind of source."""

from __future__ import annotations

import gzip
import io
import tarfile
from functools import cache
from typing import TYPE_CHECKING

from PIL import Image
from skimage import data

from labelkit.prepare import PrepareSettings

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = PrepareSettings(min_images=5, val=2, resize=32)
BROKEN = {"n01/n01_3.JPEG": "cut short", "n02/n02_7.JPEG": "empty", "n02/n02_8.JPEG": "a page"}

Dump = dict[str, dict[str, bytes]]


@cache
def photo(number: int, ending: str = "JPEG", *, small: bool = False) -> bytes:
    """One of many crops of a few photos, 40 to 80 pixels wide, or 20 x 12."""
    photos = (data.chelsea, data.rocket, data.coffee, data.astronaut)
    whole = Image.fromarray(photos[number % 4]())
    left, top = 7 * number % 200, 5 * number % 150
    width, height = (20, 12) if small else (40 + number % 41, 44 + 3 * number % 30)
    file = io.BytesIO()
    whole.crop((left, top, left + width, top + height)).save(file, ending)
    return file.getvalue()


@cache
def dump() -> Dump:
    """Three classes to keep and two to drop, with broken images and odd names."""
    odd = "zoë's & ünï (1)"
    classes: Dump = {
        "n01": {f"n01_{number}.JPEG": photo(number) for number in range(9)},
        "n02": {f"n02_{number}.JPEG": photo(20 + number) for number in range(9)},
        odd: {
            "a b.png": photo(40, "PNG"),
            "A.jpg": photo(41),
            "ä.jpg": photo(42),
            "deep/er/1.jpg": photo(43),
            "small.jpg": photo(44, small=True),
            "two.dots.jpg": photo(45),
        },
        "few": {f"{number}.jpg": photo(60 + number) for number in range(4)},
        "empty": {"readme.txt": b"nothing to see"},
    }
    classes["n01"]["n01_3.JPEG"] = classes["n01"]["n01_3.JPEG"][:300]
    classes["n01"]["notes.txt"] = b"not an image"
    classes["n02"]["n02_7.JPEG"] = b""
    classes["n02"]["n02_8.JPEG"] = b"<!DOCTYPE html> this photo is no longer available"
    return classes


def as_folder(classes: Dump, path: Path) -> Path:
    """Class folders."""
    for class_id, files in classes.items():
        for name, content in files.items():
            file = path / class_id / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    return path


def tar_bytes(files: dict[str, bytes]) -> bytes:
    """An uncompressed tar."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def as_class_tars(classes: Dump, path: Path) -> Path:
    """A folder with one tar per class."""
    path.mkdir(parents=True)
    for class_id, files in classes.items():
        (path / f"{class_id}.tar").write_bytes(tar_bytes(files))
    return path


def as_tar_of_tars(classes: Dump, path: Path) -> Path:
    """Like fall11_whole.tar; the classes are stored in another order than their names'."""
    inner = {f"./{class_id}.tar": tar_bytes(classes[class_id]) for class_id in reversed(classes)}
    file = path.with_suffix(".tar")
    file.write_bytes(tar_bytes(inner))
    return file


def as_compressed(classes: Dump, path: Path) -> Path:
    """Like winter21_whole.tar.gz."""
    inner = {f"whole/{class_id}.tar": tar_bytes(files) for class_id, files in classes.items()}
    file = path.with_suffix(".tar.gz")
    file.write_bytes(gzip.compress(tar_bytes(inner), 1))
    return file


def as_shards(classes: Dump, path: Path) -> Path:
    """WebDataset shards: the samples of all classes in turn, with the class's name beside each."""
    path.mkdir(parents=True)
    files = [(class_id, name) for class_id, inner in classes.items() for name in inner]
    for number in range(3):
        members: dict[str, bytes] = {}
        for class_id, name in files[number::3]:
            members[f"{class_id}/{name}"] = classes[class_id][name]
            stem = name.rpartition("/")[2].partition(".")[0]
            folder = name.rpartition("/")[0]
            members[f"{class_id}/{folder}{'/' * bool(folder)}{stem}.cls"] = class_id.encode()
        (path / f"part-{number:03d}.tar").write_bytes(tar_bytes(members))
    return path


SOURCES = (as_folder, as_class_tars, as_tar_of_tars, as_compressed, as_shards)


def content(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
