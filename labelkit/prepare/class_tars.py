"""Dumps of one tar per class: a folder of them, a tar of them, or a compressed tar of them.

ImageNet-21K comes as ``fall11_whole.tar`` and ``winter21_whole.tar.gz``. Nothing is unpacked,
except that the class tars of a compressed tar are copied to a scratch folder, one after the other.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import tarfile
import zlib
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, cast

from labelkit.errors import PrepareError, first_line
from labelkit.prepare.class_ids import ClassIds, refusal, require_usable
from labelkit.prepare.dump import Dump, DumpClass, DumpImage, Listing, name_fault, taken
from labelkit.prepare.tar_headers import (
    TarEntry,
    compression_of,
    entry_fault,
    forget_members,
    plain_path,
    tar_entries,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

_COPY_BYTES = 1 << 20
_ADVICE = "Copy or download it again"
_OPENERS = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
_DAMAGE = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError)


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
                for entry in tar_entries(file, self.where, self._offset, end):
                    found.add(entry)
            except PrepareError as error:
                found.skipped[PurePosixPath(self.where).name] = f"{error}. {_ADVICE}"
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

    def add(self, entry: TarEntry) -> None:
        """Add a member; a tar of the class's folder has the same names as a tar of its files."""
        name = entry.name.removeprefix(self._folder)
        if not taken(name):
            self._others += 1
        elif fault := entry.fault or name_fault(name):
            self.skipped[name.encode(errors="replace").decode()] = fault
        else:
            if name in self._images:
                self.skipped[name] = "there several times: the last one is taken"
            self._images[name] = DumpImage(name, self._path, entry.offset, entry.size)

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

    def classes(self, scratch: Path | None) -> Iterator[DumpClass]:
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
            entries = [each for each in tar_entries(file, str(path)) if _is_class(each.name)]
        require_usable([(_class_of(each.name), f"{path}: {each.name}") for each in entries])
        if linked := next((each for each in entries if each.fault), None):
            raise PrepareError(
                f"{path}: {linked.name} is {linked.fault}. Pack the class tars again"
            )
        self._entries = sorted(entries, key=lambda entry: entry.offset)
        self.weight = sum(entry.size for entry in entries)

    def classes(self, scratch: Path | None) -> Iterator[DumpClass]:
        """The inner tars, in the order of storage."""
        del scratch
        for name, offset, size, _ in self._entries:
            yield TarClass(_class_of(name), self.path, offset, size, f"{self.path}: {name}")


class CompressedDump(Dump):
    """A compressed tar with one tar per class, such as ``winter21_whole.tar.gz``.

    It can only be read from its beginning, so a run that resumes decompresses it all again.

    Raises:
        PrepareError: its compression is not known.
    """

    kind = "a compressed tar of class tars"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.weight = path.stat().st_size

    def classes(self, scratch: Path | None) -> Iterator[DumpClass]:
        """The inner tars, in the order of storage; each can be listed only before the next.

        Raises:
            PrepareError: the file is damaged, a class name cannot be used, or there are no tars.
        """
        ids, before, empty = ClassIds(), 0, True
        with (
            _damage_explained(str(self.path)),
            self.path.open("rb") as raw,
            open_compressed(raw, str(self.path)) as plain,
        ):
            tar = tarfile.open(fileobj=plain, mode="r|")  # noqa: SIM115 -- nothing to close
            while (member := tar.next()) is not None:
                forget_members(tar)
                name = plain_path(member.name)
                if _is_class(name):
                    self._require_usable(ids, name, member)
                    place, before, empty = raw.tell() - before, raw.tell(), False
                    yield SpooledClass(tar, member, f"{self.path}: {name}", place, scratch)
            while plain.read(_COPY_BYTES):  # the checksum is at the end
                pass
        if empty:
            raise PrepareError(f"{self.path} holds no class tars: decompress it, then prepare that")

    def _require_usable(self, ids: ClassIds, name: str, member: tarfile.TarInfo) -> None:
        fault = ids.add(_class_of(name), f"{self.path}: {name}")
        if fault := fault or entry_fault(member):
            raise PrepareError(refusal([fault]))


class SpooledClass(DumpClass):
    """A class tar inside a compressed tar, copied to a scratch folder when it is listed."""

    def __init__(
        self,
        tar: tarfile.TarFile,
        member: tarfile.TarInfo,
        where: str,
        weight: float,
        scratch: Path | None,
    ) -> None:
        super().__init__(_class_of(plain_path(member.name)), where, weight)
        self._tar, self._member, self._scratch = tar, member, scratch
        self._spooled: Path | None = None

    def listing(self) -> Listing:
        """The images of the class tar.

        Raises:
            PrepareError: the compressed tar is damaged or cut short.
            OSError: the disk fails.
        """
        content = self._tar.extractfile(self._member)
        if content is None:
            raise PrepareError(f"{self.where} is not a file. {_ADVICE}")
        if self._scratch is None:
            return self._counted(content)
        self._spooled = self._scratch / f"{self.class_id}.spooled"
        with _damage_explained(self.where), self._spooled.open("wb") as file:
            shutil.copyfileobj(content, file, _COPY_BYTES)
        size = self._member.size
        return TarClass(self.class_id, self._spooled, 0, size, self.where).listing()

    def fingerprint(self) -> str:
        """The size of the class tar."""
        return str(self._member.size)

    def release(self) -> None:
        """Remove the copy."""
        if self._spooled is not None:
            self._spooled.unlink(missing_ok=True)

    def _counted(self, content: object) -> Listing:
        """The images without a place to read them from: for a dry run."""
        found = _Found(self.class_id, self.where)
        try:
            with tarfile.open(fileobj=cast("BinaryIO", content), mode="r|") as tar:
                while (member := tar.next()) is not None:
                    forget_members(tar)
                    if not member.isdir():
                        fault = entry_fault(member)
                        found.add(TarEntry(plain_path(member.name), 0, member.size, fault))
        except tarfile.TarError as error:
            found.skipped[PurePosixPath(self.where).name] = f"{first_line(error)}. {_ADVICE}"
        return found.listing()


@contextmanager
def _damage_explained(where: str) -> Generator[None]:
    """Turn what decompression and tarfile raise for damaged files into a ``PrepareError``."""
    try:
        yield
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk
        raise PrepareError(f"{where} is damaged ({first_line(error)}). {_ADVICE}") from error


def open_compressed(raw: BinaryIO, where: str) -> BinaryIO:
    """A compressed file's content.

    Raises:
        PrepareError: its compression is not one of Python's.
    """
    compression = compression_of(raw.read(6))
    raw.seek(0)
    if compression not in _OPENERS:
        raise PrepareError(
            f"{where} is compressed with {compression}: decompress it, then prepare that"
        )
    return cast("BinaryIO", _OPENERS[compression](raw))


def _is_class(name: str) -> bool:
    return name.endswith(".tar") and not PurePosixPath(name).name.startswith("._")


def _class_of(name: str) -> str:
    """The class of an inner tar: its name without folders and ending.

    >>> _class_of("fall11/n01440764.tar")
    'n01440764'
    """
    return name.rpartition("/")[2].removesuffix(".tar")
