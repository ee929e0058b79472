"""``labelkit relabel --engine ray``: its options, and what it prints of the actors."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from labelkit.relabel import RayEngine

    Command = Callable[..., object]

_SHOWN = 16


class ClusterOptions(TypedDict):
    """What makes the maps: this process, or a cluster."""

    engine: Literal["local", "ray"]
    ray_address: str | None
    actors: int | None
    cpus_per_actor: int | None
    stall_timeout: int | None


_OPTIONS = (
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="What makes the maps: this process, or actors of a Ray cluster whose nodes share the "
        "disk (pip install 'labelkit[ray]').",
    ),
    click.option(
        "--ray-address",
        metavar="ADDRESS",
        help="The cluster, such as 10.0.0.1:6379. [default: RAY_ADDRESS, or the one that runs on "
        "this machine, else a new one on this machine]",
    ),
    click.option(
        "--actors",
        metavar="N",
        type=click.IntRange(1),
        help="How many. [default: one per GPU of the cluster, or per --cpus-per-actor]",
    ),
    click.option(
        "--cpus-per-actor",
        metavar="N",
        type=click.IntRange(1),
        help="CPUs of an actor. [default: one for each decoding process and one more with a GPU, "
        "else up to 4]",
    ),
    click.option(
        "--stall-timeout",
        metavar="SECONDS",
        type=click.IntRange(1),
        help="Stop if no actor makes progress for so long. [default: 600]",
    ),
)


def cluster_options(command: Command) -> Command:
    """The options of the engines."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def require_engine(options: ClusterOptions, not_for_clusters: Sequence[str]) -> None:
    """Refuse options of the other engine.

    Args:
        options: as given.
        not_for_clusters: the options given that only the local engine has.

    Raises:
        click.UsageError: the message names one.
    """
    if options["engine"] == "local":
        for name in ("ray_address", "actors", "cpus_per_actor", "stall_timeout"):
            if options[name] is not None:
                raise click.UsageError(f"--{name.replace('_', '-')} needs --engine ray")
    elif not_for_clusters:
        raise click.UsageError(f"{not_for_clusters[0]} is for --engine local: leave it out")


def engine_of(
    options: ClusterOptions, device: str, on_event: Callable[[str], None]
) -> AbstractContextManager[RayEngine | None]:
    """The cluster to use, not connected yet; None for this process alone.

    Args:
        options: as given.
        device: of ``--device``.
        on_event: called with a line about each actor that was lost.
    """
    if options["engine"] == "local":
        return nullcontext()
    from labelkit.relabel import RayEngine

    return RayEngine(
        address=options["ray_address"],
        actors=options["actors"],
        cpus_per_actor=options["cpus_per_actor"],
        device=device,
        stall_seconds=options["stall_timeout"] or 600,
        on_event=on_event,
    )


def actor_facts(engine: RayEngine | None) -> dict[str, Any]:
    """What each actor has done, for ``--json``; nothing without actors."""
    return {"actors": [asdict(each) for each in engine.work]} if engine else {}


def actor_lines(engine: RayEngine | None) -> Iterator[str]:
    """What each actor has done."""
    from labelkit.wording import percent

    work = [each for each in engine.work if each.images] if engine else []
    for each in work[:_SHOWN]:
        yield (
            f"Actor on {each.node}: {each.images:,} images, "
            f"{each.images / max(each.seconds, 1e-9):,.1f} images/s, waiting "
            f"{percent(each.waiting_share)}"
        )
    if len(work) > _SHOWN:
        yield f"… and {len(work) - _SHOWN} more actors."
