"""Seeded damage to files: what disks, cut transfers and attackers do to them."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

HOSTILE_TEXT = (
    b"[" * 5000, b"{a=" * 5000, b"9" * 5000, b"0x" + b"f" * 5000, b"nan", b"inf", b"-1", b"1e999",
    b"[]", b"true", b"1979-05-27", b'"\\u0000"', b"'" * 3, b"\x00", b"\xff\xfe",
    b".".join([b"a"] * 3000), b"# \n", b'"' + b"x" * 100_000 + b'"', b'"\\u001b[2J"',
)  # fmt: skip
HOSTILE_OPCODES = (
    b"\x85" * 3000, b"(" * 3000, b"]" * 50 + b"a" * 49, b"cbuiltins\neval\n", b"cos\nsystem\n",
    b"c__builtin__\nbytearray\nJ\x00\x5e\xd0\xb2\x85R", b"X\xff\xff\xff\x7f", b"r\xff\xff\xff\x7f",
    b"\x8a\xff", b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f", b"h\x00" * 200, b"0" * 20, b"2" * 200,
    b"ctorch\nFloatTensor\nJ\x00\x00\x00\x40\x85R", b"ccollections\nOrderedDict\n",
    b"N}(u", b"Q", b"R", b"b",
)  # fmt: skip


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Flip bits, cut the end off, move a piece, or fill one with zeros."""
    changed = bytearray(content)
    at, end = sorted(int(place) for place in rng.integers(len(content), size=2))
    match int(rng.integers(5)):
        case 0:
            return content[:end]
        case 1:
            piece = changed[at : at + 200]
            changed[end:end] = piece
        case 2:
            changed[at : min(end, at + 500)] = bytes(min(end, at + 500) - at)
        case _:
            for _ in range(int(rng.integers(1, 4))):
                changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def attack(content: bytes, rng: np.random.Generator, pieces: tuple[bytes, ...]) -> bytes:
    """Insert or replace by pieces made to do harm, or by pieces of the content itself."""
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 3))):
        at, source = (int(place) for place in rng.integers(len(changed) + 1, size=2))
        piece = pieces[int(rng.integers(len(pieces)))]
        if rng.random() < 0.3:
            piece = bytes(changed[source : source + int(rng.integers(1, 60))])
        changed[at : at + int(rng.integers(0, 30))] = piece
    return bytes(changed)


def attack_text(content: bytes, rng: np.random.Generator) -> bytes:
    """Replace the value of one line of a TOML file, or insert anywhere."""
    if rng.random() < 0.4:
        return attack(content, rng, HOSTILE_TEXT)
    lines = content.split(b"\n")
    at = int(rng.integers(len(lines)))
    name = lines[at].partition(b"=")[0]
    lines[at] = name + b"= " + HOSTILE_TEXT[int(rng.integers(len(HOSTILE_TEXT)))]
    return b"\n".join(lines)


def attack_pickle(content: bytes, rng: np.random.Generator) -> bytes:
    """Change the pickle inside a file of ``torch.save``, and write the zip with right checksums."""

    def change(pickled: bytes) -> bytes:
        if rng.random() < 0.5:
            return attack(pickled, rng, HOSTILE_OPCODES)
        changed = bytearray(pickled)
        changed[int(rng.integers(len(changed)))] = int(rng.integers(256))
        return bytes(changed)

    return _rezipped(content, change)


def _rezipped(content: bytes, change: Callable[[bytes], bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.infolist():
            record = old.read(entry)
            if entry.filename.endswith("/data.pkl"):
                record = change(record)
            new.writestr(entry.filename, record)
    return buffer.getvalue()
