"""Relabel a folder in shards of one image; with a third argument, slowly, to be killed."""

from __future__ import annotations

import sys
import time

from labelkit.relabel import Settings, relabel
from labelkit.teachers import load_teacher


def main(photos: str, output: str, *slowly: str) -> None:
    """Relabel; where asked to, wait in the second shard."""
    teacher = load_teacher("efficientnet-lite0", device="cpu")
    settings = Settings(size=96, batch_size=1, shard_rows=1, workers=0)
    relabel(
        photos,
        teacher,
        output,
        settings,
        lambda done, _: time.sleep(99 if slowly and done > 1 else 0),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
