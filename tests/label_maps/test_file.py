"""What is written is read back, by key or by row number; damaged and foreign files are refused."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from labelkit.errors import LabelMapError
from labelkit.hierarchy import ClassList
from labelkit.label_maps import LabelMapFile, MapForm
from labelkit.label_maps.file.layout import VERSION
from tests.label_maps.support.file_surgery import header_of, seal
from tests.label_maps.support.random_maps import bits
from tests.label_maps.support.small_files import CLASSES, MADE_WITH, SOURCE, damage, make, maps_of
from tests.label_maps.test_codec import assert_same

if TYPE_CHECKING:
    from pathlib import Path

BAD = {"bad.jpg": "torn", "ü.jpg": "empty"}
GOOD = [f"b/{n:02d}.jpg" for n in range(7)] + [
    "a/é.png",
    "a/z.jpg",
    "日本/写真.jpg",
    "🦊.webp",
    "~",
]
KEYS = [*GOOD, *BAD]
FORMS = [
    MapForm(top_k=3, grid=(5, 4), background=4, log_sum_exp=True, zoom=1.25),
    MapForm(selection="image", top_k=2, grid=(1, 3), background=4, patterns=2, scores="float16"),
    MapForm(top_k=20, grid=(1, 1), scores="float32"),
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "maps.h5"


def small(path: Path) -> LabelMapFile:
    return make(path, KEYS, unreadable=BAD)


@pytest.mark.parametrize("forms", [FORMS[:1], FORMS[1:2], FORMS])
def test_every_row_is_found_by_key_and_by_row_number(path, forms):
    written = make(path, KEYS, forms, unreadable=BAD)
    ordered = sorted(GOOD, key=str.encode)
    assert len(written) == len(GOOD)
    assert list(written) == list(written.keys()) == ordered
    assert written.forms == tuple(forms)
    for position, key in enumerate(ordered):
        assert written.position(key) == position
        assert written.key_at(position) == key
        given = [maps_of([key], form)[0] for form in forms]
        for found in (written.maps(key), written.maps_at(position)):
            for actual, expected, form in zip(found, given, forms, strict=True):
                assert_same(actual, expected, form)
    for position in (-1, len(GOOD)):
        with pytest.raises(IndexError, match=f"row {position} of a file with 12 rows"):
            written.maps_at(position)


def test_a_batch_of_rows_equals_single_rows(path):
    file = make(path, KEYS, FORMS, unreadable=BAD)
    rows = [5, 0, 11, 5]
    for number, (found, form) in enumerate(zip(file.batch(rows), FORMS, strict=True)):
        assert len(found) == len(rows)
        for label_map, row in zip(found, rows, strict=True):
            assert bits(label_map) == bits(file.maps_at(row)[number]), form
    assert [len(each) for each in file.batch([])] == [0, 0, 0]
    with pytest.raises(IndexError, match="row 12"):
        file.batch([1, 12])


def test_a_damaged_row_in_a_batch_is_named(path):
    file = damage(small(path), GOOD[3])
    with pytest.raises(LabelMapError, match=f"row {file.position(GOOD[3])} \\({GOOD[3]}\\)"):
        file.batch(range(len(file)))


def test_a_file_of_one_form_is_indexed_by_key(path, tmp_path):
    written = small(path)
    for position, key in enumerate(written):
        (only,) = written.maps(key)
        for found in (written[key], written.at(position)):
            assert found.score.tobytes() == only.score.tobytes()
    several = make(tmp_path / "several.h5", KEYS, FORMS)
    for take in (lambda: several["~"], lambda: several.at(0)):
        with pytest.raises(LabelMapError, match=r"3 maps per image: use maps\(\)"):
            take()


def test_a_file_describes_itself(path):
    written = small(path)
    assert written.unreadable == BAD
    assert (written.classes, written.classes.name) == (CLASSES, "twenty")
    assert (written.attrs, written.made_with) == (SOURCE, MADE_WITH)
    assert not path.with_name("maps.h5.parts").exists()
    assert LabelMapFile.open(str(path)).path == path


def test_a_file_of_no_rows_opens(path):
    for name, keys, unreadable in (("none", [], {}), ("torn", list(BAD), BAD)):
        written = make(path.with_name(name), keys, FORMS, unreadable=unreadable)
        assert len(written) == 0
        assert list(written) == written.missing([])
        assert written.unreadable == unreadable
        assert written.missing(["a", ""]) == ["a", ""]
        with pytest.raises(LabelMapError, match="has no label map for 'a': the file has no rows"):
            written.maps("a")
        written.check_rows()


def test_a_missing_key_is_named(path):
    written = small(path)
    with pytest.raises(LabelMapError, match=r"'b/99.jpg'.*keys look like 'a/z.jpg'"):
        written["b/99.jpg"]
    with pytest.raises(LabelMapError, match=r"bad.jpg.*could not be read \(torn\)"):
        written["bad.jpg"]
    assert "b/99.jpg" not in written
    assert "b/01.jpg" in written
    assert 3 not in written
    absent = ["b/9.jpg", "x" * 500, "", "\udcff", "b/01.jpg\0", "\U0010ffff", "a/z.jp", "a/z.jpgg"]
    assert written.missing(["b/01.jpg", *absent, "a/é.png"]) == absent


def test_the_digest_covers_the_content(path, tmp_path):
    """Keys, maps and reasons count; shards and versions do not."""
    digest = small(path).digest
    same = {"shard_rows": 100, "made_with": {}}
    assert make(tmp_path / "same.h5", KEYS, unreadable=BAD, **same).digest == digest
    others = [
        make(tmp_path / "0.h5", KEYS, unreadable=BAD, seed=1),
        make(tmp_path / "1.h5", KEYS, unreadable=BAD | {"ü.jpg": "torn"}),
        make(tmp_path / "2.h5", [*KEYS, "more"], unreadable=BAD),
        make(tmp_path / "3.h5", KEYS, unreadable=BAD, classes=ClassList(CLASSES.ids[::-1])),
    ]
    assert len({digest, *(other.digest for other in others)}) == 5


def test_a_changed_header_is_refused(path):
    small(path).close()
    with h5py.File(path, "r+") as file:
        changed = bytes(file.attrs["header"]).replace(b"twenty", b"twentY", 1)
        assert changed != bytes(file.attrs["header"])
        file.attrs["header"] = np.bytes_(changed)
    with pytest.raises(LabelMapError, match="header's checksum differs"):
        LabelMapFile.open(path)


def test_a_flipped_bit_in_a_row_is_found_when_it_is_read(path):
    damaged = damage(small(path), "b/03.jpg")
    position = damaged.position("b/03.jpg")
    damaged["b/02.jpg"]
    for read in (lambda: damaged["b/03.jpg"], lambda: damaged.at(position), damaged.check_rows):
        with pytest.raises(
            LabelMapError, match=rf"row {position} \(b/03.jpg\) is damaged: .*Copy the file"
        ):
            read()


def test_swapped_checksums_are_refused(path):
    """The checksum covers key and record, so swapped rows are found."""
    small(path).close()
    with h5py.File(path, "r+") as file:
        rows = file["rows"][()]
        rows["crc32"][[2, 3]] = rows["crc32"][[3, 2]]
        file["rows"][...] = rows
    with pytest.raises(LabelMapError, match="keys or checksums do not match the header's digest"):
        LabelMapFile.open(path)


def test_truncated_and_foreign_files_are_refused(path, tmp_path):
    content = small(path).path.read_bytes()
    torn = tmp_path / "torn.h5"
    torn.write_bytes(content[: len(content) // 2])
    with pytest.raises(LabelMapError, match="not a complete HDF5 file"):
        LabelMapFile.open(torn)
    foreign = tmp_path / "foreign.h5"
    with h5py.File(foreign, "w") as file:
        file["x"] = 1
    with pytest.raises(LabelMapError, match="not a label-map file"):
        LabelMapFile.open(foreign)
    with pytest.raises(FileNotFoundError, match="no such file"):
        LabelMapFile.open(tmp_path / "none.h5")
    os.mkfifo(tmp_path / "pipe.h5")
    for odd in (tmp_path / "pipe.h5", tmp_path):
        with pytest.raises(LabelMapError, match="is not a regular file"):
            LabelMapFile.open(odd)


def test_another_version_is_refused_by_its_number(path):
    small(path).close()
    with h5py.File(path, "r+") as file:
        seal(file, header_of(file) | {"version": VERSION + 1})
    with pytest.raises(
        LabelMapError, match=rf"version {VERSION + 1}; this labelkit reads .* {VERSION}"
    ):
        LabelMapFile.open(path)


def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(path, tmp_path):
    """No flipped bit gives another map or another kind of error."""
    written = small(path)
    content = path.read_bytes()
    expected = {key: written[key].score.tobytes() for key in written}
    flipped, refused = tmp_path / "flipped.h5", 0
    for position in np.random.default_rng(0).choice(len(content), 400, replace=False):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(position % 8)
        flipped.write_bytes(damaged)
        try:
            with LabelMapFile.open(flipped) as file:
                found = {key: file[key].score.tobytes() for key in file}
        except LabelMapError as error:
            assert str(flipped) in str(error) or "key" in str(error)  # noqa: PT017
            refused += 1
        else:
            assert found == expected
    assert refused > 100
