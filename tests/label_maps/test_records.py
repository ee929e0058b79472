"""A row's record: the maps of several forms, concatenated and compressed as one stream."""

from __future__ import annotations

import tracemalloc
import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from labelkit.label_maps import LabelMap, LabelMaps, MapForm, RecordCodec
from labelkit.label_maps.file.codec import MapCodec
from tests.label_maps.support.map_forms import CLASS_COUNTS, map_forms
from tests.label_maps.support.random_maps import random_maps
from tests.label_maps.test_codec import assert_same

PLAIN = MapForm(top_k=2, grid=(3, 4))
TINY = MapForm(top_k=1, grid=(1, 1))


def encoded(codec: RecordCodec, forms: list[MapForm], num_classes: int) -> list[bytes]:
    rng = np.random.default_rng(0)
    maps = [random_maps(rng, 2, form, num_classes) for form in forms]
    return [record.tobytes() for record in codec.encode(maps)]


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_several_maps_of_an_image_are_decoded_from_one_record(data):
    num_classes = data.draw(st.sampled_from(CLASS_COUNTS))
    forms = data.draw(st.lists(map_forms(num_classes), min_size=1, max_size=3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    maps = [random_maps(rng, 2, form, num_classes) for form in forms]
    codec = RecordCodec(forms, num_classes)
    for number, record in enumerate(map(bytes, codec.encode(maps))):
        stored = codec.compress(record)
        assert len(stored) <= codec.longest_stored
        assert codec.expand(stored) == record
        single = codec.decode(np.frombuffer(record, np.uint8)[None])
        for every in (single, codec.decode(codec.encode(maps))):
            for found, whole, form in zip(every, maps, forms, strict=True):
                assert_same(found[number if len(found) > 1 else 0], whole[number], form)


def test_records_of_several_forms_are_concatenated():
    forms = [PLAIN, MapForm(selection="image", top_k=1, grid=(2, 2), background=2), TINY]
    whole = RecordCodec(forms, 9)
    parts = [MapCodec(form, 9) for form in forms]
    assert whole.nbytes == sum(part.nbytes for part in parts)
    rng = np.random.default_rng(0)
    maps = [random_maps(rng, 2, form, 9) for form in forms]
    expected = [part.encode(each) for part, each in zip(parts, maps, strict=True)]
    assert np.array_equal(whole.encode(maps), np.concatenate(expected, axis=1))


def test_a_record_is_one_stream_that_any_zlib_reads():
    for forms in ([PLAIN], [TINY], [TINY, PLAIN]):
        codec = RecordCodec(forms, 300)
        for record in encoded(codec, forms, 300):
            assert zlib.decompress(codec.compress(record)) == record


def test_another_kind_of_bytes_begins_a_new_block():
    """This saves a tenth of the file; a codec without its breaks would still read."""
    form = MapForm(selection="image", top_k=2, grid=(3, 4), background=3, log_sum_exp=True)
    assert MapCodec(form, 9).breaks == (8, 16, 28, 28 + 24, 28 + 36, 28 + 39, 28 + 45)
    codec = RecordCodec([form, PLAIN], 1000)
    record = encoded(codec, [form, PLAIN], 1000)[0]
    blocks = codec.compress(record)
    codec._breaks = []
    assert len(blocks) != len(codec.compress(record))
    assert zlib.decompress(blocks) == record


@pytest.mark.parametrize("count", [1, 64])
def test_an_incompressible_record_is_within_the_limit(count):
    """Very small parts in separate blocks grow when they are compressed."""
    form = MapForm(
        selection="image", top_k=1, grid=(1, 1), background=2, patterns=2, log_sum_exp=True
    )
    codec = RecordCodec([form] * count, 70_000)
    record = np.random.default_rng(0).bytes(codec.nbytes)
    assert len(codec.compress(record)) <= codec.longest_stored


def test_anything_but_one_complete_compressed_record_is_refused():
    codec = RecordCodec([PLAIN], 300)
    record = encoded(codec, [PLAIN], 300)[0]
    stored = codec.compress(record)
    wrong = [
        b"",
        b"x",
        record,
        stored[:-1],
        stored[:-4],
        stored[: len(stored) // 2],
        stored + b"x",
        stored + stored,
        stored[:-4] + bytes(4),
        zlib.compress(record[:-1]),
        zlib.compress(record + b"x"),
        zlib.compress(record + bytes(1 << 20)),
    ]
    for damaged in wrong:
        with pytest.raises(ValueError, match=r".") as caught:
            codec.expand(damaged)
        assert not isinstance(caught.value, UnicodeError)
    assert codec.expand(zlib.compress(record, 1)) == record


def test_a_zip_bomb_is_not_expanded_beyond_a_record():
    """Half a megabyte that would expand to a hundred mebibytes."""
    codec = RecordCodec([PLAIN], 300)
    bomb = zlib.compress(bytes(100 << 20), 1)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="not one compressed record"):
            codec.expand(bomb)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_record_of_another_length_is_refused():
    for forms in ([PLAIN], [PLAIN, TINY]):
        codec = RecordCodec(forms, 300)
        record = encoded(codec, forms, 300)[0]
        for damaged in (record[:-1], record + b"x", b""):
            with pytest.raises(ValueError, match="bytes, expected"):
                decoded(codec, damaged)


def at(record: bytes, start: int, content: bytes) -> bytes:
    return record[:start] + content + record[start + len(content) :]


def decoded(codec: MapCodec | RecordCodec, record: bytes) -> object:
    return codec.decode(np.frombuffer(record, np.uint8)[None])


NAN, LARGE = b"\x00\x00\xc0\x7f", b"\xff\xff\x7f\x7f"  # float32


def test_a_damaged_map_of_cells_is_refused():
    codec = MapCodec(MapForm(top_k=1, grid=(2, 2), log_sum_exp=True), 5)
    index = np.array([3, 1, 3, 1]).reshape(1, 1, 2, 2)
    ones = np.ones((1, 1, 2, 2))
    record = codec.encode(LabelMaps(index, ones, None, ones[0]))[0].tobytes()
    size, places, palette = 24, 28, 32
    assert record[size:places] == b"\x02\x00\x00\x00"
    assert record[places : palette + 4] == b"\x01\x00\x01\x00" + b"\x01\x02\x00\x00"
    wrong = {
        "nan among the numbers": at(record, 0, NAN),
        "nan among": at(record, 12, NAN),
        "a range from 1.0 to 0.0": at(record, 4, bytes(4)),
        "3.4e\\+38 among": at(record, 4, LARGE),
        "a palette of 257 classes": at(record, size, b"\x01\x01"),
        "an index outside the palette of 2": at(record, places, b"\x02"),
        "classes are not ascending or not in the list of 5": at(record, palette + 1, b"\x04"),
        "not ascending or not in the list of": at(record, palette + 1, b"\x00"),
        "class 255 in a list of 5": at(record, size, bytes(4) + b"\xff" + bytes(7)),
    }
    for message, damaged in wrong.items():
        with pytest.raises(ValueError, match=message):
            decoded(codec, damaged)


def test_a_damaged_map_of_an_image_is_refused():
    form = MapForm(selection="image", top_k=2, grid=(1, 1), background=2, patterns=1)
    codec = MapCodec(form, 9)
    record = codec.encode(random_maps(np.random.default_rng(3), 1, form, 9))[0].tobytes()
    assert codec.nbytes == 8 + 12 + 4 + 2 + 1 + 2 + 2 + 4 + 4
    equal = b"\x03\x00\x00\x00"  # twice the same class
    outside = b"\x08\x01\x00\x00"
    wrong = {
        "nan among the numbers": at(record, 8, NAN),
        "nan among the numbers ": at(record, 16, NAN),
        "3.4e\\+38 among": at(record, 16, LARGE),
        "nan among": at(record, 20, NAN),
        "3.4e\\+38 among ": at(record, 20, LARGE),
        "not ascending|class 9": at(record, 31, outside),
        "not ascending|class 9 ": at(record, 35, outside),
        "not ascending": at(record, 31, equal),
        "not ascending ": at(record, 35, equal),
    }
    for message, damaged in wrong.items():
        with pytest.raises(ValueError, match=message.strip()):
            decoded(codec, damaged)


def test_floats_that_are_not_finite_are_refused():
    form = MapForm(top_k=1, grid=(1, 1), scores="float32", log_sum_exp=True)
    codec = MapCodec(form, 9)
    record = codec.encode(random_maps(np.random.default_rng(0), 1, form, 9))[0].tobytes()
    for start in (0, 4):
        with pytest.raises(ValueError, match="not finite"):
            decoded(codec, at(record, start, NAN))


@pytest.mark.parametrize(
    "forms",
    [
        [],
        [MapForm(top_k=1, grid=(1 << 13, 1 << 13))],
        [MapForm(top_k=1, grid=(2**31, 2**31))],
        [MapForm(top_k=1, grid=(2**30, 2**30))] * 4,  # of 2 ** 64 bytes: nothing, if it wrapped
        [MapForm(top_k=1, grid=(2**62, 2**62))],
        [TINY] * 65,
    ],
)
def test_records_that_are_too_large_are_refused(forms):
    with pytest.raises(ValueError, match="maps per image"):
        RecordCodec(forms, 9)


def test_maps_that_do_not_match_the_forms_are_refused():
    codec = RecordCodec([PLAIN, TINY], 9)
    rng = np.random.default_rng(0)
    plain, tiny = random_maps(rng, 2, PLAIN, 9), random_maps(rng, 2, TINY, 9)
    with pytest.raises(ValueError, match="maps of 1 forms, expected 2"):
        codec.encode([plain])
    with pytest.raises(ValueError, match="different numbers of images"):
        codec.encode([plain, random_maps(rng, 3, TINY, 9)])
    with pytest.raises(ValueError, match="index has shape"):
        codec.encode([tiny, plain])


def test_maps_of_several_batches_are_concatenated():
    for form in (
        MapForm(top_k=2, grid=(3, 4)),
        MapForm(top_k=2, grid=(3, 4), background=3, log_sum_exp=True),
        MapForm(selection="image", top_k=2, grid=(3, 4), background=3, patterns=2),
    ):
        rng = np.random.default_rng(0)
        parts = [random_maps(rng, n, form, 9) for n in (2, 0, 3)]
        joined = LabelMaps.concatenate(parts)
        codec = MapCodec(form, 9)
        expected = np.concatenate([codec.encode(part) for part in parts])
        assert np.array_equal(codec.encode(joined), expected)
        assert len(list(joined)) == len(joined) == 5
        with pytest.raises(IndexError, match="map 5 of 5"):
            joined[5]


def test_a_map_whose_arrays_differ_in_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(K, H, W\)"):
        LabelMap(np.zeros((1, 2, 2), np.uint16), np.zeros((1, 2, 3), np.float32))


def test_adjacent_breaks_are_distinct():
    """An empty block would waste bytes in every record."""
    for form in (PLAIN, TINY, MapForm(selection="image", top_k=1, grid=(2, 2), background=1)):
        breaks = (0, *MapCodec(form, 9).breaks, MapCodec(form, 9).nbytes)
        assert all(start < stop for start, stop in pairwise(breaks))
