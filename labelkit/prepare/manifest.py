"""``manifest.json`` beside the output: what was made, from what, with which digests."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import msgspec

from labelkit.errors import PrepareError
from labelkit.files import decode_json, replace_file, require_regular_file
from labelkit.hierarchy import ClassList, identify

# msgspec reads the annotations of a Struct.
from labelkit.prepare.records import ClassRecord, ShardRecord  # noqa: TC001
from labelkit.prepare.samples import CLASS_LIST
from labelkit.wording import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from labelkit.prepare.settings import PrepareSettings

MANIFEST = "manifest.json"
"""The manifest's file name."""
FORMAT, VERSION = "labelkit-prepared-images", 1


class PrepareManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a finished run of ``prepare`` made.

    It depends on the images, the settings and ``made_with`` alone: two runs give the same bytes.

    Attributes:
        made_with: what decides the bytes of images, besides the settings: Pillow's version.
        settings: see ``PrepareSettings``.
        source: the kind of dump.
        class_list: the name, if it is a published list, and the digest of the kept classes.
        counts: of classes and images.
        classes: one for each class of the dump, sorted by name.
        shards: one for each shard; empty for class folders.
        format: the kind of file.
        version: of the format.
    """

    format: str = FORMAT
    version: int = VERSION
    made_with: dict[str, str]
    settings: dict[str, Any]
    source: str
    class_list: dict[str, str]
    counts: dict[str, int]
    classes: list[ClassRecord]
    shards: list[ShardRecord]

    @property
    def kept(self) -> list[str]:
        """The classes of the output."""
        return [record.class_id for record in self.classes if not record.dropped]

    @property
    def dropped(self) -> list[ClassRecord]:
        """The classes that are not in the output."""
        return [record for record in self.classes if record.dropped]


def made_with() -> dict[str, str]:
    """The versions of what decodes and encodes images."""
    from PIL import features

    jpeg = features.version("libjpeg_turbo") or features.version("jpg") or "unknown"
    return {"pillow": version("pillow"), "libjpeg": jpeg}


def make_manifest(
    source: str,
    settings: PrepareSettings,
    records: Iterable[ClassRecord],
    shards: Sequence[ShardRecord] = (),
) -> PrepareManifest:
    """The manifest of a run.

    Args:
        source: the kind of dump.
        settings: of the run.
        records: of all classes, in any order.
        shards: in order, if the output is shards.
    """
    classes = sorted(records, key=lambda record: record.class_id)
    kept = [record.class_id for record in classes if not record.dropped]
    listed = ClassList.of(kept) if kept else None
    name, digest = (identify(listed), listed.digest) if listed else ("", "")
    return PrepareManifest(
        made_with=made_with(),
        settings=settings.fields(),
        source=source,
        class_list={"name": name, "digest": digest},
        counts=_counts(classes),
        classes=classes,
        shards=list(shards),
    )


def save_manifest(manifest: PrepareManifest, folder: Path, scratch: Path) -> None:
    """Write the class list, then the manifest; unfinished files are in ``scratch``."""
    lines = "".join(f"{class_id}\n" for class_id in manifest.kept)
    replace_file(folder / CLASS_LIST, lines.encode(), scratch)
    content = msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
    replace_file(folder / MANIFEST, content, scratch)


def load_manifest(folder: Path) -> PrepareManifest:
    """The manifest of a finished output.

    Raises:
        FileNotFoundError: there is none: the run is not finished, or it is another folder.
        PrepareError: it is damaged, or of another version.
    """
    path = folder / MANIFEST
    require_regular_file(path, PrepareError)
    remedy = "prepare into another folder"
    manifest = decode_json(path.read_bytes(), PrepareManifest, path, PrepareError, remedy)
    if (manifest.format, manifest.version) != (FORMAT, VERSION):
        found = f"{shown(manifest.format)} version {manifest.version}"
        raise PrepareError(f"{path} is {found}, expected {FORMAT} version {VERSION}: {remedy}")
    return manifest


def images_digest(split_names: Mapping[str, str]) -> str:
    """The SHA-256 of what ``sha256sum`` prints for some files, sorted by path.

    Args:
        split_names: path below the output -> SHA-256 of the file.
    """
    lines = "".join(f"{digest}  {path}\n" for path, digest in sorted(split_names.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _counts(classes: Sequence[ClassRecord]) -> dict[str, int]:
    kept = [record for record in classes if not record.dropped]
    return {
        "classes": len(kept),
        "train": sum(record.train for record in kept),
        "val": sum(record.val for record in kept),
        "unreadable": sum(len(record.unreadable) for record in classes),
        "skipped": sum(len(record.skipped) for record in classes),
        "dropped_classes": len(classes) - len(kept),
        "dropped_images": sum(record.found for record in classes if record.dropped),
    }
