"""Reuse copies old rows unchanged, and only new images are made."""

from __future__ import annotations

import json
import shutil

import msgspec
import pytest

from labelkit.errors import LabelMapError
from labelkit.hierarchy import ClassList
from labelkit.label_maps import LabelMapFile, MapForm
from labelkit.label_maps.file.reader import stored_rows
from tests.label_maps.support.killing import deaths
from tests.label_maps.support.small_files import FORM, SOURCE, damage, make, maps_of, writer_of

OLD = [f"a/{n:02d}.jpg" for n in range(0, 20, 2)]
NEW = [f"a/{n:02d}.jpg" for n in range(1, 20, 2)]
IMAGE = MapForm(selection="image", top_k=3, grid=(2, 2), log_sum_exp=True, scores="float16")


@pytest.fixture
def old(tmp_path):
    return make(tmp_path / "old.h5", OLD)


@pytest.mark.parametrize("forms", [(FORM,), (FORM, IMAGE)], ids=("one form", "two forms"))
def test_the_grown_file_equals_one_run_byte_for_byte(tmp_path, forms):
    old = make(tmp_path / "old.h5", OLD, forms)
    grown = make(tmp_path / "new.h5", [*NEW, *OLD], forms, reuse=old)
    assert grown.path.read_bytes() == make(tmp_path / "w.h5", OLD + NEW, forms).path.read_bytes()


def test_only_new_keys_are_pending(old, tmp_path):
    writer = writer_of(tmp_path / "new.h5", [*OLD, *NEW], reuse=old)
    assert writer.keys == NEW
    assert sum(shard.stop - shard.start for shard in writer.pending()) == len(NEW)


def test_old_rows_are_not_encoded_again(tmp_path):
    """They have other scores than a new run would give."""
    old = make(tmp_path / "old.h5", OLD, seed=1)
    grown = make(tmp_path / "new.h5", OLD + NEW, reuse=old)
    rows = {row[0].decode(): row for row in stored_rows(grown).unchecked()}
    assert [rows[key] for key in OLD] == list(stored_rows(old).unchecked())
    assert set(rows) == {*OLD, *NEW}


def test_rows_of_removed_images_are_not_copied(old, tmp_path):
    grown = make(tmp_path / "new.h5", OLD[3:] + NEW, reuse=old)
    assert grown.path.read_bytes() == make(tmp_path / "whole.h5", OLD[3:] + NEW).path.read_bytes()


def test_with_nothing_new_the_file_is_a_copy(old, tmp_path):
    assert not writer_of(tmp_path / "a.h5", OLD, reuse=old).pending()
    assert make(tmp_path / "new.h5", OLD, reuse=old).path.read_bytes() == old.path.read_bytes()


def test_a_file_without_rows_can_be_reused(tmp_path):
    torn = make(tmp_path / "old.h5", OLD[:1], unreadable={OLD[0]: "torn"})
    grown = make(tmp_path / "new.h5", OLD, reuse=torn)
    assert grown.path.read_bytes() == make(tmp_path / "whole.h5", OLD).path.read_bytes()


def test_unreadable_images_are_tried_again(tmp_path):
    torn = make(tmp_path / "old.h5", OLD, unreadable=dict.fromkeys(OLD[:3], "torn"))
    writer = writer_of(tmp_path / "a.h5", OLD, reuse=torn)
    assert writer.keys == OLD[:3]
    grown = make(tmp_path / "new.h5", OLD, unreadable={OLD[1]: "torn still"}, reuse=torn)
    assert grown.unreadable == {OLD[1]: "torn still"}
    assert OLD[0] in grown


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"source": SOURCE | {"input_size": 224}}, r"source\.input_size is 320, here it is 224"),
        ({"forms": [MapForm(top_k=4, grid=(4, 5), background=4)]}, r"maps\.0\.top_k is 3"),
        ({"forms": [FORM, IMAGE]}, "its maps is"),
        ({"classes": ClassList.of([f"c{n}" for n in range(20)], "others")}, r"twenty.*others"),
    ],
)
def test_what_differs_is_named_before_anything_is_written(old, tmp_path, facts, message):
    with pytest.raises(LabelMapError, match=rf"old\.h5 cannot be reused: .*{message}"):
        writer_of(tmp_path / "new.h5", OLD + NEW, reuse=old, **facts)
    assert not (tmp_path / "new.h5.parts").exists()


def test_shards_of_another_old_file_are_not_resumed(old, tmp_path):
    path = tmp_path / "new.h5"
    writer_of(path, OLD + NEW, reuse=old)
    with pytest.raises(LabelMapError, match=r"other settings \(reuse: "):
        writer_of(path, OLD + NEW)
    with pytest.raises(LabelMapError, match=r"other settings \(reuse: "):
        writer_of(path, OLD + NEW, reuse=make(tmp_path / "other.h5", OLD, seed=1))
    plan = json.loads((tmp_path / "new.h5.parts" / "plan.json").read_text())
    assert plan["reuse"] == old.digest


