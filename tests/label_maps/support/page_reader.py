"""The reader of ``docs/label-map-files.md``, which knows nothing of labelkit."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "label-map-files.md"


def page_reader():
    """``read_label_maps(path, key)`` of the page's first block of code."""
    return _page()["read_label_maps"]


def page_target():
    """``read_target(path, key, box)`` of the same block; a box is left, top, right, bottom."""
    return _page()["read_target"]


def _page() -> dict[str, object]:
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    assert "labelkit " not in code
    assert "import labelkit" not in code
    names: dict[str, object] = {}
    exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102 -- our own page
    return names
