"""Odd and hostile class names, tars and folders: refused by name or listed; nothing is unpacked."""

from __future__ import annotations

import gzip
import io
import os
import tarfile

import pytest

from labelkit.errors import LabelkitError
from labelkit.prepare import PrepareSettings, prepare
from tests.prepare.support import (
    SETTINGS,
    as_class_tars,
    as_compressed,
    as_folder,
    as_shards,
    as_tar_of_tars,
    content,
    dump,
    photo,
    tar_bytes,
)

GOOD = {f"{number}.jpg": photo(number) for number in range(6)}
FEW = PrepareSettings(min_images=1, val=0, resize=32)


def member(name: str, kind: bytes, linkname: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, linkname
    return made


def record(source, folder, settings=FEW):
    """The only class of a source."""
    result = prepare(source, folder / "out", settings, workers=0)
    assert len(result.manifest.classes) == 1
    return result.manifest.classes[0]


@pytest.mark.parametrize(
    ("class_id", "why"),
    [
        ("#1", "cannot be a line of a class list"),
        (" cat", "cannot be a line of a class list"),
        ("a\tb", "cannot be a line of a class list"),
        ("a\nb", "cannot be a line of a class list"),
        ("\udcff", "not valid UTF-8"),
    ],
)
def test_class_names_that_no_class_list_can_hold_are_refused_by_name(tmp_path, class_id, why):
    source = as_folder({"good": GOOD}, tmp_path / "source")
    (source / class_id).mkdir()
    with pytest.raises(LabelkitError, match=why) as refused:
        prepare(source, tmp_path / "out", FEW, workers=0)
    assert "Rename" in str(refused.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../../evil.tar", "/evil.tar", "a/../../evil.tar", "..tar"])
def test_class_tars_with_paths_that_leave_stay_inside(tmp_path, name):
    """Only the last part of an inner tar's path names the class."""
    files = {name: tar_bytes(GOOD), "n01.tar": tar_bytes(GOOD)}
    source = tmp_path / "deep" / "er" / "whole.tar"
    source.parent.mkdir(parents=True)
    source.write_bytes(tar_bytes(files))
    out = tmp_path / "deep" / "er" / "out"
    if name == "..tar":
        with pytest.raises(LabelkitError, match=r"is hidden|cannot name a folder"):
            prepare(source, out, FEW, workers=0)
        return
    assert prepare(source, out, FEW, workers=0).manifest.kept == ["evil", "n01"]
    assert {path.split("/")[0] for path in content(tmp_path / "deep" / "er")} == {
        "out",
        "whole.tar",
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep"]


@pytest.mark.parametrize("second", ["cat", "CAT", "cafe\u0301"])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_class_that_is_there_twice_is_refused_with_both_places(tmp_path, second, compressed):
    first = "caf\u00e9" if "caf" in second else "cat"
    whole = tar_bytes({f"x/{first}.tar": tar_bytes(GOOD), f"y/{second}.tar": tar_bytes(GOOD)})
    source = tmp_path / "whole.tar"
    source.write_bytes(gzip.compress(whole) if compressed else whole)
    with pytest.raises(LabelkitError) as refused:
        prepare(source, tmp_path / "out", FEW, workers=0)
    assert f"x/{first}.tar" in str(refused.value)
    assert f"y/{second}.tar" in str(refused.value)


def test_links_devices_and_paths_that_leave_are_skipped_and_listed(tmp_path):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(photo(3))
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, original in GOOD.items():
            made = tarfile.TarInfo(name)
            made.size = len(original)
            tar.addfile(made, io.BytesIO(original))
        tar.addfile(member("soft.jpg", tarfile.SYMTYPE, str(secret)))
        tar.addfile(member("hard.jpg", tarfile.LNKTYPE, "0.jpg"))
        tar.addfile(member("device.jpg", tarfile.CHRTYPE))
        tar.addfile(member("pipe.jpg", tarfile.FIFOTYPE))
        for name in ("../up.jpg", "/absolute.jpg", "b/../../c.jpg", f"{'x' * 300}.jpg"):
            made = tarfile.TarInfo(name)
            made.size = len(photo(1))
            tar.addfile(made, io.BytesIO(photo(1)))
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.tar").write_bytes(file.getvalue())
    found = record(tmp_path / "source", tmp_path)
    assert found.train == found.found == 6
    reasons = {name[:12]: reason for name, reason in found.skipped.items()}
    assert reasons == {
        "soft.jpg": "a link or a device, not a file",
        "hard.jpg": "a link or a device, not a file",
        "device.jpg": "a link or a device, not a file",
        "pipe.jpg": "a link or a device, not a file",
        "../up.jpg": "its path leaves the class",
        "/absolute.jp": "its path leaves the class",
        "b/../../c.jp": "its path leaves the class",
        "x" * 12: "its name is longer than 255 bytes",
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "secret.jpg", "source"]


def test_a_name_twice_in_a_tar_counts_once_and_the_last_is_taken(tmp_path):
    """As when unpacking."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for number in (1, 2):
            made = tarfile.TarInfo("n/1.jpg")
            made.size = len(photo(number))
            tar.addfile(made, io.BytesIO(photo(number)))
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "n.tar").write_bytes(file.getvalue())
    settings = PrepareSettings(min_images=1, val=0, mode="keep")
    found = record(tmp_path / "source", tmp_path, settings)
    assert (found.found, found.skipped) == (
        1,
        {"1.jpg": "there several times: the last one is taken"},
    )
    assert content(tmp_path / "out" / "train") == {"n/1.jpg": photo(2)}


@pytest.mark.parametrize("left", [0.2, 0.4])
def test_a_class_tar_that_is_cut_short_gives_what_it_has_and_says_so(tmp_path, left):
    source = as_class_tars({"a": GOOD}, tmp_path / "source")
    whole = (source / "a.tar").read_bytes()
    (source / "a.tar").write_bytes(whole[: int(len(whole) * left)])
    found = record(source, tmp_path)
    assert 1 <= found.train < 6
    assert "opy it again" in found.skipped["a.tar"]


def test_a_damaged_header_inside_a_class_tar_is_not_taken_for_its_end(tmp_path):
    source = as_class_tars({"a": GOOD}, tmp_path / "source")
    whole = bytearray((source / "a.tar").read_bytes())
    with tarfile.open(source / "a.tar") as tar:
        place = tar.getmembers()[3].offset
    whole[place : place + 100] = b"\xff" * 100
    (source / "a.tar").write_bytes(whole)
    found = record(source, tmp_path)
    assert found.train == 3
    assert "is damaged at byte" in found.skipped["a.tar"]


@pytest.mark.parametrize("write", [as_tar_of_tars, as_compressed, as_shards])
def test_an_outer_tar_that_is_cut_short_is_an_error(tmp_path, write):
    """Classes would be missing."""
    source = write(dump(), tmp_path / "source")
    path = source if source.is_file() else source / "part-001.tar"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(LabelkitError, match=r"damaged|cut short"):
        prepare(source, tmp_path / "out", SETTINGS, workers=0)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_wrong_checksum_of_a_compressed_tar_is_an_error(tmp_path):
    source = as_compressed(dump(), tmp_path / "source")
    whole = bytearray(source.read_bytes())
    whole[-6] ^= 1
    source.write_bytes(whole)
    with pytest.raises(LabelkitError, match="is damaged"):
        prepare(source, tmp_path / "out", SETTINGS, workers=0)


def test_pipes_and_broken_links_in_a_folder_are_listed(tmp_path):
    source = as_folder({"a": GOOD}, tmp_path / "source")
    os.mkfifo(source / "a" / "pipe.jpg")
    (source / "a" / "broken.jpg").symlink_to("nowhere.jpg")
    (source / "a" / ".hidden.jpg").write_bytes(b"")
    found = record(source, tmp_path)
    assert found.train == 6
    assert found.unreadable == {"pipe.jpg": "not a regular file", "broken.jpg": "a broken link"}


@pytest.mark.parametrize(
    ("source", "out"), [("a", "a/out"), ("a/b", "a"), ("a", "a"), ("a", "x/../a/out")]
)
def test_an_output_inside_the_source_or_around_it_is_refused(tmp_path, source, out):
    as_folder({"b": {"cat/1.jpg": photo(1)}, "x": {"1.jpg": photo(1)}}, tmp_path / "a")
    before = content(tmp_path)
    with pytest.raises(LabelkitError, match="inside one another"):
        prepare(tmp_path / source, tmp_path / out, FEW, workers=0)
    assert content(tmp_path) == before


def test_a_folder_with_something_else_in_it_is_no_output(tmp_path):
    source = as_folder({"a": GOOD}, tmp_path / "source")
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("all of it")
    with pytest.raises(LabelkitError, match=r"not empty \(thesis.tex\)"):
        prepare(source, out, FEW, workers=0)
    assert content(out) == {"thesis.tex": b"all of it"}


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "neither folders nor tars"),
        ({"a.tar.gz": b""}, "decompress a.tar.gz"),
        ({"train/1.jpg": b"", "val/1.jpg": b""}, "splits of a data set"),
        ({"a/1.jpg": b"", "b.tar": b""}, "has folders .* and tars"),
    ],
)
def test_a_folder_that_is_no_dump_is_refused_with_what_to_do(tmp_path, files, why):
    (tmp_path / "source").mkdir()
    for name, original in files.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(original)
    with pytest.raises(LabelkitError, match=why):
        prepare(tmp_path / "source", tmp_path / "out", FEW, workers=0)


def test_samples_without_a_class_are_an_error(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar_bytes({"1.jpg": photo(1)}))
    with pytest.raises(LabelkitError, match=r"1\.jpg has no class"):
        prepare(tmp_path / "a.tar", tmp_path / "out", FEW, workers=0)


def test_shards_that_repeat_keys_are_told_apart_by_their_names(tmp_path):
    (tmp_path / "source").mkdir()
    for number in range(2):
        sample = {"000.jpg": photo(number), "000.json": b'{"label": "cat"}'}
        (tmp_path / "source" / f"{number}.tar").write_bytes(tar_bytes(sample))
    prepare(tmp_path / "source", tmp_path / "out", FEW, workers=0)
    assert set(content(tmp_path / "out" / "train")) == {"cat/0/000.jpg", "cat/1/000.jpg"}


def test_a_photo_too_thin_for_a_jpeg_is_listed(tmp_path):
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (3000, 1)).save(file, "PNG")
    source = as_folder({"a": {"1.jpg": photo(1), "2.png": file.getvalue()}}, tmp_path / "source")
    found = record(source, tmp_path, PrepareSettings(1, 0, resize=32, mode="short-edge"))
    assert found.unreadable == {"2.png": "96,000 x 32 pixels after resizing, too long for a JPEG"}