def test_damaged_old_rows_are_made_again(old, tmp_path):
    """After the new images, with the reason; the file equals that of one run."""
    whole = make(tmp_path / "whole.h5", OLD + NEW).path.read_bytes()
    old = damage(damage(old, OLD[4]), OLD[7])
    writer = writer_of(tmp_path / "a.h5", OLD + NEW, reuse=old)
    assert writer.keys == [*NEW, OLD[4], OLD[7]]
    assert [*writer.damaged] == [OLD[4], OLD[7]]
    assert all(reason and "old.h5" not in reason for reason in writer.damaged.values())
    assert make(tmp_path / "new.h5", OLD + NEW, reuse=old).path.read_bytes() == whole


def test_shards_of_new_images_are_kept_if_more_or_fewer_rows_are_damaged(old, tmp_path):
    """A failing disk damages one row after another; a new copy of the file is intact."""
    spare, path = tmp_path / "spare.h5", tmp_path / "new.h5"
    shutil.copy(old.path, spare)

    def commit_one(reuse: LabelMapFile) -> list[int]:
        writer = writer_of(path, OLD + NEW, reuse=reuse)
        shard = writer.pending()[-1]
        keys = writer.keys[shard.start : shard.stop]
        writer.commit(shard, [maps_of(keys)], {})
        return [shard.number for shard in writer.pending()]

    old = damage(old, OLD[4])
    assert commit_one(old) == [0, 1, 2]
    old = damage(old, OLD[2])
    assert commit_one(old) == [0, 1, 2]  # the last shard holds another row too
    assert commit_one(LabelMapFile.open(spare)) == [0, 1]
    grown = make(path, OLD + NEW, reuse=old)
    assert grown.path.read_bytes() == make(tmp_path / "w.h5", OLD + NEW).path.read_bytes()


def test_a_row_that_is_damaged_while_others_are_made_is_not_copied(old, tmp_path):
    """The next run makes it, and nothing else."""
    writer = writer_of(tmp_path / "new.h5", OLD + NEW, reuse=old)
    for shard in writer.pending():
        writer.commit(shard, [maps_of(writer.keys[shard.start : shard.stop])], {})
    old = damage(old, OLD[4])
    with pytest.raises(LabelMapError, match="has changed since it was opened"):
        writer.finalize()
    assert not (tmp_path / "new.h5").exists()
    again = writer_of(tmp_path / "new.h5", OLD + NEW, reuse=old)
    (shard,) = again.pending()
    assert again.keys[shard.start : shard.stop] == [OLD[4]]


def test_an_old_file_that_changes_is_not_reported_as_damaged_rows(old, tmp_path):
    """Neither one that is damaged meanwhile, nor one that another file is copied over."""
    other = make(tmp_path / "other.h5", OLD, seed=1).path.read_bytes()
    damage(old, OLD[4]).close()
    with pytest.raises(LabelMapError, match="has changed since it was opened"):
        writer_of(tmp_path / "new.h5", OLD + NEW, reuse=old)
    old.path.write_bytes(other)
    with pytest.raises(LabelMapError, match="has changed since it was opened"):
        writer_of(tmp_path / "new.h5", OLD + NEW, reuse=old)


def test_an_old_file_that_is_written_again_with_the_same_content_serves(old, tmp_path):
    old.path.write_bytes(old.path.read_bytes())
    assert writer_of(tmp_path / "new.h5", OLD + NEW, reuse=old).keys == NEW


def test_a_damaged_row_of_a_removed_image_does_not_matter(old, tmp_path):
    """Its image is gone, so the row is not needed."""
    old = damage(old, OLD[4])
    kept = [key for key in OLD if key != OLD[4]]
    assert len(make(tmp_path / "new.h5", kept, reuse=old)) == len(kept)


def test_a_run_killed_after_any_step_is_resumed(old, tmp_path):
    """Committed work is never made again, and the file equals that of an undisturbed run.

    This includes damaged old rows, which have separate shards.
    """
    whole = make(tmp_path / "whole.h5", OLD + NEW).path.read_bytes()
    old = damage(old, OLD[4])
    output = tmp_path / "out" / "new.h5"
    output.parent.mkdir()
    resumed = 0

    def work() -> None:
        if not output.exists():
            make(output, OLD + NEW, reuse=old)

    steps = 0
    for _ in deaths(work):
        steps += 1
        if output.exists():
            assert output.read_bytes() == whole
        else:
            markers = len(list(output.with_name("new.h5.parts").glob("0*.json")))
            writer = writer_of(output, OLD + NEW, reuse=old)
            assert len(writer.pending()) == len(writer.shards) - markers
            resumed += bool(markers)
            work()
            assert output.read_bytes() == whole
        shutil.rmtree(output.parent)
        output.parent.mkdir()
    assert resumed > 10
    assert steps > 50


def test_made_from_distinguishes_shards_but_is_not_stored(tmp_path):
    path = tmp_path / "new.h5"
    writer_of(path, OLD, made_from="one")
    with pytest.raises(LabelMapError, match="made_from: one there, two now"):
        writer_of(path, OLD, made_from="two")
    made = make(path, OLD, made_from="one")
    assert made.path.read_bytes() == make(tmp_path / "w.h5", OLD).path.read_bytes()


def test_made_with_is_what_both_runs_have_in_common(old, tmp_path):
    grown = make(tmp_path / "new.h5", OLD + NEW, reuse=old, made_with={"labelkit": "9"})
    whole = make(tmp_path / "whole.h5", OLD + NEW)
    assert grown.made_with == {}
    assert grown.digest == whole.digest
    assert msgspec.structs.replace(grown.header, made_with=whole.made_with) == whole.header
