"""The images of a folder: their keys, and their pixels.

Pixels are those of torchvision's and timm's loaders, with one exception: both turn 16-bit grey
images all white, and these are scaled instead.

Legend: H W an image's height and width in pixels.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from labelkit import image_folders
from labelkit.errors import DatasetError, first_line
from labelkit.sources import FolderImages

if TYPE_CHECKING:
    import torch

EXTENSIONS = image_folders.EXTENSIONS
"""The file name endings of images, in lower case; those of torchvision's ImageFolder."""
_FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF", "AVIF", "JPEG2000")
_DEEP_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
_WHITE_IS_ZERO = 0
_NUMBER_KINDS = {1: "unsigned", 2: "signed", 3: "floating-point"}
_OTHER_FILES = (
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "XML, such as SVG"),
    (b"<svg", "SVG"),
    (b"%pdf", "PDF"),
    (b"pk\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cjxl ", "JPEG XL"),
    (b"version https://git-lfs", "a pointer of Git LFS: fetch the file with git lfs pull"),
)
"""How files begin that are found under names of images, in lower case."""


def list_images(root: str | os.PathLike[str]) -> list[str]:
    """The keys of all images below a folder: sorted paths relative to it, with ``/``.

    Symbolic links to folders are followed, as by ImageFolder, but not in cycles. Files and folders
    whose names start with a dot are skipped.

    Raises:
        DatasetError: the folder has no images.
        OSError: ``root`` is not a folder, or a folder below it is not readable.
    """
    return FolderImages(root).keys


def open_image(path: str | os.PathLike[str] | BinaryIO) -> Image.Image:
    """An image as RGB, with exactly the pixels that torchvision's and timm's loaders return.

    Label maps must match the pixels that training sees: decoded by Pillow, the first frame only,
    orientation tags ignored except in TIFF, where Pillow applies them. Both loaders turn 16-bit
    grey images white; here they are scaled to 8 bits.

    Args:
        path: of the image; or a binary file, such as a source of images returns.

    Raises:
        DatasetError: the file has none of the allowed formats, is damaged, is a broken link,
            exceeds Pillow's limit of 178,956,970 pixels, or holds numbers without a known range.
        OSError: the disk, the network or a permission fails; the image may well be intact.
    """
    if not isinstance(path, (str, os.PathLike)):
        return decode(path)
    require_regular(Path(path))
    return decode(path)


def require_regular(path: Path) -> None:
    """Refuse to open what is no file: opening a pipe would wait for a writer, forever.

    Raises:
        DatasetError: there is a folder, a pipe, a device or a broken link of that name.
    """
    if not path.is_file() and os.path.lexists(path):
        raise DatasetError("a broken link" if path.is_symlink() else "not a regular file")


def read_image(path: str | os.PathLike[str] | BinaryIO) -> torch.Tensor:
    """``open_image`` as a tensor, uint8 (3, H, W).

    Raises:
        DatasetError: as ``open_image``.
        OSError: as ``open_image``.
    """
    from torchvision.transforms.v2.functional import pil_to_tensor

    return pil_to_tensor(open_image(path))


def decode(file: Any, mode: str | None = "RGB") -> Image.Image:  # noqa: ANN401 -- as Image.open
    """An image as Pillow decodes its first frame, in another mode.

    Grey of 16 bits, or of 12 bits in TIFF, is reduced to its high 8 bits, as Pillow does with
    colour of 16 bits.

    Args:
        file: a path, or a binary file.
        mode: of Pillow; None keeps the file's.

    Raises:
        DatasetError: the file has none of the allowed formats, is damaged, has more than Pillow's
            limit of 178,956,970 pixels, or numbers without a known range.
        OSError: the disk, the network or a permission fails; the image may well be intact.
    """
    try:
        with Image.open(file, formats=_known_formats()) as image:
            if mode is None:
                return image.copy()
            return (_eight_bits(image) if _is_deep(image) else image).convert(mode)
    except UnidentifiedImageError as error:
        raise DatasetError(_why_unidentified(file)) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise DatasetError(first_line(error)) from error
    except (RuntimeError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DatasetError(first_line(error)) from error


@cache
def _known_formats() -> tuple[str, ...]:
    """The allowed formats that this version of Pillow knows; AVIF came with 11.3.

    ``Image.init()`` registers them all, but takes a tenth of a second even if all are JPEG.
    """
    known = find_spec("PIL.AvifImagePlugin") is not None
    return tuple(name for name in _FORMATS if known or name != "AVIF")


def _is_deep(image: Image.Image) -> bool:
    """Whether grey pixels are other than 8 unsigned bits; Pillow shows signed bytes as mode L."""
    tags: Any = getattr(image, "tag_v2", {})
    signed_bytes = image.mode == "L" and 2 in tags.get(_SAMPLE_FORMAT, ())
    return image.mode in _DEEP_MODES or signed_bytes


def _eight_bits(image: Image.Image) -> Image.Image:
    """A grey image of deeper pixels as mode L.

    Raises:
        DatasetError: its numbers have no known range.
    """
    tags = getattr(image, "tag_v2", None)
    bits = 16
    if tags is not None:
        bits, kind = (int(tags.get(tag, (1,))[0]) for tag in (_BITS, _SAMPLE_FORMAT))
        if kind != 1 or bits not in (12, 16):
            raise DatasetError(_without_range(f"{bits}-bit {_NUMBER_KINDS.get(kind, 'unusual')}"))
    elif image.mode == "F":
        raise DatasetError(_without_range("floating-point"))
    # Pillow reads grey PNG and PGM of 16 bits as mode I in some versions; both fill the 16 bits.
    values = np.asarray(image).astype(np.uint16) >> (bits - 8)
    if tags is not None and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        values = 255 - values
    return Image.fromarray(values.astype(np.uint8))


def _without_range(numbers: str) -> str:
    return (
        f"grey pixels are {numbers} numbers, whose black and white are not known: save them as 8 "
        "bits, or as unsigned 16 bits over the full range"
    )


def _why_unidentified(file: Any) -> str:  # noqa: ANN401 -- as Image.open
    """What a file that is no image of an allowed format probably is, judged by its first bytes."""
    start = _first_bytes(file)
    if not start:
        return "the file is empty"
    name = next((what for magic, what in _OTHER_FILES if start.lower().startswith(magic)), None)
    name = name or _iso_media(start) or _pillow_name(start)
    expected = f"expected {', '.join(_known_formats())}"
    if name is None:
        return f"not an image, or damaged at its beginning: {expected}"
    return f"the content is {name}: {expected}"


def _first_bytes(file: Any) -> bytes:  # noqa: ANN401 -- as Image.open
    if hasattr(file, "read"):
        file.seek(0)
        return file.read(64).lstrip()
    with Path(file).open("rb") as opened:
        return opened.read(64).lstrip()


def _iso_media(start: bytes) -> str | None:
    """HEIF and its kin, which share one container: four bytes of size, then ``ftyp``."""
    if start[4:8] != b"ftyp":
        return None
    if start[8:12] in (b"avif", b"avis"):
        return "AVIF, which this Pillow cannot read"
    heif = start[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
    return "HEIF (.heic)" if heif else "a video"


def _pillow_name(start: bytes) -> str | None:
    """The format of Pillow that files with this beginning have; nothing is parsed."""
    Image.init()
    for name, (_, accept) in Image.OPEN.items():
        if name not in _FORMATS and accept is not None and accept(start) is True:
            return name
    return None
