"""Images in batches, each resized to one or several input sizes.

Legend: B batch, S input side.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch.utils.data import Dataset, get_worker_info
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as VF

from labelkit.data import PackedBatch, read_image
from labelkit.errors import DatasetError, first_line, is_machine_failure, is_out_of_memory
from labelkit.relabel.same_images import content_digest

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from labelkit.sources import ImageFile, ImageSource


@dataclass(frozen=True, order=True, slots=True)
class InputSize:
    """A square that whole images are resized to, always with antialiasing.

    Attributes:
        side: in pixels.
        interpolation: ``bicubic`` or ``bilinear``.
    """

    side: int
    interpolation: str


@dataclass(frozen=True)
class ResizedImage:
    """One image at each input size (3, S, S), or the reason why there is none.

    ``unreadable`` is a fault of the image, ``disk_error`` one of the disk; ``digest`` is that of
    its content.
    """

    key: str
    pixels: tuple[torch.Tensor, ...] = ()
    digest: bytes = b""
    unreadable: str = ""
    disk_error: str = ""


@dataclass(frozen=True)
class ImageBatch:
    """Pixels (B, 3, S, S) at each input size as uint8, with the images' keys.

    Attributes:
        keys: the images that could be read.
        pixels: one tensor for each input size.
        unreadable: the images that could not be read, key -> reason.
        disk_error: names an image that could not be read because the disk, the network or a
            permission failed. It may be intact, so it must not be recorded as unreadable.
        worker_error: why the worker could not return its images; there are none then.
        digests: of the content of the images that could be read; empty if nobody needs them.
    """

    keys: list[str]
    pixels: tuple[torch.Tensor, ...]
    unreadable: dict[str, str] = field(default_factory=dict[str, str])
    disk_error: str = ""
    worker_error: str = ""
    digests: list[bytes] = field(default_factory=list[bytes])

    def __len__(self) -> int:
        """The number of images, readable or not."""
        return len(self.keys) + len(self.unreadable)

    def pin_memory(self) -> ImageBatch:
        """The same batch in page-locked memory, which a GPU copies faster."""
        return replace(self, pixels=tuple(pixels.pin_memory() for pixels in self.pixels))


class ResizedImages(Dataset[ResizedImage]):
    """A source's images by position. An unreadable image is recorded; it raises no error.

    Args:
        source: of the images.
        keys: the images.
        sizes: what each image is resized to.
    """

    def __init__(
        self, source: ImageSource, keys: Sequence[str], sizes: Sequence[InputSize]
    ) -> None:
        self.source = source
        self.keys = keys
        self.sizes = sizes

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, position: int) -> ResizedImage:
        key = self.keys[position]
        try:
            file = self.source.file(key)
            image = _read(file)
            pixels = tuple(resized(image, size) for size in self.sizes)
            return ResizedImage(key, pixels, content_digest(file))
        except DatasetError as error:
            return ResizedImage(key, unreadable=str(error))
        except OSError as error:
            return ResizedImage(key, disk_error=str(error))

    def collate(self, images: list[ResizedImage]) -> ImageBatch | PackedBatch:
        """Images as one batch; in a worker, packed for the main process."""
        batch = self._batch(images)
        if get_worker_info() is None:
            return batch
        return PackedBatch.of(batch, lambda reason: ImageBatch([], (), worker_error=reason))

    def _batch(self, images: list[ResizedImage]) -> ImageBatch:
        read = [image for image in images if image.pixels]
        return ImageBatch(
            keys=[image.key for image in read],
            pixels=tuple(
                torch.stack([image.pixels[number] for image in read])
                if read
                else torch.empty(0, 3, size.side, size.side, dtype=torch.uint8)
                for number, size in enumerate(self.sizes)
            ),
            unreadable={image.key: image.unreadable for image in images if not image.pixels},
            disk_error=next((image.disk_error for image in images if image.disk_error), ""),
            digests=[image.digest for image in read],
        )


def resized(image: torch.Tensor, size: InputSize) -> torch.Tensor:
    """An image or crop (3, height, width) as a square (3, S, S)."""
    interpolation = InterpolationMode(size.interpolation)
    return VF.resize(image, [size.side, size.side], interpolation, antialias=True)


def readable_image(source: ImageSource, key: str) -> torch.Tensor | None:
    """An image (3, height, width), uint8; None for a fault of the image.

    Raises:
        OSError: the disk fails, not the image.
    """
    with suppress(DatasetError):
        return _read(source.file(key))
    return None


def _read(file: ImageFile) -> torch.Tensor:
    """An image (3, height, width), uint8.

    Raises:
        DatasetError: the image is damaged or too large; the message is the reason.
        OSError: the disk fails, not the image.
    """
    with faults_explained(file):
        return read_image(file)


@contextmanager
def faults_explained(file: ImageFile) -> Generator[None]:
    """Turn whatever reading an image raises for a fault of that image into a DatasetError.

    Decoders raise any type for a damaged file; one image must not end a run of hours.

    Raises:
        DatasetError: the image is damaged or too large; the message is the reason.
        OSError: the disk fails, not the image.
    """
    try:
        yield
    except DatasetError:
        raise
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise DatasetError(_too_large(file)) from error
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise DatasetError(_too_large(file)) from error
        if is_machine_failure(error):
            raise
        raise DatasetError(f"{type(error).__name__}: {first_line(error)}") from error


def _too_large(file: ImageFile) -> str:
    """The reason for an image that does not fit into memory."""
    try:
        if not isinstance(file, Path):
            file.seek(0)
        with Image.open(file) as image:
            width, height = image.size
    except Exception:  # noqa: BLE001 -- the size is only for the message
        return "not enough memory to decode it: resize it, or free memory"
    return f"not enough memory to decode {width:,} x {height:,} pixels: resize it, or free memory"


def disk_failed(error: str, remedy: str) -> DatasetError:
    """The error for an image that could not be read for a reason outside of it."""
    return DatasetError(
        f"{error}: the disk, the network or a permission failed, not the image. {remedy} and run "
        "the same command again"
    )
