"""What is known of each class, in the manifest and in the journal of a run."""

from __future__ import annotations

import msgspec


class ClassRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one class.

    Attributes:
        class_id: its name.
        found: its images, readable or not.
        train: readable images for training.
        val: readable images for validation.
        bytes: of all its images in the output.
        sha256: of the lines that ``sha256sum`` prints for its images in the output, sorted by
            path; empty for a dropped class.
        dropped: why it is not in the output; empty if it is.
        others: files that are no images by their names.
        unreadable: broken images: name -> reason.
        skipped: links, devices, repeated and unsafe names: name -> reason.
        renamed: images that have another name in the output: name there -> name here.
    """

    class_id: str
    found: int
    train: int = 0
    val: int = 0
    bytes: int = 0
    sha256: str = ""
    dropped: str = ""
    others: int = 0
    unreadable: dict[str, str] = {}
    skipped: dict[str, str] = {}
    renamed: dict[str, str] = {}


class PackedImage(msgspec.Struct, frozen=True, array_like=True):
    """An image that waits for its shard: its name in the output, its split, and where it is."""

    name: str
    split: str
    pack: str
    offset: int
    size: int


class JournalEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A finished class of a run that goes on.

    Attributes:
        record: for the manifest.
        fingerprint: of its source.
        packed: its images, if the output is shards.
    """

    record: ClassRecord
    fingerprint: str
    packed: list[PackedImage] = []


class ShardRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One WebDataset shard: its file, its images and its checksum."""

    file: str
    images: int
    bytes: int
    sha256: str
