"""The images of a folder: their keys, and their pixels.

Legend: H W an image's height and width in pixels.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from PIL import Image

from labelkit.errors import DatasetError, first_line

if TYPE_CHECKING:
    import torch

# torchvision's ImageFolder takes the same endings.
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")


def list_images(root: str | os.PathLike[str]) -> list[str]:
    """The keys of all images below a folder: paths relative to it, with ``/``, in sorted order.

    Links to folders are followed, as ImageFolder does, but not in circles.

    Raises:
        DatasetError: the folder holds no image.
        OSError: ``root`` is not a folder, or a folder below it may not be read.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise NotADirectoryError(f"no such folder: {folder}")
    keys: list[str] = []
    above: dict[str, frozenset[tuple[int, int]]] = {}
    for parent, children, files in os.walk(folder, onerror=_refuse, followlinks=True):
        status = Path(parent).stat()
        identity = (status.st_dev, status.st_ino)
        ancestors = above.pop(parent, frozenset())
        if identity in ancestors:
            children.clear()
            continue
        above |= {str(Path(parent, child)): ancestors | {identity} for child in children}
        inner = Path(parent).relative_to(folder)
        keys += [(inner / name).as_posix() for name in files if name.lower().endswith(EXTENSIONS)]
    if not keys:
        raise DatasetError(f"{folder} holds no images (endings {' '.join(EXTENSIONS)})")
    return sorted(keys)


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """An image as RGB, with the very pixels that torchvision's and timm's loaders give.

    So that the label map lies on what training sees: decoded by Pillow, the first frame of several,
    orientation tags not applied.

    Raises:
        DatasetError: not an image of the allowed formats, damaged, a broken link, or above Pillow's
            limit of 178,956,970 pixels.
        OSError: the disk, the network or a permission fails: the image may well be whole.
    """
    place = Path(path)
    if not place.is_file() and os.path.lexists(place):
        raise DatasetError("a broken link" if place.is_symlink() else "not a regular file")
    try:
        with Image.open(place, formats=FORMATS) as image:
            return image.convert("RGB")
    except OSError as error:
        if error.errno is not None:
            raise
        raise DatasetError(first_line(error)) from error
    except (RuntimeError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DatasetError(first_line(error)) from error


def read_image(path: str | os.PathLike[str]) -> torch.Tensor:
    """``open_image`` as a tensor, uint8 (3, H, W).

    Raises:
        DatasetError: as ``open_image``.
        OSError: likewise.
    """
    from torchvision.transforms.v2.functional import pil_to_tensor

    return pil_to_tensor(open_image(path))


def _refuse(error: OSError) -> NoReturn:
    """``os.walk`` would pass over a folder that it may not read, without a word."""
    raise error
