"""Images in tars: one tar, tars inside it, or the shards of a WebDataset."""

from __future__ import annotations

import io
import json
import os
import re
from array import array
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from labelkit.errors import DatasetError
from labelkit.image_folders import EXTENSIONS, is_hidden
from labelkit.sources.byte_ranges import ByteRanges
from labelkit.sources.source import ImageLabels, IndexedImages, numbered_labels
from labelkit.sources.tar_headers import TAR_ENDINGS, tar_members

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from labelkit.sources.source import ImageFile
    from labelkit.sources.tar_headers import TarMember

_LARGEST_IMAGE = 1 << 30
_LARGEST_LABEL = 1 << 20
_LINK = _NONE = -1
_Places: TypeAlias = "tuple[array[int], array[int]]"
_SAMPLE = re.compile(r"((?:.*/)?[^./]+)\.[^/]*", re.DOTALL)  # as WebDataset splits a name
_LABEL_FIELDS = ("cls", "class", "label")
_ADVICE = "Give the members names that differ"


class TarImages(IndexedImages):
    """The images in one tar or several, found by a pass over the headers and read in place.

    A key is the member's path in its tar, so a tar of a folder has the keys of the folder. Where
    tars are inside the tar, their path without ``.tar`` comes first. With several tars, which may
    be the shards of a WebDataset, the member's path is ``__key__`` and the real ending; if images
    of two shards have the same, the shard's path without ``.tar`` comes first in all keys.

    The class of an image is the content of ``__key__.cls`` or the field ``cls``, ``class`` or
    ``label`` of ``__key__.json``; without these, its first folder.

    Args:
        path: what the user named.
        tars: the files, in order.

    Raises:
        DatasetError: a tar is compressed, damaged or cut short; there are no images; a key leaves
            the data set; or two keys are equal.
        OSError: a file cannot be read.
    """

    def __init__(self, path: str, tars: Sequence[str]) -> None:
        self._bytes = ByteRanges(list(tars))
        self._index = _TarIndex()
        for number, tar in enumerate(tars):
            with Path(tar).open("rb") as file:
                self._index.add_tar(number, file, tar)
        if not self._index.names:
            raise DatasetError(f"{path} holds no images (extensions {' '.join(EXTENSIONS)})")
        rule, keys = self._index.keys(list(tars))
        super().__init__(path, rule, keys, _ADVICE)

    def file(self, key: str) -> ImageFile:
        """The bytes of an image."""
        row = self.row(key)
        size = self._index.sizes[row]
        if size == _LINK:
            raise DatasetError(
                "a link or a device in the tar, not a file: pack the images themselves "
                "(tar --dereference --hard-dereference)"
            )
        if size > _LARGEST_IMAGE:
            raise DatasetError(f"{size:,} bytes, more than {_LARGEST_IMAGE:,}")
        return io.BytesIO(self._bytes.read(self._index.files[row], self._index.offsets[row], size))

    def state(self, key: str) -> str:
        """What changes when the file of an image does."""
        return self._bytes.state(self._index.files[self.row(key)])

    def place(self, row: int) -> str:
        """The tar and the member of an image."""
        tar = self._bytes.paths[self._index.files[row]]
        return f"{tar}: {self._index.names[row]}"

    @cached_property
    def stored_labels(self) -> ImageLabels | None:
        """The class of each image, from the file beside it.

        Raises:
            DatasetError: a label is not valid; the message names it.
        """
        names = [self._label(row) for row in self.rows] if self._label_kind else []
        return numbered_labels(names) if any(name is not None for name in names) else None

    def stored_label(self, key: str) -> str | None:
        """The class of an image, from the file beside it; the other images' files are not read.

        Raises:
            DatasetError: it is not valid; the message names it.
        """
        return self._label(self.row(key))

    @cached_property
    def _label_kind(self) -> str | None:
        """Which files have the labels: ``.cls`` where there are any, else ``.json``."""
        labels = self._index.labels
        return next((kind for kind in _LABEL_KINDS if _any_place(labels.get(kind))), None)

    def _label(self, row: int) -> str | None:
        """The label in the file beside an image; None without one."""
        kind = self._label_kind
        if kind is None:
            return None
        places = self._index.labels[kind]
        if row >= len(places[0]) or places[0][row] == _NONE:
            return None
        offset, size = places[0][row], places[1][row]
        if not 0 <= size <= _LARGEST_LABEL:
            raise DatasetError(f"{self.place(row)}: its label has {size:,} bytes")
        try:
            return _LABEL_KINDS[kind](self._bytes.read(self._index.files[row], offset, size))
        except ValueError as error:
            raise DatasetError(f"{self.place(row)}: its label cannot be read: {error}") from error


