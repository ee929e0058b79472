"""A damaged or hostile file is refused, or reads as it was; it never reads otherwise.

``LABELKIT_MUTATIONS=2000`` tries that many changes instead of 300. The changes are made and read in
child processes: one that crashed would take its process with it, and the memory of one can be
limited.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from labelkit.errors import LabelMapError
from labelkit.hierarchy import ClassList
from labelkit.label_maps import LabelMapFile, LabelMapWriter
from labelkit.label_maps.layout import DATASETS
from tests.label_maps.random_maps import random_arrays, random_background

MUTATIONS = int(os.environ.get("LABELKIT_MUTATIONS", "300"))
BATCH = 150
MEMORY = 64 << 20
ROOT = Path(__file__).parents[2]
COUNT = 24
CLASSES = ClassList.of([f"class {n}" for n in range(20)], "twenty")
COLUMNS = ("classes", "keys", "crc32", "unreadable_keys", "unreadable_reasons")

# ---------------------------------------------------------------------- changes of the file's bytes


def _range(content, rng):
    length = min(int(2 ** rng.uniform(0, 11)), len(content) // 3)
    start = int(rng.integers(len(content) - length))
    return start, start + length


def flip_bits(content, rng):
    for _ in range(rng.integers(1, 9)):
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)


def flip_one_bit(content, rng):
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)


def truncate(content, rng):
    del content[rng.integers(len(content)) :]


def zero_a_range(content, rng):
    start, stop = _range(content, rng)
    content[start:stop] = bytes(stop - start)


def overwrite_a_range(content, rng):
    start, stop = _range(content, rng)
    content[start:stop] = rng.bytes(stop - start)


def fill_a_range_with_ones(content, rng):
    start, stop = _range(content, rng)
    content[start:stop] = b"\xff" * (stop - start)


def copy_a_range_over_another(content, rng):
    start, stop = _range(content, rng)
    target = int(rng.integers(len(content) - (stop - start)))
    content[target : target + stop - start] = content[start:stop]


def cut_a_range_out(content, rng):
    start, stop = _range(content, rng)
    del content[start:stop]


def insert_bytes(content, rng):
    start, stop = _range(content, rng)
    content[start:start] = rng.bytes(stop - start)


def append_bytes(content, rng):
    content += rng.bytes(1 + rng.integers(5000))


BYTES = (
    flip_bits,
    flip_one_bit,
    truncate,
    zero_a_range,
    overwrite_a_range,
    fill_a_range_with_ones,
    copy_a_range_over_another,
    cut_a_range_out,
    insert_bytes,
    append_bytes,
)

# --------------------------------------------------------------------- changes of what HDF5 holds


def _replace(file, name, data, **options):
    del file[name]
    file.create_dataset(name, data=data, **options)


def _seal(file, header):
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.attrs["header"] = np.bytes_(encoded)
    file.attrs["header_crc32"] = np.uint32(zlib.crc32(encoded))


def _header(file):
    return json.loads(bytes(file.attrs["header"]))


def _chunks(file):
    records = file["records"].id
    return [records.read_direct_chunk((n, 0))[1] for n in range(COUNT)]


def external_link(file, rng):
    name = rng.choice(DATASETS)
    del file[name]
    file[name] = h5py.ExternalLink("maps.h5", f"/{name}")


def soft_link(file, rng):
    name = rng.choice(DATASETS)
    file.move(name, "elsewhere")
    file[name] = h5py.SoftLink("/elsewhere")


def soft_link_into_a_group(file, rng):
    name = rng.choice(DATASETS)
    file.create_group("group")
    file.move(name, f"group/{name}")
    file[name] = h5py.SoftLink(f"/group/{name}")


def link_to_nothing(file, rng):
    name = rng.choice(DATASETS)
    del file[name]
    file[name] = h5py.SoftLink("/nothing")


def one_dataset_under_two_names(file, rng):
    name, other = rng.choice(("classes", "keys", "crc32", "records"), 2, replace=False)
    del file[name]
    file[name] = file[other]


def external_storage(file, rng):
    name = rng.choice(DATASETS)
    shape, dtype = file[name].shape, file[name].dtype
    del file[name]
    file.create_dataset(name, shape, dtype, external=[("maps.h5", 0, h5py.h5f.UNLIMITED)])


def virtual_dataset(file, rng):
    name = rng.choice(DATASETS)
    layout = h5py.VirtualLayout(file[name].shape, file[name].dtype)
    layout[...] = h5py.VirtualSource("maps.h5", name, file[name].shape)
    del file[name]
    file.create_virtual_dataset(name, layout)


def group_for_a_dataset(file, rng):
    name = rng.choice(DATASETS)
    del file[name]
    file.create_group(name)


def missing_dataset(file, rng):
    del file[rng.choice(DATASETS)]


def more_datasets(file, rng):
    file[f"more{rng.integers(9)}"] = 1


def more_attributes(file, rng):
    file.attrs["more"] = "text"
    file[rng.choice(DATASETS)].attrs["more"] = 1


def oversized_rows(file, rng):
    name = rng.choice(COLUMNS)
    count, dtype = int(2 ** rng.uniform(15, 40)), file[name].dtype
    del file[name]
    file.create_dataset(name, (count,), dtype, chunks=(64,), compression="gzip")


def oversized_rows_in_one_piece(file, rng):
    name = rng.choice(COLUMNS)
    count, dtype = int(2 ** rng.uniform(15, 40)), file[name].dtype
    del file[name]
    file.create_dataset(name, (count,), dtype)


def oversized_everywhere(file, rng):
    count = int(2 ** rng.uniform(15, 31))
    for name in ("keys", "crc32", "records"):
        old = file[name]
        shape, dtype, chunks = (count, *old.shape[1:]), old.dtype, (1, *old.shape[1:])
        del file[name]
        file.create_dataset(name, shape, dtype, chunks=chunks, compression="gzip")


def oversized_text(file, rng):
    name = rng.choice(("classes", "keys"))
    count = file[name].shape[0]
    del file[name]
    file.create_dataset(name, (count,), f"S{int(2 ** rng.uniform(10, 30))}", chunks=(1,))


def oversized_record(file, rng):
    nbytes = int(2 ** rng.uniform(10, 31))
    del file["records"]
    file.create_dataset("records", (COUNT, nbytes), "u1", chunks=(1, nbytes), compression="gzip")


def row_that_unpacks_into_much(file, rng):
    packed = zlib.compress(bytes(200 << 20), 1)
    file["records"].id.write_direct_chunk((int(rng.integers(COUNT)), 0), packed)


def column_that_unpacks_into_much(file, rng):
    """A hundred mebibytes that are really there, in a hundred kilobytes."""
    name = rng.choice(COLUMNS)
    packed, width = zlib.compress(bytes(4 << 20)), file[name].dtype.itemsize
    rows = (4 << 20) // width
    shape, dtype = (rows * 25,), file[name].dtype
    del file[name]
    column = file.create_dataset(name, shape, dtype, chunks=(rows,), compression="gzip")
    for n in range(25):
        column.id.write_direct_chunk((n * rows,), packed)


def oversized_column_in_a_large_file(file, rng):
    """A declaration that looks small beside the size of the file."""
    file["records"].id.write_direct_chunk((0, 0), _chunks(file)[0] + bytes(200_000))
    name = rng.choice(COLUMNS)
    dtype = file[name].dtype
    count = int(rng.uniform(70, 180) * (1 << 20)) // dtype.itemsize
    del file[name]
    file.create_dataset(name, (count,), dtype, chunks=(1 << 10,), compression="gzip")


def wrong_type(file, rng):
    name = rng.choice(DATASETS)
    types = ["i8", "f4", ">u4", "u8", "?", "V7", [("a", "u4")], h5py.string_dtype(), "c8"]
    shape = file[name].shape
    if file[name].dtype.kind == "u":
        types.append("S3")
    dtype = types[rng.integers(len(types))]
    del file[name]
    file.create_dataset(name, shape, dtype)


def wrong_filter(file, rng):
    name = rng.choice(DATASETS)
    options = [
        {"compression": "lzf"},
        {"compression": "gzip", "shuffle": True},
        {"compression": "gzip", "fletcher32": True},
        {"fletcher32": True},
        {"compression": "gzip", "chunks": tuple(max(1, n // 2) for n in file[name].shape)},
        {"compression": "gzip", "compression_opts": 1},
        {},
    ]
    if file[name].dtype.kind == "u":
        options.append({"scaleoffset": 0})
    _replace(file, name, file[name][()], **options[rng.integers(len(options))])


def other_byte_order(file, _):
    _replace(file, "crc32", file["crc32"][()].astype(">u4"))


def wrong_shape(file, rng):
    name = rng.choice(DATASETS)
    data = file[name][()]
    shapes = [data[:-1], data[:0], np.concatenate([data, data[-1:]]), data[None], data[..., None]]
    _replace(file, name, shapes[rng.integers(len(shapes))])


def scalar(file, rng):
    name = rng.choice(DATASETS)
    _replace(file, name, file[name][()].flat[0])


def null_dataspace(file, rng):
    name = rng.choice(DATASETS)
    _replace(file, name, h5py.Empty(file[name].dtype))


def swapped_datasets(file, rng):
    name, other = rng.choice(DATASETS[:4], 2, replace=False)
    file.move(name, "for the moment")
    file.move(other, name)
    file.move("for the moment", other)


def swapped_attributes(file, _):
    header, checksum = file.attrs["header"], file.attrs["header_crc32"]
    file.attrs["header"], file.attrs["header_crc32"] = checksum, header


def attribute_of_another_kind(file, rng):
    name = rng.choice(("header", "header_crc32"))
    del file.attrs[name]
    kinds = [
        None,
        "text",
        b"bytes" * 20000,
        1.5,
        float("nan"),
        -1,
        np.uint64(2**64 - 1),
    ]
    kind = kinds[rng.integers(len(kinds))]
    if kind is not None:
        file.attrs[name] = kind


def header_of_many_values(file, rng):
    value = file.attrs["header"]
    kinds = [h5py.Empty("S4"), np.array([value]), np.array([value, value]), np.array([[value]])]
    file.attrs["header"] = kinds[rng.integers(len(kinds))]


def checksum_of_many_values(file, rng):
    value = file.attrs["header_crc32"]
    kinds = [h5py.Empty("u4"), np.array([value, value]), np.array([[value]]), value[None][:0]]
    file.attrs["header_crc32"] = kinds[rng.integers(len(kinds))]


def header_field(file, rng):
    """One field of another value; the header's own checksum stays."""
    header = _header(file)
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
    header = _header(file)
    name = rng.choice(sorted(impossible))
    header[name] = impossible[name][rng.integers(len(impossible[name]))]
    _seal(file, header)


