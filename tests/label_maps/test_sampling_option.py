"""How many points of a bin are sampled is a whole number, or the weights would be wrong."""

from __future__ import annotations

import numpy as np
import pytest

from labelkit.geometry import CropBox
from labelkit.label_maps import LabelMap, pool
from labelkit.label_maps.pooling_tokens import pool_tokens

MAP = LabelMap(np.zeros((1, 4, 4), np.uint16), np.arange(16, dtype=np.float32).reshape(1, 4, 4))


@pytest.mark.parametrize("sampling", [1.5, 2.0, True, "2", -1, np.float32(2)], ids=repr)
def test_a_number_of_points_that_is_not_whole_is_refused(sampling):
    for call in (
        lambda: pool(MAP, CropBox.whole(), sampling=sampling),
        lambda: pool_tokens(MAP, CropBox.whole(), (2, 2), sampling=sampling),
    ):
        with pytest.raises(ValueError, match=r"sampling is .*, expected a whole number"):
            call()


def test_numpys_whole_numbers_are_whole():
    found = pool(MAP, CropBox.whole(), sampling=np.int64(2))
    assert found.logits == pool(MAP, CropBox.whole(), sampling=2).logits
