"""Merging copies rows unchanged, and the order of the inputs does not matter."""

from __future__ import annotations

import contextlib
import zlib
from itertools import permutations

import numpy as np
import pytest

from labelkit.errors import LabelMapError
from labelkit.hierarchy import ClassList
from labelkit.label_maps import LabelMapFile, MapForm, merge
from labelkit.label_maps.file.hdf5_writer import FileContent, RowStream, write_file
from labelkit.label_maps.file.layout import row_crc32
from labelkit.label_maps.file.reader import stored_rows
from tests.label_maps.support.killing import deaths
from tests.label_maps.support.small_files import CLASSES, FORM, MADE_WITH, SOURCE, damage, make

KEYS = [f"{folder}/{n:02d}.jpg" for folder in ("a", "é", "b") for n in range(9)]
IMAGE = MapForm(selection="image", top_k=3, grid=(4, 5), background=6, patterns=2, zoom=2.0)


@pytest.fixture
def thirds(tmp_path):
    """Three files with a random partition of the keys."""
    mixed = np.random.default_rng(0).permutation(KEYS).tolist()
    return [make(tmp_path / f"{n}.h5", mixed[n::3]) for n in range(3)]


def test_the_merged_file_equals_one_run_byte_for_byte(thirds, tmp_path):
    whole = make(tmp_path / "whole.h5", KEYS)
    merged = merge(thirds, tmp_path / "merged.h5")
    assert list(merged) == sorted(KEYS, key=str.encode)
    assert merged.path.read_bytes() == whole.path.read_bytes()


@pytest.mark.parametrize("forms", [(IMAGE,), (FORM, IMAGE)], ids=("image", "two forms"))
def test_every_form_is_copied(tmp_path, forms):
    parts = [make(tmp_path / f"{n}.h5", KEYS[n::2], forms) for n in range(2)]
    merged = merge(parts, tmp_path / "merged.h5")
    assert merged.path.read_bytes() == make(tmp_path / "w.h5", KEYS, forms).path.read_bytes()


def test_the_order_of_the_files_changes_nothing(tmp_path):
    """Although names, versions, reasons and the order of the source's members differ."""
    turned = dict(reversed(SOURCE.items()))
    parts = [
        make(tmp_path / "0.h5", [*KEYS[:12], "x.jpg"], unreadable={"x.jpg": "torn"}),
        make(
            tmp_path / "1.h5",
            [*KEYS[9:20], "x.jpg"],
            unreadable={"x.jpg": "no image"},
            source=turned,
            made_with={"torch": "2.6", "labelkit": "0.1.0", "cuda": "12"},
        ),
        make(tmp_path / "2.h5", KEYS[20:], classes=ClassList.of(CLASSES.ids, "other name")),
    ]
    results = {
        merge(order, tmp_path / f"m{n}.h5").path.read_bytes()
        for n, order in enumerate(permutations(parts))
    }
    assert len(results) == 1
    merged = LabelMapFile.open(tmp_path / "m0.h5")
    assert merged.made_with == {"labelkit": "0.1.0"}
    assert merged.unreadable == {"x.jpg": "no image"}
    assert merged.attrs == SOURCE
    assert len(merged) == len(KEYS)


def test_merging_in_steps_or_at_once_is_the_same(thirds, tmp_path):
    first = merge(thirds[:2], tmp_path / "first.h5")
    twice = merge([thirds[2], first], tmp_path / "twice.h5")
    once = merge(thirds, tmp_path / "once.h5")
    assert twice.path.read_bytes() == once.path.read_bytes()


def test_one_map_compressed_in_two_ways_is_merged_in_any_order(tmp_path):
    """Rows are equal if their checksums are; the shorter one is kept."""
    plain = make(tmp_path / "a.h5", KEYS[:3])
    level_0 = [
        (row.key, zlib.compress(row.plain, 0), row.crc32, row.image)
        for row in stored_rows(make(tmp_path / "b.h5", KEYS[:5])).checked()
    ]
    sizes = [sum(len(row[part]) for row in level_0) for part in (0, 1)]
    rows = RowStream(level_0, len(level_0), *sizes)
    write_file(tmp_path / "c.h5", FileContent(plain.header, CLASSES, rows, {}))
    longer = LabelMapFile.open(tmp_path / "c.h5")
    results = [
        merge(files, tmp_path / f"m{n}.h5")
        for n, files in enumerate([[plain, longer], [longer, plain]])
    ]
    assert results[0].path.read_bytes() == results[1].path.read_bytes()
    assert len(results[0]) == 5
    assert list(stored_rows(results[0]).unchecked())[:3] == list(stored_rows(plain).unchecked())


def _forged(file):
    """Another map with the CRC-32 of a file's first row, as a record and decoded."""
    row = next(stored_rows(file).checked())
    # A multiple of the CRC's polynomial: its 33 bits, in the order that zlib takes them.
    polynomial = int(f"{0x104C11DB7:033b}"[::-1], 2)
    for shift in range(8 * len(row.plain) - 33):
        turned = int.from_bytes(row.plain, "little") ^ polynomial << shift
        plain = turned.to_bytes(len(row.plain), "little")
        assert row_crc32(row.key, plain) == row.crc32
        with contextlib.suppress(LabelMapError):
            stored = zlib.compress(plain)
            rows = RowStream(
                [(row.key, stored, row.crc32, row.image)], 1, len(row.key), len(stored)
            )
            path = file.path.with_name(f"forged{shift}.h5")
            write_file(path, FileContent(file.header, CLASSES, rows, {}))
            forged = LabelMapFile.open(path)
            forged.check_rows()
            return forged
    raise AssertionError("no other map has this checksum")


