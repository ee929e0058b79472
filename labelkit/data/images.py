"""The images of a folder: their keys, and their pixels.

Legend: H W an image's height and width in pixels.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from labelkit.errors import DatasetError, first_line

if TYPE_CHECKING:
    import torch

# torchvision's ImageFolder takes the same endings.
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")


def list_images(root: str | os.PathLike[str]) -> list[str]:
    """The keys of all images below a folder: paths relative to it, with ``/``, in sorted order.

    Links to folders are followed, each folder once.

    Raises:
        DatasetError: the folder holds no image.
        NotADirectoryError: ``root`` is not a folder.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise NotADirectoryError(f"no such folder: {folder}")
    keys: list[str] = []
    visited: set[tuple[int, int]] = set()
    for parent, children, files in os.walk(folder, followlinks=True):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in visited:
            children.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        children.sort()
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
        DatasetError: not an image of the allowed formats, damaged, or above Pillow's limit of
            178,956,970 pixels.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.convert("RGB")
    except (OSError, RuntimeError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DatasetError(first_line(error)) from error


def read_image(path: str | os.PathLike[str]) -> torch.Tensor:
    """``open_image`` as a tensor, uint8 (3, H, W).

    Raises:
        DatasetError: as ``open_image``.
    """
    from torchvision.transforms.v2.functional import pil_to_tensor

    return pil_to_tensor(open_image(path))
