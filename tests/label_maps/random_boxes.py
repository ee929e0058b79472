"""Random crops of every kind."""

from __future__ import annotations

from hypothesis import strategies as st

from labelkit.geometry import CropBox


def _box(edges: tuple[float, float, float, float], shown: tuple[bool, bool, bool]) -> CropBox:
    left, top, width, height = edges
    return CropBox(left, top, left + width, top + height, *shown)


_EDGE = st.one_of(st.floats(-1.5, 2.0), st.integers(-30, 30).map(lambda cell: cell / 15))
_SIDE = st.one_of(
    st.floats(0.05, 1.2),
    st.floats(1e-5, 0.05),
    st.floats(1.2, 30.0),
    st.integers(1, 60).map(lambda cells: cells / 15),
)

_SHOWN = st.tuples(st.booleans(), st.booleans(), st.booleans())

ANY_BOX = st.builds(_box, st.tuples(_EDGE, _EDGE, _SIDE, _SIDE), _SHOWN)
"""Inside, outside and across the image; thinner than a cell, of whole cells, much larger."""
