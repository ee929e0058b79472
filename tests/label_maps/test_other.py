"""Files that store *other*, the probability of none of the classes."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from labelkit.errors import LabelMapError
from labelkit.geometry import CropBox
from labelkit.hierarchy import ClassList
from labelkit.label_maps import (
    LabelMapFile,
    LabelMaps,
    LabelMapWriter,
    MapBatch,
    MapForm,
    pool,
    pool_batch,
)
from labelkit.label_maps.file.codec import MapCodec, RecordCodec
from tests.label_maps.support.file_surgery import header_of, seal
from tests.label_maps.support.map_forms import CLASS_COUNTS, map_forms
from tests.label_maps.support.random_maps import decoded, random_maps
from tests.label_maps.support.small_files import CLASSES, calibration_of, writer_of
from tests.label_maps.test_codec import assert_same
from tests.label_maps.test_pooling_batch import tensor_of

KEYS = ["a.jpg", "b.jpg", "c.jpg"]
OUTPUTS = len(CLASSES) + 1
CELL = MapForm(top_k=4, grid=(3, 5))
IMAGE = MapForm(selection="image", top_k=4, grid=(3, 5), background=6, patterns=1)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_record_with_other_decodes_to_what_was_encoded(data):
    outputs = data.draw(st.sampled_from(CLASS_COUNTS[1:]))
    form = data.draw(map_forms(outputs))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    maps = random_maps(rng, 2, form, outputs, other=True)
    codec = MapCodec(form, outputs, other=True)
    for record, label_map in zip(codec.encode(maps), maps, strict=True):
        assert_same(decoded(codec, record.tobytes()), label_map, form)


def test_the_plane_of_other_is_coded_by_its_neighbours():
    """Two cells side by side: scores 9, 8 of a class, then 4, 5 of other, of a range of 5."""
    score = np.array([[[[9.0, 8.0]], [[4.0, 5.0]]]], np.float32)
    maps = LabelMaps(np.array([[[[0, 0]], [[1, 1]]]]), score)
    codec = MapCodec(MapForm(top_k=2, grid=(1, 2)), 2, other=True)
    (record,) = codec.encode(maps)
    assert record[8:12].tolist() == [255, (204 - 255) % 256, 0, 51]
    plain = MapCodec(MapForm(top_k=2, grid=(1, 2)), 2).encode(maps)[0]
    assert plain[8:12].tolist() == [255, (204 - 255) % 256, 1, (51 - 204) % 256]


def test_other_may_be_stronger_than_the_classes_but_must_be_last():
    rng = np.random.default_rng(0)
    maps = random_maps(rng, 2, CELL, OUTPUTS, other=True)
    codec = MapCodec(CELL, OUTPUTS, other=True)
    high = replace(maps, score=maps.score.copy())
    high.score[:, -1] = 50
    assert decoded(codec, codec.encode(high)[0].tobytes()).strongest.tolist() == [[20] * 5] * 3
    with pytest.raises(ValueError, match=r"the last entry of a cell is not \*other\*"):
        codec.encode(replace(high, index=high.index[:, ::-1]))
    with pytest.raises(ValueError, match="the scores of a cell do not descend"):
        codec.encode(replace(high, score=high.score[:, [1, 0, 2, 3]]))
    with pytest.raises(ValueError, match="the scores of a cell do not descend"):
        MapCodec(CELL, OUTPUTS).encode(high)


def test_a_map_of_other_alone_is_possible():
    form = MapForm(top_k=1, grid=(2, 2))
    maps = random_maps(np.random.default_rng(0), 2, form, 3, other=True)
    assert (maps.index == 2).all()
    codec = MapCodec(form, 3, other=True)
    assert_same(decoded(codec, codec.encode(maps)[1].tobytes()), maps[1], form)


def write(path, form, *, calibration=None, other=True) -> tuple[LabelMapFile, LabelMaps]:
    maps = random_maps(np.random.default_rng(1), len(KEYS), form, OUTPUTS - 1 + other, other=other)
    writer = writer_of(path, KEYS, (form,), other=other)
    (shard,) = writer.pending()
    writer.commit(shard, [maps], {})
    return writer.finalize(calibration), maps


@pytest.mark.parametrize("form", [CELL, IMAGE], ids=["cell", "image"])
def test_a_file_with_other_has_one_more_output(tmp_path, form):
    file, maps = write(tmp_path / "maps.h5", form)
    assert file.header.other
    assert file.outputs == (*CLASSES.ids, "*other*")
    assert file.classes == CLASSES
    assert file.calibration is None
    for key, label_map in zip(KEYS, maps, strict=True):
        assert_same(file[key], label_map, form)
    assert max(int(file[key].index.max()) for key in KEYS) == len(CLASSES)


@pytest.mark.parametrize("form", [CELL, IMAGE], ids=["cell", "image"])
def test_other_counts_among_the_classes_of_a_calibration(tmp_path, form):
    calibration = calibration_of(classes=OUTPUTS)
    file, _ = write(tmp_path / "maps.h5", form, calibration=calibration)
    label_map, box = file[KEYS[0]], CropBox(0.1, 0.2, 0.7, 0.9)
    target = pool(label_map, box).probabilities(OUTPUTS)
    batch = pool_batch(MapBatch.stack([label_map]), tensor_of([box])).dense(OUTPUTS).softmax(1)
    np.testing.assert_allclose(batch[0], target, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="is of 20 classes, not 21"):
        write(tmp_path / "wrong.h5", form, calibration=calibration_of())


def test_files_that_differ_in_other_differ_in_their_digest(tmp_path):
    """The same rows mean something else."""
    form = MapForm(selection="image", top_k=4, grid=(3, 5))
    plain, maps = write(tmp_path / "plain.h5", form, other=False)
    writer = writer_of(tmp_path / "other.h5", KEYS, (form,), other=True)
    writer.commit(*writer.pending(), [maps], {})
    other = writer.finalize()
    assert other.header.content == plain.header.content
    assert other.digest != plain.digest
    assert RecordCodec([form], 65_537, other=True).nbytes == RecordCodec([form], 65_537).nbytes


def test_no_class_may_be_called_other(tmp_path):
    """Neither written nor read: two outputs of one name could not be told apart."""
    classes = ClassList.of(["cat", "*other*"], "pets")
    form = MapForm(top_k=2, grid=(3, 5))
    settings = {"classes": classes, "keys": KEYS, "forms": [form], "source": {}}
    with pytest.raises(LabelMapError, match=r"has a class '\*other\*'.*rename the class"):
        LabelMapWriter(tmp_path / "maps.h5", **settings, other=True)
    writer = LabelMapWriter(tmp_path / "maps.h5", **settings)
    (shard,) = writer.pending()
    writer.commit(shard, [random_maps(np.random.default_rng(0), 3, form, 2)], {})
    assert writer.finalize().outputs == ("cat", "*other*")
    with h5py.File(tmp_path / "maps.h5", "r+") as file:
        seal(file, header_of(file) | {"other": True})
    with pytest.raises(LabelMapError, match="a class is called"):
        LabelMapFile.open(tmp_path / "maps.h5")
