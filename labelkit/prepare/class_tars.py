"""Dumps of one tar per class: a folder of them, or a tar of them, such as ``fall11_whole.tar``.

Nothing is unpacked: images are read from their place in the tar.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from labelkit.errors import DatasetError, PrepareError
from labelkit.prepare.class_ids import require_usable
from labelkit.prepare.dump import Dump, DumpClass, DumpImage, Listing, name_fault, taken
from labelkit.sources import TarMember, tar_members
from labelkit.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ADVICE = "Copy or download it again"
LINK = "a link or a device, not a file"
"""Why a member without content is not taken."""


class TarClass(DumpClass):
    """The images in one tar, which may be a part of a larger file.

    Args:
        class_id: its name.
        path: the file.
        offset: where the tar begins in it.
        size: its bytes.
        where: its name, for messages.
    """

    def __init__(self, class_id: str, path: Path, offset: int, size: int, where: str) -> None:
        super().__init__(class_id, where, size)
        self._path, self._offset, self._size = path, offset, size

    def listing(self) -> Listing:
        """The images of the tar; if it is damaged, those before the damage."""
        found = _Found(self.class_id, str(self._path))
        with self._path.open("rb") as file:
            end = self._offset + self._size
            try:
                for member in tar_members(file, self.where, self._offset, end):
                    found.add(member)
            except DatasetError as error:
                found.skipped[PurePosixPath(self.where).name] = (
                    f"{error}. Its {counted(found.count, 'image', 'images')} before that are taken"
                )
        return found.listing()

    def fingerprint(self) -> str:
        """Its size."""
        return str(self._size)


class _Found:
    """The members of a class tar so far. A name's last member counts, as when unpacking."""

    def __init__(self, class_id: str, path: str) -> None:
        self._folder, self._path = f"{class_id}/", path
        self._images: dict[str, DumpImage] = {}
        self._others = 0
        self.skipped: dict[str, str] = {}

    @property
    def count(self) -> int:
        """How many images there are."""
        return len(self._images)

    def add(self, member: TarMember) -> None:
        """Add a member; a tar of the class's folder has the same names as a tar of its files."""
        name = member.name.removeprefix(self._folder)
        if not taken(name):
            self._others += 1
        elif fault := (LINK if member.size < 0 else name_fault(name)):
            self.skipped[name.encode(errors="replace").decode()] = fault
        else:
            if name in self._images:
                self.skipped[name] = "there several times: the last one is taken"
            self._images[name] = DumpImage(name, self._path, member.offset, member.size)

    def listing(self) -> Listing:
        """The images, sorted by name."""
        images = sorted(self._images.values())
        return Listing(images, dict(sorted(self.skipped.items())), self._others)


class TarFolderDump(Dump):
    """A folder with one tar per class, named by the class.

    Raises:
        PrepareError: a class name cannot be used.
    """

    kind = "class tars"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._tars = sorted(each for each in path.glob("*.tar") if not each.name.startswith("."))
        require_usable([(tar.stem, str(tar)) for tar in self._tars])
        self.weight = sum(tar.stat().st_size for tar in self._tars)

    def classes(self, scratch: Path) -> Iterator[DumpClass]:
        """The tars, sorted by name."""
        del scratch
        for tar in self._tars:
            yield TarClass(tar.stem, tar, 0, tar.stat().st_size, str(tar))


class TarOfTarsDump(Dump):
    """A tar with one tar per class, such as ``fall11_whole.tar``.

    Raises:
        PrepareError: it is damaged, or a class name cannot be used.
    """

    kind = "a tar of class tars"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with path.open("rb") as file:
            self._tars = [each for each in tar_members(file, str(path)) if is_class_tar(each.name)]
        require_usable([(class_of(each.name), f"{path}: {each.name}") for each in self._tars])
        if linked := next((each for each in self._tars if each.size < 0), None):
            raise PrepareError(f"{path}: {linked.name} is {LINK}: pack the class tar itself")
        self.weight = sum(tar.size for tar in self._tars)

    def classes(self, scratch: Path) -> Iterator[DumpClass]:
        """The inner tars, in the order of storage."""
        del scratch
        for name, offset, size in self._tars:
            yield TarClass(class_of(name), self.path, offset, size, f"{self.path}: {name}")


def is_class_tar(name: str) -> bool:
    """Whether a member of an outer tar is a class, by its name."""
    return name.endswith(".tar") and not PurePosixPath(name).name.startswith("._")


def class_of(name: str) -> str:
    """The class of an inner tar: its name without folders and ending.

    >>> class_of("fall11/n01440764.tar")
    'n01440764'
    """
    return name.rpartition("/")[2].removesuffix(".tar")
