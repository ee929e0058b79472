"""The classes of a dump on their way to the output: listed here, resized by the workers."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, NamedTuple

from labelkit.errors import PrepareError
from labelkit.prepare.images import ImageForm, ImageTask, prepare_images
from labelkit.prepare.manifest import images_digest
from labelkit.prepare.plan import output_names, validation, why_dropped
from labelkit.prepare.records import ClassRecord, JournalEntry, PackedImage
from labelkit.prepare.workers import outcomes
from labelkit.wording import summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from labelkit.prepare.destination import Destination
    from labelkit.prepare.dump import Dump, DumpClass, Listing
    from labelkit.prepare.images import ImageOutcome
    from labelkit.prepare.settings import PrepareSettings

_CHUNK = 32  # images of a task


def prepare_classes(
    dump: Dump,
    output: Destination,
    settings: PrepareSettings,
    workers: int,
    on_image: Callable[[int, int], object],
) -> None:
    """Bring all classes of a dump to the output, except those that are finished there.

    Args:
        dump: the classes.
        output: where they go.
        settings: of the run.
        workers: processes.
        on_image: called with the number of images that are done, and of all: an estimate until all
            classes were listed.

    Raises:
        PrepareError: a class has changed since it was finished, or is gone.
        OSError: the disk, the network or a permission fails.
    """
    progress = _Progress(dump, on_image)
    tasks = _tasks(dump, output, settings, progress)
    for (unfinished, chunk), outcome in outcomes(prepare_images, tasks, workers):
        if unfinished.add(chunk, outcome):
            output.add(unfinished.finish())
        progress.done(len(outcome))
    output.publish()


def _tasks(
    dump: Dump, output: Destination, settings: PrepareSettings, progress: _Progress
) -> Iterator[tuple[tuple[_UnfinishedClass, int], ImageTask]]:
    """The work on all classes, made as workers become free."""
    gone = set(output.finished)
    for dumped in dump.classes(output.work):
        gone.discard(dumped.class_id)
        if earlier := output.finished.get(dumped.class_id):
            _require_unchanged(dumped, earlier, output.path)
            progress.skip(dumped.weight)
            continue
        listing = dumped.listing()
        dropped = why_dropped(len(listing.images), settings)
        progress.listed(0 if dropped else len(listing.images), dumped.weight)
        unfinished = _UnfinishedClass(dumped, listing, output, settings)
        if dropped:
            output.add(unfinished.drop(dropped))
        else:
            yield from unfinished.tasks()
    progress.all_listed()
    if gone:
        raise PrepareError(
            f"{summary(sorted(gone))} in {output.path} are no longer in {dump.path}: restore them, "
            "or choose another DST"
        )


def _require_unchanged(dumped: DumpClass, earlier: JournalEntry, path: Path) -> None:
    if dumped.fingerprint() != earlier.fingerprint:
        raise PrepareError(
            f"{dumped.where} has changed since it was prepared into {path}: restore it, or choose "
            "another DST"
        )


class _ReadImage(NamedTuple):
    """A readable image: its name in the dump and in the output, and what became of it."""

    dumped: str
    name: str
    outcome: ImageOutcome


class _UnfinishedClass:
    """A class whose images are with the workers, in a folder that is not in its place yet."""

    def __init__(
        self, dumped: DumpClass, listing: Listing, output: Destination, settings: PrepareSettings
    ) -> None:
        self._dumped, self._listing, self._settings = dumped, listing, settings
        self._work, self._class_id = output.work, dumped.class_id
        self._packing = settings.shards is not None
        self._folder = self._work / ("packed" if self._packing else "train") / dumped.class_id
        self._names = output_names([image.name for image in listing.images], settings)
        self._outcomes: dict[int, list[ImageOutcome]] = {}

    def tasks(self) -> Iterator[tuple[tuple[_UnfinishedClass, int], ImageTask]]:
        """The work on some images at a time."""
        self._folder.mkdir()
        form = ImageForm(self._settings.resize, self._settings.mode, self._settings.quality)
        for start in range(0, len(self._names), _CHUNK):
            images = self._listing.images[start : start + _CHUNK]
            names = self._names[start : start + _CHUNK]
            pack = _pack(start) if self._packing else ""
            yield (self, start), ImageTask(images, names, str(self._folder), pack, form)

    def add(self, start: int, outcome: list[ImageOutcome]) -> bool:
        """What became of the images from one position on; returns whether those were the last."""
        self._outcomes[start] = outcome
        return len(self._outcomes) * _CHUNK >= len(self._names)

    def drop(self, reason: str) -> JournalEntry:
        """The class does not go to the output."""
        shutil.rmtree(self._folder, ignore_errors=True)
        return self._entry(dropped=reason)

    def finish(self) -> JournalEntry:
        """All images are done: those for validation are moved to a folder of their own."""
        read = self._read()
        if len(read) <= self._settings.val:
            return self.drop(f"only {len(read):,} readable images")
        chosen = validation(self._class_id, [image.dumped for image in read], self._settings)
        splits = ["val" if image.dumped in chosen else "train" for image in read]
        if self._packing:
            packed = list(
                self._packed(dict(zip((image.name for image in read), splits, strict=True)))
            )
            return self._entry(read, splits, packed)
        for image, split in zip(read, splits, strict=True):
            if split == "val":
                self._move(image.name)
        return self._entry(read, splits)

    def _read(self) -> list[_ReadImage]:
        """The readable images, in order."""
        triples = zip(self._listing.images, self._names, self._in_order(), strict=True)
        return [
            _ReadImage(image.name, name, outcome)
            for image, name, outcome in triples
            if not outcome.unreadable
        ]

    def _in_order(self) -> list[ImageOutcome]:
        return [each for _, outcome in sorted(self._outcomes.items()) for each in outcome]

    def _entry(
        self,
        read: Sequence[_ReadImage] = (),
        splits: Sequence[str] = (),
        packed: Sequence[PackedImage] = (),
        dropped: str = "",
    ) -> JournalEntry:
        """What the journal records of the class."""
        self._dumped.release()
        digests = {
            f"{split}/{self._class_id}/{image.name}": image.outcome.sha256
            for image, split in zip(read, splits, strict=True)
        }
        record = ClassRecord(
            class_id=self._class_id,
            found=len(self._names),
            train=splits.count("train"),
            val=splits.count("val"),
            bytes=sum(image.outcome.size for image in read),
            sha256="" if dropped else images_digest(digests),
            dropped=dropped,
            others=self._listing.others,
            unreadable=self._unreadable(),
            skipped=self._listing.skipped,
            renamed={image.dumped: image.name for image in read if _is_renamed(image)},
        )
        return JournalEntry(
            record=record, fingerprint=self._dumped.fingerprint(), packed=list(packed)
        )

    def _unreadable(self) -> dict[str, str]:
        names = (image.name for image in self._listing.images)
        pairs = zip(names, self._in_order(), strict=False)  # none of a class with too few images
        return {name: outcome.unreadable for name, outcome in pairs if outcome.unreadable}

    def _packed(self, splits: dict[str, str]) -> Iterator[PackedImage]:
        """Where the readable images are in the packs."""
        for start, outcome in sorted(self._outcomes.items()):
            offset = 0
            for name, each in zip(self._names[start:], outcome, strict=False):
                if not each.unreadable:
                    yield PackedImage(name, splits[name], _pack(start), offset, each.size)
                    offset += each.size

    def _move(self, name: str) -> None:
        """Move an image to validation, and its folder below the class if it was the last there."""
        source = self._folder / name
        target = self._work / "val" / self._class_id / name
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
        for folder in source.parents:
            if folder == self._folder or any(folder.iterdir()):
                break
            folder.rmdir()


class _Progress:
    """How many images are done, and how many there will be."""

    def __init__(self, dump: Dump, on_image: Callable[[int, int], object]) -> None:
        self._on_image = on_image
        self._weight = dump.weight
        self._listed_weight, self._listed, self._done = 0.0, 0, 0

    def skip(self, weight: float) -> None:
        """A class is finished already."""
        self._weight -= weight

    def listed(self, images: int, weight: float) -> None:
        """A class was listed."""
        self._listed += images
        self._listed_weight += weight

    def all_listed(self) -> None:
        """There are no further classes."""
        self._weight = self._listed_weight

    def done(self, images: int) -> None:
        """Some images are done."""
        self._done += images
        share = self._listed_weight / self._weight if self._weight > 0 else 1
        self._on_image(self._done, max(self._listed, round(self._listed / min(share, 1))))


def _pack(start: int) -> str:
    """The file with the images of a class from one position on."""
    return f"{start:07d}.pack"


def _is_renamed(image: _ReadImage) -> bool:
    return image.dumped.rpartition(".")[0] != image.name.rpartition(".")[0]
