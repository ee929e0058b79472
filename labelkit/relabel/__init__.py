"""A data set and a teacher become a label-map file."""

from labelkit.relabel.local import Outcome, Settings, relabel

__all__ = ["Outcome", "Settings", "relabel"]
