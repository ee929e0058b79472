"""The two forms of ``torch.save``: a zip, and before torch 1.6 a row of pickles."""

from __future__ import annotations

import errno
import io
import zipfile
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, NoReturn, cast

import torch
from torch import Tensor

from labelkit.errors import is_out_of_memory
from labelkit.torch_files.unpickler import (
    MARGIN,
    ForeignObjectError,
    Storage,
    StorageType,
    TorchFileError,
    Unpickler,
)
from labelkit.wording import file_size

if TYPE_CHECKING:
    from pathlib import Path

_CHUNK = 1 << 22
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of files before torch 1.6


def read_torch_file(source: Path | bytes, *, largest: int | None = None) -> object:
    """The content of a file, with all tensors on the CPU; nothing in the file is executed.

    Args:
        source: the file's path or its bytes.
        largest: the most bytes that the file may hold, unpacked; None is about its own size.

    Raises:
        ForeignObjectError: the file holds other objects than plain data.
        TorchFileError: not a file of ``torch.save``, damaged, or larger than allowed.
        MemoryError: there is not enough memory for the file.
        OSError: the file cannot be read.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        start = file.read(2)
        file.seek(0)
        if largest is not None and size > largest:
            raise TorchFileError(_too_large(size, largest))
        if start != b"PK" and start[:1] != b"\x80":
            raise TorchFileError("is not a PyTorch file")
        read = _read_zip if start == b"PK" else _read_old
        try:
            return read(cast("IO[bytes]", file), size, largest)
        except TorchFileError:
            raise
        except OSError as error:
            if error.errno == errno.EINVAL:  # the zip says that a part begins before the file
                raise TorchFileError("is damaged") from error
            raise
        except Exception as error:
            # Damaged zips and pickles raise a dozen types: one line is enough.
            if is_out_of_memory(error):
                raise MemoryError(f"not enough memory for a file of {file_size(size)}") from error
            raise TorchFileError("is damaged") from error


def _too_large(size: int, largest: int) -> str:
    return f"holds {size:,} bytes, more than {largest:,} bytes"


# The zip.


def _read_zip(file: IO[bytes], size: int, largest: int | None) -> object:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        unpacked = sum(entry.file_size for entry in entries)
        allowed = 4 * size + MARGIN if largest is None else largest
        if unpacked > allowed:
            raise TorchFileError(_too_large(unpacked, allowed))
        top = names[0].partition("/")[0] if names else ""
        if f"{top}/constants.pkl" in names:
            raise ForeignObjectError("a TorchScript program (torch.jit.save)")
        if f"{top}/data.pkl" not in names or len(set(names)) < len(names):
            raise TorchFileError("is a zip, but torch.save did not write it")
        if f"{top}/byteorder" in names and archive.read(f"{top}/byteorder") != b"little":
            raise TorchFileError("was written on a big-endian machine, or is damaged")
        records = _Records(archive, f"{top}/data/", size)
        value = Unpickler(io.BytesIO(archive.read(f"{top}/data.pkl")), records.storage, size).load()
        for name in names:  # the checksums of what nothing refers to
            if name.removeprefix(records.folder) not in records.read:
                archive.read(name)
        return value


@dataclass
class _Records:
    """The storages of a zip, each read once, up to its checksum."""

    archive: zipfile.ZipFile
    folder: str
    size: int
    read: dict[str, Tensor] = field(default_factory=dict[str, Tensor])

    def storage(self, identity: tuple[Any, ...]) -> Storage:
        """The storage of a persistent id: ``("storage", type, key, location, length)``."""
        word, kind, key, _, length = identity
        if word != "storage" or not isinstance(kind, StorageType) or not isinstance(key, str):
            raise TorchFileError("is damaged: a tensor without numbers")
        if key not in self.read:
            self.read[key] = self._read(self.folder + key)
        if self.read[key].numel() != length * kind.itemsize:
            raise TorchFileError("is damaged: a tensor and its numbers differ in length")
        return Storage(self.read[key], kind.dtype)

    def _read(self, name: str) -> Tensor:
        content = torch.empty(self.archive.getinfo(name).file_size, dtype=torch.uint8)
        with self.archive.open(name) as record:
            _fill(record, content)
            if record.read(1):  # reading to the end compares the checksum
                raise TorchFileError("is damaged: a record is longer than declared")
        return content


def _fill(file: IO[bytes], content: Tensor) -> None:
    view, at = memoryview(cast("Any", content.numpy())), 0
    while at < len(view):
        chunk = file.read(min(_CHUNK, len(view) - at))
        if not chunk:
            raise TorchFileError("is damaged: it ends too early")
        view[at : at + len(chunk)] = chunk
        at += len(chunk)


# The form before torch 1.6.


def _read_old(file: IO[bytes], size: int, largest: int | None) -> object:
    del largest  # everything in the file takes the space that it declares
    records = _OldRecords(size)
    heads = [Unpickler(file, records.refuse, size).load() for _ in range(3)]
    if heads[:2] != [_MAGIC, _PROTOCOL]:
        raise TorchFileError("is a pickle, but torch.save did not write it")
    if not (isinstance(heads[2], dict) and heads[2].get("little_endian") is True):
        raise TorchFileError("was written on a big-endian machine, or is damaged")
    value = Unpickler(file, records.storage, size).load()
    keys = Unpickler(file, records.refuse, size).load()
    if not isinstance(keys, list) or sorted(keys) != sorted(records.lengths):
        raise TorchFileError("is damaged: its list of tensors is incomplete")
    for key in cast("list[str]", keys):
        if int.from_bytes(file.read(8), "little") != records.lengths[key]:
            raise TorchFileError("is damaged: a tensor and its numbers differ in length")
        _fill(file, records.contents[key])
    return value


@dataclass
class _OldRecords:
    """The storages of an old file, allocated while the pickle is read and filled afterwards."""

    left: int
    contents: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    lengths: dict[str, int] = field(default_factory=dict[str, int])

    def refuse(self, identity: tuple[Any, ...]) -> NoReturn:
        """Refuse a persistent id where there can be none."""
        raise TorchFileError(f"is damaged: an unexpected {type(identity).__name__}")

    def storage(self, identity: tuple[Any, ...]) -> Storage:
        """The storage of ``("storage", type, key, location, length, view)``."""
        word, kind, key, _, length, view = identity
        known = isinstance(kind, StorageType) and isinstance(key, str) and type(length) is int
        if word != "storage" or not known or length < 0:
            raise TorchFileError("is damaged: a tensor without numbers")
        if key not in self.contents:
            self.left -= length * kind.itemsize
            if self.left < 0:
                raise TorchFileError("is damaged: its tensors are longer than the file")
            self.contents[key] = torch.zeros(length * kind.itemsize, dtype=torch.uint8)
            self.lengths[key] = length
        content = self.contents[key]
        if self.lengths[key] != length or content.numel() != length * kind.itemsize:
            raise TorchFileError("is damaged: a tensor and its numbers differ in length")
        if view is not None:
            _, offset, count = view
            content = content[offset * kind.itemsize :][: count * kind.itemsize]
        return Storage(content, kind.dtype)
