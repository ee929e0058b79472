"""Changes of what HDF5 holds: links, storage, sizes, types, attributes."""

from __future__ import annotations

import json
import zlib

import h5py
import numpy as np

from labelkit.label_maps.layout import DATASETS

COUNT = 24
COLUMNS = ("classes", "keys", "crc32", "unreadable_keys", "unreadable_reasons")


def replace_dataset(file, name, data, **options):
    del file[name]
    file.create_dataset(name, data=data, **options)


def seal(file, header):
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.attrs["header"] = np.bytes_(encoded)
    file.attrs["header_crc32"] = np.uint32(zlib.crc32(encoded))


def header_of(file):
    return json.loads(bytes(file.attrs["header"]))


def chunks_of(file):
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
    file["records"].id.write_direct_chunk((0, 0), chunks_of(file)[0] + bytes(200_000))
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
    replace_dataset(file, name, file[name][()], **options[rng.integers(len(options))])


def other_byte_order(file, _):
    replace_dataset(file, "crc32", file["crc32"][()].astype(">u4"))


def wrong_shape(file, rng):
    name = rng.choice(DATASETS)
    data = file[name][()]
    shapes = [data[:-1], data[:0], np.concatenate([data, data[-1:]]), data[None], data[..., None]]
    replace_dataset(file, name, shapes[rng.integers(len(shapes))])


def scalar(file, rng):
    name = rng.choice(DATASETS)
    replace_dataset(file, name, file[name][()].flat[0])


def null_dataspace(file, rng):
    name = rng.choice(DATASETS)
    replace_dataset(file, name, h5py.Empty(file[name].dtype))


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


STRUCTURE = (
    checksum_of_many_values,
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
)
