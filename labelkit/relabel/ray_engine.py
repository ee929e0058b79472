"""Make label maps on a Ray cluster, or with several actors on one machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from labelkit.relabel.ray_cluster import connect, crew_for, load_ray, nodes_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType, TracebackType

    from labelkit.relabel.committing import Receipt
    from labelkit.relabel.shards import ShardMaker
    from labelkit.relabel.sharing import Tally


@dataclass(frozen=True)
class ActorWork:
    """What the actors in one place of the crew have done.

    Attributes:
        node: where the last one ran.
        images: that they processed.
        seconds: that this took.
        waiting_share: the share of the time in which its device waited for images.
    """

    node: str
    images: int
    seconds: float
    waiting_share: float


@dataclass
class RayEngine:
    """Has actors of a Ray cluster make the label maps; needs the extra ``ray``.

    ``with RayEngine() as engine: relabel(photos, teacher, "maps.h5", engine=engine)``. The output
    folder and the images must be on a disk that all nodes see under the same path; the teacher is
    sent to them. This process opens the file, schedules, fits the calibration and joins the shards.

    Attributes:
        address: of the cluster; None for the one that RAY_ADDRESS names or that runs on this
            machine, else a new one on this machine alone.
        actors: how many; None for one per GPU, or one per ``cpus_per_actor`` without GPUs.
        cpus_per_actor: None for as many as it decodes with and one more beside a GPU, else up to 4.
        device: torch's name of the actors' device; ``auto`` is a GPU if the cluster has any.
        stall_seconds: how long actors may work without any progress before the run stops.
        start_seconds: how long to wait for the first actor.
        on_event: called with a line about each actor that was lost.
        work: what the actors have done in the last run.
    """

    address: str | None = None
    actors: int | None = None
    cpus_per_actor: int | None = None
    device: str = "auto"
    stall_seconds: float = 600.0
    start_seconds: float = 600.0
    on_event: Callable[[str], None] = lambda _line: None
    work: list[ActorWork] = field(default_factory=list[ActorWork], init=False)
    _ray: ModuleType | None = field(default=None, init=False, repr=False)
    _connected: bool = field(default=False, init=False, repr=False)

    def __enter__(self) -> Self:
        """Connect to the cluster, or start one.

        Raises:
            LabelkitError: Ray is not installed, or there is no such cluster.
        """
        self._connect()
        return self

    def _connect(self) -> ModuleType:
        if self._ray is None:
            ray = load_ray()
            self._connected = connect(ray, self.address)
            self._ray = ray
        return self._ray

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Disconnect; a cluster that this has started ends."""
        if self._ray and self._connected:
            self._ray.shutdown()
        self._ray, self._connected = None, False

    @property
    def on_gpus(self) -> bool:
        """Whether the actors use GPUs. Connects."""
        return self.device != "cpu" and any(node.gpus >= 1 for node in nodes_of(self._connect()))

    def make(
        self,
        shards: ShardMaker,
        tally: Tally,
        on_waiting: Callable[[int], None] | None = None,
    ) -> list[Receipt]:
        """Make all shards of a file that are not finished, together with other runs.

        Args:
            shards: what a local engine would make them with.
            tally: counts the images.
            on_waiting: called with how many shards other runs still make, when there is nothing
                else left.

        Returns:
            A receipt for each shard that this run has committed.

        Raises:
            LabelkitError: the cluster has no room, a node has other software or lacks the output
                folder, too many actors were lost, or nothing happens any more; or as
                ``ShardMaker.make``, in an actor.
            OSError: the disk with the shards fails; those that are committed are kept.
        """
        from labelkit.relabel.ray_driver import Patience, RayDriver

        self.work = []
        if not shards.writer.pending():
            return []
        ray = self._connect()
        crew = crew_for(
            nodes_of(ray),
            self.actors,
            self.cpus_per_actor,
            on_gpus=self.on_gpus,
            workers=shards.maker.settings.workers,
        )
        patience = Patience(self.stall_seconds, self.start_seconds)
        device = "auto" if self.on_gpus else "cpu"
        driver = RayDriver(ray, crew, shards, device, patience, self.on_event)
        try:
            return driver.run(tally, on_waiting)
        finally:
            self.work = [
                ActorWork(
                    member.place.node,
                    member.stages.images,
                    member.seconds,
                    member.stages.waiting / max(member.seconds, 1e-9),
                )
                for member in driver.members
                if member.place
            ]
