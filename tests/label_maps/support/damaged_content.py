"""Changes of keys, rows, records and the list of unreadable images."""

from __future__ import annotations

import zlib

import numpy as np

from tests.label_maps.support.file_surgery import (
    COUNT,
    header_of,
    keys_of,
    replace_dataset,
    replace_keys,
    replace_records,
    reseal,
    seal,
    stored_records,
)


def keys_out_of_order(file, rng):
    keys, at = keys_of(file), rng.integers(COUNT - 1)
    keys[at], keys[at + 1] = keys[at + 1], keys[at]
    replace_keys(file, keys)


def duplicate_key(file, rng):
    keys, at = keys_of(file), rng.integers(COUNT - 1)
    keys[at] = keys[at + 1]
    replace_keys(file, keys)


def hostile_key(file, rng):
    keys = keys_of(file)
    first, last = [b"\0", b"/a", b"../a"], [b"z/../../a", b"z/..", b"z/a\0b", b"z" * 5000]
    at = int(rng.integers(-1, 1))
    some = last if at else first
    keys[at] = some[rng.integers(len(some))]
    replace_keys(file, keys)


def key_that_is_not_utf8(file, rng):
    keys = keys_of(file)
    keys[-1] = (b"\xff\xff", b"z/\xed\xa0\x80", b"z/\xc3")[rng.integers(3)]
    replace_keys(file, keys)


def other_ends(file, rng):
    """Rows with other ends: beyond the columns, before the previous row, or impossible."""
    rows, at = file["rows"][()], rng.integers(COUNT)
    field = rng.choice(("key_end", "record_end"))
    now = int(rows[field][at])
    before = int(rows[field][at - 1]) if at else 0
    ends = (
        0,
        before,
        before - 1,
        now - 1,
        now + 1,
        now + 2**20,
        2**31,
        2**32,
        2**62,
        2**63,
        2**64 - 1,
    )
    rows[field][at] = ends[rng.integers(len(ends))] % 2**64
    file["rows"][...] = rows
    reseal(file)


def ends_of_all_rows_shifted(file, rng):
    """Each row has its length, but the first begins elsewhere."""
    rows = file["rows"][()]
    field = rng.choice(("key_end", "record_end"))
    rows[field] += np.uint64((1, 5, 2**32, 2**64 - 1, 2**64 - 4)[rng.integers(5)])
    file["rows"][...] = rows
    reseal(file)


def one_record_for_all_rows(file, _):
    """Rows that all have one image's record: the same size, other checksums."""
    replace_records(file, [stored_records(file)[0]] * COUNT)


def exchanged_records(file, rng):
    one, other = (int(n) for n in rng.choice(COUNT, 2, replace=False))
    stored = stored_records(file)
    stored[one], stored[other] = stored[other], stored[one]
    replace_records(file, stored)


def exchanged_checksums(file, rng):
    rows = file["rows"][()]
    one, other = rng.choice(COUNT, 2, replace=False)
    rows["crc32"][[one, other]] = rows["crc32"][[other, one]]
    file["rows"][...] = rows


def changed_record(file, rng):
    content = file["records"][()]
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    file["records"][...] = content


def changed_plain_record(file, rng):
    """A record that expands to other content."""
    stored, at = stored_records(file), rng.integers(COUNT)
    plain = bytearray(zlib.decompress(stored[at]))
    plain[rng.integers(len(plain))] ^= 1 << rng.integers(8)
    stored[at] = zlib.compress(bytes(plain))
    replace_records(file, stored)


def records_without_content(file, _):
    shape = file["records"].shape
    del file["records"]
    file.create_dataset("records", shape, "u1")


def record_stored_differently(file, rng):
    """Uncompressed, at another level, truncated, with a tail, or empty."""
    stored, at = stored_records(file), int(rng.integers(COUNT))
    packed = stored[at]
    plain = zlib.decompress(packed)
    forms = [
        plain,
        packed[: len(packed) // 2],
        packed[:-1],
        packed[:-4],
        packed + b"tail",
        packed + packed,
        zlib.compress(plain, 1),
        zlib.compress(plain + b"more"),
        zlib.compress(plain[:-1]),
        packed[2:],
        b"x",
    ]
    stored[at] = forms[rng.integers(len(forms))]
    replace_records(file, stored)


def unreadable_of_another_kind(file, rng):
    """Not images and reasons, though the header's digest matches."""
    kinds = [
        b"",
        b"[]",
        b"null",
        b'{"a":1}',
        b'{"a":null}',
        b'{"a":["b"]}',
        b'{"a":"b"',
        b'{"../a":"torn"}',
        b'{"":"torn"}',
        b'{"a\\u0000":"torn"}',
        b'{"a":"\xff"}',
        b'{"a":"torn","b":"torn","a":"cut"}',
        b"[" * 20_000,
        b'{"a":' * 20_000,
    ]
    replace_dataset(file, "unreadable", np.frombuffer(kinds[rng.integers(len(kinds))], "u1"))
    reseal(file)


def another_reason(file, _):
    """The header's digest does not match."""
    unreadable = file["unreadable"][()].tobytes().replace(b"torn", b"TORN")
    file["unreadable"][...] = np.frombuffer(unreadable, "u1")


def exchanged_rows(file, _):
    """Records and checksums are swapped, the keys are not; the header's digest matches."""
    exchanged_records(file, np.random.default_rng(0))
    exchanged_checksums(file, np.random.default_rng(0))
    reseal(file)


def renamed_key(file, _):
    """Another key in the same position of the order."""
    keys, header = keys_of(file), header_of(file)
    keys[-1] += b"z"
    replace_keys(file, keys)
    seal(file, header)


CONTENT = (
    keys_out_of_order,
    duplicate_key,
    hostile_key,
    key_that_is_not_utf8,
    other_ends,
    ends_of_all_rows_shifted,
    one_record_for_all_rows,
    exchanged_records,
    exchanged_checksums,
    changed_record,
    changed_plain_record,
    records_without_content,
    record_stored_differently,
    unreadable_of_another_kind,
    another_reason,
    exchanged_rows,
    renamed_key,
)
