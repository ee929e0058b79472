"""Label maps as blocks of a page: a picture with its legend, a crop with its two labels.

Legend: C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from labelkit.geometry import CropBox
from labelkit.inspection.blocks import Bar, CropComparison, Picture
from labelkit.inspection.drawing import draw_panels
from labelkit.label_maps import pool
from labelkit.wording import readable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from labelkit.label_maps import LabelMap


def label_map_card(  # noqa: PLR0913 -- as draw_label_map
    image: Image.Image,
    label_map: LabelMap,
    names: Sequence[str],
    *,
    classes: Sequence[int] | None = None,
    crops: Sequence[CropBox] = (),
    caption: str = "",
    side: int = 480,
) -> Picture:
    """What ``draw_label_map`` draws, with the legend as text that is read on any screen.

    Args:
        image: the photo.
        label_map: its label map.
        names: the names of all C classes.
        classes: the classes to show, at most 7; the most present ones if None.
        crops: parts of the image to mark, at most 26.
        caption: below the legend.
        side: length in pixels of each photo's longer side, 160 to 900.

    Raises:
        ValueError: too many classes or crops, a class that does not exist, or a side out of range.
    """
    panels = draw_panels(image, label_map, names, classes=classes, crops=crops, side=side)
    seen = ", ".join(f"{entry.text} {entry.value}" for entry in panels.classes)
    return Picture(
        panels.join(gap=0), caption, f"{caption} ({seen})", panels.classes + panels.crops
    )


def compare_crop(  # noqa: PLR0913 -- as draw_label_map
    image: Image.Image,
    label_map: LabelMap,
    box: CropBox,
    names: Sequence[str],
    *,
    top: int = 3,
    caption: str = "",
) -> CropComparison:
    """A crop beside the label pooled over it and the label pooled over the whole image.

    Both are softmax targets as ``labelkit.data.LabelMapDataset`` gives them, with the ``top`` most
    probable of all C classes shown. The crop is shown mirrored and
    transposed as the box says.

    Raises:
        ValueError: the box shows no pixel of the image.
    """
    edges = (
        max(round(box.left * image.width), 0),
        max(round(box.top * image.height), 0),
        min(round(box.right * image.width), image.width),
        min(round(box.bottom * image.height), image.height),
    )
    if edges[0] >= edges[2] or edges[1] >= edges[3]:
        raise ValueError(f"{box} shows no pixel of an image of {image.width}x{image.height}")
    crop = image.crop(edges)
    shown = {
        Image.Transpose.TRANSPOSE: box.transposed,
        Image.Transpose.FLIP_LEFT_RIGHT: box.flipped,
        Image.Transpose.FLIP_TOP_BOTTOM: box.upside_down,
    }
    for step, done in shown.items():
        crop = crop.transpose(step) if done else crop
    pooled = pool(label_map, box.inside()).probabilities(len(names))
    whole = pool(label_map, CropBox.whole()).probabilities(len(names))
    return CropComparison(crop, _bars(pooled, names, top), _bars(whole, names, top), caption)


def _bars(label: NDArray[np.float32], names: Sequence[str], top: int) -> tuple[Bar, ...]:
    strongest: list[int] = np.argsort(-label, kind="stable")[:top].tolist()
    return tuple(Bar(readable(names[at]), float(label[at])) for at in strongest)
