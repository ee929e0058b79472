"""Declarations and contents that would fill the memory."""

from __future__ import annotations

import zlib

import h5py

from labelkit.label_maps.file.layout import DATASETS
from tests.label_maps.support.file_surgery import COUNT, replace_records, stored_records


def oversized(file, rng):
    """Many rows that were never written: chunked, contiguous, or compact."""
    name = rng.choice(DATASETS)
    count, dtype = int(2 ** rng.uniform(15, 40)), file[name].dtype
    options = ({"chunks": (64,), "compression": "gzip"}, {"chunks": (64,)}, {})[rng.integers(3)]
    del file[name]
    file.create_dataset(name, (count,), dtype, **options)


def oversized_and_there(file, rng):
    """A hundred mebibytes of zeros that are really in the file, as a hole."""
    name = rng.choice(DATASETS)
    size = 100 << 20
    dtype = file[name].dtype
    del file[name]
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.CONTIGUOUS)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple((size // dtype.itemsize,))
    kind = h5py.h5t.py_create(dtype, logical=True)
    h5py.h5d.create(file.id, name.encode(), kind, space, dcpl=plist)


def oversized_text(file, rng):
    count = file["classes"].shape[0]
    del file["classes"]
    file.create_dataset("classes", (count,), f"S{int(2 ** rng.uniform(10, 30))}", chunks=(1,))


def record_that_expands_to_much(file, rng):
    stored = stored_records(file)
    stored[rng.integers(COUNT)] = zlib.compress(bytes(200 << 20), 1)
    replace_records(file, stored)


def classes_that_expand_to_much(file, _):
    """A hundred mebibytes that are really there, in a hundred kilobytes."""
    packed, width = zlib.compress(bytes(4 << 20)), file["classes"].dtype.itemsize
    rows = (4 << 20) // width
    shape, dtype = (rows * 25,), file["classes"].dtype
    del file["classes"]
    column = file.create_dataset("classes", shape, dtype, chunks=(rows,), compression="gzip")
    for n in range(25):
        column.id.write_direct_chunk((n * rows,), packed)


def oversized_classes_in_a_large_file(file, rng):
    """A declaration that is small compared to the file."""
    stored = stored_records(file)
    stored[0] += bytes(200_000)
    replace_records(file, stored)
    dtype = file["classes"].dtype
    count = int(rng.uniform(70, 180) * (1 << 20)) // dtype.itemsize
    del file["classes"]
    file.create_dataset("classes", (count,), dtype, chunks=(1 << 10,), compression="gzip")


SIZES = (
    oversized,
    oversized_and_there,
    oversized_text,
    record_that_expands_to_much,
    classes_that_expand_to_much,
    oversized_classes_in_a_large_file,
)
