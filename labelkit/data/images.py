"""The images of a folder: their keys, and their pixels.

Legend: H W an image's height and width in pixels.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from labelkit import image_folders
from labelkit.data.decoding import decode
from labelkit.errors import DatasetError
from labelkit.image_folders import is_hidden, is_image_name

if TYPE_CHECKING:
    import torch
    from PIL import Image

EXTENSIONS = image_folders.EXTENSIONS
"""The file name endings of images, in lower case; those of torchvision's ImageFolder."""


def list_images(root: str | os.PathLike[str]) -> list[str]:
    """The keys of all images below a folder: sorted paths relative to it, with ``/``.

    Symbolic links to folders are followed, as by ImageFolder, but not in cycles. Files and folders
    whose names start with a dot are skipped.

    Raises:
        DatasetError: the folder has no images.
        OSError: ``root`` is not a folder, or a folder below it is not readable.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise NotADirectoryError(f"no such folder: {folder}")
    keys = sorted(walk_images(folder))
    if not keys:
        raise DatasetError(f"{folder} holds no images (extensions {' '.join(EXTENSIONS)})")
    return keys


def walk_images(folder: Path) -> list[str]:
    """The keys of all images below a folder, as ``list_images``, in no order; maybe none."""
    keys: list[str] = []
    above: dict[str, frozenset[tuple[int, int]]] = {}
    for parent, children, files in os.walk(folder, onerror=_reraise, followlinks=True):
        status = Path(parent).stat()
        identity = (status.st_dev, status.st_ino)
        ancestors = above.pop(parent, frozenset())
        if identity in ancestors:
            children.clear()
            continue
        children[:] = [child for child in children if not is_hidden(child)]
        above |= {str(Path(parent, child)): ancestors | {identity} for child in children}
        inner = Path(parent).relative_to(folder)
        keys += [(inner / name).as_posix() for name in files if is_image_name(name)]
    return keys


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """An image as RGB, with exactly the pixels that torchvision's and timm's loaders return.

    Label maps must match the pixels that training sees: decoded by Pillow, the first frame only,
    orientation tags ignored except in TIFF, where Pillow applies them. Both loaders turn 16-bit
    grey images white; here they are scaled to 8 bits.

    Raises:
        DatasetError: the file has none of the allowed formats, is damaged, is a broken link,
            exceeds Pillow's limit of 178,956,970 pixels, or holds numbers without a known range.
        OSError: the disk, the network or a permission fails; the image may well be intact.
    """
    file = Path(path)
    if not file.is_file() and os.path.lexists(file):
        raise DatasetError("a broken link" if file.is_symlink() else "not a regular file")
    return decode(file)


def read_image(path: str | os.PathLike[str]) -> torch.Tensor:
    """``open_image`` as a tensor, uint8 (3, H, W).

    Raises:
        DatasetError: as ``open_image``.
        OSError: as ``open_image``.
    """
    from torchvision.transforms.v2.functional import pil_to_tensor

    return pil_to_tensor(open_image(path))


def _reraise(error: OSError) -> NoReturn:
    """Without this, ``os.walk`` silently skips folders that it cannot read."""
    raise error
