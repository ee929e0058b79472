"""Curves as a picture."""

from __future__ import annotations

import numpy as np
import pytest

from labelkit.inspection import Curve, draw_curves


def test_a_rising_line_rises() -> None:
    """Its pixels: from the bottom left to the top right of the panel, and one height if flat."""
    for values, heights in (((0.0, 1.0, 2.0), (226, 38)), ((5.0, 5.0), (132, 132))):
        pixels = np.asarray(draw_curves([Curve(values, "loss")])).astype(int)
        rows, columns = np.nonzero(pixels[..., 2] - pixels[..., 0] > 100)
        first, last = rows[columns < columns.min() + 3], rows[columns == columns.max()]
        assert abs(first.mean() - heights[0]) < 8
        assert abs(last.mean() - heights[1]) < 8


@pytest.mark.parametrize("values", [[], [()], [(1.0, float("nan"))]])
def test_what_cannot_be_drawn_is_refused(values: list[tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match="at least one curve, and each curve finite values"):
        draw_curves([Curve(each) for each in values])
