"""Where the time of a run goes: what the device does, and what it waits for."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

Mark = float | torch.cuda.Event
"""A moment in the work of a device: a time in seconds on a CPU, or an event of a GPU."""


def mark(device: torch.device) -> Mark:
    """The moment at which a device will have done all that it was asked so far."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    with torch.cuda.device(device):
        event.record()
    return event


def wait_for(moment: Mark) -> None:
    """Wait until a device has come to a moment."""
    if isinstance(moment, torch.cuda.Event):
        moment.synchronize()


def seconds_between(first: Mark, second: Mark) -> float:
    """How much later the second moment is, both in the past of one device."""
    if isinstance(first, torch.cuda.Event) and isinstance(second, torch.cuda.Event):
        return first.elapsed_time(second) / 1000
    assert isinstance(first, float) and isinstance(second, float)  # noqa: PT018, S101 -- of a CPU
    return second - first


@dataclass
class Stages:
    """The seconds that a run has spent in each stage so far. Stages of several threads overlap.

    Attributes:
        images: processed.
        waiting: the main thread waited for images.
        predicting: the device ran the teacher.
        selecting: the device selected what the maps store.
        encoding: the writing thread encoded maps.
        writing: it wrote them.
        blocked: the main thread waited for the writing thread.
        calibrating: the calibration was fitted, after all maps were made.
        joining: the shards were joined.
        begun: when the run began, as ``time.perf_counter``.
        started: when the first batch was asked for, likewise; 0 before.
        ended: when the last shard was written; 0 before.
    """

    images: int = 0
    waiting: float = 0.0
    predicting: float = 0.0
    selecting: float = 0.0
    encoding: float = 0.0
    writing: float = 0.0
    blocked: float = 0.0
    calibrating: float = 0.0
    joining: float = 0.0
    begun: float = field(default_factory=time.perf_counter)
    started: float = 0.0
    ended: float = 0.0

    def start(self) -> None:
        """The first batch is asked for."""
        self.started = self.started or time.perf_counter()

    def end(self) -> None:
        """Nothing is left to make."""
        self.ended = time.perf_counter()

    def add_device(self, marks: Sequence[Mark]) -> None:
        """Count what the device did for a batch that is done.

        Args:
            marks: when it began, and for each form when it had predicted and selected.
        """
        for first, second, third in zip(marks[:-1:2], marks[1::2], marks[2::2], strict=True):
            self.predicting += seconds_between(first, second)
            self.selecting += seconds_between(second, third)

    def add(self, other: Stages, devices: int) -> None:
        """Count what one of several devices did meanwhile: all its images, its part of the time."""
        self.images += other.images
        for name in ("waiting", "predicting", "selecting", "encoding", "writing", "blocked"):
            setattr(self, name, getattr(self, name) + getattr(other, name) / devices)

    @property
    def starting(self) -> float:
        """Seconds from the beginning until the first batch, if there was one: to load and list."""
        return self.started - self.begun if self.started else 0.0

    @property
    def elapsed(self) -> float:
        """Seconds from the first batch until now, or until the last shard was written."""
        return (self.ended or time.perf_counter()) - self.started if self.started else 0.0

    @property
    def waiting_share(self) -> float:
        """The share of the time in which the device waited for images."""
        idle = self.elapsed - self.predicting - self.selecting
        return max(0.0, min(self.waiting, idle)) / max(self.elapsed, 1e-9)