class _TarIndex:
    """Where the images of some tars are, by row.

    Attributes:
        names: the member's path, after those of the tars that it is in.
        files, offsets, sizes: where its content is; the size of a link is -1.
        labels: for each kind of label file, the offset and the size of each row's.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.files, self.offsets, self.sizes = array("q"), array("q"), array("q")
        self.labels: dict[str, _Places] = {}
        self._nested = False

    def add_tar(self, number: int, file: BinaryIO, where: str) -> None:
        """Add the images of a tar, and of the tars inside it."""
        self._add(number, file, where, "", tar_members(file, where))

    def keys(self, tars: list[str]) -> tuple[str, list[str]]:
        """How keys are made, and the key of each row."""
        rule = "path in the tar"
        if self._nested:
            rule += "; for tars inside it, their path without .tar first"
        if len(tars) == 1 or not self._repeat():
            return rule, self.names
        folder = os.path.commonpath([os.path.dirname(tar) for tar in tars])  # noqa: PTH120
        shards = [_without_tar(os.path.relpath(tar, folder)) for tar in tars]
        keys = [
            f"{shards[number]}/{name}" for number, name in zip(self.files, self.names, strict=True)
        ]
        return f"the tar's path without .tar, then the {rule}", keys

    def _repeat(self) -> bool:
        """Whether images of two tars have the same name; in one tar, it is an error."""
        if len(set(self.names)) == len(self.names):
            return False
        tars = {name: number for number, name in zip(self.files, self.names, strict=True)}
        return any(
            tars[name] != number for number, name in zip(self.files, self.names, strict=True)
        )

    def _add(
        self, number: int, file: BinaryIO, where: str, prefix: str, members: Iterator[TarMember]
    ) -> None:
        first, found = len(self.names), dict[str, dict[str, tuple[int, int]]]()
        inner: list[TarMember] = []
        for member in members:
            if is_hidden(member.name) and ".." not in member.name.split("/"):
                continue
            if member.name.lower().endswith(EXTENSIONS):
                self.names.append(prefix + member.name)
                self.files.append(number)
                self.offsets.append(member.offset)
                self.sizes.append(member.size)
            elif member.name.lower().endswith(TAR_ENDINGS):
                inner.append(member)
            elif member.name.endswith((".cls", ".json")):
                stem, _, kind = member.name.rpartition(".")
                found.setdefault(kind, {})[prefix + stem] = (member.offset, member.size)
        self._add_labels(first, found)
        for member in inner:
            self._add_inner(number, file, f"{where}: {member.name}", prefix, member)

    def _add_inner(
        self, number: int, file: BinaryIO, where: str, prefix: str, member: TarMember
    ) -> None:
        if prefix:
            raise DatasetError(f"{where} is a tar in a tar in a tar: unpack the outermost")
        if member.size == _LINK:
            raise DatasetError(f"{where} is a link, not a file: pack the tar itself")
        self._nested = True
        members = tar_members(file, where, member.offset, member.offset + member.size)
        self._add(number, file, where, f"{_without_tar(member.name)}/", members)

    def _add_labels(self, first: int, found: dict[str, dict[str, tuple[int, int]]]) -> None:
        """Note the label files that are beside the images from a row on, by kind and name."""
        for kind, places in found.items():
            rows = self.labels.setdefault(kind, (array("q"), array("q")))
            for column in rows:
                column.extend([_NONE] * (len(self.names) - len(column)))
            for row in range(first, len(self.names)):
                sample = _SAMPLE.fullmatch(self.names[row])
                if sample and sample[1] in places:
                    rows[0][row], rows[1][row] = places[sample[1]]


def _any_place(places: _Places | None) -> bool:
    return places is not None and any(offset != _NONE for offset in places[0])


def _without_tar(name: str) -> str:
    return name[: -len(".tar")] if name.lower().endswith(".tar") else name


def _class_text(content: bytes) -> str:
    text = content.decode().strip()
    if not text or "\n" in text:
        raise ValueError(f"{text[:80]!r} in a .cls file, expected one class")
    return text


def _class_field(content: bytes) -> str | None:
    fields = json.loads(content)
    if not isinstance(fields, dict):
        raise ValueError("the .json file holds no object")  # noqa: TRY004 -- of a file, as in json
    found = next((fields[name] for name in _LABEL_FIELDS if name in fields), None)
    if found is None or (isinstance(found, (str, int)) and not isinstance(found, bool)):
        return None if found is None else str(found)
    raise ValueError(f"{str(found)[:80]!r} in the .json file, expected a class")


_LABEL_KINDS = {"cls": _class_text, "json": _class_field}
