"""Changes of what a label-map file says: header, keys, rows."""

from __future__ import annotations

import json
import zlib

import numpy as np

from tests.label_maps.damaged_structure import COUNT, chunks_of, header_of, replace_dataset, seal


def header_field(file, rng):
    """One field of another value; the header's own checksum stays."""
    header = header_of(file)
    name = rng.choice(sorted(header))
    match header[name]:
        case str(text):
            header[name] = text + "x"
        case dict(facts):
            header[name] = facts | {"more": 1}
        case list(grid):
            header[name] = grid[::-1]
        case number:
            header[name] = number + int(rng.choice((-1, 1)))
    file.attrs["header"] = np.bytes_(json.dumps(header).encode())


def impossible_header_field(file, rng):
    """One field of a value that cannot be, and a checksum that fits."""
    impossible = {
        "format": ["other", 1, None, ""],
        "version": [0, 99, 2**70, "1", None, -1, True],
        "top_k": [0, -3, 2, 4, 2**31, 2**62, 2**70, "3", 2.5, None, [3]],
        "grid": [[0, 5], [-4, -5], [4], [5, 4, 1], [2**31, 2**31], [4, 2**62], [20, 2], "45", None],
        "background": [-1, 0, 3, 5, 2**40, 2**70, "4", None],
        "classes_name": [1, None, ["a"]],
        "classes_digest": ["", "0" * 64, 1, None],
        "source": [[], None, "text"],
        "made_with": [[], None, "text"],
        "more": [1],
    }
    header = header_of(file)
    name = rng.choice(sorted(impossible))
    header[name] = impossible[name][rng.integers(len(impossible[name]))]
    seal(file, header)


def lost_header_field(file, rng):
    header = header_of(file)
    del header[rng.choice(sorted(header))]
    seal(file, header)


