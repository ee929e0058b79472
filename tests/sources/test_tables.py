"""Tables: which columns are read, and what is wrong with them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelkit.errors import DatasetError
from labelkit.sources import Columns, open_source
from tests.sources.support import draw_photos, make_saved


def write(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=1)
    return path


def pictures(*names):
    return [{"bytes": name.encode(), "path": name} for name in names]


def test_keys_are_the_images_own_names(tmp_path):
    """Of an absolute path, the name: the folders are those of another machine."""
    source = open_source(write(tmp_path / "t.parquet", image=pictures("b.jpg", "/data/x/a.jpg")))
    assert source.keys == ["a.jpg", "b.jpg"]
    assert source.file("a.jpg").read() == b"/data/x/a.jpg"
    assert source.where("a.jpg").endswith("t.parquet, row 1")
    assert source.rule == "file name in column 'image'"


def test_numbers_are_keys_as_well(tmp_path):
    path = write(tmp_path / "t.parquet", id=[10, 9], jpg=[b"ten", b"nine"])
    source = open_source(path, Columns(key="id"))
    assert {key: source.file(key).read() for key in source.keys} == {"10": b"ten", "9": b"nine"}


@pytest.mark.parametrize(
    ("columns", "chosen", "message"),
    [
        ({"jpg": [b"x"], "id": [1]}, {}, "images have no names.*--key-column.*jpg .binary., id"),
        ({"image": pictures("a.jpg", "a.jpg")}, {}, "duplicate key 'a.jpg': .*row 0, and .*row 1"),
        ({"image": pictures("../a.jpg")}, {}, "row 0: key '../a.jpg' points outside.*--key-column"),
        ({"image": [{"bytes": b"x", "path": None}]}, {}, "row 0: 'image' is empty"),
        ({"a": [b"x"], "b": [b"y"]}, {}, "several columns may hold the images.*--image-column"),
        ({"n": [1.5]}, {}, "no column holds the images"),
        ({"jpg": [b"x"], "n": [1.5]}, {"key": "n"}, "'n' holds double, expected texts or whole"),
        ({"jpg": [b"x"], "n": [1]}, {"image": "n"}, "'n' holds neither images nor paths"),
        ({"jpg": [b"x"], "n": [None]}, {"key": "none"}, "no column 'none'. The columns are jpg"),
    ],
)
def test_what_is_wrong_is_said_with_the_columns(tmp_path, columns, chosen, message):
    with pytest.raises(DatasetError, match=message):
        open_source(write(tmp_path / "t.parquet", **columns), Columns(**chosen))


def test_an_empty_cell_is_an_image_that_cannot_be_read(tmp_path):
    path = write(tmp_path / "t.parquet", id=["a", "b"], jpg=[None, b"x"])
    with pytest.raises(DatasetError, match="the table holds no image here"):
        open_source(path, Columns(key="id")).file("a")


def test_files_of_two_splits_are_not_mixed(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / f"{split}-00000-of-00001.parquet", image=pictures(f"{split}.jpg"))
    with pytest.raises(DatasetError, match=r"several splits \(test, train\): .*/test-\*.parquet"):
        open_source(tmp_path)
    assert open_source(f"{tmp_path}/train-*.parquet").keys == ["train.jpg"]


def test_a_saved_data_set_of_several_splits_is_not_mixed(tmp_path):
    saved = make_saved(draw_photos(tmp_path / "photos"), tmp_path / "all")
    (tmp_path / "all" / "dataset_dict.json").write_text('{"splits": ["saved"]}')
    with pytest.raises(DatasetError, match=rf"several splits \(saved\): .* such as {saved}"):
        open_source(tmp_path / "all")


@pytest.mark.parametrize("name", ["../x.arrow", "/etc/passwd"])
def test_a_saved_data_set_names_no_files_elsewhere(tmp_path, name):
    (tmp_path / "dataset_info.json").write_text("{}")
    (tmp_path / "state.json").write_text(f'{{"_data_files": [{{"filename": "{name}"}}]}}')
    with pytest.raises(DatasetError, match="files outside its folder"):
        open_source(tmp_path)


@pytest.mark.parametrize("size", [10, 200])
def test_a_damaged_file_is_named(tmp_path, size):
    path = write(tmp_path / "t.parquet", image=pictures("a.jpg", "b.jpg"))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DatasetError, match=r"t.parquet is damaged"):
        open_source(path)


def test_lists_say_what_they_lack(tmp_path):
    for content, message in (
        (
            "a.jpg,1\nb.jpg,2\n",
            "name the column of paths with --image-column",
        ),
        ("path,key\na.jpg\n", "row 2 has 1 cells, expected 2"),
        ("path\n", "lists no images"),
        ("", "lists no images"),
        ("path\n/elsewhere/a.jpg\n", "points outside the data set's folder.*--key-column"),
        ("path\na.jpg\n./a.jpg\n", "duplicate key 'a.jpg'"),
    ):
        (tmp_path / "list.csv").write_text(content)
        with pytest.raises(DatasetError, match=message):
            open_source(tmp_path / "list.csv")


def test_patterns_without_files_are_named(tmp_path):
    with pytest.raises(DatasetError, match=r"no such file: .*/s-1.tar"):
        open_source(f"{tmp_path}/s-{{1..3}}.tar")
    with pytest.raises(DatasetError, match="more than 1,000,000 files"):
        open_source(f"{tmp_path}/s-{{0..9999999}}.tar")
    with pytest.raises(FileNotFoundError, match="no such folder or file"):
        open_source(tmp_path / "none")
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(DatasetError, match="expected tars, parquet files, or one list"):
        open_source(tmp_path / "notes.md")
    with pytest.raises(DatasetError, match="neither tars nor parquet"):
        open_source(tmp_path)
