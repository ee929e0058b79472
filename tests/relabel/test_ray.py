"""The cluster engine on a real cluster of two nodes, whose actors, nodes and drivers are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labelkit.errors import LabelkitError, TeacherError
from labelkit.label_maps import LabelMapFile
from labelkit.relabel import RayEngine, relabel
from labelkit.relabel.ray_cluster import load_ray
from tests.command import labelkit
from tests.photos import CHECKOUT
from tests.relabel.ray_support import IMAGES, SETTINGS, draw_photos, prone_teacher

if TYPE_CHECKING:
    from collections.abc import Iterator

if find_spec("ray") is None:
    pytest.skip("Ray is not installed", allow_module_level=True)
if "LABELKIT_RAY_TESTS" not in os.environ:
    pytest.skip("set LABELKIT_RAY_TESTS=1: a cluster, minutes", allow_module_level=True)
ray = load_ray()

pytestmark = [
    pytest.mark.usefixtures("one_thread"),  # as actors with one CPU have
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray's sockets and log files
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
]


class TwoNodes:
    """A cluster of a head without room for actors, and two nodes with room for one each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        notice = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500}
        self.cluster = Cluster()
        self.cluster.add_node(num_cpus=0, include_dashboard=False, _system_config=notice)
        self.nodes = [self.cluster.add_node(num_cpus=1) for _ in range(2)]
        ray.init(self.cluster.address, log_to_driver=False, logging_level="ERROR")

    @property
    def address(self) -> str:
        """Of the head."""
        return self.cluster.address

    def lose_a_node(self) -> None:
        """Kill all processes of a node."""
        self.cluster.remove_node(self.nodes.pop(), allow_graceful=False)

    def end(self) -> None:
        """Disconnect, and end what this started."""
        ray.shutdown()
        self.cluster.shutdown()


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[TwoNodes]:
    nodes = TwoNodes()
    try:
        yield nodes
    finally:
        nodes.end()


class Run:
    """A folder of photos, a teacher with accidents, and what the local engine makes of them."""

    def __init__(self, folder: Path) -> None:
        self.photos = draw_photos(folder / "photos")
        self.accidents = folder / "accidents"
        self.output = folder / "maps.h5"
        self.teacher = prone_teacher(self.accidents, self.output)
        self.events: list[str] = []
        local = relabel(self.photos, self.teacher, folder / "local.h5", SETTINGS)
        self.expected = local.path.read_bytes()

    def happen(self, *accidents: str) -> None:
        """Say what is to go wrong from now on."""
        for file in self.accidents.iterdir():
            file.unlink()
        for accident in accidents:
            (self.accidents / accident).touch()

    def relabel(self, on_progress=None, **options):
        """Relabel on the cluster."""
        self.events = []
        engine = RayEngine(cpus_per_actor=1, on_event=self.events.append, **options)
        return relabel(
            self.photos, self.teacher, self.output, SETTINGS, engine=engine, on_progress=on_progress
        )

    def start(self, two_nodes: TwoNodes, engine: str) -> subprocess.Popen[str]:
        """The same in a process of its own."""
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.relabel.ray_support", two_nodes.address),
                *(self.photos, self.accidents, self.output, engine),
            ],
            cwd=CHECKOUT,
            text=True,
            stderr=subprocess.PIPE,
        )

    def require_whole(self) -> None:
        """Every image once, as the local engine makes it; the damaged one is listed."""
        with LabelMapFile.open(self.output) as file:
            assert len(file) == IMAGES - 1
            assert [*file.unreadable] == ["017.png"]
        assert self.output.read_bytes() == self.expected
        assert not self.output.with_name("maps.h5.parts").exists()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def wait_until(condition, process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)


@pytest.mark.usefixtures("two_nodes")
def test_actors_that_are_killed_or_exit_are_replaced(run: Run) -> None:
    run.happen("kill", "exit after 2", "_exit after 4", "slow 0.05")
    seen: list[tuple[int, int]] = []
    result = run.relabel(on_progress=lambda *counts: seen.append(counts))
    assert (result.images, result.processed) == (IMAGES - 1, IMAGES)
    assert seen[-1] == (IMAGES, IMAGES)
    assert len(run.events) == 3
    assert all("was lost at shard" in event or "exit code 3" in event for event in run.events)
    run.require_whole()


