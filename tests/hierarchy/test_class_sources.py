"""Class lists from text files, folders and names."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from labelkit.errors import ClassListError, TreeFileError
from labelkit.hierarchy import (
    NAMED_LISTS,
    ClassList,
    SemanticTree,
    Taxonomy,
    identify,
    read_class_list,
)


@pytest.mark.parametrize("name", NAMED_LISTS)
def test_a_named_list_has_its_digest(name: str) -> None:
    classes = read_class_list(name)
    assert (classes.name, len(classes)) == (name, NAMED_LISTS[name].length)
    assert identify(ClassList.of(classes)) == name


def test_a_list_in_another_order_is_not_identified() -> None:
    classes = read_class_list("imagenet-1k")
    assert identify(ClassList.of(reversed(classes.ids))) == ""


def test_a_timm_with_a_different_list_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list is identified by its digest: a different file of the same name is not accepted."""
    folder = tmp_path / "timm" / "data" / "_info"
    folder.mkdir(parents=True)
    (tmp_path / "timm" / "__init__.py").write_text("")
    (folder / "imagenet_synsets.txt").write_text("n01440764\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "timm", raising=False)
    with pytest.raises(
        ClassListError, match=r"has 1 classes .*expected the 1,000 classes of imagenet-1k"
    ):
        read_class_list("imagenet-1k")
    with pytest.raises(ClassListError, match=r"imagenet12k_synsets\.txt.*install timm"):
        read_class_list("imagenet-12k")


@pytest.mark.parametrize(
    "content",
    [
        b"cat\ndog\nred fox\n",
        b"cat\ndog\nred fox",
        b"\xef\xbb\xbfcat\r\ndog\r\nred fox\r\n",
        b"cat\rdog\rred fox",
        b"# animals\n\n  cat\t\ndog\n   \n# a fox\nred fox\n\n",
    ],
    ids=["plain", "no last line end", "mark and CRLF", "CR", "comments, blanks and spaces"],
)
def test_text_files_with_any_line_endings_and_comments_read_the_same(
    content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "animals.txt"
    path.write_bytes(content)
    classes = read_class_list(path)
    assert classes.ids == ("cat", "dog", "red fox")
    assert classes.name == "animals.txt"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"animals\.txt is empty"),
        (b"# only a comment\n\n", r"animals\.txt is empty"),
        (b"cat\ndog\ncat\n", r"duplicate class id 'cat'"),
        (b"\x89HDF\r\n\x1a\n\x00\x00", r"is a label-map file, or other HDF5"),
        ("katze\nhündin".encode("utf-16"), r"looks like UTF-16: save it as UTF-8"),
        ("cat\ndog\n".encode("utf-16-le"), r"looks like UTF-16: save it as UTF-8"),
        (b"cat\n\nfox\ncat\n", r"animals\.txt \(lines 1 and 4\): remove one"),
        (
            b"class\twnid\tnote\ncat\tn02121808\t\n",
            r"is a name file from .*--names .*animals\.txt$",
        ),
        (b"cat\tanimal\ndog\tanimal\n", r"is a table with tabs \(line 1\).*--taxonomy .*animals"),
        (
            b'{"animal": ["cat", "dog"]}',
            r"is JSON\. A class list is a text file with one id per line",
        ),
        (b'[\n "cat",\n "dog"\n]', r"is JSON\. A class list is a text file"),
        (
            b"cat" * 90_000 + b"\n",
            r"line 1 has 270,000 characters.*\('catcat.{34}'\.\.\.\)\. A class list",
        ),
    ],
)
def test_other_files_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "animals.txt"
    path.write_bytes(content)
    with pytest.raises(ClassListError, match=message):
        read_class_list(path)


