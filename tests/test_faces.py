"""Packages export each name once, and other packages import from there only."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from scripts.measure_rooms import import_graph, is_deep

ROOT = Path(__file__).parents[1]
FACES = sorted(path.parent for path in ROOT.glob("labelkit/*/__init__.pyi"))


@pytest.mark.parametrize("package", FACES, ids=lambda path: path.name)
def test_every_exported_name_is_there_and_is_not_hidden_by_a_module(package: Path) -> None:
    """``from labelkit.x import name`` would give the module once it is imported."""
    module = importlib.import_module(f"labelkit.{package.name}")
    assert module.__all__
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert not (package / f"{name}.py").exists()
        assert not (package / name).is_dir()


def test_no_import_reaches_past_the_face_of_another_package() -> None:
    graph = import_graph(ROOT)
    assert [edge for edge in graph.edges if is_deep(*edge, graph)] == []


def test_no_two_classes_share_a_name() -> None:
    import ast

    places: dict[str, list[str]] = {}
    for path in ROOT.glob("labelkit/**/*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(path.name)
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_imports_run_in_no_circle() -> None:
    import networkx as nx

    graph = import_graph(ROOT)
    assert [group for group in nx.strongly_connected_components(graph) if len(group) > 1] == []
