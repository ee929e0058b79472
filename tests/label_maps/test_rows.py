"""Keys are found through a sample of them, for any stride and block size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from labelkit.hierarchy import ClassList
from labelkit.label_maps import LabelMapFile, MapForm, RecordCodec
from labelkit.label_maps.file import rows as row_table
from labelkit.label_maps.file.hdf5_writer import FileContent, RowStream, write_file
from labelkit.label_maps.file.layout import FORMAT, NO_DIGEST, VERSION, Header, row_crc32
from labelkit.label_maps.file.rows import RowTable
from tests.label_maps.support.random_maps import random_maps

CLASSES = ClassList.of(["a", "b", "c"])
FORM = MapForm(top_k=1, grid=(1, 1))


def write_keys(path, keys):
    """Write a file of these ascending keys, all with the same map."""
    codec = RecordCodec([FORM], len(CLASSES))
    record = bytes(codec.encode([random_maps(np.random.default_rng(0), 1, FORM, len(CLASSES))])[0])
    stored = codec.compress(record)
    header = Header(FORMAT, VERSION, (FORM,), "abc", CLASSES.digest, {}, {})
    stream = ((key, stored, row_crc32(key, record), NO_DIGEST) for key in map(str.encode, keys))
    size = sum(map(len, map(str.encode, keys)))
    rows = RowStream(stream, len(keys), size, len(keys) * len(stored))
    write_file(path, FileContent(header, CLASSES, rows, {}))
    return path


def some_keys(rng, count):
    """Keys of any length, some of them prefixes of others."""
    lengths = rng.integers(1, 30, 3 * count)
    keys = {"".join(rng.choice(list("ab/éz"), length)).lstrip("/") for length in lengths} - {""}
    return sorted(rng.permutation(sorted(keys))[:count].tolist(), key=str.encode)


@pytest.mark.parametrize("samples", [1, 2, 7, 1 << 16])
@pytest.mark.parametrize("block", [1, 3, 16, 100, 4096])
@pytest.mark.parametrize("count", [1, 15, 16, 17, 97, 1000])
def test_every_key_is_found_and_no_other_key(tmp_path, monkeypatch, samples, block, count):
    monkeypatch.setattr(row_table, "_SAMPLES", samples)
    monkeypatch.setattr(row_table, "_BLOCK", block)
    rng = np.random.default_rng(count)
    keys = some_keys(rng, count)
    with LabelMapFile.open(write_keys(tmp_path / "maps.h5", keys)) as file:
        assert list(file) == keys
        assert [file.position(key) for key in keys] == list(range(len(keys)))
        absent = {key + "!" for key in keys} | {key[:-1] for key in keys} | {"", "\U0010ffff", " "}
        assert not [key for key in absent - set(keys) if file.position(key) is not None]
        stride = max(16, -(-len(keys) // samples))
        assert len(file._table._samples) == -(-len(keys) // stride)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_set_of_keys_is_found(tmp_path_factory, data):
    """Any text: the order by UTF-8 bytes differs from that by UTF-16 code units and by letters."""
    texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=9)
    possible = texts.filter(lambda key: not key.startswith("/") and ".." not in key.split("/"))
    keys = sorted(data.draw(st.sets(possible, max_size=60)), key=str.encode)
    path = tmp_path_factory.mktemp("keys") / "maps.h5"
    with LabelMapFile.open(write_keys(path, keys)) as file:
        assert list(file) == keys
        assert [file.position(key) for key in keys] == list(range(len(keys)))
        assert file.missing(keys) == []
        other = data.draw(texts)
        assert (other in file) == (other in keys)


@pytest.mark.parametrize("place", [0, 14, 15, 16, 98])
def test_keys_that_do_not_ascend_are_refused(tmp_path, monkeypatch, place):
    """Within a block of keys, and from one block to the next."""
    monkeypatch.setattr(row_table, "_BLOCK", 15)
    keys = [f"{n:03d}" for n in range(100)]
    for changed in ([keys[place + 1], keys[place]], [keys[place], keys[place]]):
        wrong = [*keys[:place], *changed, *keys[place + 2 :]]
        path = write_keys(tmp_path / f"{changed[1]}{changed[0]}.h5", wrong)
        with pytest.raises(Exception, match="keys are not in ascending order"):
            LabelMapFile.open(path)


@pytest.mark.parametrize("longer", [True, False])
def test_a_prefix_of_a_key_sorts_before_it(tmp_path, longer):
    keys = ["a", "a\x01"] if longer else ["a\x01", "a"]
    path = write_keys(tmp_path / "maps.h5", keys)
    if longer:
        assert list(LabelMapFile.open(path)) == keys
    else:
        with pytest.raises(Exception, match="not in ascending order"):
            LabelMapFile.open(path)


def test_a_lookup_reads_only_a_few_keys(tmp_path, monkeypatch):
    """Fifty samples of a thousand keys: at most one stride of them is read."""
    monkeypatch.setattr(row_table, "_SAMPLES", 50)
    keys = [f"{n:04d}" for n in range(1000)]
    file = LabelMapFile.open(write_keys(tmp_path / "maps.h5", keys))
    read: list[int] = []
    whole = RowTable._read_keys

    def counting(table, descriptor, begin, rows):
        read.append(len(rows))
        return whole(table, descriptor, begin, rows)

    monkeypatch.setattr(RowTable, "_read_keys", counting)
    assert file.position("0499") == 499
    assert read == [20]