def test_a_csv_table_is_refused_but_not_a_name_with_a_comma(tmp_path: Path) -> None:
    (tmp_path / "pets.csv").write_text("child,parent\ncat,animal\n")
    with pytest.raises(ClassListError, match=r"pets\.csv is a table with several columns"):
        read_class_list(tmp_path / "pets.csv")
    (tmp_path / "pets.txt").write_text('tench, Tinca tinca\n{cat}\n["dog"\n')
    assert read_class_list(tmp_path / "pets.txt").ids == ("tench, Tinca tinca", "{cat}", '["dog"')


@pytest.mark.parametrize("length", [41, 255, 256, 10_000])
def test_messages_show_only_the_beginning_of_a_long_id(length: int, tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text(f"{'x' * length}\n" * 2)
    with pytest.raises(ClassListError) as caught:
        read_class_list(path)
    assert f"'{'x' * 40}'..." in str(caught.value)
    assert "x" * 41 not in str(caught.value)


def test_a_tree_file_gives_its_data_classes(tmp_path: Path) -> None:
    """Inner nodes are not data classes, and the list keeps its name."""
    parents = {"cat": "animal", "dog": "animal", "cup": "thing", "pan": "thing"}
    classes = ClassList.of(["pan", "cat", "cup", "dog"], "four")
    tree = SemanticTree.build(classes, Taxonomy.from_parents(parents), inner_levels="all")
    assert len(tree.inner) == 2
    tree.save(tmp_path / "tree.txt")
    read = read_class_list(tmp_path / "tree.txt")
    assert (read, read.name) == (classes, "four")
    (tmp_path / "tree.txt").write_text('{"format": "labelkit-tree", "version": 1}')
    with pytest.raises(TreeFileError, match=r"tree\.txt is not a labelkit tree"):
        read_class_list(tmp_path / "tree.txt")


def test_a_folder_gives_its_class_folders_as_torchvision_sorts_them(tmp_path: Path) -> None:
    from torchvision.datasets.folder import find_classes

    for name in ["b", "B", "a10", "a2", "_x", "é", "c c"]:
        (tmp_path / name).mkdir()
    (tmp_path / "labels.txt").write_text("no class\n")
    expected = find_classes(str(tmp_path))[0]
    (tmp_path / ".ipynb_checkpoints").mkdir()
    classes = read_class_list(str(tmp_path))
    assert list(classes) == expected
    assert classes.name == tmp_path.name


def test_a_folder_without_class_folders_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(ClassListError, match="contains no folders"):
        read_class_list(tmp_path)


def test_a_folder_of_splits_is_refused_with_a_hint(tmp_path: Path) -> None:
    for name in ["train", "val"]:
        (tmp_path / name).mkdir()
    with pytest.raises(ClassListError, match=r"train, val, which are splits .* such as .*train$"):
        read_class_list(tmp_path)


def test_an_unknown_name_is_refused_with_the_closest_one() -> None:
    with pytest.raises(FileNotFoundError, match=r"Did you mean imagenet-21k-p\?.*imagenet-22k-ms"):
        read_class_list("imagenet21k-p")


def test_a_string_means_the_named_list_and_a_path_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "imagenet-1k" / "cat").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert len(read_class_list("imagenet-1k")) == 1000
    assert list(read_class_list(os.path.join(".", "imagenet-1k"))) == ["cat"]  # noqa: PTH118
    assert list(read_class_list(Path("imagenet-1k"))) == ["cat"]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("ab", "'ab' is a single id: pass a list of ids"),
        ([1], "1 in the list is not an id: ids are text"),
        (["a\udcff"], "is not valid UTF-8: rename it"),
    ],
)
def test_ids_must_be_a_list_of_valid_strings(ids: list[str], message: str) -> None:
    with pytest.raises(ClassListError, match=message):
        ClassList.of(ids)


def test_string_subclasses_become_plain_strings() -> None:
    classes = ClassList(["a", np.str_("b")], "caf\udce9")  # type: ignore[arg-type]
    assert classes.ids == ("a", "b")
    assert {type(class_id) for class_id in classes} == {str}
    assert classes.name == "caf?"
    assert classes == ClassList.of(iter("ab"))
