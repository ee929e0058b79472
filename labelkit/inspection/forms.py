"""What label maps of one form hold, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelkit.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelkit.label_maps import MapForm

_SCORES = {
    "uint8": "",
    "float16": "scores in half precision",
    "float32": "scores in full precision",
}


def classes_per_cell(form: MapForm) -> str:
    """What the K classes are, without their number."""
    return "classes in every cell" if form.selection == "image" else "classes a cell"


def form_lines(forms: Sequence[MapForm]) -> list[tuple[str, str]]:
    """A file's forms as (what, value), one or two lines each."""
    lines: list[tuple[str, str]] = []
    for form in forms:
        rows, columns = form.grid
        which = f", at zoom {form.zoom:g}" if len(forms) > 1 else ""
        kept = "the image's strongest" if form.selection == "image" else "the cell's strongest"
        lines.append(("grid", f"{rows} x {columns} cells{which}"))
        lines.append(("stored", f"{form.top_k} classes in every cell, {kept}{_extras(form)}"))
        lines.append(("background", _background(form)))
    return lines


def _background(form: MapForm) -> str:
    if not form.background:
        return "none: what is not stored counts as logit 0"
    classes = counted(form.background, "more class", "more classes")
    shared = counted(form.patterns, "pattern", "patterns")
    return f"{classes}, a mean logit each{f', {shared} over the grid' * bool(form.patterns)}"


def _extras(form: MapForm) -> str:
    extras = [_SCORES[form.scores], "log-sum-exp" if form.log_sum_exp else ""]
    return "".join(f", {extra}" for extra in extras if extra)
