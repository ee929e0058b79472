"""What counts as a class folder and as an image file: one definition for the whole package.

Names that start with a dot are hidden: Jupyter's ``.ipynb_checkpoints``, a Mac's ``._cat.jpg``. No
class and no image is hidden, and none is inside a hidden folder.
"""

from __future__ import annotations

import os

# The same file extensions as torchvision's ImageFolder.
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""The file name endings of images, in lower case; those of torchvision's ImageFolder."""


def is_hidden(key: str) -> bool:
    """Whether a path below a data set's root is hidden, or inside a hidden folder.

    >>> is_hidden(".ipynb_checkpoints/cat.jpg"), is_hidden("cats/._1.jpg"), is_hidden("cats/1.jpg")
    (True, True, False)
    """
    return key.startswith(".") or "/." in key


def is_image_name(name: str) -> bool:
    """Whether a file of this name is an image, judged by the name alone.

    >>> is_image_name("cat.JPG"), is_image_name("._cat.jpg"), is_image_name("cat.txt")
    (True, False, False)
    """
    return name.lower().endswith(EXTENSIONS) and not is_hidden(name)


def class_folders(root: str | os.PathLike[str]) -> list[str]:
    """The names of the class folders in a folder, sorted as torchvision's ``ImageFolder`` does.

    Links to folders count.

    Raises:
        OSError: ``root`` is not a folder, or cannot be read.
    """
    with os.scandir(root) as entries:
        return sorted(
            entry.name for entry in entries if entry.is_dir() and not is_hidden(entry.name)
        )
