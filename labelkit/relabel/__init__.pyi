from .fidelity import (
    Fidelity as Fidelity,
    Way as Way,
    default_sizes as default_sizes,
    default_ways as default_ways,
    measure_fidelity as measure_fidelity,
    recommend as recommend,
)
from .local import Outcome as Outcome, relabel as relabel
from .maps import Settings as Settings
from .recomputing import Difference as Difference
from .verification import Verification as Verification, verify as verify
