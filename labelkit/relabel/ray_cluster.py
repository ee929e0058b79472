"""Connect to a Ray cluster, and see what it has for actors."""

from __future__ import annotations

import importlib
import os
import re
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labelkit.errors import LabelkitError, first_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

_ANSWER_SECONDS = 5.0
_CPUS = 4  # of an actor without a GPU; more do not speed up small batches
# Ray prints this for every lost actor, whatever its log level; the driver says more.
_SKIPPED = ("RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed")
# Under "uv run", Ray would copy the current folder, photos and all, to every node and install
# packages there. Actors need the same versions as this process anyway, and check them.
_NO_COPY = ("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")


def load_ray() -> ModuleType:
    """The package, whose types are of little use.

    Raises:
        LabelkitError: it is not installed.
    """
    if "ray" not in sys.modules:
        os.environ.setdefault(*_SKIPPED)
        os.environ.setdefault(*_NO_COPY)
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise LabelkitError(
            f"the engine 'ray' needs Ray ({first_line(error)}): pip install 'labelkit[ray]', on "
            "every node of the cluster"
        ) from error


def connect(ray: ModuleType, address: str | None) -> bool:
    """Connect this process to a cluster, unless it is connected already.

    Args:
        ray: the package.
        address: of the cluster; None for the one that RAY_ADDRESS names or that runs on this
            machine, else a new one on this machine alone.

    Returns:
        Whether this call has connected it, and the caller is to disconnect.

    Raises:
        LabelkitError: there is no such cluster, or it has another version of Ray or Python.
    """
    if ray.is_initialized():
        return False
    reached = answering(address)
    try:
        ray.init(
            address=reached, log_to_driver=False, logging_level="ERROR", include_dashboard=False
        )
    except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
        where = address or os.environ.get("RAY_ADDRESS") or "on this machine"
        raise LabelkitError(
            f"cannot connect to a Ray cluster {where} ({first_line(error)}). See that it runs with "
            f"'ray status --address {address or 'auto'}', that it has the same versions of Ray and "
            "Python as this environment, and that RAY_AUTH_MODE (token or disabled) and the token "
            "in ~/.ray/auth_token are the same here"
        ) from error
    return True


def answering(address: str | None) -> str | None:
    """The address for ``ray.init``: Ray itself waits many minutes for a cluster that is dead.

    A cluster that ends without ``ray stop``, as when its machine loses power, leaves its address in
    Ray's temporary folder, from where Ray takes it if none is given.

    Returns:
        The address; ``local``, for a new cluster, if only the one that was left is known.

    Raises:
        LabelkitError: nothing answers at the address that is given, or that RAY_ADDRESS names.
    """
    named = address or os.environ.get("RAY_ADDRESS")
    if named:
        if not _answers(named):
            raise LabelkitError(
                f"nothing answers at {named}, the address of the Ray cluster: start it there with "
                "'ray start --head', and pass the address that this prints"
            )
        return address
    left = importlib.import_module("ray._private.utils").read_ray_address()
    return "local" if left and not _answers(left) else None


def _answers(address: str) -> bool:
    """Whether something listens there; true for words such as ``auto``."""
    found = re.fullmatch(r"\[?([^/]+?)\]?:(\d+)", address)
    if not found:
        return True
    try:
        with socket.create_connection((found[1], int(found[2])), _ANSWER_SECONDS):
            return True
    except (OSError, OverflowError):
        return False


@dataclass(frozen=True)
class Crew:
    """How many actors there are to be, and what each of them is given.

    Attributes:
        count: of the actors.
        cpus: of each.
        gpus: of each.
    """

    count: int
    cpus: int
    gpus: int

    def __str__(self) -> str:
        each = f"{self.cpus} CPU" + "s" * (self.cpus != 1)
        if self.gpus:
            each += f" and {self.gpus} GPU"
        return each


@dataclass(frozen=True)
class NodeResources:
    """What a live node of a cluster has in all, in use or not."""

    name: str
    cpus: float
    gpus: float


def nodes_of(ray: ModuleType) -> list[NodeResources]:
    """The live nodes of a cluster."""
    return [
        NodeResources(
            node["NodeManagerHostname"],
            node["Resources"].get("CPU", 0.0),
            node["Resources"].get("GPU", 0.0),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def crew_for(
    nodes: Sequence[NodeResources],
    count: int | None,
    cpus: int | None,
    *,
    on_gpus: bool,
    workers: int,
) -> Crew:
    """The actors for a cluster: one per GPU, or one per some CPUs if no GPU is to be used.

    Args:
        nodes: of the cluster.
        count: how many actors; None for as many as fit.
        cpus: of each; None for the workers' beside a GPU, as far as there are, else up to 4.
        on_gpus: give each a GPU.
        workers: processes of each that decode images.

    Raises:
        LabelkitError: no node has so much.
    """
    able = [node for node in nodes if (node.gpus if on_gpus else node.cpus) >= 1]
    if cpus is None:
        shares = [node.cpus // (node.gpus if on_gpus else 1) for node in able]
        cpus = int(max(1, min([1 + workers if on_gpus else _CPUS, *shares])))
    fitting = [
        int(min(node.cpus // cpus, node.gpus if on_gpus else node.cpus // cpus)) for node in able
    ]
    crew = Crew(count or sum(fitting), cpus, int(on_gpus))
    if not any(fitting):
        raise LabelkitError(
            f"no node of the Ray cluster has {crew} for an actor: it has {_listed(nodes)}. Start a "
            "node that does, or ask for less with --cpus-per-actor or --device cpu"
        )
    return crew


def no_room(ray: ModuleType, crew: Crew, seconds: float) -> LabelkitError:
    """The error for actors that the cluster has not started."""
    free: dict[str, float] = ray.available_resources()
    return LabelkitError(
        f"the Ray cluster has not started one of {crew.count} actors within {seconds:.0f} s. Each "
        f"needs {crew}; of {_listed(nodes_of(ray))}, {free.get('CPU', 0):.0f} CPUs and "
        f"{free.get('GPU', 0):.0f} GPUs are free. See 'ray status': wait for other jobs, or start "
        "more nodes"
    )


def _listed(nodes: Sequence[NodeResources]) -> str:
    """What a cluster has, in words."""
    cpus, gpus = (int(sum(getattr(node, what) for node in nodes)) for what in ("cpus", "gpus"))
    return f"{cpus} CPUs and {gpus} GPUs on {len(nodes)} node" + "s" * (len(nodes) != 1)
