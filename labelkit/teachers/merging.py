"""How the logits of several classes become one. Loads no torch."""

from typing import Literal

Merge = Literal["sum", "root", "mean", "max"]
"""How the logits of several classes become one (``LogitsProjection``)."""

DEFAULT_MERGE: Merge = "root"
"""How several classes of a teacher become one, unless chosen otherwise."""
