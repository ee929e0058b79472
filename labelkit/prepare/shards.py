"""WebDataset shards of the prepared images: all classes mixed, the same bytes from every run."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from labelkit.prepare.plan import shuffled
from labelkit.prepare.records import ShardRecord
from labelkit.prepare.workers import outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labelkit.prepare.destination import Destination
    from labelkit.prepare.settings import PrepareSettings


class ShardImage(NamedTuple):
    """An image for a shard: its member's name, its class's number, and where its bytes are."""

    name: str
    number: int
    path: str
    offset: int
    size: int


class ShardTask(NamedTuple):
    """One shard for a worker: the file to write, a name for it until then, and its images."""

    file: str
    temporary: str
    images: list[ShardImage]


def write_shards(
    destination: Destination,
    settings: PrepareSettings,
    workers: int,
    on_shard: Callable[[int, int], object],
) -> list[ShardRecord]:
    """Write the images of all finished classes as shards; those that exist are kept.

    Training images are in an order that depends on the seed, validation images are sorted.

    Args:
        destination: whose classes are finished.
        settings: of the run.
        workers: processes.
        on_shard: called with the number of shards that are done, and of all.

    Returns:
        The shards in order; none if the output is class folders.

    Raises:
        OSError: the disk is full.
    """
    if settings.shards is None:
        return []
    tasks = list(_tasks(destination, settings, settings.shards))
    records: dict[int, ShardRecord] = {}
    for position, record in outcomes(write_shard, enumerate(tasks), workers):
        records[position] = record
        on_shard(len(records), len(tasks))
    return [records[position] for position in sorted(records)]


def write_shard(task: ShardTask) -> ShardRecord:
    """Write one shard, unless it exists, and describe it."""
    path = Path(task.file)
    if not path.exists():
        with Path(task.temporary).open("xb") as file:
            with tarfile.TarFile(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                for image in task.images:
                    _add(tar, image)
            file.flush()
            os.fsync(file.fileno())
        Path(task.temporary).rename(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.seek(0, os.SEEK_END)
    return ShardRecord(file=path.name, images=len(task.images), bytes=size, sha256=digest)


def _tasks(destination: Destination, settings: PrepareSettings, each: int) -> Iterator[ShardTask]:
    finished = sorted(destination.finished.items())
    kept = [entry for _, entry in finished if not entry.record.dropped]
    for split in settings.splits:
        images = [
            ShardImage(
                f"{entry.record.class_id}/{image.name}",
                number,
                str(destination.places["packed"] / entry.record.class_id / image.pack),
                image.offset,
                image.size,
            )
            for number, entry in enumerate(kept)
            for image in entry.packed
            if image.split == split
        ]
        if split == "train":
            order = shuffled([image.name for image in images], settings.seed)
            images = [images[position] for position in order]
        for number, start in enumerate(range(0, len(images), each)):
            file = f"{split}-{number:05d}.tar"
            yield ShardTask(
                str(destination.path / file),
                str(destination.work / file),
                images[start : start + each],
            )


def _add(tar: tarfile.TarFile, image: ShardImage) -> None:
    """Add an image and its class as the two files of a sample."""
    with Path(image.path).open("rb", buffering=0) as file:
        content = os.pread(file.fileno(), image.size, image.offset)
    for name, data in (
        (image.name, content),
        (f"{image.name.rpartition('.')[0]}.cls", str(image.number).encode()),
    ):
        member = tarfile.TarInfo(name)
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
