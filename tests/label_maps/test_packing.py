"""The raw form: the same maps bit for bit, the same digest, nothing to unpack."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

import numpy as np
import pytest
from hypothesis import given, strategies as st

from labelkit.errors import LabelMapError
from labelkit.label_maps import LabelMapFile, LabelMaps, MapForm, write_raw
from labelkit.label_maps.codec import MapCodec
from labelkit.label_maps.packing import raw_part
from tests.label_maps.dying import deaths
from tests.label_maps.small_files import CLASSES, FORM, damage, make, maps_of

KEYS = [f"a/{n:02d}.jpg" for n in range(11)]
IMAGE = MapForm(selection="image", top_k=3, grid=(4, 5), background=6, patterns=2, zoom=2.0)


@st.composite
def forms(draw):
    """Any form that maps of 20 classes can have."""
    selection = draw(st.sampled_from(["cell", "image"]))
    top_k = draw(st.integers(1, 20))
    background = draw(st.integers(0, 20 if selection == "cell" else 20 - top_k))
    return MapForm(
        selection=selection,
        top_k=top_k,
        grid=(draw(st.integers(1, 6)), draw(st.integers(1, 6))),
        scores=draw(st.sampled_from(["uint8", "float16", "float32"])),
        background=background,
        patterns=draw(st.integers(0, min(3, background))) if selection == "image" else 0,
        log_sum_exp=draw(st.booleans()),
    )


def bits(part: object) -> object:
    """Everything that a label map holds, bit by bit, with types and shapes."""
    if is_dataclass(part):
        return {field.name: bits(getattr(part, field.name)) for field in fields(part)}
    if part is None:
        return None
    array = np.asarray(part)
    return array.dtype.str, array.shape, array.tobytes()


@given(form=forms(), seed=st.integers(0, 1 << 30), long_list=st.booleans())
def test_a_raw_record_decodes_to_the_same_bits(form, seed, long_list):
    number = 70_000 if long_list else len(CLASSES)
    packed, raw = MapCodec(form, number), MapCodec(form, number, raw=True)
    maps = maps_of(["a", "b"], form, seed)
    records = packed.encode(maps)
    transcoded = raw_part(packed, records)
    assert transcoded.shape == (2, raw.nbytes)
    assert bits(raw.decode(transcoded)) == bits(packed.decode(records))


@given(form=forms(), seed=st.integers(0, 1 << 30))
def test_a_raw_record_is_the_one_that_the_codec_itself_writes(form, seed):
    maps = maps_of(["a", "b"], form, seed)
    transcoded = raw_part(MapCodec(form, 20), MapCodec(form, 20).encode(maps))
    assert np.array_equal(transcoded, MapCodec(form, 20, raw=True).encode(maps))


def test_classes_too_many_for_a_palette_are_transcoded_too():
    form = MapForm(top_k=5, grid=(15, 15))
    rng = np.random.default_rng(0)
    index = rng.random((1, 15, 15, 1000)).argsort(axis=-1)[..., :5].transpose(0, 3, 1, 2)
    assert len(np.unique(index)) > 256
    score = -np.sort(rng.normal(0, 4, index.shape).astype(np.float32), axis=1)
    packed, raw = MapCodec(form, 1000), MapCodec(form, 1000, raw=True)
    records = packed.encode(LabelMaps(index, score))
    transcoded = raw.decode(raw_part(packed, records))
    assert bits(transcoded) == bits(packed.decode(records))
    assert np.array_equal(transcoded.index, index)


@pytest.mark.parametrize("forms", [(FORM,), (IMAGE,), (FORM, IMAGE)], ids=("cell", "image", "two"))
def test_a_raw_file_holds_the_same_maps_and_has_the_same_digest(tmp_path, forms):
    packed = make(tmp_path / "p.h5", KEYS, forms, unreadable={KEYS[2]: "torn"})
    raw = write_raw(packed, tmp_path / "r.h5")
    assert raw.raw
    assert list(raw) == list(packed)
    assert raw.unreadable == packed.unreadable
    assert (raw.forms, raw.classes, raw.attrs) == (packed.forms, packed.classes, packed.attrs)
    assert raw.made_with == packed.made_with
    assert raw.digest == packed.digest
    assert raw.header.packed_content == packed.header.content != raw.header.content
    for key in packed:
        assert [bits(part) for part in raw.maps(key)] == [bits(part) for part in packed.maps(key)]


def test_a_file_without_rows_can_be_raw(tmp_path):
    packed = make(tmp_path / "p.h5", KEYS[:1], unreadable={KEYS[0]: "torn"})
    assert write_raw(packed, tmp_path / "r.h5").unreadable == {KEYS[0]: "torn"}


def test_twice_written_it_is_the_same_file(tmp_path):
    packed = make(tmp_path / "p.h5", KEYS)
    first, second = (write_raw(packed, tmp_path / f"{n}.h5").path.read_bytes() for n in range(2))
    assert first == second


def test_a_raw_file_is_refused(tmp_path):
    raw = write_raw(make(tmp_path / "p.h5", KEYS), tmp_path / "r.h5")
    with pytest.raises(LabelMapError, match="raw already"):
        write_raw(raw, tmp_path / "again.h5")
    assert not (tmp_path / "again.h5").exists()


def test_a_damaged_row_is_named_and_leaves_nothing(tmp_path):
    packed = damage(make(tmp_path / "p.h5", KEYS), KEYS[3])
    with pytest.raises(LabelMapError, match=rf"p\.h5, row 3 \({KEYS[3]}\)"):
        write_raw(packed, tmp_path / "r.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["p.h5"]


def test_a_damaged_raw_row_is_noticed(tmp_path):
    raw = damage(write_raw(make(tmp_path / "p.h5", KEYS), tmp_path / "r.h5"), KEYS[3])
    with pytest.raises(LabelMapError, match=r"row 3 .*checksum"):
        raw[KEYS[3]]
    assert raw[KEYS[4]].top_k == 3


def test_nothing_is_ever_replaced(tmp_path):
    packed = make(tmp_path / "p.h5", KEYS)
    with pytest.raises(FileExistsError, match="choose another name"):
        write_raw(packed, packed.path)


def test_killed_after_any_step_there_is_no_file_or_a_whole_one(tmp_path):
    packed = make(tmp_path / "p.h5", KEYS)
    whole = write_raw(packed, tmp_path / "whole.h5").path.read_bytes()
    output = tmp_path / "r.h5"
    steps = 0
    for _ in deaths(lambda: write_raw(packed, output)):
        steps += 1
        assert not output.exists() or output.read_bytes() == whole
        output.unlink(missing_ok=True)
        assert LabelMapFile.open(write_raw(packed, output).path).raw
        output.unlink()
    assert steps > 8
    assert output.read_bytes() == whole
