"""Photos that are much smaller than the teacher's input, which it sees enlarged and so blurred."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from labelkit.data import open_image
from labelkit.errors import DatasetError
from labelkit.relabel.trial import SomeImages

if TYPE_CHECKING:
    from labelkit.sources import ImageSource

_SAMPLE = 32
_MOST = 3.5
_BETTER = 2.5
_STEP = 32


def size_for_small_images(source: ImageSource, sizes: list[int]) -> tuple[int, int] | None:
    """A better input size for images that the given ones enlarge too much.

    Tiny ImageNet's photos of 64 px, seen by EfficientNet-Lite0 at 96, 128, 160, 224 and 320 px,
    agree with their folders for 42, 49, 56, 53 and 41 % of them (``docs/evidence.md``): 2.5 times
    their side is best, and 5 times, the default size, much worse.

    Args:
        source: the images, of which a few are opened.
        sizes: input sides in pixels.

    Returns:
        The median shorter side of the images and a better size, a multiple of 32, both in pixels;
        None if the smallest input is at most 3.5 times as large as the images, or none can be read.
    """
    found: list[int] = []
    for key in SomeImages(source, _SAMPLE).keys:
        try:
            found.append(min(open_image(source.file(key)).size))
        except (DatasetError, OSError):  # reported when its turn comes
            continue
    side = round(statistics.median(found)) if found else 0
    if not side or min(sizes) <= _MOST * side:
        return None
    return side, max(round(_BETTER * side / _STEP), 1) * _STEP
