"""Seeded damage to text files: flipped bits, cuts, swaps, and what parsers of JSON stumble over."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

VALUE = re.compile(rb'"(?:[^"\\\n]|\\.)*"|-?\d+')
HOSTILE = (
    b"NaN", b"-Infinity", b"1e400", b"1e-400", b"-0", b"1.0", b"true", b"null", b"{}", b"[]", b'""',
    b"9" * 5_000, b"-" + b"9" * 40, b"2147483647", b'"\\ud800"', b'"\\u0000"', b'"\\n"', b'"#"',
    b'"' + b"a" * 300_000 + b'"', b"[" * 100_000, b'{"a":' * 50_000, b'{"a":[' * 500 + b"]}" * 500,
    b"\xff\xfe", b"\xef\xbb\xbf", b"\x00", b'"', b"/*", b"\r", b"\x1a",
)  # fmt: skip


def flip_bit(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]


def cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))]


def remove_range(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content))
    return content[:start] + content[start + draw.randint(1, 40) :]


def repeat_range(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content))
    end = start + draw.randint(1, 80)
    return content[:end] + content[start:end] + content[end:]


def swap_values(content: bytes, draw: random.Random) -> bytes:
    values = list(VALUE.finditer(content))
    if len(values) < 2:
        return flip_bit(content, draw)
    one, other = sorted(draw.sample(values, 2), key=re.Match.start)
    middle = content[one.end() : other.start()]
    return content[: one.start()] + other[0] + middle + one[0] + content[other.end() :]


def replace_value(content: bytes, draw: random.Random) -> bytes:
    values = list(VALUE.finditer(content))
    if not values:
        return flip_bit(content, draw)
    found = draw.choice(values)
    new = draw.choice([*HOSTILE, b"%d" % draw.randint(-3, 12), draw.choice(values)[0]])
    return content[: found.start()] + new + content[found.end() :]


def insert(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content) + 1)
    return content[:at] + draw.choice(HOSTILE) + content[at:]


def swap_lines(content: bytes, draw: random.Random) -> bytes:
    lines = content.split(b"\n")
    one, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"\n".join(lines)


def repeat_key(content: bytes, draw: random.Random) -> bytes:
    """A key of an object again, with another value in front of it or after it."""
    keys = list(re.finditer(rb'("(?:[^"\\\n]|\\.)*")\s*:', content))
    if not keys:
        return repeat_range(content, draw)
    key = draw.choice(keys)
    value = draw.choice([*HOSTILE[:12], b'["cat"]', b"[0,-1,1]", b'"x"'])
    place = content.rfind(b"{", 0, key.start()) + 1
    return content[:place] + key[1] + b": " + value + b"," + content[place:]


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    flip_bit, cut, remove_range, repeat_range, swap_values, replace_value, insert, swap_lines,
    repeat_key,
)  # fmt: skip


def mutated(content: bytes, seed: str) -> bytes:
    """A copy with one kind of damage, or sometimes two."""
    draw = random.Random(seed)  # noqa: S311 -- no secret
    for _ in range(draw.choice([1, 1, 1, 2])):
        content = draw.choice(MUTATIONS)(content, draw) or b" "
    return content
