"""Image manifests: some images of a folder with their labels, as one small file.

``labelkit subset`` and ``labelkit cluster`` write them; what reads a folder of images takes them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from labelkit.errors import DatasetError
from labelkit.file_kinds import BEGINNING, MANIFEST_FORMAT, is_manifest, known_kind
from labelkit.files import decode_json, one_line_per_field, replace_file, require_regular_file

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

VERSION = 1
AGAIN = "Make it again: labelkit subset or labelkit cluster"
_EXPECTED = "expected a manifest of images from labelkit subset or labelkit cluster"


class _Header(msgspec.Struct):
    format: str
    version: int


class ManifestDocument(msgspec.Struct, forbid_unknown_fields=True):
    """A whole manifest file, with its fields in order.

    Attributes:
        images: the folder of the images, or the files that hold them, as ``open_source`` takes
            them; a relative path starts at the manifest.
        settings: how the images and labels were chosen, for people; the seed among them.
        digest: SHA-256 of classes, keys and labels. The folder and the settings are not included:
            a manifest may move with its images.
        classes: the class ids.
        keys: N keys of these images, ascending.
        labels: for each key the positions of its classes in ``classes``, the main one first.
    """

    format: str
    version: int
    images: str
    settings: dict[str, Any]
    digest: str
    classes: list[str]
    keys: list[str]
    labels: list[list[int]]


@dataclass(frozen=True)
class ImageManifest:
    """Some images of a folder, and the labels of each.

    Attributes:
        images: the folder of the images, or the files that hold them, as
            ``labelkit.sources.open_source`` takes them.
        classes: the class ids.
        keys: N keys of these images, ascending.
        labels: for each key the positions of its classes in ``classes``, the main one first.
        settings: how the images and labels were chosen, for people; the seed among them.

    Raises:
        DatasetError: there are no images, keys do not ascend, or a label is none of the classes.

    >>> pets = ImageManifest(Path("pets"), ("cat", "dog"), ("a.jpg", "b.jpg"), ((0,), (1, 0)))
    >>> pets.counts, pets.digest[:6]
    ((1, 1), '0dd341')
    """

    images: Path
    classes: tuple[str, ...]
    keys: tuple[str, ...]
    labels: tuple[tuple[int, ...], ...]
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any], compare=False)

    def __post_init__(self) -> None:
        if not self.keys:
            raise DatasetError("the manifest has no images")
        if len(self.keys) != len(self.labels):
            raise DatasetError(
                f"the manifest has {len(self.keys):,} keys and {len(self.labels):,} labels"
            )
        for before, after in zip(self.keys, self.keys[1:], strict=False):
            if before >= after:
                raise DatasetError(f"keys must ascend, but {after!r} follows {before!r}")
        valid = range(len(self.classes))
        for key, labels in zip(self.keys, self.labels, strict=True):
            if not labels or any(label not in valid for label in labels):
                raise DatasetError(
                    f"{key!r} has the labels {list(labels)}, expected at least one of the "
                    f"{len(valid):,} classes"
                )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of classes, keys and labels, in hexadecimal."""
        return _digest(self.classes, self.keys, self.labels)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """The number of images of each class, by their main label."""
        counted = Counter(labels[0] for labels in self.labels)
        return tuple(counted[number] for number in range(len(self.classes)))

    @property
    def has_several_labels(self) -> bool:
        """Whether an image has more than one label."""
        return any(len(labels) > 1 for labels in self.labels)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the manifest as JSON, atomically; an existing file is replaced.

        If the folder of images is inside the manifest's own folder, its path is written relative to
        it, so that both may move together; otherwise it is absolute.

        Raises:
            DatasetError: a key or a class is not valid Unicode.
            OSError: the file cannot be written.
        """
        target = Path(path)
        folder, images = target.resolve().parent, self.images.resolve()
        inside = images.is_relative_to(folder)
        document = ManifestDocument(
            format=MANIFEST_FORMAT,
            version=VERSION,
            images=(images.relative_to(folder) if inside else images).as_posix(),
            settings=dict(self.settings),
            digest=self.digest,
            classes=list(self.classes),
            keys=list(self.keys),
            labels=[list(labels) for labels in self.labels],
        )
        fields = ((name, getattr(document, name)) for name in document.__struct_fields__)
        replace_file(target, one_line_per_field(fields))


def read_manifest(path: str | os.PathLike[str]) -> ImageManifest:
    """Read a manifest, and check everything in it. The images themselves are not looked at.

    Raises:
        DatasetError: not a manifest, damaged, changed since it was written, or of another version.
        OSError: the file cannot be read.
    """
    file = Path(path)
    require_regular_file(file, DatasetError)
    content = file.read_bytes()
    if not is_manifest(content[:BEGINNING]):
        raise DatasetError(f"{file} {known_kind(content) or 'is something else'}: {_EXPECTED}")
    header = decode_json(content, _Header, file, DatasetError, AGAIN)
    if header.version != VERSION:
        raise DatasetError(
            f"{file} is {MANIFEST_FORMAT!r} version {header.version}, expected version {VERSION}. "
            f"{AGAIN}"
        )
    document = decode_json(content, ManifestDocument, file, DatasetError, AGAIN)
    if document.digest != (expected := _digest(document.classes, document.keys, document.labels)):
        raise DatasetError(
            f"{file} was changed after it was written: it gives the digest "
            f"{document.digest[:64]}, but its content has {expected}. {AGAIN}"
        )
    try:
        return ImageManifest(
            file.resolve().parent / document.images,
            tuple(document.classes),
            tuple(document.keys),
            tuple(map(tuple, document.labels)),
            document.settings,
        )
    except DatasetError as error:
        raise DatasetError(f"{file}: {error}. {AGAIN}") from error


def _digest(classes: Sequence[str], keys: Sequence[str], labels: Sequence[Sequence[int]]) -> str:
    try:
        content = msgspec.json.encode([classes, keys, labels])
    except UnicodeEncodeError as error:
        near = error.object[max(0, error.start - 20) : error.start + 20]
        raise DatasetError(f"invalid Unicode near {near!r}: rename that file or class") from error
    return hashlib.sha256(content).hexdigest()
