"""Changes of the HDF5 structure: links, storage, types, shapes, filters."""

from __future__ import annotations

import h5py
import numpy as np

from labelkit.label_maps.file.layout import DATASETS, ROW
from tests.label_maps.support.file_surgery import replace_dataset


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
    name, other = rng.choice(DATASETS, 2, replace=False)
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


def stored_differently(file, rng):
    """The same content, but in chunks, or without an offset in the file."""
    name = rng.choice(("keys", "records", "rows", "unreadable"))
    data = file[name][()]
    if rng.integers(4):
        size = (1, len(data) // 2, len(data), len(data) + 9)[rng.integers(4)]
        return replace_dataset(file, name, data, chunks=(size,), maxshape=(None,))
    del file[name]
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.COMPACT)
    kind = h5py.h5t.py_create(data.dtype, logical=True)
    space = h5py.h5s.create_simple(data.shape)
    dataset = h5py.h5d.create(file.id, name.encode(), kind, space, dcpl=plist)
    return dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, data)


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
    """Unknown filters; only gzip is allowed, and only for the classes."""
    name = rng.choice(DATASETS)
    options = [
        {"compression": "lzf"},
        {"compression": "gzip", "shuffle": True},
        {"compression": "gzip", "fletcher32": True},
        {"fletcher32": True},
        {"compression": "gzip", "chunks": (max(1, len(file[name]) // 2),)},
        {"compression": "gzip", "compression_opts": 1},
        {},
    ]
    if file[name].dtype.kind == "u":
        options.append({"scaleoffset": 0})
    replace_dataset(file, name, file[name][()], **options[rng.integers(len(options))])


def other_byte_order(file, _):
    fields = [(name, ">u8" if name.endswith("end") else ">u4") for name in ROW.names]
    replace_dataset(file, "rows", file["rows"][()].astype(fields))


def other_fields(file, rng):
    """Rows of the same numbers with another layout."""
    rows = file["rows"][()]
    names = list(ROW.names)
    types = [
        np.dtype(ROW.descr, align=True),
        np.dtype([(name, "<u8") for name in names]),
        np.dtype([(name, ROW[name].str) for name in names[::-1]]),
        np.dtype([*ROW.descr, ("more", "u1")]),
        np.dtype([(name.upper(), ROW[name].str) for name in names]),
        np.dtype([("key_end", "<i8"), ("record_end", "<i8"), ("crc32", "<i4")]),
    ]
    dtype = types[rng.integers(len(types))]
    changed = np.zeros(len(rows), dtype)
    for name in names:
        field = name if name in dtype.names else name.upper()
        changed[field] = rows[name].astype(dtype[field])
    replace_dataset(file, "rows", changed)


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
    name, other = rng.choice(DATASETS, 2, replace=False)
    file.move(name, "for the moment")
    file.move(other, name)
    file.move("for the moment", other)


STRUCTURE = (
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
    stored_differently,
    wrong_type,
    wrong_filter,
    other_byte_order,
    other_fields,
    wrong_shape,
    scalar,
    null_dataspace,
    swapped_datasets,
)
