"""The work on some images of a class: read, decode, resize, encode, write. Runs in any process."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from labelkit.data import open_image
from labelkit.errors import DatasetError

if TYPE_CHECKING:
    from PIL.Image import Image

    from labelkit.prepare.dump import DumpImage
    from labelkit.prepare.settings import ResizeMode

_LONGEST_SIDE = 65_500  # of a JPEG, in libjpeg
_JPEG_START = b"\xff\xd8\xff"


class ImageForm(NamedTuple):
    """What an image becomes; see ``PrepareSettings``."""

    resize: int
    mode: ResizeMode
    quality: int


class ImageTask(NamedTuple):
    """Images of one class for a worker.

    Attributes:
        images: where their bytes are.
        names: of the files to write, below ``folder``.
        folder: exists already.
        pack: a file in ``folder`` that takes all images, one after the other; empty for one file
            each.
        form: what they become.
    """

    images: list[DumpImage]
    names: list[str]
    folder: str
    pack: str
    form: ImageForm


class ImageOutcome(NamedTuple):
    """What became of one image: its size and SHA-256, or why it could not be read."""

    size: int
    sha256: str
    unreadable: str = ""


def prepare_images(task: ImageTask) -> list[ImageOutcome]:
    """Write some images, in order; broken ones are left out.

    Raises:
        OSError: the disk, the network or a permission fails; the images may well be intact.
    """
    outcomes: list[ImageOutcome] = []
    packed: list[bytes] = []
    for image, name in zip(task.images, task.names, strict=True):
        try:
            content = prepared(image.read(), task.form)
        except DatasetError as error:
            outcomes.append(ImageOutcome(0, "", str(error)))
            continue
        outcomes.append(ImageOutcome(len(content), hashlib.sha256(content).hexdigest()))
        if task.pack:
            packed.append(content)
        else:
            _write(f"{task.folder}/{name}", content)
    if task.pack:
        _write(f"{task.folder}/{task.pack}", b"".join(packed))
    return outcomes


def prepared(content: bytes, form: ImageForm) -> bytes:
    """An image resized and encoded as JPEG, or its own bytes if it needs no change.

    A JPEG needs none if both sides are smaller than asked, as published, or if it has the size
    already. Resizing is bilinear with antialiasing; orientation tags are ignored, as by training.

    Args:
        content: a file's bytes.
        form: the side, the mode and the quality.

    Raises:
        DatasetError: it cannot be decoded, or would be too long for a JPEG.
    """
    image = open_image(io.BytesIO(content))
    if form.mode == "keep":
        return content
    size = output_size(image.size, form)
    if size == image.size and content.startswith(_JPEG_START):
        return content
    if max(size) > _LONGEST_SIDE:
        raise DatasetError(f"{size[0]:,} x {size[1]:,} pixels after resizing, too long for a JPEG")
    return _encoded(image, size, form.quality)


def output_size(size: tuple[int, int], form: ImageForm) -> tuple[int, int]:
    """Width and height after resizing.

    >>> form = ImageForm(224, "short-edge", 95)
    >>> output_size((500, 375), form), output_size((100, 200), form)
    ((299, 224), (100, 200))
    """
    if max(size) < form.resize:
        return size
    if form.mode == "squash":
        return form.resize, form.resize
    scale = form.resize / min(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _encoded(image: Image, size: tuple[int, int], quality: int) -> bytes:
    from PIL.Image import Resampling

    file = io.BytesIO()
    resized = image if size == image.size else image.resize(size, Resampling.BILINEAR)
    resized.info.clear()  # comments
    resized.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _write(path: str, content: bytes) -> None:
    try:
        with open(path, "xb") as file:  # noqa: PTH123 -- once per image
            file.write(content)
    except FileNotFoundError:  # its folder below the class
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with Path(path).open("xb") as file:
            file.write(content)
