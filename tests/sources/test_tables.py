"""Tables: which columns are read, and what is wrong with them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelkit.errors import DatasetError
from labelkit.sources import Columns, open_source
from tests.sources.support import draw_photos, make_saved


def write(path, /, **columns):
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
        (
            {"image": [{"bytes": b"x", "path": None}]},
            {},
            "row 0: the image has no file name. .*--key-column",
        ),
        ({"jpg": [b"x", b"y"], "id": ["a", None]}, {"key": "id"}, "row 1: 'id' is empty"),
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
        ("path,path\na.jpg,b.jpg\n", "two columns of one name"),
        ('path\n"a.jpg\nb.jpg\n', "line 3: unexpected end of data"),
        ("path\n" + "a" * 140_000, "line 2: field larger than"),
    ):
        (tmp_path / "list.csv").write_text(content)
        with pytest.raises(DatasetError, match=message):
            open_source(tmp_path / "list.csv")


def test_names_with_line_breaks_and_separators_of_other_kinds_stay_whole(tmp_path):
    (tmp_path / "list.csv").write_text('path,label\n"a\nb.jpg",x\nc\u2028d.jpg,\n')
    source = open_source(tmp_path / "list.csv")
    assert source.keys == ["a\nb.jpg", "c\u2028d.jpg"]
    assert source.labels == (["x"], [0, -1])
    (tmp_path / "list.txt").write_text("a\u2028b.jpg\nc\x0cd.jpg\n")
    assert open_source(tmp_path / "list.txt").keys == ["a\u2028b.jpg", "c\x0cd.jpg"]


def test_an_empty_path_is_an_image_that_cannot_be_read(tmp_path):
    (tmp_path / "list.csv").write_text("path,key\n,a\nb.jpg,b\n")
    with pytest.raises(DatasetError, match="the list holds no path here"):
        open_source(tmp_path / "list.csv", Columns(key="key")).file("a")


def test_long_numbers_are_classes_in_the_order_of_numbers(tmp_path):
    """Python refuses to convert numbers of more than 4,300 digits."""
    names = ["9" * 5000, "007", "7", "10"]
    rows = "".join(f"{row}.jpg,{name}\n" for row, name in enumerate(names))
    (tmp_path / "list.csv").write_text(f"path,label\n{rows}")
    assert open_source(tmp_path / "list.csv").labels == (["007", "7", "10", names[0]], [3, 0, 1, 2])


def test_texts_that_are_stored_once_each_are_keys_and_labels(tmp_path):
    """As pandas writes categories."""
    keys, labels = (pa.array(each).dictionary_encode() for each in (["a", "b"], ["v", "u"]))
    source = open_source(
        write(tmp_path / "t.parquet", jpg=[b"x", b"y"], id=keys, label=labels), Columns(key="id")
    )
    assert source.keys == ["a", "b"]
    assert source.labels == (["u", "v"], [1, 0])


def test_labels_of_a_type_that_names_no_class_are_not_those_of_the_folders(tmp_path):
    """As pandas writes whole numbers if some are missing."""
    path = write(tmp_path / "t.parquet", image=pictures("x/a.jpg", "y/b.jpg"), label=[1.0, None])
    source = open_source(path)
    with pytest.raises(DatasetError, match="column 'label' holds double, expected texts or whole"):
        _ = source.labels


@pytest.mark.parametrize("column", ["id", "label"])
def test_a_column_has_one_type_in_all_files(tmp_path, column):
    for name, cell in (("a", 1), ("b", "1")):
        cells = {"id": [name], "label": ["x"], column: [cell]}
        write(tmp_path / f"{name}.parquet", jpg=[b"x"], **cells)
    with pytest.raises(DatasetError, match=f"{column!r} holds whole numbers in .*, and texts in"):
        _ = open_source(tmp_path, Columns(key="id")).labels


def test_two_columns_of_one_name_are_refused(tmp_path):
    columns = [pa.array([b"x"]), pa.array(["a"]), pa.array(["b"])]
    pq.write_table(pa.Table.from_arrays(columns, ["jpg", "id", "id"]), tmp_path / "t.parquet")
    with pytest.raises(DatasetError, match="two columns of one name"):
        open_source(tmp_path / "t.parquet", Columns(key="id"))


def test_a_table_without_rows_holds_no_images(tmp_path):
    with pytest.raises(DatasetError, match="holds no images"):
        open_source(write(tmp_path / "t.parquet", image=pa.array(pictures("a"))[:0]))


def test_relative_paths_start_at_the_folder_of_their_file(tmp_path):
    for name in "ab":
        image = [{"bytes": None, "path": "x.jpg"}]
        write(tmp_path / f"binary/{name}/t.parquet", image=image, id=[name])
        write(tmp_path / f"text/{name}/t.parquet", path=["x.jpg"], id=[name])
    source = open_source(tmp_path / "binary", Columns(key="id"))
    assert [source.file(key).parent.name for key in source.keys] == ["a", "b"]
    with pytest.raises(DatasetError, match="put the files into one folder"):
        open_source(tmp_path / "text", Columns(key="id"))


def test_a_table_that_is_written_anew_while_it_is_read_is_not_read_on(tmp_path):
    """Its rows would be those of other images."""
    path = write(tmp_path / "t.parquet", id=["a", "b"], jpg=[b"x", b"y"])
    source = open_source(path, Columns(key="id"))
    assert source.file("a").read() == b"x"
    write(path, id=["b", "a"], jpg=[b"y", b"xx"])
    with pytest.raises(OSError, match="has changed since"):
        source.file("b")


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
