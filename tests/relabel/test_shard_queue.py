"""Which shards are handed out, and what happens to those that are lost; also what needs no Ray."""

from __future__ import annotations

import multiprocessing
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labelkit.errors import LabelkitError
from labelkit.relabel import RayEngine, Receipt, Settings
from labelkit.relabel.ray_actor import ActorPlace, Job, ShardActor
from labelkit.relabel.ray_cluster import Crew, NodeResources, crew_for
from labelkit.relabel.shard_queue import ShardQueue
from labelkit.sources import open_source
from tests.label_maps.support.small_files import maps_of, writer_of
from tests.photos import write_photos

if TYPE_CHECKING:
    from labelkit.label_maps import LabelMapWriter, Shard

KEYS = [f"{n:03}.jpg" for n in range(120)]


@pytest.fixture
def writer(tmp_path: Path) -> LabelMapWriter:
    return writer_of(tmp_path / "maps.h5", KEYS, shard_rows=5)


def commit(writer: LabelMapWriter, shard: Shard) -> None:
    keys = KEYS[shard.start : shard.stop]
    writer.commit(shard, [maps_of(keys)], {})


def numbers(shards: list[Shard]) -> list[int]:
    return [shard.number for shard in shards]


def test_about_a_minute_of_work_is_handed_out_and_less_at_the_end(writer: LabelMapWriter) -> None:
    queue = ShardQueue(writer)
    assert numbers(queue.take(0, 2)) == [0]  # its speed is not known yet
    assert numbers(queue.take(0.25, 2)) == [1, 2, 3]  # 15 images
    assert numbers(queue.take(100, 2)) == [4, 5, 6, 7, 8]  # a quarter of the 20
    rest = []
    while shards := queue.take(100, 2):
        rest.append(len(shards))
    assert rest == sorted(rest, reverse=True)
    assert (sum(rest), rest[-1]) == (15, 1)
    assert len(queue.left) == 24


def test_a_lost_shard_is_handed_out_alone_and_a_third_loss_ends_the_run(
    writer: LabelMapWriter,
) -> None:
    queue = ShardQueue(writer)
    shards = [queue.take(0, 1)[0] for _ in range(3)]
    commit(writer, shards[0])
    made = queue.lose(shards, ["000001"], "killed")
    assert [(receipt.shard, receipt.images) for receipt in made] == [(0, 5)]
    assert numbers([*queue.left.values()])[0] == 1
    shards = queue.take(1000, 1)
    assert numbers(shards) == [1]
    assert queue.lose(shards, [], "exit code 3") == []  # it has let go of its claim
    assert queue.take(1000, 1) == shards
    with pytest.raises(
        LabelkitError, match=r"died at shard 000001, '005.jpg' to '009.jpg'.*code 3"
    ):
        queue.lose(shards, [], "exit code 3")


def test_what_a_lost_actor_saved_was_made_by_this_run(writer: LabelMapWriter) -> None:
    queue = ShardQueue(writer)
    first, second = queue.take(0, 1)[0], queue.take(0, 1)[0]
    queue.lose([first], [], "exit code 3")
    receipts = [Receipt(shard.number, 5, {}, continued=2) for shard in (first, second)]
    settled = queue.settle([first, second], receipts)
    assert [receipt.processed for receipt in settled] == [5, 3]


def test_what_another_run_makes_is_handed_out_only_if_it_lets_go(writer: LabelMapWriter) -> None:
    other = writer_of(writer.path, KEYS, shard_rows=5)
    queue = ShardQueue(writer)
    queue._checked = 0
    shards = [queue.take(0, 1)[0] for _ in range(3)]
    for shard in shards:
        other.claims.take(shard.name)
    assert queue.settle(shards, []) == []
    commit(other, shards[0])
    other.claims.release(shards[1].name)
    assert queue.look_at_held() == 1
    assert numbers([*queue.left.values()])[:2] == [1, 2]
    while shards := queue.take(1000, 1):
        last = shards
    assert numbers(last) == [1]


def test_the_claims_of_a_process_that_has_died_are_dropped_and_no_others(
    writer: LabelMapWriter,
) -> None:
    other = writer_of(writer.path, KEYS, shard_rows=5)
    writer.claims.take("000000")
    writer.claims.take("000003")
    claim = writer.parts / "000003.claim"
    claim.write_bytes(claim.read_bytes().replace(b'"machine":"', b'"machine":"another '))
    assert other.claims.drop(writer.claims.owner) == ["000000"]
    assert list(other.claims.live()) == ["000003"]


@pytest.mark.parametrize(
    ("nodes", "options", "crew"),
    [
        ([(64, 8)], {}, Crew(8, 8, 1)),  # 8 CPUs a GPU, 1 of 9 missing
        ([(64, 8), (256, 4)], {}, Crew(12, 8, 1)),
        ([(0, 0), (64, 8)], {"count": 3}, Crew(3, 8, 1)),
        ([(0, 0), (64, 8)], {"on_gpus": False}, Crew(16, 4, 0)),
        ([(2, 0)], {"on_gpus": False}, Crew(1, 2, 0)),
        ([(6, 0), (9, 0)], {"on_gpus": False}, Crew(3, 4, 0)),
        ([(6, 0), (9, 0)], {"on_gpus": False, "cpus": 1}, Crew(15, 1, 0)),
    ],
)
def test_there_is_an_actor_for_each_gpu_or_for_some_cpus(nodes, options, crew: Crew) -> None:
    found = [NodeResources("node", *each) for each in nodes]
    facts = {"count": None, "cpus": None, "on_gpus": True, "workers": 8} | options
    assert crew_for(found, **facts) == crew


def test_a_node_with_other_software_is_named() -> None:
    here = ActorPlace.here()
    here.require_versions(here.versions)
    there = replace(here, node="gpu7", versions=here.versions | {"torch": "1.0"})
    with pytest.raises(LabelkitError, match=r"node gpu7 has torch 1.0, this machine has"):
        there.require_versions(here.versions)


def test_a_node_that_does_not_see_the_shards_is_named(writer: LabelMapWriter, tmp_path) -> None:
    token = tmp_path / "elsewhere" / "token"
    write_photos(tmp_path / "photos")
    source = open_source(tmp_path / "photos")
    job = Job(source, writer, (), (), Settings(), (), "cpu", str(Path.cwd()), token)
    error = ShardActor().prepare(job)
    assert f"node {ActorPlace.here().node} does not see {writer.parts}" in str(error)


def test_without_ray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LabelkitError, match=r"pip install 'labelkit\[ray\]'"), RayEngine():
        pass


def test_nothing_loads_ray_unless_it_is_asked_for() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert not pool.apply(_loads_ray)


def _loads_ray() -> bool:
    import labelkit.relabel.local
    import labelkit.relabel.ray_driver  # noqa: F401

    return "ray" in sys.modules
