"""Nested taxonomies in JSON: every layout is read, invalid ones are refused with the place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings, strategies as st

from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy, read_taxonomy
from tests.hierarchy.support.taxonomy_files import forest_rows, parents, refusal, written
from tests.oracles.forests import Parents, forests

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


OPEN_IMAGES = {
    "LabelName": "/m/0bl9f",
    "Subcategory": [
        {"LabelName": "/m/0jbk", "Subcategory": [{"LabelName": "/m/01yrx"}]},
        {
            "LabelName": "/m/0k4j",
            "Part": [{"LabelName": "/m/0h9mv"}, {"LabelName": "/m/01bqk0"}],
            "Subcategory": [{"LabelName": "/m/01yrx"}],
        },
    ],
}


def test_open_images_subcategories_are_read_and_parts_left_out() -> None:
    """A wheel is a part of a car, not a child."""
    assert parents(read_taxonomy(written("hierarchy.json", OPEN_IMAGES))) == {
        "/m/0bl9f": (),
        "/m/0jbk": ("/m/0bl9f",),
        "/m/01yrx": ("/m/0jbk", "/m/0k4j"),
        "/m/0k4j": ("/m/0bl9f",),
    }


ANIMALS = {"animal": (), "cat": ("animal",), "dog": ("animal",), "spitz": ("dog",)}


@pytest.mark.parametrize(
    "content",
    [
        {"animal": {"cat": {}, "dog": ["spitz"]}},
        {"animal": ["cat", {"dog": {"spitz": None}}]},
        [{"animal": {"cat": None, " dog ": {"spitz": []}}}],
        {"id": "animal", "children": [{"id": "cat"}, {"id": "dog", "children": ["spitz"]}]},
        [{"name": "animal", "n": 3, "children": ["cat", {"name": "dog", "children": ["spitz"]}]}],
        {
            "LabelName": "animal",
            "Subcategory": [
                {"LabelName": "cat", "Subcategory": []},
                {"LabelName": "dog", "Subcategory": [{"LabelName": "spitz"}]},
            ],
        },
    ],
)
def test_all_layouts_of_nested_files_are_read(content: Any) -> None:
    taxonomy = read_taxonomy(written("animals.json", content))
    assert parents(taxonomy) == ANIMALS
    assert taxonomy.ids == ("animal", "cat", "dog", "spitz")


def test_nodes_may_have_names_and_ids() -> None:
    content = [{"id": "a", "name": "animal", "children": [{"id": "c"}]}, "x"]
    taxonomy = read_taxonomy(written("named.txt", content), form="nested")
    assert taxonomy.ids == ("a", "c", "x")
    assert taxonomy.names == ("animal", "c", "x")


NUMBER = "3 is not a label: labels are one non-empty line of text. Put the number in quotes"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": {"b": {}, "b": {}}}', "an object has the duplicate key 'b'"),
        ('{"a": \n["b",]}', "line 2: invalid JSON"),
        ("[" * 200_000, "nested too deep"),
        ('{"a": [' + "1" * 5_000 + "]}", "unreadable JSON"),
        ('{"a": "b"}', "at $['a']: 'b' contains no labels. Labels within labels look like"),
        ('{"a": {"b": 3}}', "at $['a']['b']: 3 contains no labels"),
        ('{"a": ["b", 3]}',
         "at $['a'][1]: 3 is neither a label nor an object. Put the number in quotes"),
        ('{"a": ["b", [1]]}', "at $['a'][1]: [1] is neither a label nor an object"),
        ('{"a": {"": {}}}', "at $['a']['']: '' is not a label"),
        ('{"a": {"b\\n": {}, "c\\nd": {}}}', r"'c\nd' is not a label"),
        ('{"a": ["\\ud800"]}', "is not a label"),
        ('{"a": {"b": ["a"]}}', "cycle"),
        ('{"a": ["a"]}', "cycle"),
        ('"animal"', "at $: 'animal' contains no labels"),
        ("3", "at $: 3 contains no labels"),
        ("null", "contains no classes"),
        ("{}", "contains no classes"),
        ("[[]]", "at $[0]: [] is neither a label nor an object"),
        ('{"id": 3, "name": "cat"}', "at $.id: 3 is not a label"),
        ('[{"id": 3}, {"id": 4}]', f"at $[0].id: {NUMBER}"),
        ('[{"id": "a"}, {"id": 3}]', f"at $[1].id: {NUMBER}"),
        ('{"id": 3, "children": [{"id": 4}]}', f"at $.id: {NUMBER}"),
        ('{"name": "a", "children": [{"name": 3}]}', f"at $.children[0].name: {NUMBER}"),
        ('{"LabelName": 3, "Subcategory": []}', f"at $.LabelName: {NUMBER}"),
        ('{"id": true}', "at $.id: True is not a label: labels are one non-empty line of text\n"),
        ('{"id": "a", "name": 3}', "at $.name: the name 3 is not text. Put the number in quotes"),
        ('{"id": "a", "children": {"b": {}}}', "at $.children: {'b': {}} contains no labels"),
        ('{"id": "a", "children": [{"x": 1}]}', "$.children[0]: an object without LabelName"),
        ('{"id": "a", "kinds": [{"id": "b"}]}', "unknown key 'kinds': call it"),
        ('{"id": "a", "children": [], "Subcategory": []}', "both Subcategory and children"),
        ('[{"id": "a", "name": "x"}, {"id": "a", "name": "y"}]',
         "at $[1].id: 'a' is named 'y' here"),
    ],
)  # fmt: skip
def test_an_invalid_nested_file_is_refused_with_the_place(content: str, message: str) -> None:
    assert message in refusal(written("broken.json", content)) + "\n"


def test_a_tree_file_is_refused() -> None:
    taxonomy = Taxonomy.from_edges([("cat", "animal")])
    SemanticTree.build(ClassList.of(["cat"]), taxonomy).save("tree.json")
    assert "is a labelkit tree" in refusal(Path("tree.json"))


def test_a_long_chain_does_not_overflow_the_stack() -> None:
    """Only the JSON decoder recurses; our traversal uses an explicit stack."""
    text = "".join(f'{{"id":"{at}","children":[' for at in range(300)) + "]}" * 300
    taxonomy = read_taxonomy(written("chain.json", text))
    assert taxonomy.parents_of("299") == ("298",)
    assert len(taxonomy.ids) == 300


def nested(rows: Parents, above: int) -> dict[str, Any]:
    return {f"n{at}": nested(rows, at) for at, up in enumerate(rows) if up == above}


def nodes(rows: Parents, above: int) -> list[dict[str, Any]]:
    return [
        {"id": f"n{at}", "children": nodes(rows, at)} for at, up in enumerate(rows) if up == above
    ]


@given(forests(), st.sampled_from([nested, nodes]))
@settings(deadline=None, max_examples=60)
def test_any_forest_comes_back_from_json(
    tmp_path_factory: pytest.TempPathFactory, rows: Parents, write: Callable[[Parents, int], Any]
) -> None:
    path = tmp_path_factory.mktemp("nested") / "forest.json"
    path.write_text(json.dumps(write(rows, -1)))
    assert parents(read_taxonomy(path)) == forest_rows(rows)