@pytest.mark.usefixtures("two_nodes")
def test_errors_are_those_of_the_local_engine(run: Run) -> None:
    run.happen("nan after 1")
    with pytest.raises(TeacherError, match="test_resnet gives scores that are not finite for"):
        run.relabel(actors=1)
    run.happen("kill always")
    with pytest.raises(LabelkitError, match=r"3 actors have died at shard 00000\d, '0.*killed"):
        run.relabel(actors=1)
    run.happen("hang")
    with pytest.raises(LabelkitError, match=r"no actor has made progress for 3 s: node .*process"):
        run.relabel(actors=1, stall_seconds=3)
    run.happen()
    assert run.relabel(actors=1).processed < IMAGES  # what was finished before is kept
    run.require_whole()


def test_a_driver_that_is_killed_leaves_its_shards_to_two_engines_at_once(
    two_nodes: TwoNodes, run: Run
) -> None:
    run.happen("slow 0.3")
    parts = run.output.with_name("maps.h5.parts")
    driver = run.start(two_nodes, "ray")
    wait_until(lambda: len([*parts.glob("[0-9]*.json")]) >= 2, driver)
    driver.kill()
    driver.communicate()
    local = run.start(two_nodes, "local")
    result = run.relabel()
    assert local.wait() == 0, local.stderr.read()
    local.communicate()
    assert result.images == IMAGES - 1
    assert result.processed < IMAGES - 8
    run.require_whole()


def test_a_node_that_is_lost_costs_nothing_but_time(two_nodes: TwoNodes, run: Run) -> None:
    run.happen("slow 0.3")
    lost: list[int] = []

    def lose(done: int, _total: int) -> None:
        if done >= 12 and not lost:
            lost.append(done)
            two_nodes.lose_a_node()

    assert run.relabel(lose).images == IMAGES - 1
    assert lost
    assert len(run.events) == 1
    run.require_whole()


@pytest.mark.usefixtures("two_nodes")
def test_a_command_that_is_interrupted_ends_its_own_cluster_and_resumes(tmp_path: Path) -> None:
    """Ctrl-C goes to all processes of a terminal; the next run uses the cluster that runs."""
    photos = draw_photos(tmp_path / "photos", 80)
    output, parts = tmp_path / "maps.h5", tmp_path / "maps.h5.parts"
    options = ("--size", 128, "--workers", 0, "--no-calibration", "--device", "cpu")
    command = ("relabel", photos, "-o", output, *options, "--engine", "ray", "--cpus-per-actor", 1)
    before = count_raylets()
    process = subprocess.Popen(
        [sys.executable, "-m", "labelkit", *map(str, command), "--ray-address", "local"],
        cwd=CHECKOUT,
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_until(lambda: [*parts.glob("*.begun.h5"), *parts.glob("*.claim")], process)
    assert count_raylets() == before + 1
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130, error
    assert error.count("Interrupted.") == 1
    assert "Traceback" not in error
    assert list(parts.glob("*.claim")) == []
    assert count_raylets() == before
    again = labelkit(*command, "--json")
    facts = json.loads(again.out)
    assert facts["images"] == 79
    assert [*facts["unreadable"]] == ["017.png"]
    assert sum(actor["images"] for actor in facts["actors"]) == facts["processed"]
    local = tmp_path / "local.h5"
    assert labelkit("relabel", photos, "-o", local, *options).code == 0
    assert output.read_bytes() == local.read_bytes()


def count_raylets() -> int:
    """How many nodes of Ray run on this machine."""
    return sum(
        b"raylet/raylet" in path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")
    )


def test_a_cluster_without_room_says_so(two_nodes: TwoNodes, run: Run) -> None:
    engine = RayEngine(cpus_per_actor=99)
    with pytest.raises(LabelkitError, match="no node of the Ray cluster has 99 CPUs for an actor"):
        relabel(run.photos, run.teacher, run.output, SETTINGS, engine=engine)
    hold = ray.remote(num_cpus=1)(lambda: time.sleep(99))
    holders = [hold.remote() for _ in two_nodes.nodes]
    while ray.available_resources().get("CPU"):
        time.sleep(0.05)
    with pytest.raises(
        LabelkitError, match=r"not started one of \d actors within 2 s.* 0 CPUs and"
    ):
        run.relabel(start_seconds=2)
    for holder in holders:
        ray.cancel(holder, force=True)
