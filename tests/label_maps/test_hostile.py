"""Valid files but for one thing that would let them reach outside or fill the memory."""

from __future__ import annotations

import shutil
import zlib

import h5py
import numpy as np
import pytest

from labelkit.errors import LabelMapError
from labelkit.hierarchy import ClassList
from labelkit.label_maps import LabelMapFile, MapForm, RecordCodec
from labelkit.label_maps.file.hdf5_writer import FileContent, RowStream, write_file
from labelkit.label_maps.file.layout import DATASETS, FORMAT, VERSION, Header, row_crc32
from tests.label_maps.support.small_files import make
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
    rows = RowStream([(b"k", stored, row_crc32(b"k", plain))], 1, 1, len(stored))
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
