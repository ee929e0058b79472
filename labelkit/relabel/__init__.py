"""A data set and a teacher become a label-map file, and such a file is held against them again.

Each part is imported when it is first asked for: checking a file needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelkit.lazy import lazy_names

if TYPE_CHECKING:
    from labelkit.relabel.averaging import average
    from labelkit.relabel.fidelity import (
        Fidelity,
        Way,
        default_sizes,
        default_ways,
        measure_fidelity,
        recommend,
    )
    from labelkit.relabel.local import Outcome, relabel
    from labelkit.relabel.maps import Settings
    from labelkit.relabel.recomputing import Difference
    from labelkit.relabel.verification import Verification, verify

__all__ = [
    "Difference",
    "Fidelity",
    "Outcome",
    "Settings",
    "Verification",
    "Way",
    "average",
    "default_sizes",
    "default_ways",
    "measure_fidelity",
    "recommend",
    "relabel",
    "verify",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Difference": "recomputing",
        "Fidelity": "fidelity",
        "Outcome": "local",
        "Settings": "maps",
        "Verification": "verification",
        "Way": "fidelity",
        "average": "averaging",
        "default_sizes": "fidelity",
        "default_ways": "fidelity",
        "measure_fidelity": "fidelity",
        "recommend": "fidelity",
        "relabel": "local",
        "verify": "verification",
    },
)
