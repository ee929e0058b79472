"""Read and replace the parts of an open HDF5 file of label maps, to damage it."""

from __future__ import annotations

import json
import zlib
from itertools import pairwise

import numpy as np

from labelkit.label_maps.file.layout import ContentDigest

COUNT = 24  # rows of the file that is damaged


def replace_dataset(file, name, data, **options):
    del file[name]
    file.create_dataset(name, data=data, **options)


def seal(file, header):
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.attrs["header"] = np.bytes_(encoded)
    file.attrs["header_crc32"] = np.uint32(zlib.crc32(encoded))


def header_of(file):
    return json.loads(bytes(file.attrs["header"]))


def stored_records(file):
    """Each row's stored record."""
    ends = file["rows"]["record_end"]
    content = file["records"][()].tobytes()
    return [content[start:end] for start, end in pairwise([0, *ends.tolist()])]


def replace_records(file, stored):
    """Replace the records and their ends; the checksums stay."""
    rows = file["rows"][()]
    rows["record_end"] = np.cumsum([len(record) for record in stored])
    file["rows"][...] = rows
    replace_dataset(file, "records", np.frombuffer(b"".join(stored), "u1"))


def reseal(file):
    """Update the header's digest to the current keys and checksums."""
    digest = ContentDigest()
    digest.update(file["keys"][()].tobytes(), file["rows"][()])
    unreadable = file["unreadable"][()].tobytes()
    seal(file, header_of(file) | {"content": digest.hexdigest(unreadable)})


def keys_of(file):
    ends, content = file["rows"]["key_end"], file["keys"][()].tobytes()
    return [content[start:end] for start, end in pairwise([0, *ends.tolist()])]


def replace_keys(file, keys):
    """Replace the keys, their ends and the header's digest."""
    rows = file["rows"][()]
    rows["key_end"] = np.cumsum([len(key) for key in keys])
    file["rows"][...] = rows
    replace_dataset(file, "keys", np.frombuffer(b"".join(keys), "u1"))
    reseal(file)
