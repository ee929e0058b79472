"""Several processes that train one student together, as ``torchrun`` starts them.

Each gets a share of every batch. Gradients are added up, not averaged: every process weights its
loss by its share of the batch's images, so that the sum is the gradient of the whole batch, also
where shares differ in size.

# B batch, C classes
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from labelkit.device import choose_device
from labelkit.errors import DeviceError, TrainingError, first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from torch import Tensor, nn

# Their stubs are incomplete.
_dist: Any = dist
_rendezvous: Any = rendezvous


class StoppedElsewhere(TrainingError):  # noqa: N818 -- the name states the fact
    """Another process of the run failed first, and says why."""


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of a run.

    Attributes:
        rank: its number, from 0; the first one writes and reports.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    def share(self, total: int) -> slice:
        """This process's part of so many images; shares differ by at most one.

        >>> [Processes(rank, 3).share(5) for rank in range(3)]
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
        """
        each, more = divmod(total, self.count)
        start = self.rank * each + min(self.rank, more)
        return slice(start, start + each + (self.rank < more))

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""
        self._together(tensors, _dist.all_reduce)

    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by that of the first process."""
        self._together(tensors, lambda flat: _dist.broadcast(flat, 0))

    def average_statistics(self, model: nn.Module) -> None:
        """Replace batch norm's running statistics by their means over all processes."""
        buffers = [each for each in model.buffers() if each.is_floating_point()]
        self.add_up(buffers)
        for each in buffers if self.count > 1 else ():
            each.div_(self.count)

    def gather_rows(self, rows: Tensor) -> Tensor:
        """The rows (B, ...) of all processes, in their order; each may have another B."""
        if self.count == 1:
            return rows
        with _connection():
            sizes = [torch.zeros(1, dtype=torch.long, device=rows.device) for _ in self._ranks]
            _dist.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
            counts = [int(each) for each in sizes]
            padded = rows.new_zeros((max(counts), *rows.shape[1:]))
            padded[: len(rows)] = rows
            parts = [torch.empty_like(padded) for _ in self._ranks]
            _dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def require_equal(self, fact: object, remedy: str) -> None:
        """Raise unless a fact, such as a digest, is the same in all processes.

        Raises:
            TrainingError: it is not; the message shows the two values.
        """
        if self.count == 1:
            return
        facts: list[object] = [None for _ in self._ranks]
        with _connection():
            _dist.all_gather_object(facts, fact)
        for rank, other in enumerate(facts):
            if other != facts[0]:
                raise TrainingError(
                    f"process 0 has {facts[0]!r}, process {rank} has {other!r}: {remedy}"
                )

    @property
    def _ranks(self) -> range:
        return range(self.count)

    def _together(self, tensors: Sequence[Tensor], collective: Callable[[Tensor], object]) -> None:
        """Run a collective on all tensors at once."""
        if self.count == 1 or not tensors:
            return
        with torch.no_grad():
            flat = torch.cat([each.flatten() for each in tensors])
            with _connection():
                collective(flat)
            parts = flat.split([each.numel() for each in tensors])
            for each, part in zip(tensors, parts, strict=True):
                each.copy_(part.view_as(each))


ALONE = Processes()


def local_device(name: str) -> torch.device:
    """The device of this process, by the name that a user gives; each has its own GPU.

    Raises:
        DeviceError: torch cannot use such a device, or there are fewer GPUs than processes.
    """
    device = choose_device(name)
    if device.type != "cuda" or _count() == 1:
        return device
    if ":" in name:
        raise DeviceError(f"run.device is {name!r} for {_count()} processes: use auto or cuda")
    local, found = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local >= found:
        raise DeviceError(
            f"more than {local} processes for {found} GPUs: use torchrun --nproc-per-node={found}"
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


@contextmanager
def joined(device: str) -> Generator[tuple[Processes, torch.device]]:
    """This process among those that ``torchrun`` started, and its device.

    If processes fail, the first one raises its error, and all others ``StoppedElsewhere``.

    Args:
        device: the name of the device; GPUs are connected by NCCL, others by Gloo.
    """
    if _count() == 1:
        yield ALONE, choose_device(device)
        return
    store, rank, count = next(iter(_rendezvous("env://")))
    try:
        local = local_device(device)
        _dist.init_process_group(
            "nccl" if local.type == "cuda" else "gloo", store=store, rank=rank, world_size=count
        )
        yield Processes(rank, count), local
    except Exception as error:
        if _fails_first(store):
            raise
        raise StoppedElsewhere("another process of this run failed: see its message") from error
    _dist.destroy_process_group()


def _fails_first(store: Any) -> bool:  # noqa: ANN401 -- torch does not export its type
    """Whether no other process has failed yet; also if the one that keeps count is gone."""
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        return store.add(f"labelkit-failures-{attempt}", 1) == 1
    except RuntimeError:
        return True


def _count() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def _connection() -> Generator[None]:
    """Explain what torch raises if another process is gone."""
    try:
        yield
    except RuntimeError as error:
        raise TrainingError(
            f"the connection to another process is lost ({first_line(error)}). If none of them "
            "says why, it was killed, most likely because memory ran out. Finished epochs are "
            "kept: run the same command again"
        ) from error
