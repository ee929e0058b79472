"""Trees in the terminal: numbers, paths, searches and subtrees."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given, strategies as st

from labelkit.errors import LabelkitError
from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy, definitions
from labelkit.inspection import find_classes, search_classes, summarize_tree
from labelkit.inspection.subtrees import (
    drawn_children,
    sorted_children,
    top_down,
)
from tests.command import labelkit

SHARKS = ["n00015388", "n01482330", "n01484850", "n01491361", "n02084071", "n02111889"]


@st.composite
def trees(draw, most=40):
    """Any forest, in any order of its classes, with some inner nodes."""
    count = draw(st.integers(1, most))
    above = [draw(st.integers(-1, at - 1)) for at in range(count)]
    order = draw(st.permutations(range(count)))
    parent = np.full(count, -1)
    for at, over in enumerate(above):
        parent[order[at]] = order[over] if over >= 0 else -1
    names = tuple(draw(st.sampled_from(["cat", "Dog", "a_b", "a b"])) for _ in range(count))
    inner = np.arange(draw(st.integers(1, count)), count)
    return SemanticTree(ClassList.of(map(str, range(count))), names, parent, {}, inner=inner)


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """One chain of 3000 classes."""
    path = tmp_path_factory.mktemp("deep") / "tree.json"
    ids = [f"c{at}" for at in range(3000)]
    SemanticTree(ClassList.of(ids), tuple(ids), np.arange(-1, 2999)).save(path)
    return path


@pytest.fixture(scope="module")
def sharks(tmp_path_factory):
    path = tmp_path_factory.mktemp("sharks") / "tree.json"
    SemanticTree.build(ClassList.of(SHARKS, "sharks"), Taxonomy.wordnet()).save(path)
    return path


@pytest.fixture
def animals(tmp_path):
    """Two classes under an inner node, and two under another."""
    edges = {"cat": "animal", "dog": "animal", "cup": "thing", "pan": "thing"}
    taxonomy = Taxonomy.from_parents({**edges, "animal": None, "thing": None})
    tree = SemanticTree.build(ClassList.of(list(edges), "four"), taxonomy, inner_levels="all")
    tree.save(tmp_path / "tree.json")
    return tmp_path / "tree.json"


@given(trees())
def test_the_classes_below_a_node_are_those_whose_chain_contains_it(tree):
    inner = set(tree.inner.tolist())
    for node, below in enumerate(tree.classes_below.tolist()):
        chains = [tree.chain(at).tolist() for at in range(len(tree.classes)) if at not in inner]
        assert below == sum(node in chain[:-1] for chain in chains)


@given(trees())
def test_top_down_visits_each_node_once_below_its_parent_and_by_name(tree):
    children = sorted_children(tree)
    order = top_down(children)
    assert sorted(order) == list(range(len(tree.classes)))
    place = {at: n for n, at in enumerate(order)}
    for at, above in enumerate(tree.parent.tolist()):
        assert above < 0 or place[above] < place[at]
        names = [tree.names[kid].replace("_", " ").lower() for kid in children[at]]
        assert names == sorted(names)


@given(trees(), st.integers(1, 6), st.integers(1, 30))
def test_a_drawing_respects_its_rows_and_its_depth(tree, depth, rows):
    children = sorted_children(tree)
    for top in range(len(tree.classes)):
        drawn = drawn_children(children, top, depth, rows)
        seen = {top}
        lines = 1
        for at, kids in drawn.items():
            assert at in seen
            assert kids
            assert kids == children[at][: len(kids)]
            assert tree.depth[at] - tree.depth[top] < depth
            seen.update(kids)
            lines += len(kids) + (len(kids) < len(children[at]))
        assert lines <= rows
        whole = [at for at in range(len(tree.classes)) if top in tree.chain(at)]
        if rows >= len(whole) and max(tree.depth[whole]) - tree.depth[top] <= depth:
            assert seen == set(whole)


def test_a_path_is_drawn_from_the_root(tree_file):
    lines = labelkit("inspect", tree_file, "--path", "tabby cat").out.splitlines()
    assert lines == [
        "animal",
        "└╴cat",
        "  └╴tabby cat  tabby",
        "level 2, no class below it",
    ]
    # Two classes share a name: both are shown.
    run = labelkit("inspect", tree_file, "--path", "crane")
    assert re.findall(r"crane  (\w+)", run.out) == ["c1", "c2"]
    run = labelkit("inspect", tree_file, "--path", "animal")
    assert "level 0, 4 classes below it, 2 directly" in run.out


@pytest.mark.skipif(not definitions(["n02111889"]), reason="timm's definitions are not installed")
def test_paths_and_searches_show_definitions(sharks):
    run = labelkit("inspect", sharks, "--path", "Samoyed")
    assert "Siberian breed of white or cream-colored dog of the spitz family" in run.out
    run = labelkit("inspect", sharks, "--find", "spitz_FAMILY")
    assert run.out.splitlines() == [
        "Samoyed  n02111889",
        "  animal > dog > Samoyed",
        "  Siberian breed of white or cream-colored dog of the spitz family",
        "1 class",
    ]


def test_search_results_are_sorted_and_limited(sharks):
    tree = SemanticTree.load(sharks)
    names = [tree.names[at] for at in search_classes(tree, "SHARK", {"n02084071": "no shark"})]
    assert names == ["shark", "great_white_shark", "tiger_shark", "dog"]
    assert search_classes(tree, "white shark", {}) == [2]
    assert search_classes(tree, "n0148", {}) == [1, 2]
    run = labelkit("inspect", sharks, "--find", "shark", "--limit", 1)
    assert run.out.startswith("shark  n01482330\n  animal > shark\n")
    assert "classes found, 1 shown: --limit" in run.out
    with pytest.raises(LabelkitError, match=r"no class with 'shrak'.*Did you mean shark\?"):
        search_classes(tree, "shrak", {})
    run = labelkit("inspect", sharks, "--find", "xyzzy")
    assert run.code == 1
    assert "no class with 'xyzzy' in its" in run.err


def test_hyphens_underscores_spaces_and_case_are_equivalent(sharks):
    tree = SemanticTree.load(sharks)
    assert [find_classes(tree, name) for name in ("Great-White_shark", "great white shark")] == [
        [2],
        [2],
    ]
    assert search_classes(tree, "great-white", {}) == [2]
    assert search_classes(tree, "blue dog", {"n02111889": "a blue-dog"}) == [5]


def test_a_near_miss_suggests_the_name_as_written(sharks):
    assert "Did you mean Samoyed?" in labelkit("inspect", sharks, "--path", "samojed").err
    assert "Did you mean great white shark?" in labelkit(
        "inspect", sharks, "--find", "great-withe-shark"
    ).err  # fmt: skip


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Carnivores", "carnivore (n02075296) is not in this tree; the nearest above it is"),
        ("Carnivores", "; the nearest above it is animal (n00015388)."),
        ("domestic dog", "dog (n02084071) is its name in WordNet: pass the id or that name."),
        (
            "living_thing",
            "living thing (n00004258) is not in this tree; right below it: animal (n00015388).",
        ),
        ("rock", "Pass an id or a name"),
    ],
)
def test_a_synset_that_a_tree_omits_is_located(sharks, name, message):
    run = labelkit("inspect", sharks, "--path", name)
    assert run.code == 1
    assert f"no class '{name}' in the tree of sharks" in run.err
    assert message in run.err


def test_with_custom_ids_only_wnids_are_located():
    taxonomy = Taxonomy.wordnet().with_ids({"dog": "n02084071", "my cat": "n02121808"})
    tree = SemanticTree.build(ClassList.of(["dog", "my cat"]), taxonomy, inner_levels="all")
    (above,) = (tree.classes[at] for at in tree.inner.tolist())
    with pytest.raises(LabelkitError, match=f"above it is .* \\({above}\\)") as caught:
        find_classes(tree, "Samoyed")
    assert "the nearest with a wnid above it" in str(caught.value)
    followed = SemanticTree.build(tree.data_classes, taxonomy.with_rule("longest"), inner_levels=1)
    with pytest.raises(LabelkitError, match="Pass an id or a name"):
        find_classes(followed, "Samoyed")


def test_digests_are_shortened(tmp_path):
    source = {"table": f"sha256:{'0123456789abcdef' * 4}", "class_list": "two"}
    SemanticTree(ClassList.of(["a", "b"]), ("a", "b"), np.array([-1, 0]), source).save(
        tmp_path / "t.json"
    )
    run = labelkit("inspect", tmp_path / "t.json")
    assert "table sha256:0123456789ab class_list two" in run.text


def test_a_subtree_is_drawn_with_its_counts(tree_file):
    lines = labelkit("inspect", tree_file, "--subtree", "animal").out.splitlines()
    assert lines == [
        "animal  4 below",
        "├╴cat  2 below",
        "│ ├╴crane  c1",
        "│ └╴tabby cat  tabby",
        "└╴crane  c2",
        "4 classes below animal",
    ]
    lines = labelkit("inspect", tree_file, "--subtree", "animal", "--depth", 1).out.splitlines()
    assert lines[:-1] == ["animal  4 below", "├╴cat  2 below", "└╴crane  c2"]
    assert lines[-1].startswith("4 classes below animal, 2 shown: pass a larger --depth")


def test_a_wide_subtree_shows_how_many_are_omitted(tmp_path):
    ids = [f"c{at:04d}" for at in range(1001)]
    parent = np.zeros(1001, dtype=np.int64)
    parent[0] = -1
    SemanticTree(ClassList.of(ids), tuple(ids), parent).save(tmp_path / "t.json")
    lines = labelkit("inspect", tmp_path / "t.json", "--subtree", "c0000").out.splitlines()
    assert len(lines) == 201
    assert lines[-2] == "└╴... and 802 more"
    assert "1,000 classes below c0000, 198 shown" in lines[-1]


def test_a_deep_tree_is_shown_in_part(deep):
    run = labelkit("inspect", deep)
    assert (run.code, run.err) == (0, "")
    assert "c11 > ... 2,976 more ... > c2988" in run.text
    assert "11 1 <0.1 % 1.00 ... 2,976 more 2988 1 <0.1 % 20.00" in run.text
    run = labelkit("inspect", deep, "--path", "c2999")
    assert "... 2,976 more ..." in run.out
    assert len(run.out.splitlines()) == 26
    run = labelkit("inspect", deep, "--subtree", "c0", "--depth", 5000)
    assert len(run.out.splitlines()) == 201
    assert "2,999 classes below c0, 199 shown" in run.out


def test_inner_nodes_are_distinguished_from_classes(animals):
    tree = SemanticTree.load(animals)
    assert [(level.nodes, level.inner) for level in summarize_tree(animals, tree).levels] == [
        (2, 2),
        (4, 0),
    ]
    run = labelkit("inspect", animals)
    assert "inner nodes 2 of these, added to give levels; the data has 4 classes" in run.text
    assert "level classes inner share weight 0 0 2 33 % 1.00 1 4 0 67 % 1.50" in run.text
    run = labelkit("inspect", animals, "--subtree", "animal")
    assert run.out.splitlines()[0] == "animal  (inner)  2 below"
    assert "animal  (inner)" in labelkit("inspect", animals, "--path", "cat").out


def test_a_tree_becomes_a_page_that_is_replaced_only_with_overwrite(sharks, tmp_path):
    target = tmp_path / "tree.html"
    run = labelkit("inspect", sharks, "-o", target)
    assert run.code == 0
    assert run.text.startswith(f"Wrote {target} (")
    assert "Open it in a browser" in run.text
    html = target.read_text()
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', html)
    assert sorted(json.loads(data[1])["ids"]) == sorted(SHARKS)
    target.write_text("mine")
    run = labelkit("inspect", sharks, "-o", target)
    assert (run.code, target.read_text()) == (2, "mine")
    assert labelkit("inspect", sharks, "-o", target, "--overwrite").code == 0
    assert target.read_text() == html


@pytest.mark.parametrize(
    "arguments", [[], ["--path", "b"], ["--find", "x"], ["--subtree", "a"], ["--find", "y"]]
)
def test_no_name_controls_the_terminal(tmp_path, arguments):
    names = ("x\x1b[31m\x07", "x\x9b2J\u202e")
    source = {"class_list": "\x1b]0;t\x07"}
    tree = SemanticTree(ClassList.of(["a", "b"]), names, np.array([-1, 0]), source)
    tree.save(tmp_path / "t.json")
    run = labelkit("inspect", tmp_path / "t.json", *arguments)
    assert run.code == (1 if "y" in arguments else 0)
    assert not set("\x1b\x07\x9b\u202e") & set(run.out + run.err)
