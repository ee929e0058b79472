"""The keywords that every way of pooling takes, and what they need of a map."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Method = Literal["relabel", "probability"]
Absent = Literal["background", "zeros"]


def check_options(method: Method, absent: Absent, sampling: float) -> None:
    """Raise unless the keywords of pooling are ones that exist.

    Raises:
        ValueError: the message names what was found and what is expected.
    """
    if method not in {"relabel", "probability"}:
        raise ValueError(f"method is {method!r}, expected relabel or probability")
    if absent not in {"background", "zeros"}:
        raise ValueError(f"absent is {absent!r}, expected background or zeros")
    whole = isinstance(sampling, (int, np.integer)) and not isinstance(sampling, bool)
    if not whole or sampling < 0:
        raise ValueError(
            f"sampling is {sampling!r}, expected a whole number of points per bin, or 0 to adapt"
        )


def check_zooms(zooms: Sequence[float], maps: int) -> None:
    """Raise unless there is a zoom for each of as many maps.

    Raises:
        ValueError: not positive and ascending, of another number than the maps, or none.
    """
    ascend = all(low < high for low, high in pairwise([0.0, *zooms, math.inf]))
    if not maps or len(zooms) != maps or not ascend:
        raise ValueError(f"zooms {list(zooms)} of {maps} maps: one each, positive, ascending")


def require_log_sum_exp(log_sum_exp: NDArray[np.floating] | None) -> NDArray[np.floating]:
    """What a map or several keep of it.

    Raises:
        ValueError: they do not.
    """
    if log_sum_exp is None:
        raise ValueError(
            "a mean of probabilities needs the log-sum-exp of every cell, which these maps do not "
            "keep: relabel with --log-sum-exp, or pool with method='relabel'"
        )
    return log_sum_exp