def lost_header_field(file, rng):
    header = _header(file)
    del header[rng.choice(sorted(header))]
    _seal(file, header)


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
    _seal(file, headers[rng.integers(len(headers))])


def nested_header(file, rng):
    depth = int(rng.integers(2000, 30000))
    nested = b'{"teacher":' + b"[" * depth + b"]" * depth + b"}"
    source = json.dumps(_header(file)["source"]).encode()
    _seal(file, json.dumps(_header(file)).encode().replace(source, nested))


def keys_out_of_order(file, rng):
    keys, at = file["keys"][()], rng.integers(COUNT - 1)
    keys[[at, at + 1]] = keys[[at + 1, at]]
    _replace(file, "keys", keys, compression="gzip")


def duplicate_key(file, rng):
    keys, at = file["keys"][()], rng.integers(COUNT - 1)
    keys[at] = keys[at + 1]
    _replace(file, "keys", keys, compression="gzip")


def hostile_key(file, rng):
    keys = file["keys"][()].astype("S40").tolist()
    first, last = [b"", b"/a", b"../a"], [b"z/../../a", b"z/..", b"z/a\0b"]
    at = int(rng.integers(-1, 1))
    keys[at] = (last if at else first)[rng.integers(3)]
    _replace(file, "keys", np.array(keys), compression="gzip")


