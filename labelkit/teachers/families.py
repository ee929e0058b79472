"""What kind of map each family of timm's models gives, by one member each.

The table is documentation; nothing is decided by it. Each of its lines is measured by a test.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).parent / "families.tsv"


@dataclass(frozen=True)
class Family:
    """One line of the table.

    Attributes:
        family: the module of timm that holds the models.
        model: the member that was measured, with random weights.
        size: side in pixels of the images that it was measured on.
        verdict: ``exact``, ``approximate`` or ``refused``.
        reason: why.
        fifteen: side in pixels of the images whose map has 15x15 cells, or nearest to it; 0 if it
            is refused.
    """

    family: str
    model: str
    size: int
    verdict: str
    reason: str
    fifteen: int


def read_families() -> list[Family]:
    """The table, ordered by family."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return [
            Family(
                row["family"],
                row["model"],
                int(row["size"]),
                row["verdict"],
                row["reason"],
                int(row["fifteen"]),
            )
            for row in csv.DictReader(file, delimiter="\t")
        ]
