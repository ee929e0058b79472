"""Hand shards to actors of a Ray cluster, and survive the loss of some of them.

Ray only schedules: actors commit their shards to the shared disk by the protocol of all engines,
so that what runs twice is written once. Ray restarts and repeats nothing by itself. Whatever an
actor was given goes back to the queue when it dies, and a new one is started in its place.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labelkit.errors import LabelkitError, first_line
from labelkit.relabel.ray_actor import ActorPlace, Job, Made, ShardActor
from labelkit.relabel.ray_cluster import no_room
from labelkit.relabel.shard_queue import ShardQueue
from labelkit.relabel.stages import Stages

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from labelkit.label_maps import Shard
    from labelkit.relabel.committing import Receipt
    from labelkit.relabel.ray_cluster import Crew
    from labelkit.relabel.shards import ShardMaker
    from labelkit.relabel.sharing import Tally

_TICK = 0.5
_GRACE = 20.0  # to save what is begun, when a run stops
_MOST_DEATHS = 3
_REPORTS = "reports"


@dataclass(frozen=True)
class Patience:
    """How long a run waits.

    Attributes:
        stall: for any progress while actors work, in seconds.
        start: for the first actor, in seconds.
    """

    stall: float = 600.0
    start: float = 600.0


@dataclass
class Member:
    """One place in the crew: the actor that fills it now, and what it does.

    Attributes:
        actor: of Ray.
        call: what it was asked for last.
        place: where it runs; None until it is known.
        shards: that it makes.
        done: images of these that are done.
        report: the question how many; None if it is answered.
        deaths: of actors in this place since one last finished what it was given.
        stages: what all actors in this place have done, and where their time went.
        seconds: that they took for it.
    """

    actor: Any = None
    call: Any = None
    place: ActorPlace | None = None
    shards: list[Shard] = field(default_factory=list["Shard"])
    done: int = 0
    report: Any = None
    deaths: int = 0
    stages: Stages = field(default_factory=Stages)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.stages.images / self.seconds if self.seconds else 0.0

    @property
    def where(self) -> str:
        """Where it runs, for messages."""
        return f"node {self.place.node} (process {self.place.process})" if self.place else "a node"


class RayDriver:
    """Has a crew of actors make all shards of one file.

    Args:
        ray: the package, connected to a cluster.
        crew: how many actors, and what each is given.
        shards: what a local engine would use.
        device: torch's name of the actors' device.
        patience: how long to wait.
        on_event: called with a line about each actor that was lost.

    Attributes:
        members: the places in the crew.
    """

    def __init__(  # noqa: PLR0913, PLR0917 -- each is a separate fact of the run
        self,
        ray: ModuleType,
        crew: Crew,
        shards: ShardMaker,
        device: str,
        patience: Patience,
        on_event: Callable[[str], None],
    ) -> None:
        self._ray, self._crew, self._shards, self._patience = ray, crew, shards, patience
        self._on_event = on_event
        self._queue = ShardQueue(shards.writer)
        self._receipts: list[Receipt] = []
        self._token = shards.writer.parts / f"{os.urandom(8).hex()}.token"
        self._device = device
        self._job: Any = None
        self._actor_class = ray.remote(
            max_restarts=0, max_task_retries=0, concurrency_groups={_REPORTS: 1}
        )(ShardActor)
        self._here = ActorPlace.here()
        self.members = [Member() for _ in range(min(crew.count, len(self._queue.left)))]

    def run(self, tally: Tally, on_waiting: Callable[[int], None] | None = None) -> list[Receipt]:
        """Make all shards.

        Args:
            tally: counts the images.
            on_waiting: called with how many shards other runs still make, when there is nothing
                else left.

        Returns:
            A receipt for each shard that this run has committed.

        Raises:
            LabelkitError, OSError: as ``ShardMaker.make``, of an actor; or there is no room for
                actors, a node lacks the output folder or has other software, a shard or too many
                actors were lost, or nothing happens any more.
        """
        self._token.touch()
        try:
            self._job = self._ray.put(Job.of(self._shards, self._device, self._token))
            for member in self.members:
                self._hire(member)
            self._run(tally, on_waiting)
        except BaseException:
            self._stop()
            raise
        finally:
            for member in self.members:
                self._dismiss(member)
            self._token.unlink(missing_ok=True)
            self._shards.stages.end()
        return self._receipts

    def _run(self, tally: Tally, on_waiting: Callable[[int], None] | None) -> None:
        watch, waiting = _Watch(self._patience), 0
        while self._queue.left:
            self._require_folder()
            held = self._queue.look_at_held()
            for member in self.members:
                self._assign(member)
            idle = not any(member.shards for member in self.members)
            if held != waiting and held and idle and on_waiting:
                on_waiting(held)
            waiting = held if idle else 0
            self._wait()
            tally.begin([*self._queue.left.values()])
            tally.add(sum(member.done for member in self.members))
            if not watch.has_room(self.members):
                raise no_room(self._ray, self._crew, self._patience.start)
            watch.require_progress(self.members, len(self._queue.left), self._shards)

    def _require_folder(self) -> None:
        """Raise if the shards are gone, most likely because another run has joined them.

        Raises:
            FileNotFoundError: they are.
        """
        if not self._token.is_file():
            raise FileNotFoundError(f"{self._token.parent} is gone: another run removed the shards")

    def _hire(self, member: Member) -> None:
        """Start an actor, and ask where it is."""
        member.actor = self._actor_class.options(
            num_cpus=self._crew.cpus, num_gpus=self._crew.gpus
        ).remote()
        member.place, member.report, member.done = None, None, 0
        member.call = member.actor.place.remote()

    def _assign(self, member: Member) -> None:
        """Give an idle actor shards."""
        if member.call is None and member.actor is not None:
            shards = self._queue.take(member.rate, len(self.members))
            if shards:
                self._shards.stages.start()
                member.shards = shards
                member.call = member.actor.make.remote(shards)

    def _wait(self) -> None:
        """Wait a moment for answers, and act on them."""
        for member in self.members:
            if member.shards and member.report is None:
                done = member.actor.done.options(concurrency_group=_REPORTS)
                member.report = done.remote()
        members = {member.call: member for member in self.members if member.call is not None}
        if not members:
            time.sleep(_TICK)
            return
        ready, _ = self._ray.wait([*members], num_returns=len(members), timeout=_TICK)
        for call in ready:
            self._receive(members[call])
        self._read_reports()

    def _read_reports(self) -> None:
        reports = {member.report: member for member in self.members if member.report is not None}
        if not reports:
            return
        ready, _ = self._ray.wait([*reports], num_returns=len(reports), timeout=0)
        for report in ready:
            member = reports[report]
            member.report = None
            with suppress(self._ray.exceptions.RayError):  # which its call raises too
                done = self._ray.get(report)
                member.done = done if member.shards else 0

    def _receive(self, member: Member) -> None:
        """Take what an actor answers, and ask it for more."""
        errors = self._ray.exceptions
        call, member.call = member.call, None
        try:
            answer = self._ray.get(call)
        except errors.RayTaskError:
            raise
        except errors.RayError as error:
            if "creation task" in str(error):
                raise LabelkitError(_cannot_start(error)) from error
            self._replace(member, why_died(error))
            return
        match answer:
            case Made():
                self._settle(member, answer)
            case ActorPlace(owner=None):
                member.place = answer
                answer.require_versions(self._here.versions)
                member.call = member.actor.prepare.remote(self._job)
            case ActorPlace():
                member.place = answer
            case error:
                self._require_folder()
                raise self._located(error, member)

    def _settle(self, member: Member, made: Made) -> None:
        shards, member.shards, member.done = member.shards, [], 0
        member.stages.add(made.stages, 1)
        member.seconds += made.stages.elapsed
        self._shards.stages.add(made.stages, len(self.members))
        member.deaths = 0
        self._receipts += self._queue.settle(shards, made.receipts)
        if made.error is not None:
            raise self._located(made.error, member)

    def _located(self, error: Exception, member: Member) -> Exception:
        """The error of an actor; it says where, if that is another machine."""
        node = member.place.node if member.place else self._here.node
        if node == self._here.node or node in str(error):
            return error
        return type(error)(f"{error} (on node {node})")

    def _replace(self, member: Member, reason: str) -> None:
        """Take back what a dead actor had, and start another one."""
        claimed = self._dismiss(member)
        shards, member.shards, member.done = member.shards, [], 0
        member.deaths += 1
        names = ", ".join(shard.name for shard in shards if shard.name in claimed)
        at = f" at shard {names}" if names else ""
        self._on_event(f"An actor on {member.where} was lost{at}: {reason}")
        self._receipts += self._queue.lose(shards, claimed, reason)
        if member.deaths < _MOST_DEATHS:
            self._hire(member)
        elif all(each.actor is None for each in self.members):
            raise LabelkitError(
                f"relabel stopped: {_MOST_DEATHS} actors in a row have died in each place of the "
                f"crew; the last one, on {member.where}: {reason}. Finished shards are kept: see "
                "'ray status' and Ray's logs on that node (/tmp/ray/session_latest/logs), and run "
                "the same command again"
            )

    def _dismiss(self, member: Member) -> list[str]:
        """End an actor, if it has not ended; returns what it had claimed."""
        if member.actor is None:
            return []
        self._ray.kill(member.actor)
        member.actor = member.call = member.report = None
        owner = member.place.owner if member.place else None
        return self._shards.writer.claims.drop(owner) if owner else []

    def _stop(self) -> None:
        """Let actors save what they have begun."""
        calls = [member.call for member in self.members if member.shards and member.call]
        for member in self.members:
            if member.shards and member.call:
                member.actor.stop.options(concurrency_group=_REPORTS).remote()
        if calls:
            self._ray.wait(calls, num_returns=len(calls), timeout=_GRACE)


class _Watch:
    """Notices when nothing happens any more."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._seen: object = None
        self._since = self._placed = time.monotonic()

    def has_room(self, members: list[Member]) -> bool:
        """Whether an actor runs, or may still start."""
        if any(member.place for member in members if member.actor is not None):
            self._placed = time.monotonic()
        return time.monotonic() < self._placed + self._patience.start

    def require_progress(self, members: list[Member], left: int, shards: ShardMaker) -> None:
        """Raise if actors work, but nothing has come of it for long.

        Raises:
            LabelkitError: it says where to look.
        """
        busy = [member for member in members if member.place and member.call is not None]
        seen = left, [(member.place, member.done, len(member.shards)) for member in members]
        if seen != self._seen or not busy:
            self._seen, self._since = seen, time.monotonic()
        elif time.monotonic() > self._since + self._patience.stall:
            raise LabelkitError(self._stalled(busy, shards))

    def _stalled(self, busy: list[Member], shards: ShardMaker) -> str:
        doing = "; ".join(
            f"{member.where} is making {member.shards[0].name} and what follows"
            if member.shards
            else f"{member.where} is loading the teacher"
            for member in busy[:4]
        )
        return (
            f"relabel stopped: no actor has made progress for {self._patience.stall:.0f} s: "
            f"{doing}. Finished shards are kept. See whether the disks of the images and of "
            f"{shards.writer.parts.parent} answer on these nodes (ls), whether the nodes live (ray "
            "status), and what the processes wait for (py-spy dump --pid PROCESS); then run the "
            "same command again, with a longer --stall-timeout if this is normal"
        )


def _cannot_start(error: BaseException) -> str:
    text = str(error)
    node = re.search(r"ip=([^,) ]+)", text)
    return (
        f"an actor cannot start on node {node[1] if node else '(unknown)'}: "
        f"{first_line(Exception(text.strip().splitlines()[-1]))}. Install the same version of "
        "labelkit and of what it needs on every node: pip install 'labelkit[ray]'"
    )


def why_died(error: BaseException) -> str:
    """Ray's reason for the death of an actor, without its advice.

    >>> why_died(RuntimeError("The actor died. The actor is dead because its node has died."))
    'its node has died'
    """
    text = " ".join(str(error).split())
    text = text.rpartition("The actor is dead because ")[2] or text
    reason, _, detail = text.partition(". Worker exit type: ")
    if detail:
        code = re.search(r"exit code (\d+)", detail)
        reason += f" ({code[0]})" if code else " (killed or crashed, perhaps out of memory)"
    return reason[:300].rstrip(" .")
