"""Tars: names that repeat, leave the data set or are no files; tars that are damaged."""

from __future__ import annotations

import gzip
import io
import os
import re
import tarfile
from pathlib import Path

import pytest

from labelkit.errors import DatasetError
from labelkit.sources import open_source
from tests.sources.support import described, pack, packed


def open_files():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def read(source, key):
    return source.file(key).read()


def test_only_images_that_are_not_hidden_are_listed(tmp_path):
    """A Mac's ``._`` files, and the folders that only the shell sees, are no images."""
    members = [(name, b"x") for name in ("./a/1.jpg", "a/._1.jpg", ".cache/2.jpg", "a/notes.txt")]
    assert open_source(pack(tmp_path / "t.tar", members)).keys == ["a/1.jpg"]


def test_keys_stay_when_images_are_added(tmp_path):
    members = [("b/2.jpg", b"2"), ("b/1.jpg", b"1")]
    before = open_source(pack(tmp_path / "t.tar", members))
    after = open_source(pack(tmp_path / "t.tar", [("a/9.jpg", b"9"), *members]))
    assert set(before.keys) < set(after.keys)
    assert before.rule == after.rule == "path in the tar"
    assert [read(after, key) for key in after.keys] == [b"9", b"1", b"2"]


@pytest.mark.parametrize("name", ["../x.jpg", "a/../../x.jpg", "/etc/x.jpg"])
def test_names_outside_the_data_set_are_refused(tmp_path, name):
    path = pack(tmp_path / "t.tar", [("a/1.jpg", b"x"), (name, b"x")])
    with pytest.raises(DatasetError, match=rf"t.tar: {re.escape(name)}: .* outside"):
        open_source(path)


def test_a_name_that_repeats_is_refused_with_both_places(tmp_path):
    path = pack(tmp_path / "t.tar", [("a/1.jpg", b"x"), ("./a/1.jpg", b"y")])
    with pytest.raises(DatasetError, match=r"duplicate key 'a/1.jpg': .*t.tar: .*, and .*t.tar: "):
        open_source(path)


def test_inner_tars_keep_names_apart(tmp_path):
    inner = packed([("1.jpg", b"first")]), packed([("1.jpg", b"second")])
    source = open_source(pack(tmp_path / "t.tar", zip(("x.tar", "y.tar"), inner, strict=True)))
    assert {key: read(source, key) for key in source.keys} == {
        "x/1.jpg": b"first",
        "y/1.jpg": b"second",
    }
    assert "tars inside" in source.rule
    assert source.where("y/1.jpg").endswith("t.tar: y/1.jpg")


def test_shards_come_first_where_their_images_have_equal_names(tmp_path):
    for number in range(2):
        members = [("1.jpg", b"%d" % number), (f"{number}x.jpg", b"")]
        pack(tmp_path / f"s-{number}.tar", members)
    source = open_source(f"{tmp_path}/s-{{0..1}}.tar")
    assert source.keys == ["s-0/0x.jpg", "s-0/1.jpg", "s-1/1.jpg", "s-1/1x.jpg"]
    assert read(source, "s-1/1.jpg") == b"1"
    assert source.rule == "the tar's path without .tar, then the path in the tar"
    assert open_source(tmp_path).keys == open_source(f"{tmp_path}/s-*.tar").keys == source.keys
    assert open_source(tmp_path / "s-0.tar").keys == ["0x.jpg", "1.jpg"]


def test_classes_are_in_json_beside_the_images(tmp_path):
    members = [("1.jpg", b"x"), ("1.json", described({"label": "cat", "width": 3}))]
    members += [("2.seg.png", b"x"), ("2.json", described({"label": 10})), ("3.jpg", b"x")]
    found = open_source(pack(tmp_path / "t.tar", members)).labels
    assert found is not None
    assert [found.classes[at] if at >= 0 else None for at in found.numbers] == ["cat", "10", None]


def test_json_without_a_class_leaves_the_folders(tmp_path):
    members = [("a/1.jpg", b"x"), ("a/1.json", described({"width": 3}))]
    assert open_source(pack(tmp_path / "t.tar", members)).labels == (["a"], [0])


@pytest.mark.parametrize("content", [b"", b"1\n2", b"\xff\xfe", b"9" * 2_000_000])
def test_a_label_that_is_none_is_named(tmp_path, content):
    path = pack(tmp_path / "t.tar", [("1.jpg", b"x"), ("1.cls", content)])
    with pytest.raises(DatasetError, match=r"1.jpg: its label (cannot be read|has 2,000,000)"):
        _ = open_source(path).labels


def test_links_and_devices_are_images_that_cannot_be_read(tmp_path):
    """A folder lists a link too; what it points to is not looked for in the tar."""
    with tarfile.open(tmp_path / "t.tar", "w") as file:
        for name, kind in (("a.jpg", tarfile.SYMTYPE), ("b.jpg", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            file.addfile(info)
        info = tarfile.TarInfo("c.jpg")
        info.size = 1
        file.addfile(info, io.BytesIO(b"x"))
    source = open_source(tmp_path / "t.tar")
    for key in ("a.jpg", "b.jpg"):
        with pytest.raises(DatasetError, match="a link or a device in the tar"):
            source.file(key)
    assert read(source, "c.jpg") == b"x"


@pytest.mark.parametrize("cut", [100, 512 + 100, 1024, 2 * 1024 + 5, 3 * 1024])
def test_a_tar_that_was_cut_short_is_refused(tmp_path, cut):
    """Also where a member ends: tarfile itself takes that for the end."""
    path = pack(tmp_path / "t.tar", [(f"{n}.jpg", b"x" * 300) for n in range(3)])
    os.truncate(path, cut)
    with pytest.raises(DatasetError, match=r"t.tar .*(cut short|damaged)"):
        open_source(path)


def test_a_damaged_header_does_not_hide_what_follows(tmp_path):
    path = pack(tmp_path / "t.tar", [(f"{n}.jpg", b"x" * 300) for n in range(3)])
    content = bytearray(path.read_bytes())
    content[1024:1030] = b"broken"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"t.tar is damaged at byte 1,024"):
        open_source(path)


def test_a_header_with_a_negative_size_is_refused(tmp_path):
    """Tarfile of Python 3.11.7 would go in circles."""
    info = tarfile.TarInfo("1.jpg")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + b"\xfe\x00"  # -512 in base 256
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "t.tar").write_bytes(bytes(header) * 2 + bytes(1024))
    with pytest.raises(DatasetError, match=r"t.tar is damaged.*impossible size"):
        open_source(tmp_path / "t.tar")


