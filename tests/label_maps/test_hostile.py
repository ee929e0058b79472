"""Valid files but for one thing that would let them reach outside or fill the memory."""

from __future__ import annotations

import json
import shutil
import zlib
from contextlib import suppress

import h5py
import numpy as np
import pytest
from msgspec.structs import replace

from labelkit.errors import LabelMapError
from labelkit.geometry import CropBox
from labelkit.hierarchy import ClassList
from labelkit.label_maps import LabelMapFile, MapForm, RecordCodec, pool_by_zoom
from labelkit.label_maps.file.hdf5_writer import FileContent, RowStream, write_file
from labelkit.label_maps.file.layout import DATASETS, FORMAT, NO_DIGEST, VERSION, Header, row_crc32
from tests.label_maps.support.file_surgery import header_of, seal
from tests.label_maps.support.small_files import calibration_of, make, writer_of
from tests.label_maps.test_damage import little_memory
from tests.label_maps.test_rows import write_keys


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "maps.h5"
    make(path, ["a", "b"]).close()
    shutil.copyfile(path, tmp_path / "whole.h5")
    return path


def outside(file: h5py.File, name: str) -> None:
    """Valid content, but from another file's bytes."""
    dataset = file[name]
    content, shape, dtype = dataset[()].tobytes(), dataset.shape, dataset.dtype
    other = f"{file.filename}.{name}"
    with open(other, "wb") as output:  # noqa: PTH123 -- h5py's name is text
        output.write(content)
    del file[name]
    file.create_dataset(name, shape, dtype, external=[(other, 0, len(content))])


def link(file: h5py.File, name: str) -> None:
    del file[name]
    file[name] = h5py.ExternalLink("whole.h5", f"/{name}")


def view(file: h5py.File, name: str) -> None:
    layout = h5py.VirtualLayout(file[name].shape, file[name].dtype)
    layout[...] = h5py.VirtualSource("whole.h5", name, file[name].shape)
    del file[name]
    file.create_virtual_dataset(name, layout)


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("change", [outside, link, view])
def test_content_from_outside_the_file_is_refused(path, change, name):
    with h5py.File(path, "r") as file:
        content = file[name][()].tobytes()
    with h5py.File(path, "r+") as file:
        change(file, name)
    with h5py.File(path, "r") as file:
        assert file[name][()].tobytes() == content
    with pytest.raises(
        LabelMapError, match=rf"{name} is (a link, expected|not stored in the file)"
    ):
        LabelMapFile.open(path)


@pytest.mark.parametrize("key", ["a\0b", "a\0"])
def test_a_key_with_nul_is_refused_on_opening(tmp_path, key):
    with pytest.raises(LabelMapError, match="not in ascending order"):
        LabelMapFile.open(write_keys(tmp_path / "nul.h5", [key]))


def write_record(path, form: MapForm, stored: bytes, plain: bytes) -> None:
    """A file of one row that matches its header."""
    classes = ClassList.of(["a", "b"])
    header = Header(FORMAT, VERSION, (form,), "", classes.digest, {}, {})
    rows = RowStream([(b"k", stored, row_crc32(b"k", plain), NO_DIGEST)], 1, 1, len(stored))
    write_file(path, FileContent(header, classes, rows, {}))


def test_the_largest_record_of_a_small_file_is_read_in_little_memory(tmp_path):
    """4 MiB of zeros in 4 KiB, with a matching checksum."""
    form = MapForm(selection="image", top_k=1, grid=(2047, 2048), log_sum_exp=False)
    plain = bytes(RecordCodec([form], 2).nbytes)
    write_record(tmp_path / "large.h5", form, zlib.compress(plain), plain)
    assert (tmp_path / "large.h5").stat().st_size < 10_000
    with little_memory(), LabelMapFile.open(tmp_path / "large.h5") as file:
        label_map = file["k"]
    assert label_map.grid == (2047, 2048)
    assert not np.any(label_map.score)


def test_a_larger_record_is_refused_before_it_is_read(tmp_path):
    form = MapForm(selection="image", top_k=1, grid=(2048, 2048))
    plain = bytes(2048 * 2048 + 10)
    write_record(tmp_path / "larger.h5", form, zlib.compress(plain), plain)
    with pytest.raises(LabelMapError, match="4,194,314 bytes, expected at most 4,194,304"):
        LabelMapFile.open(tmp_path / "larger.h5")


