"""Random label maps for photos in the class folders ``animals`` and ``things``."""

from __future__ import annotations

import numpy as np
from msgspec import structs
from torchvision.transforms import v2

from labelkit.geometry import CropBox
from labelkit.hierarchy import ClassList
from labelkit.label_maps import Calibration, LabelMapWriter, MapForm
from tests.label_maps.support.random_maps import random_maps

C = 50
CROP = CropBox(0.25, 0.25, 0.75, 0.75)
FORM = MapForm(selection="image", top_k=5, grid=(8, 8), background=20, patterns=1, log_sum_exp=True)
CELLS = MapForm(top_k=5, grid=(8, 8), background=20, log_sum_exp=True)
SIZES = (structs.replace(FORM, zoom=0.5), structs.replace(FORM, grid=(12, 12), zoom=2.0))
CENTRE = v2.Compose([v2.Resize((96, 96)), v2.CenterCrop(48), v2.PILToTensor()])


def calibration_of(form):
    """A calibration of the maps of one or several forms."""
    mixing = ((0.0, 0.0), (0.4, -2.5)) if isinstance(form, tuple) else ((0.0, 0.0),)
    return Calibration(scale=(0.5, 0.4), compression=0.7, mixing=mixing, classes=C)


def write_maps(path, keys, form=FORM, source=None, classes=(), calibration=None, *, other=False):
    """Write a file of maps of one or several forms, over C classes, and return its path.

    The classes are those given, ``things`` and ``animals`` by default, and further ones. With
    ``other`` the maps store one more class, index C.
    """
    forms = form if isinstance(form, tuple) else (form,)
    first = classes or ("things", "animals")
    classes = ClassList.of([*first, *(f"class {n}" for n in range(C - len(first)))])
    writer = LabelMapWriter(
        path, classes=classes, keys=keys, forms=forms, source=source or {}, other=other
    )
    (shard,) = writer.pending()
    rng = np.random.default_rng(5)
    writer.commit(
        shard, [random_maps(rng, len(keys), each, C + other, other=other) for each in forms], {}
    )
    writer.finalize(calibration).close()
    return path