def test_a_huge_member_is_not_read_into_memory(tmp_path):
    """A sparse file of 2 GiB under an image's name."""
    info = tarfile.TarInfo("1.jpg")
    info.size = 2 << 30
    with (tmp_path / "t.tar").open("wb") as file:
        file.write(info.tobuf())
        file.truncate(512 + (2 << 30) + 1024)
    with pytest.raises(DatasetError, match=r"2,147,483,648 bytes, more than"):
        open_source(tmp_path / "t.tar").file("1.jpg")


@pytest.mark.parametrize(("mode", "tool"), [("gz", "gunzip"), ("bz2", "bunzip2"), ("xz", "unxz")])
def test_compressed_tars_are_refused_with_what_to_do(tmp_path, mode, tool):
    path = tmp_path / f"t.tar.{mode}"
    with tarfile.open(path, f"w:{mode}") as file:
        file.addfile(tarfile.TarInfo("1.jpg"))
    with pytest.raises(DatasetError, match=f"compressed with .*{tool}"):
        open_source(path)


def test_a_tar_without_images_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"t.tar holds no images"):
        open_source(pack(tmp_path / "t.tar", [("notes.txt", b"x")]))


@pytest.mark.parametrize("content", [b"", b"hello" * 1000, bytes(10_240)])
def test_what_is_no_tar_is_refused(tmp_path, content):
    (tmp_path / "t.tar").write_bytes(content)
    with pytest.raises(DatasetError, match=r"t.tar (is damaged, or no tar|holds no images)"):
        open_source(tmp_path / "t.tar")


def test_a_tar_that_changes_meanwhile_is_a_fault_of_the_disk(tmp_path):
    """Its bytes would be recorded as damaged images."""
    source = open_source(pack(tmp_path / "t.tar", [("1.jpg", b"x" * 100)]))
    pack(tmp_path / "t.tar", [("0.jpg", b"y" * 5000), ("1.jpg", b"x" * 100)])
    with pytest.raises(OSError, match="has changed since"):
        source.file("1.jpg")


def test_a_tar_that_is_written_anew_while_it_is_open_is_not_read_on(tmp_path):
    """Other images may begin where those that were listed did."""
    source = open_source(pack(tmp_path / "t.tar", [("1.jpg", b"x"), ("2.jpg", b"y")]))
    assert read(source, "1.jpg") == b"x"
    pack(tmp_path / "t.tar", [("2.jpg", b"y"), ("1.jpg", b"x"), ("3.jpg", bytes(20_000))])
    with pytest.raises(OSError, match="has changed since"):
        source.file("2.jpg")


def test_no_inner_tar_is_passed_over(tmp_path):
    inner = packed([("1.jpg", b"x")])
    source = open_source(pack(tmp_path / "t.tar", [("A.TAR", inner), ("2.jpg", b"y")]))
    assert source.keys == ["2.jpg", "A/1.jpg"]
    compressed = [("a.tar.gz", gzip.compress(inner)), ("2.jpg", b"y")]
    with pytest.raises(DatasetError, match=r"t.tar: a.tar.gz is compressed with gzip"):
        open_source(pack(tmp_path / "t.tar", compressed))


def test_no_tar_in_a_folder_is_passed_over(tmp_path):
    pack(tmp_path / "0.tar", [("1.jpg", b"x")])
    pack(tmp_path / "1.TAR", [("1.jpg", b"x")])
    assert open_source(tmp_path).keys == ["0/1.jpg", "1/1.jpg"]
    (tmp_path / "2.tgz").write_bytes(gzip.compress(packed([("1.jpg", b"x")])))
    with pytest.raises(DatasetError, match=r"2.tgz is compressed with gzip"):
        open_source(tmp_path)


def test_many_shards_are_read_with_few_open_files(tmp_path):
    for number in range(100):
        pack(tmp_path / f"{number:03}.tar", [(f"{number}.jpg", b"%d" % number)])
    source = open_source(tmp_path)
    before = open_files()
    assert [read(source, f"{n}.jpg") for n in range(100)] == [b"%d" % n for n in range(100)]
    assert open_files() - before <= 64


def test_labels_of_two_kinds_are_not_mixed(tmp_path):
    """One by one as all together: a .json file counts only where no image has a .cls file."""
    picture = described({"label": "json"})
    members = [("a.png", b"1"), ("a.cls", b"cls"), ("a.json", picture), ("b.png", b"2")]
    both = open_source(str(pack(tmp_path / "both.tar", [*members, ("b.json", picture)])))
    assert [both.stored_label(key) for key in both.keys] == ["cls", None]
    assert both.stored_labels == (["cls"], [0, -1])
    only = [("c.cls", b"no image"), *members[:1], *members[2:]]
    json = open_source(str(pack(tmp_path / "json.tar", only)))
    assert [json.stored_label(key) for key in json.keys] == ["json", None]
    assert json.stored_labels == (["json"], [0, -1])