def key_that_is_no_text(file, rng):
    keys = file["keys"][()].astype("S40").tolist()
    keys[-1] = (b"\xff\xff", b"z/\xed\xa0\x80", b"z/\xc3")[rng.integers(3)]
    _replace(file, "keys", np.array(keys), compression="gzip")


def exchanged_records(file, rng):
    one, other = (int(n) for n in rng.choice(COUNT, 2, replace=False))
    chunks = _chunks(file)
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
    packed, plain = _chunks(file)[at], file["records"][at].tobytes()
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
    _replace(file, name, np.array([b"a", b"b", b"c"]))


def unreadable_without_content(file, rng):
    """Nothing was ever written there: it reads as images of no name, or as no reason."""
    name = rng.choice(("unreadable_keys", "unreadable_reasons"))
    shape, dtype = file[name].shape, f"S{rng.integers(1, 40)}"
    del file[name]
    file.create_dataset(name, shape, dtype, chunks=(1,), compression="gzip")


def unreadable_that_is_no_text(file, rng):
    name = rng.choice(("unreadable_keys", "unreadable_reasons"))
    _replace(file, name, np.array([b"\xff\xfe", b"\xed\xa0\x80"]))


def exchanged_rows(file, _):
    """Records and their checksums change places, the keys stay."""
    exchanged_records(file, np.random.default_rng(0))
    exchanged_checksums(file, np.random.default_rng(0))


