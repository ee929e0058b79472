"""Read-only integer arrays, the form in which graphs and trees hold their structure."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

IntArray: TypeAlias = npt.NDArray[np.int64]


def read_only(values: Sequence[int] | npt.NDArray[np.integer]) -> IntArray:
    """A copy as int64 that refuses to be written to."""
    array = np.array(values, dtype=np.int64)
    array.flags.writeable = False
    return array


def row_starts(counts: Sequence[int] | npt.NDArray[np.integer]) -> IntArray:
    """Where each row begins in a flat array of rows of these lengths, and the end: (N + 1,)."""
    return read_only(np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]))
