"""Batches on their way from a data-loading worker to the main process."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any, Protocol, Self

from labelkit.errors import first_line

if TYPE_CHECKING:
    from collections.abc import Callable


class Pinnable(Protocol):
    """A batch that can be copied to page-locked memory."""

    def pin_memory(self) -> Self:
        """The same batch in page-locked memory, which a GPU copies faster."""
        ...


@dataclass(frozen=True)
class PackedBatch:
    """A batch that its worker has pickled.

    A queue pickles in a background thread, and drops a batch whose tensors cannot be put into
    shared memory; the main process would then wait forever. So the worker pickles the batch itself.
    """

    content: bytes

    @classmethod
    def of(cls, batch: Pinnable, failed: Callable[[str], Pinnable]) -> PackedBatch:
        """Put tensors into shared memory; if that fails, pack ``failed(reason)`` instead."""
        try:
            return cls(bytes(ForkingPickler.dumps(batch)))
        except (OSError, RuntimeError) as error:
            return cls(bytes(ForkingPickler.dumps(failed(first_line(error)))))

    def unpack(self) -> Any:  # noqa: ANN401 -- what was packed
        """The batch, with the worker's tensors.

        Raises:
            OSError: the worker is gone, or this process may not open more files.
            EOFError: the worker exited meanwhile.
        """
        return pickle.loads(self.content)  # noqa: S301 -- from a process that we started

    def pin_memory(self) -> Any:  # noqa: ANN401
        """The unpacked batch in page-locked memory."""
        return self.unpack().pin_memory()
