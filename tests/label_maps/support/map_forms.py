"""Hypothesis strategies for forms: the whole domain, with its limits drawn often."""

from __future__ import annotations

from hypothesis import strategies as st

from labelkit.label_maps import MapForm

CLASS_COUNTS = (1, 2, 9, 300, 1000, 65_535, 65_536, 65_537, 200_000)


def grids() -> st.SearchStrategy[tuple[int, int]]:
    """Grids from 1x1, square or not."""
    side = st.one_of(st.just(1), st.integers(1, 16))
    return st.one_of(st.just((1, 1)), st.just((15, 15)), st.tuples(side, side))


@st.composite
def map_forms(draw: st.DrawFn, num_classes: int) -> MapForm:
    """A form that is possible for ``num_classes`` classes, and small enough for a test."""
    selection = draw(st.sampled_from(["cell", "image"]))
    grid = draw(grids())
    most = min(num_classes, 400 if grid == (1, 1) else 12)
    top_k = draw(st.one_of(st.integers(1, most), st.just(most)))
    free = min(num_classes - top_k if selection == "image" else num_classes, 400)
    background = draw(st.one_of(st.just(0), st.integers(0, free), st.just(free)))
    patterns = draw(st.integers(0, min(background, 4))) if selection == "image" else 0
    return MapForm(
        selection=selection,
        top_k=top_k,
        grid=grid,
        scores=draw(st.sampled_from(["uint8", "float16", "float32"])),
        background=background,
        patterns=patterns,
        log_sum_exp=draw(st.booleans()),
        zoom=draw(st.sampled_from([0.0, 0.5, 1.4])),
    )
