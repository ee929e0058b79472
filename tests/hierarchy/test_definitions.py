"""Definitions of synsets, read from timm's data."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING

from labelkit.hierarchy import definitions, read_class_list

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_every_class_of_imagenet_has_a_definition_in_the_order_asked() -> None:
    ids = read_class_list("imagenet-1k").ids
    found = definitions(reversed(ids))
    assert list(found) == list(reversed(ids))
    assert all(found.values())
    assert found["n01440764"].startswith("freshwater dace-like game fish of Europe")


def test_ids_that_are_not_synsets_are_left_out() -> None:
    assert definitions(["my cat", "n99999999"]) == {}


def test_all_are_left_out_if_timm_lacks_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_file = ModuleSpec("timm", None, is_package=True)
    without_file.submodule_search_locations = [str(tmp_path)]
    for spec in (without_file, None):
        monkeypatch.setattr(importlib.util, "find_spec", lambda _, spec=spec: spec)
        assert definitions(["n01440764"]) == {}


def test_timm_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    assert definitions(["n01440764"])
    assert "timm" not in sys.modules