def renamed_key(file, _):
    """A key of another name that still stands in order."""
    keys = file["keys"][()].tolist()
    keys[-1] += b"z"
    _replace(file, "keys", np.array(keys), compression="gzip")


def reasons_for_keys(file, _):
    """The unreadable images' reasons under the name of their keys, and the other way round."""
    file.move("unreadable_keys", "for the moment")
    file.move("unreadable_reasons", "unreadable_keys")
    file.move("for the moment", "unreadable_reasons")


CONTENT = (
    exchanged_rows,
    renamed_key,
    reasons_for_keys,
    checksum_of_many_values,
    nested_header,
    key_that_is_no_text,
    unreadable_without_content,
    records_without_content,
    column_that_unpacks_into_much,
    oversized_column_in_a_large_file,
    external_link,
    soft_link,
    soft_link_into_a_group,
    link_to_nothing,
    one_dataset_under_two_names,
    external_storage,
    virtual_dataset,
    group_for_a_dataset,
    missing_dataset,
    more_datasets,
    more_attributes,
    oversized_rows,
    oversized_rows_in_one_piece,
    oversized_everywhere,
    oversized_text,
    oversized_record,
    row_that_unpacks_into_much,
    wrong_type,
    wrong_filter,
    other_byte_order,
    wrong_shape,
    scalar,
    null_dataspace,
    swapped_datasets,
    swapped_attributes,
    attribute_of_another_kind,
    header_of_many_values,
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

# ------------------------------------------- changes that today's format has no means of noticing


def another_text(field):
    """A forged header: another text and a checksum that fits."""

    def change(file, _):
        header = _header(file)
        header[field] = {"teacher": "another"} if isinstance(header[field], dict) else "another"
        _seal(file, header)

    return change


def transposed_grid(file, _):
    """A forged header: as many cells, but other rows and columns."""
    header = _header(file)
    _seal(file, header | {"grid": header["grid"][::-1]})


UNNOTICED = {
    "another classes_name": (another_text("classes_name"), ["classes_name"]),
    "another source": (another_text("source"), ["source"]),
    "another made_with": (another_text("made_with"), ["made_with"]),
    "transposed grid": (transposed_grid, ["rows", "shape"]),
}

# ------------------------------------------------------------------------- the child's side


def write_original(path):
    rng = np.random.default_rng(0)
    unreadable = {"c/torn.jpg": "torn", "c/void.png": "empty"}
    keys = [f"{'ab'[n % 2]}/é{n:02d}.jpg" for n in range(COUNT)]
    made = LabelMapWriter(
        path,
        classes=CLASSES,
        keys=[*keys, *unreadable],
        top_k=3,
        grid=(4, 5),
        background=4,
        source={"teacher": "a teacher", "seed": 0},
        made_with={"numpy": "any"},
    )
    index, score = random_arrays(rng, COUNT, 3, (4, 5), len(CLASSES))
    background = random_background(rng, COUNT, 4, len(CLASSES))
    made.commit(made.shards[0], index, score, unreadable, background)
    made.finalize().close()


def mutate(path, change, rng):
    if change in BYTES:
        content = bytearray(path.read_bytes())
        change(content, rng)
        path.write_bytes(content)
    else:
        with h5py.File(path, "r+", libver=("v110", "v110")) as file:
            change(file, rng)


def read(path, refusals):
    """Everything that a file gives away; what it refuses is left out and told in ``refusals``."""

    @contextmanager
    def refusing():
        try:
            yield
        except LabelMapError as error:
            refusals.append(error)

    parts = {}
    with refusing(), LabelMapFile.open(path) as file:
        parts |= {
            "classes": file.classes.ids,
            "classes_name": file.classes.name,
            "shape": (len(file), file.top_k, file.grid, file.background),
            "unreadable": file.unreadable,
            "source": file.attrs,
            "made_with": file.made_with,
        }
        with refusing():
            parts["keys"] = list(file)
        for position in range(len(file)):
            with refusing():
                parts["row", position] = plain(file.at(position))
        for key in parts.get("keys", ()):
            with refusing():
                parts["row", key] = plain(file[key])
    return parts


def plain(label_map):
    behind = label_map.background
    arrays = (label_map.index, label_map.score, behind.classes, behind.logits)
    return float(behind.rest), *((array.shape, array.tobytes()) for array in arrays)


def differences(found, original):
    """The parts that are read, but otherwise than from the original; rows are one part."""
    names = {name for name, value in found.items() if original.get(name) != value}
    return sorted({"rows" if isinstance(name, tuple) else name for name in names})


@contextmanager
def little_memory():
    """Refuse this process more than 64 MiB beyond what it has."""
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    now = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def out_of_memory(error):
    while error is not None:
        if isinstance(error, MemoryError) or "alloc" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def try_one(path, change, rng, content, original):
    """Change a copy of the file, read it, and say what came of it."""
    path.write_bytes(content)
    mutate(path, change, rng)
    refusals, wrong = [], None
    try:
        with little_memory():
            found = read(path, refusals)
    except Exception as error:  # noqa: BLE001 -- any other error is what the test looks for
        found, wrong = {}, f"{type(error).__name__}: {str(error)[:200]}"
        refusals.append(error)
    return {
        "refused": len(refusals),
        "changed": differences(found, original),
        "wrong": wrong,
        "memory": any(map(out_of_memory, refusals)),
    }


def try_many(folder, start, stop):
    """The child program: one line before each change, and one with its outcome."""
    source = Path(folder) / "maps.h5"
    content, original = source.read_bytes(), read(source, [])
    changes = [(name, change) for name, (change, _) in UNNOTICED.items()]
    if stop:
        # As many changes of bytes as of content, and each kind of them equally often.
        kinds = [pair for n in range(start, stop) for pair in [(CONTENT, BYTES)[n % 2]]]
        changes = [
            (kind[n // 2 % len(kind)].__name__, kind[n // 2 % len(kind)])
            for n, kind in enumerate(kinds, start)
        ]
    for seed, (name, change) in enumerate(changes, start):
        print(f"{seed} {name}", flush=True)  # noqa: T201 -- the answer
        target = Path(folder) / "changed.h5"
        outcome = try_one(target, change, np.random.default_rng(seed), content, original)
        print(json.dumps({"name": name, "seed": seed} | outcome), flush=True)  # noqa: T201


def outcomes(folder, start=0, stop=0):
    program = (
        "import sys; from tests.label_maps.test_damage import try_many; "
        "try_many(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))"
    )
    command = [sys.executable, "-c", program, str(folder), str(start), str(stop)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = run.stdout.splitlines()
    assert run.returncode == 0, (run.returncode, lines[-1:], run.stderr[-2000:])
    return [json.loads(line) for line in lines[1::2]]


# ------------------------------------------------------------------------------------ the tests

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="tells its memory otherwise than Linux"
)


HARMLESS = {"more_attributes", "other_byte_order", "append_bytes"}
SOMETIMES = {"wrong_filter", "record_stored_otherwise"}  # by the filter, and by the form


def faults(found):
    return [one for one in found if one["changed"] or one["wrong"] or one["memory"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damage")
    write_original(folder / "maps.h5")
    return folder


@pytest.fixture(scope="module")
def known(folder):
    """What comes of the changes that are no part of the long run."""
    return outcomes(folder)


def test_every_change_is_refused_or_changes_nothing(folder):
    """No changed file reads otherwise, ends the process, or takes more than 64 MiB."""
    found = [
        outcome
        for start in range(0, MUTATIONS, BATCH)
        for outcome in outcomes(folder, start, min(start + BATCH, MUTATIONS))
    ]
    assert len(found) == MUTATIONS
    assert not faults(found)
    refused = {one["name"] for one in found if one["refused"]}
    assert refused >= {change.__name__ for change in (*BYTES, *CONTENT)} - HARMLESS - SOMETIMES
    assert {one["name"] for one in found if not one["refused"]} >= HARMLESS


def test_what_the_format_cannot_notice(known):
    """The changes that still read otherwise: deliberate ones, with all checksums made to fit."""
    found = {one["name"]: one for one in known if one["name"] in UNNOTICED}
    assert {name: one["changed"] for name, one in found.items()} == {
        name: changed for name, (_, changed) in UNNOTICED.items()
    }
    assert not any(one["wrong"] or one["refused"] for one in found.values())