def header_that_is_no_header(file, rng):
    headers = [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{",
        b'{"format":"\\ud800"}',
        b" " * (2 << 20),
    ]
    seal(file, headers[rng.integers(len(headers))])


def nested_header(file, rng):
    depth = int(rng.integers(2000, 30000))
    nested = b'{"teacher":' + b"[" * depth + b"]" * depth + b"}"
    source = json.dumps(header_of(file)["source"]).encode()
    seal(file, json.dumps(header_of(file)).encode().replace(source, nested))


def keys_out_of_order(file, rng):
    keys, at = file["keys"][()], rng.integers(COUNT - 1)
    keys[[at, at + 1]] = keys[[at + 1, at]]
    replace_dataset(file, "keys", keys, compression="gzip")


def duplicate_key(file, rng):
    keys, at = file["keys"][()], rng.integers(COUNT - 1)
    keys[at] = keys[at + 1]
    replace_dataset(file, "keys", keys, compression="gzip")


def hostile_key(file, rng):
    keys = file["keys"][()].astype("S40").tolist()
    first, last = [b"", b"/a", b"../a"], [b"z/../../a", b"z/..", b"z/a\0b"]
    at = int(rng.integers(-1, 1))
    keys[at] = (last if at else first)[rng.integers(3)]
    replace_dataset(file, "keys", np.array(keys), compression="gzip")


def key_that_is_no_text(file, rng):
    keys = file["keys"][()].astype("S40").tolist()
    keys[-1] = (b"\xff\xff", b"z/\xed\xa0\x80", b"z/\xc3")[rng.integers(3)]
    replace_dataset(file, "keys", np.array(keys), compression="gzip")


def exchanged_records(file, rng):
    one, other = (int(n) for n in rng.choice(COUNT, 2, replace=False))
    chunks = chunks_of(file)
    file["records"].id.write_direct_chunk((one, 0), chunks[other])
    file["records"].id.write_direct_chunk((other, 0), chunks[one])


def exchanged_checksums(file, rng):
    checksums = file["crc32"][()]
    one, other = rng.choice(COUNT, 2, replace=False)
    checksums[[one, other]] = checksums[[other, one]]
    file["crc32"][...] = checksums


def changed_record(file, rng):
    at = rng.integers(COUNT)
    row = file["records"][at]
    row[rng.integers(len(row))] ^= 1 << rng.integers(8)
    file["records"][at] = row


def records_without_content(file, _):
    shape = file["records"].shape
    del file["records"]
    file.create_dataset("records", shape, "u1", chunks=(1, shape[1]), compression="gzip")


def record_stored_otherwise(file, rng):
    """Plain, at another level, torn, with a tail, or with a mask that says another thing."""
    at = int(rng.integers(COUNT))
    packed, plain = chunks_of(file)[at], file["records"][at].tobytes()
    forms = [
        (plain, 1),
        (plain, 0),
        (packed, 1),
        (packed, 2),
        (packed[: len(packed) // 2], 0),
        (packed[:-2], 0),
        (packed + b"tail", 0),
        (zlib.compress(plain, 1), 0),
        (zlib.compress(plain + b"more"), 0),
        (zlib.compress(plain[:-1]), 0),
        (b"x", 0),
    ]
    content, mask = forms[rng.integers(len(forms))]
    file["records"].id.write_direct_chunk((at, 0), content, filter_mask=mask)


def unreadable_that_do_not_pair(file, rng):
    name = rng.choice(("unreadable_keys", "unreadable_reasons"))
    replace_dataset(file, name, np.array([b"a", b"b", b"c"]))


def unreadable_without_content(file, rng):
    """Nothing was ever written there: it reads as images of no name, or as no reason."""
    name = rng.choice(("unreadable_keys", "unreadable_reasons"))
    shape, dtype = file[name].shape, f"S{rng.integers(1, 40)}"
    del file[name]
    file.create_dataset(name, shape, dtype, chunks=(1,), compression="gzip")


def unreadable_that_is_no_text(file, rng):
    name = rng.choice(("unreadable_keys", "unreadable_reasons"))
    replace_dataset(file, name, np.array([b"\xff\xfe", b"\xed\xa0\x80"]))


def exchanged_rows(file, _):
    """Records and their checksums change places, the keys stay."""
    exchanged_records(file, np.random.default_rng(0))
    exchanged_checksums(file, np.random.default_rng(0))


def renamed_key(file, _):
    """A key of another name that still stands in order."""
    keys = file["keys"][()].tolist()
    keys[-1] += b"z"
    replace_dataset(file, "keys", np.array(keys), compression="gzip")


def reasons_for_keys(file, _):
    """The unreadable images' reasons under the name of their keys, and the other way round."""
    file.move("unreadable_keys", "for the moment")
    file.move("unreadable_reasons", "unreadable_keys")
    file.move("for the moment", "unreadable_reasons")


CONTENT = (
    exchanged_rows,
    renamed_key,
    reasons_for_keys,
    nested_header,
    key_that_is_no_text,
    unreadable_without_content,
    records_without_content,
    header_field,
    impossible_header_field,
    lost_header_field,
    header_that_is_no_header,
    keys_out_of_order,
    duplicate_key,
    hostile_key,
    exchanged_records,
    exchanged_checksums,
    changed_record,
    record_stored_otherwise,
    unreadable_that_do_not_pair,
    unreadable_that_is_no_text,
)


# Deliberate forgeries with a checksum that fits: today's format has no means of noticing them.


def another_text(field):
    """A forged header: another text and a checksum that fits."""

    def change(file, _):
        header = header_of(file)
        header[field] = {"teacher": "another"} if isinstance(header[field], dict) else "another"
        seal(file, header)

    return change


def transposed_grid(file, _):
    """A forged header: as many cells, but other rows and columns."""
    header = header_of(file)
    seal(file, header | {"grid": header["grid"][::-1]})


UNNOTICED = {
    "another classes_name": (another_text("classes_name"), ["classes_name"]),
    "another source": (another_text("source"), ["source"]),
    "another made_with": (another_text("made_with"), ["made_with"]),
    "transposed grid": (transposed_grid, ["rows", "shape"]),
}
