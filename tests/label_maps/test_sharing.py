"""Processes that write one file: who makes which shard, and what is saved of one that is begun."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from labelkit.label_maps import BegunShard, LabelMapWriter
from tests.label_maps.support.killing import deaths
from tests.label_maps.support.small_files import make, maps_of, writer_of

if TYPE_CHECKING:
    from pathlib import Path

KEYS = [f"a/{n:02d}.jpg" for n in range(10)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "maps.h5"


def open_writer(path: Path, keys: list[str] = KEYS, **facts: object) -> LabelMapWriter:
    return writer_of(path, keys, **({"shard_rows": 5, "folder": "photos"} | facts))


def first_rows(writer: LabelMapWriter, number: int, count: int) -> BegunShard:
    shard = writer.shards[number]
    keys = writer.keys[shard.start : shard.start + count]
    return BegunShard(writer.encode(keys, [maps_of(keys)]), {})


def finish(writer: LabelMapWriter) -> bytes:
    """Continue what is begun, make what is missing, and join."""
    for shard in writer.pending():
        begun = writer.begun(shard)
        keys = writer.keys[shard.start + len(begun) : shard.stop]
        rows = [*begun.rows, *writer.encode(keys, [maps_of(keys)])]
        writer.commit_rows(shard, rows, begun.unreadable)
    writer.finalize().close()
    return writer.path.read_bytes()


def test_a_shard_that_is_begun_is_continued(path: Path) -> None:
    """What was saved last counts, with the images that could not be read."""
    writer = open_writer(path)
    writer.save(writer.shards[1], first_rows(writer, 1, 1))
    keys = writer.keys[5:8]
    begun = BegunShard(writer.encode(keys[:2], [maps_of(keys[:2])]), {keys[2]: "torn"})
    writer.save(writer.shards[1], begun)
    again = open_writer(path)
    assert [shard.number for shard in again.pending()] == [0, 1]
    assert [len(again.begun(shard)) for shard in again.shards] == [0, 3]
    assert again.begun(again.shards[1]) == begun
    expected = make(path.with_name("b.h5"), KEYS, unreadable={keys[2]: "torn"}).path.read_bytes()
    assert finish(again) == expected
    assert not again.parts.exists()


@pytest.mark.parametrize("how", ["cut", "flipped", "empty"])
def test_a_damaged_beginning_is_made_again(path: Path, how: str) -> None:
    writer = open_writer(path)
    writer.save(writer.shards[0], first_rows(writer, 0, 3))
    (file,) = writer.parts.glob("*.begun.h5")
    whole = file.read_bytes()
    flipped = whole[:-20] + bytes(20)
    file.write_bytes({"cut": whole[: len(whole) // 2], "flipped": flipped, "empty": b""}[how])
    assert len(open_writer(path).begun(writer.shards[0])) == 0
    assert finish(open_writer(path)) == make(path.with_name("b.h5"), KEYS).path.read_bytes()


def test_a_beginning_is_kept_if_images_come_and_go(path: Path) -> None:
    writer = open_writer(path)
    writer.save(writer.shards[0], first_rows(writer, 0, 3))
    changed = sorted([*KEYS[1:], "a/00b.jpg"])
    again = open_writer(path, changed)
    assert again.kept == 2
    assert set(again.keys) == set(changed) - set(KEYS[1:3])
    assert finish(again) == make(path.with_name("b.h5"), changed).path.read_bytes()


def test_saving_that_is_killed_after_any_step_keeps_what_was_saved_before(path: Path) -> None:
    writer = open_writer(path)
    begun = [first_rows(writer, 0, count) for count in (1, 3)]
    writer.save(writer.shards[0], begun[0])
    found = set()
    for _ in deaths(lambda: writer.save(writer.shards[0], begun[1])):
        left = writer.begun(writer.shards[0])
        assert left in begun
        found.add(len(left))
        writer.save(writer.shards[0], begun[0])
    assert found == {1, 3}


def test_a_claim_is_one_processes_until_it_lets_go(path: Path) -> None:
    one, other = open_writer(path), open_writer(path)
    assert one.claims.take("000000")
    assert not other.claims.take("000000")
    other.claims.release("000000")  # not its own
    assert not other.claims.take("000000")
    assert list(other.claims.live()) == ["000000"]
    one.claims.release_all()
    assert other.claims.take("000000")


def test_the_claim_of_a_killed_process_is_free_at_once(path: Path) -> None:
    writer = open_writer(path)

    def claim_and_wait() -> None:
        writer.claims.take("000000")
        time.sleep(99)

    process = multiprocessing.get_context("fork").Process(target=claim_and_wait)
    process.start()
    while not list(writer.parts.glob("*.claim")):
        assert process.is_alive()
        time.sleep(0.01)
    time.sleep(0.05)
    assert not writer.claims.take("000000")
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert list(writer.claims.live()) == []
    assert writer.claims.take("000000")


def test_a_claim_is_never_seen_without_its_owner(path: Path) -> None:
    """A process that is killed while it claims would leave a claim that is nobody's."""
    writer = open_writer(path)
    claim = writer.parts / "000000.claim"
    for _ in deaths(lambda: writer.claims.take("000000")):
        assert not claim.exists() or claim.stat().st_size
        assert writer.claims.take("000000")
        writer.claims.release("000000")


def test_a_claim_from_the_future_is_free(path: Path) -> None:
    """The clock of the disk was set back since another machine claimed."""
    one, other = open_writer(path), open_writer(path)
    assert one.claims.take("000000")
    (claim,) = one.parts.glob("*.claim")
    claim.write_bytes(claim.read_bytes().replace(b'"machine":"', b'"machine":"another '))
    later = time.time() + 9_999
    os.utime(claim, (later, later))
    assert other.claims.take("000000")


def test_a_claim_without_progress_for_minutes_is_free_unless_it_is_renewed(path: Path) -> None:
    """Also that of a process on another machine, of which nothing else is known."""
    one, other = open_writer(path), open_writer(path)
    assert one.claims.take("000000")
    (claim,) = one.parts.glob("*.claim")
    os.utime(claim, (0, 0))
    one.claims.renew()
    assert not other.claims.take("000000")
    os.utime(claim, (0, 0))
    assert other.claims.take("000000")
    content = claim.read_bytes()
    claim.write_bytes(content.replace(b'"process":', b'"process":1'))
    claim.write_bytes(content.replace(b'"machine":"', b'"machine":"another '))
    assert not one.claims.take("000000")
    claim.write_bytes(b"{")  # torn: as old as its file
    assert not one.claims.take("000000")
    os.utime(claim, (0, 0))
    assert one.claims.take("000000")


def test_images_of_finished_shards_that_could_not_be_read_are_made_again_if_asked(
    path: Path,
) -> None:
    """By all processes that are asked to, together; what could be read is kept."""
    writer = open_writer(path)
    rows = first_rows(writer, 0, 5).rows
    writer.commit_rows(writer.shards[0], rows[:2] + rows[3:], {KEYS[2]: "torn"})
    assert len(open_writer(path).keys) == 10
    one, other = open_writer(path, retry=True), open_writer(path, retry=True)
    assert one.keys == other.keys == [KEYS[2], *KEYS[5:]]
    assert one.shards == other.shards
    assert finish(one) == make(path.with_name("b.h5"), KEYS).path.read_bytes()
