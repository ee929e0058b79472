"""Helpers for tests of taxonomy files: write one, list its parents, get the error message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from labelkit.errors import TaxonomyError
from labelkit.hierarchy import read_taxonomy

if TYPE_CHECKING:
    from labelkit.hierarchy import Taxonomy
    from tests.oracles.forests import Parents


def written(name: str, content: str | bytes | Any) -> Path:
    path = Path(name)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding="utf-8", newline="")
    return path


def parents(taxonomy: Taxonomy) -> dict[str, tuple[str, ...]]:
    return {node: taxonomy.parents_of(node) for node in taxonomy.ids}


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(TaxonomyError) as caught:
        read_taxonomy(path, **options)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


def forest_rows(rows: Parents) -> dict[str, tuple[str, ...]]:
    return {f"n{at}": () if up < 0 else (f"n{up}",) for at, up in enumerate(rows)}