MEMBERS = {"scale": [0.4, 0.3], "compression": 0.8, "mixing": [[0, 0]], "classes": 20}


@pytest.mark.parametrize(
    ("calibration", "reason"),
    [
        (MEMBERS | {"scale": [16.5, 0]}, r"the number 16\.5, expected at most \+-16"),
        (MEMBERS | {"scale": [0, -1e300]}, r"the number -1e\+300"),
        (MEMBERS | {"scale": ["0.4", 0]}, r"Expected `float`, got `str` - at `\$\.calibration"),
        (MEMBERS | {"scale": [0.4]}, "array` of length 2"),
        (MEMBERS | {"scale": [0.4, float("nan")]}, "malformed"),
        (MEMBERS | {"scale": [0.4, float("inf")]}, "malformed"),
        (MEMBERS | {"compression": 1.5}, r"compression=1\.5 is not between 0 and 1"),
        (MEMBERS | {"mixing": []}, "mixes 0 maps, expected 1"),
        (MEMBERS | {"mixing": [[0, 0]] * 64}, "mixes 64 maps, expected 1"),
        (MEMBERS | {"mixing": [[0, 0]] * 20_000}, "mixes 20000 maps, expected 1"),
        (MEMBERS | {"classes": 21}, "is of 21 classes, not 20"),
        (MEMBERS | {"classes": 10**40}, "is of 10{40} classes, not 20"),
        (MEMBERS | {"images": -1}, "images are not between 0"),
        (MEMBERS | {"divergence": [0.5, -0.1]}, "not two finite numbers"),
        (MEMBERS | {"bias": [0.0] * 20}, "unknown field `bias`"),
        ({name: MEMBERS[name] for name in ("scale", "mixing", "classes")}, "field `compression`"),
        ([], "Expected `object"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_hostile_calibration_is_refused_with_the_reason(path, calibration, reason):
    with h5py.File(path, "r+") as file:
        seal(file, header_of(file) | {"calibration": calibration})
    with pytest.raises(LabelMapError, match=rf"is damaged \(.*{reason}.*copy it again"):
        LabelMapFile.open(path)


def test_a_calibration_of_64_maps_is_read(tmp_path):
    path, form = tmp_path / "many.h5", MapForm(top_k=1, grid=(1, 1))
    forms = [replace(form, zoom=float(n)) for n in range(1, 65)]
    calibration = calibration_of(64, scale=(1 / 3, -1 / 3))
    calibration = replace(calibration, mixing=((1 / 3, -(1e-12) / 3),) * 64)
    with make(path, ["a", "b"], forms, calibration=calibration) as file:
        assert file.calibration == calibration
        pooled = pool_by_zoom(file.maps("a"), [form.zoom for form in forms], CropBox.whole())
        assert np.isfinite(pooled.logits).all()


def test_a_header_that_is_accepted_leaves_room_for_the_largest_calibration(tmp_path):
    """Which is known only when all rows have been made."""
    form = MapForm(top_k=1, grid=(1, 1))
    calibration = replace(calibration_of(64), mixing=((-1 / 3 * 1e-12, -1 / 3 * 1e-12),) * 64)
    length = 0
    for step in (1 << n for n in range(19, -1, -1)):
        with suppress(LabelMapError):
            writer_of(tmp_path / "tried.h5", [], [form] * 64, source={"x": "x" * (length + step)})
            length += step
        shutil.rmtree(tmp_path / "tried.h5.parts", ignore_errors=True)
    assert length > 1 << 19
    facts = {"source": {"x": "x" * length}, "calibration": calibration}
    with make(tmp_path / "long.h5", ["a"], [form] * 64, **facts) as file:
        assert file.calibration == calibration


@pytest.mark.parametrize("inner", [False, True])
def test_a_member_that_is_there_twice_is_refused(path, inner):
    """One reader would take the first, another one the last."""
    with h5py.File(path, "r+") as file:
        encoded = json.dumps(header_of(file)).encode()
        place = b'"input_size": ' if inner else b'{"format": '
        twice = b'"input_size": 1, "input_size": ' if inner else b'{"source": {}, "format": '
        seal(file, encoded.replace(place, twice))
    name = "input_size" if inner else "source"
    with pytest.raises(LabelMapError, match=f"duplicate member '{name}'"):
        LabelMapFile.open(path)
