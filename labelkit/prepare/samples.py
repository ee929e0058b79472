"""A dump that is a WebDataset, or a tar of class folders: classes mixed in one or several tars."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from labelkit.errors import PrepareError
from labelkit.files import read_utf8
from labelkit.prepare.class_ids import require_usable
from labelkit.prepare.class_tars import LINK
from labelkit.prepare.dump import Dump, DumpClass, DumpImage, Listing, name_fault, taken
from labelkit.sources import tar_members
from labelkit.wording import clipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

CLASS_LIST = "classes.txt"
"""The class list beside shards; line n names the class of the number n - 1 in a ``.cls`` file."""
_LABEL_FIELDS = ("cls", "class", "label")
_LARGEST_LABEL = 1 << 20


class SampleClass(DumpClass):
    """The images of one class, which were found in all tars."""

    def __init__(self, class_id: str, where: str, listing: Listing) -> None:
        super().__init__(class_id, where, len(listing.images))
        self._listing = listing

    def listing(self) -> Listing:
        """The images."""
        return self._listing

    def fingerprint(self) -> str:
        """The SHA-256 of the images' names and places."""
        places = (f"{each.name}\n{each.offset}\n{each.size}" for each in self._listing.images)
        return hashlib.sha256("\n".join(places).encode()).hexdigest()


class SamplesDump(Dump):
    """WebDataset shards, or a tar of class folders.

    The class of an image is the content of ``__key__.cls`` (a name, or a number in ``classes.txt``
    beside the shards), else the field ``cls``, ``class`` or ``label`` of ``__key__.json``, else its
    first folder. Its name is its path, without a first folder named by the class; if shards repeat
    names, the shard's name comes in front.

    Args:
        path: what the user named.
        shards: the tars, in order.

    Raises:
        PrepareError: a shard is damaged, an image has no class, or a class name cannot be used.
        OSError: a shard cannot be read.
    """

    kind = "WebDataset shards"

    def __init__(self, path: Path, shards: Sequence[Path]) -> None:
        super().__init__(path)
        numbers = _numbered(shards[0].parent / CLASS_LIST)
        found = [(shard.stem, *sample) for shard in shards for sample in _samples(shard, numbers)]
        self._classes = _by_class(found)
        require_usable([(class_id, str(path)) for class_id in self._classes])
        self.weight = sum(len(listing.images) for listing in self._classes.values())

    def classes(self, scratch: Path) -> Iterator[DumpClass]:
        """The classes, sorted by name."""
        del scratch
        for class_id, listing in sorted(self._classes.items()):
            yield SampleClass(class_id, f"{self.path} ({class_id})", listing)


def _samples(shard: Path, numbers: list[str]) -> Iterator[tuple[str, DumpImage]]:
    """The class of each image in a shard, and the image; the size of a link is -1."""
    images: list[DumpImage] = []
    labels: dict[str, str] = {}
    with shard.open("rb") as file:
        for name, offset, size in tar_members(file, str(shard)):
            kind = name.rpartition(".")[2].lower()
            if taken(name):
                images.append(DumpImage(name, str(shard), offset, size))
            elif kind in {"cls", "json"} and 0 <= size <= _LARGEST_LABEL:
                place = file.tell()
                file.seek(offset)
                label = _label(kind, file.read(size), numbers, f"{shard}: {name}")
                file.seek(place)
                if label and (kind == "cls" or _key(name) not in labels):
                    labels[_key(name)] = label
    for image in images:
        yield _class_of(image.name, labels, shard), image


def _class_of(name: str, labels: dict[str, str], shard: Path) -> str:
    folder, slash, _ = name.removeprefix("/").partition("/")
    if label := labels.get(_key(name), folder if slash else ""):
        return label
    raise PrepareError(
        f"{shard}: {name} has no class: neither a .cls or .json file beside it, nor a folder. If "
        "each tar is a class, pass --source class-tars"
    )


def _by_class(found: list[tuple[str, str, DumpImage]]) -> dict[str, Listing]:
    """The images of each class, under names that no two share."""
    shards: dict[tuple[str, str], str] = {}
    repeated = any(
        shards.setdefault((class_id, image.name), shard) != shard
        for shard, class_id, image in found
    )
    taken_images: dict[str, dict[str, DumpImage]] = {}
    skipped: dict[str, dict[str, str]] = {}
    for shard, class_id, image in found:
        name = image.name.removeprefix(f"{class_id}/")
        name = f"{shard}/{name}" if repeated else name
        images = taken_images.setdefault(class_id, {})
        skips = skipped.setdefault(class_id, {})
        if reason := LINK if image.size < 0 else name_fault(name):
            skips[name.encode(errors="replace").decode()] = reason
            continue
        if name in images:
            skips[name] = "there several times: the last one is taken"
        images[name] = image._replace(name=name)
    return {
        class_id: Listing(sorted(images.values()), dict(sorted(skipped[class_id].items())))
        for class_id, images in taken_images.items()
    }


def _key(name: str) -> str:
    """A member's path up to the first dot of its last part, as WebDataset splits it."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}"


def _label(kind: str, content: bytes, numbers: list[str], where: str) -> str:
    """A class from a label file; empty if a ``.json`` file has none.

    Raises:
        PrepareError: it cannot be read, or is a number that the class list does not have.
    """
    try:
        text = content.decode().strip() if kind == "cls" else _field(json.loads(content))
    except (ValueError, RecursionError) as error:
        raise PrepareError(f"{where} cannot be read ({type(error).__name__}): remove it") from error
    if not numbers or not text.isdecimal():
        return text
    if int(text) >= len(numbers):
        raise PrepareError(f"{where} has the class {clipped(text)}, {CLASS_LIST} {len(numbers):,}")
    return numbers[int(text)]


def _field(document: Any) -> str:  # noqa: ANN401 -- JSON
    fields: dict[str, Any] = document if isinstance(document, dict) else {}
    found = next((fields[name] for name in _LABEL_FIELDS if name in fields), "")
    return str(found) if isinstance(found, (str, int)) else ""


def _numbered(path: Path) -> list[str]:
    """The classes of a class list beside shards, in order; none without one."""
    return read_utf8(path, PrepareError).splitlines() if path.is_file() else []
