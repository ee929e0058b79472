"""A dump that is a compressed tar of class tars, such as ``winter21_whole.tar.gz``.

It can only be read in one go: its class tars are copied to a scratch folder, one after the other.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import tarfile
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from labelkit.errors import PrepareError, first_line
from labelkit.prepare.class_ids import ClassIds, refusal
from labelkit.prepare.class_tars import ADVICE, LINK, TarClass, class_of, is_class_tar
from labelkit.prepare.dump import Dump, DumpClass, Listing

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

_COPY_BYTES = 1 << 20
_OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_ZSTD = b"\x28\xb5\x2f\xfd"
_DAMAGE = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError)


def is_compressed(path: Path) -> bool:
    """Whether a file is compressed, by its first bytes."""
    with path.open("rb") as file:
        return file.read(6).startswith((*_OPENERS, _ZSTD))


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

    def classes(self, scratch: Path) -> Iterator[DumpClass]:
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
            kept = cast("list[object]", vars(tar)["members"])
            while (member := tar.next()) is not None:
                kept.clear()  # it would keep all
                name = member.name
                if is_class_tar(name):
                    self._require_usable(ids, name, member)
                    place, before, empty = raw.tell() - before, raw.tell(), False
                    yield SpooledClass(tar, member, f"{self.path}: {name}", place, scratch)
            while plain.read(_COPY_BYTES):  # the checksum is at the end
                pass
        if empty:
            raise PrepareError(f"{self.path} holds no class tars: decompress it, then prepare that")

    def _require_usable(self, ids: ClassIds, name: str, member: tarfile.TarInfo) -> None:
        fault = ids.add(class_of(name), f"{self.path}: {name}")
        if fault:
            raise PrepareError(refusal([fault]))
        if not member.isreg():
            raise PrepareError(f"{self.path}: {name} is {LINK}: pack the class tar itself")


class SpooledClass(DumpClass):
    """A class tar inside a compressed tar, copied to a scratch folder when it is listed."""

    def __init__(
        self,
        tar: tarfile.TarFile,
        member: tarfile.TarInfo,
        where: str,
        weight: float,
        scratch: Path,
    ) -> None:
        super().__init__(class_of(member.name), where, weight)
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
            raise PrepareError(f"{self.where} is not a file. {ADVICE}")
        self._spooled = self._scratch / f"{os.urandom(6).hex()}.tar"
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


@contextmanager
def _damage_explained(where: str) -> Generator[None]:
    """Turn what decompression and tarfile raise for damaged files into a ``PrepareError``."""
    try:
        yield
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk
        raise PrepareError(f"{where} is damaged ({first_line(error)}). {ADVICE}") from error


def open_compressed(raw: BinaryIO, where: str) -> BinaryIO:
    """A compressed file's content.

    Raises:
        PrepareError: its compression is not one of Python's.
    """
    beginning = raw.read(6)
    raw.seek(0)
    for magic, opener in _OPENERS.items():
        if beginning.startswith(magic):
            return cast("BinaryIO", opener(raw))
    raise PrepareError(
        f"{where} is compressed with zstd: decompress it (unzstd), then prepare that"
    )
