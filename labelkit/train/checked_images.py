"""Check that a run's images can be read: all of them at once, before the first epoch."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import PIL
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from labelkit import __version__
from labelkit.data import open_image, require_regular
from labelkit.errors import DatasetError, first_line, is_out_of_memory
from labelkit.files import decode_json, replace_file
from labelkit.train.data import leave_out
from labelkit.train.image_reading import ImageReader, UnreadableImage
from labelkit.train.run_folder import IMAGES
from labelkit.wording import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torchvision.datasets import ImageFolder

    from labelkit.train.recipe import Recipe

# Formats whose header and last bytes show that a file is whole; all others are decoded.
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"}
REMEDY = "Repair or remove them, or leave them out: --set data.unreadable=skip"
ON_DISK = (
    "The disk, the network or a permission failed, not the images. Fix the cause and run the same "
    "command again"
)
_SHOWN = 20
_WORTH_WORKERS = 2000
_LARGEST_REPORT = 1 << 28

Depth = Literal["header", "pixels"]


class Fault(msgspec.Struct, frozen=True):
    """Why an image cannot be read.

    Attributes:
        reason: in words.
        of_disk: the disk, the network or a permission failed; the image may be intact.
    """

    reason: str
    of_disk: bool = False


class ImageReport(msgspec.Struct, frozen=True):
    """What a check of many images found; ``images.json`` in the run's folder.

    Attributes:
        digest: of the images' paths, sizes and times, and of how they were checked.
        unreadable: the reason for each image that cannot be read, by path.
    """

    digest: str
    unreadable: dict[str, Fault]


def check_images(
    paths: Sequence[str],
    depth: Depth,
    *,
    reader: ImageReader | None = None,
    workers: int = 0,
    known: Path | None = None,
) -> ImageReport:
    """Find the images that cannot be read.

    Args:
        paths: the images.
        depth: ``header`` reads the header and the last bytes of JPEG and PNG files, and decodes
            only what looks odd; ``pixels`` decodes every image.
        reader: of images that are not files of their own.
        workers: processes that share the work, if there are many images.
        known: an earlier report. If no image has changed since, only its faults are checked again.

    Raises:
        LabelkitError: a worker was killed.
    """
    reader = reader or ImageReader({})
    digest = _digest(paths, depth, reader)
    earlier = _read_report(known)
    if earlier is not None and earlier.digest == digest:
        paths = [path for path in paths if path in earlier.unreadable]
    look = _look_at_pixels if depth == "pixels" else _look_at_header
    faults = _look_at_all(paths, partial(look, reader), workers)
    return ImageReport(digest, faults)


def unreadable_images(faults: dict[str, Fault], remedy: str) -> DatasetError:
    """The error that names all unreadable images, up to twenty of them."""
    listed = [
        f"{printable(path)}: {printable(fault.reason).rstrip('.')}"
        for path, fault in list(faults.items())[:_SHOWN]
    ]
    more = [f"and {len(faults) - _SHOWN:,} more"] if len(faults) > _SHOWN else []
    count = "cannot read" if len(faults) == 1 else f"cannot read {len(faults):,} images:"
    return DatasetError(f"{count} {'; '.join([*listed, *more])}. {remedy}")


@dataclass(frozen=True)
class CheckedImages:
    """The images of a run after their check.

    Attributes:
        report: what the check found.
        skipped: number of training and of evaluation images that are left out.
        digest: of the names of all images that are used, of all folders.
        paths: all images, whether used or not.
        reader: of all images.
    """

    report: ImageReport
    skipped: tuple[int, int]
    digest: str
    paths: tuple[str, ...]
    reader: ImageReader

    @classmethod
    def of(cls, recipe: Recipe, folders: Sequence[ImageFolder]) -> CheckedImages:
        """Check the images of the training and the evaluation folder, and of others, once each.

        With ``data.unreadable = "skip"``, unreadable images are removed from the folders.

        Raises:
            DatasetError: images cannot be read; the message names them.
        """
        skip = recipe.data.unreadable == "skip"
        paths, reader = _paths(folders), ImageReader.of(folders)
        for folder in folders:
            folder.loader = reader
        report = check_images(
            paths,
            "pixels" if skip else "header",
            reader=reader,
            workers=recipe.data.workers,
            known=Path(recipe.run.output, IMAGES),
        )
        faults = report.unreadable
        of_disk = {path: fault for path, fault in faults.items() if fault.of_disk}
        if of_disk:
            raise unreadable_images(of_disk, ON_DISK)
        if faults and not skip:
            raise unreadable_images(faults, REMEDY)
        before = [len(folder.samples) for folder in folders]
        for folder in folders:
            leave_out(folder, faults)
        train, val, *more = (
            count - len(folder.samples) for count, folder in zip(before, folders, strict=True)
        )
        return cls(report, (train + sum(more), val), _names_digest(folders), tuple(paths), reader)

    def save(self, path: Path) -> None:
        """Write the report, so that a resumed run need not check again.

        Raises:
            OSError: the file cannot be written.
        """
        try:
            content = msgspec.json.encode(self.report)
        except UnicodeEncodeError:  # a file name is not valid Unicode: check again next time
            return
        replace_file(path, content + b"\n")

    def explained(self, error: UnreadableImage, workers: int) -> DatasetError:
        """The error for an image that failed in training, with all others that would fail later."""
        faults = check_images(self.paths, "pixels", reader=self.reader, workers=workers).unreadable
        used = {path: fault for path, fault in faults.items() if path not in self.report.unreadable}
        return unreadable_images(used, REMEDY) if used else error


def _paths(folders: Sequence[ImageFolder]) -> list[str]:
    """The images of all folders, each once."""
    return list(dict.fromkeys(path for folder in folders for path, _ in folder.samples))


def _names_digest(folders: Sequence[ImageFolder]) -> str:
    digest = hashlib.sha256()
    for folder in folders:
        start = len(str(folder.root))
        for path, _ in folder.samples:
            digest.update(f"{path[start:]}\0".encode(errors="surrogateescape"))
        digest.update(b"\0")
    return digest.hexdigest()


class _Looks(Dataset["Fault | None"]):
    def __init__(self, paths: Sequence[str], look: Callable[[str], Fault | None]) -> None:
        self.paths = paths
        self.look = look

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> Fault | None:
        return self.look(self.paths[position])


def _look_at_all(
    paths: Sequence[str], look: Callable[[str], Fault | None], workers: int
) -> dict[str, Fault]:
    if len(paths) < _WORTH_WORKERS:
        workers = 0
    looks: DataLoader[Fault | None] = DataLoader(
        _Looks(paths, look), batch_size=64, num_workers=workers, collate_fn=list
    )
    found = (fault for batch in looks for fault in batch)
    return {path: fault for path, fault in zip(paths, found, strict=True) if fault is not None}


def _look_at_header(reader: ImageReader, path: str) -> Fault | None:
    try:
        found = reader.file(path)
        if isinstance(found, Path):
            require_regular(found)
        with found.open("rb") if isinstance(found, Path) else found as file:
            with Image.open(file, formats=list(_ENDS)) as image:
                kind, mode = image.format or "", image.mode
            end = _ENDS[kind]
            file.seek(-len(end), os.SEEK_END)
            if mode in _MODES and file.read() == end:
                return None
    except Exception:  # noqa: BLE001, S110 -- decoding it, below, gives the reason
        pass
    return _look_at_pixels(reader, path)


def _look_at_pixels(reader: ImageReader, path: str) -> Fault | None:
    try:
        open_image(reader.file(path))
    except DatasetError as error:
        return Fault(str(error))
    except OSError as error:
        return Fault(error.strerror or first_line(error), of_disk=True)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return Fault("not enough memory to decode it")
    return None


def _digest(paths: Sequence[str], depth: Depth, reader: ImageReader) -> str:
    digest = hashlib.sha256(f"{__version__} {PIL.__version__} {depth}".encode())
    for path in paths:
        try:
            state = reader.state(path)
        except OSError as error:
            state = repr(error.errno)
        digest.update(f"{path}\0{state}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _read_report(path: Path | None) -> ImageReport | None:
    """An earlier report; None if there is none, or if it is damaged: it is only a shortcut."""
    try:
        if path is None or path.stat().st_size > _LARGEST_REPORT:
            return None
        return decode_json(path.read_bytes(), ImageReport, path, DatasetError, "remove it")
    except (OSError, DatasetError):
        return None