def test_two_maps_with_one_checksum_are_refused(tmp_path):
    form = MapForm(top_k=3, grid=(4, 5), background=4)
    first = make(tmp_path / "a.h5", KEYS[:1], [form])
    second = _forged(first)
    assert [key[::2] for key in stored_rows(first).entries()] == [
        key[::2] for key in stored_rows(second).entries()
    ]
    for files in ([first, second], [second, first]):
        with pytest.raises(LabelMapError, match=r"\.h5 have different maps of 'a/00\.jpg'"):
            merge(files, tmp_path / "m.h5")
    assert not (tmp_path / "m.h5").exists()


def test_a_row_wins_over_an_unreadable_image(tmp_path):
    torn = make(tmp_path / "a.h5", KEYS[:5], unreadable={KEYS[0]: "torn", KEYS[1]: "torn"})
    readable = make(tmp_path / "b.h5", [KEYS[0], KEYS[7]])
    merged = merge([torn, readable], tmp_path / "m.h5")
    assert KEYS[0] in merged
    assert merged.unreadable == {KEYS[1]: "torn"}


def test_files_without_rows_can_be_merged(tmp_path):
    torn = make(tmp_path / "a.h5", KEYS[:1], unreadable={KEYS[0]: "torn"})
    assert len(merge([torn, torn], tmp_path / "m.h5")) == 0


def test_two_maps_of_one_image_are_refused_with_its_key(tmp_path):
    first = make(tmp_path / "a.h5", KEYS[:5])
    second = make(tmp_path / "b.h5", KEYS[4:], seed=1)
    with pytest.raises(
        LabelMapError, match=r"a\.h5 and .*b\.h5 have different maps of 'a/04\.jpg'"
    ):
        merge([first, second], tmp_path / "m.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "b.h5"]


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (
            {"source": SOURCE | {"input_size": 224}},
            "differ in input_size: 320 and 224.*pass several --teacher",
        ),
        (
            {"source": SOURCE | {"teacher": {"name": "b7", "weights": "sha256:0"}}},
            "differ in teacher.name: 'none' and 'b7'.*pass several --teacher",
        ),
        ({"source": {**SOURCE, "more": 1}}, "differ in more: None and 1"),
        ({"forms": [MapForm(top_k=2, grid=(4, 5), background=4)]}, r"maps\.0\.top_k: 3 and 2"),
        ({"forms": [FORM, IMAGE]}, "differ in maps: "),
    ],
)
def test_what_differs_is_named(tmp_path, facts, message):
    first, second = make(tmp_path / "a.h5", KEYS[:5]), make(tmp_path / "b.h5", KEYS[5:], **facts)
    with pytest.raises(LabelMapError, match=rf"(?s)a\.h5 and .*b\.h5 .*{message}"):
        merge([first, second], tmp_path / "m.h5")
    assert not (tmp_path / "m.h5").exists()


def test_different_class_lists_are_named(tmp_path):
    other = ClassList.of([f"class {n}" for n in range(19, -1, -1)], "turned")
    files = [make(tmp_path / "a.h5", KEYS[:5]), make(tmp_path / "b.h5", KEYS[5:], classes=other)]
    with pytest.raises(LabelMapError, match=r"twenty.*turned"):
        merge(files, tmp_path / "m.h5")


def test_a_damaged_row_is_named_and_no_file_is_left(thirds, tmp_path):
    key = list(thirds[1])[4]
    thirds[1] = damage(thirds[1], key)
    with pytest.raises(LabelMapError, match=rf"1\.h5, row 4 \({key}\)"):
        merge(thirds, tmp_path / "m.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.h5", "1.h5", "2.h5"]


def test_a_damaged_copy_of_an_intact_row_is_refused(tmp_path):
    files = [make(tmp_path / f"{n}.h5", KEYS[:6]) for n in range(2)]
    files[1] = damage(files[1], KEYS[2])
    with pytest.raises(LabelMapError, match=r"1\.h5, row 2"):
        merge(files, tmp_path / "m.h5")


def test_no_file_is_replaced_by_default(thirds, tmp_path):
    before = thirds[0].path.read_bytes()
    with pytest.raises(FileExistsError, match="choose another name"):
        merge(thirds, thirds[0].path)
    assert thirds[0].path.read_bytes() == before
    with pytest.raises(FileNotFoundError, match="no such folder"):
        merge(thirds, tmp_path / "none" / "m.h5")


def test_the_first_of_two_that_finish_wins(thirds, tmp_path):
    """The other one appears while rows are being copied."""
    output = tmp_path / "m.h5"
    with pytest.raises(FileExistsError, match="exists"):
        merge(thirds, output, lambda _done, _total: output.write_text("mine"))
    assert output.read_text() == "mine"
    assert not list(tmp_path.glob(".*"))


def test_progress_ends_with_every_row(thirds, tmp_path):
    seen: list[tuple[int, int]] = []
    merge(thirds, tmp_path / "m.h5", lambda *steps: seen.append(steps))
    assert seen[-1] == (len(KEYS), len(KEYS))


def test_versions_that_all_files_share_are_kept(thirds, tmp_path):
    assert merge(thirds, tmp_path / "m.h5").made_with == MADE_WITH


def test_a_merge_killed_after_any_step_leaves_no_file_or_a_complete_one(thirds, tmp_path):
    whole = merge(thirds, tmp_path / "whole.h5").path.read_bytes()
    output = tmp_path / "out" / "m.h5"
    output.parent.mkdir()
    kinds = set()
    steps = 0
    for _ in deaths(lambda: merge(thirds, output)):
        steps += 1
        kinds.add(output.exists())
        if output.exists():
            assert output.read_bytes() == whole
            output.unlink()
        assert merge(thirds, output).path.read_bytes() == whole
        output.unlink()
    assert output.read_bytes() == whole
    assert kinds == {True, False}
    assert steps > 8
