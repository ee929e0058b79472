"""``labelkit coarsen`` as users run it, and the commands that take its file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labelkit.hierarchy import SemanticTree, coarsen, load_coarsening, read_class_list
from tests.command import labelkit

SPECIES = """\
class,order,family,species
Aves,Suliformes,Sulidae,Morus bassanus
Aves,Suliformes,Sulidae,Sula sula
Aves,Gruiformes,,Psophia crepitans
Mammalia,Carnivora,Felidae,Lynx lynx
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("species.csv").write_text(SPECIES)
    build = ["build-tree", "--taxonomy", "species.csv", "--quiet"]
    assert labelkit(*build, "--ranks", "all", "-o", "tree.json").code == 0
    assert labelkit(*build, "-o", "flat.json").code == 0
    return tmp_path


@pytest.mark.parametrize(
    ("options", "classes"),
    [
        (["--rank", "family"], ["Sulidae", "Felidae", "Psophia crepitans"]),
        (["--depth", "0"], ["Aves", "Mammalia"]),
        (["--depth", "1"], ["Suliformes", "Gruiformes", "Carnivora"]),
        (["--classes", "3"], ["Sulidae", "Gruiformes", "Mammalia"]),
        (["--classes", "2"], ["Aves", "Mammalia"]),
    ],
)
@pytest.mark.usefixtures("folder")
def test_each_choice_gives_its_classes(options: list[str], classes: list[str]) -> None:
    run = labelkit("coarsen", "tree.json", *options, "-o", "coarse.json")
    assert (run.code, run.err) == (0, "")
    coarse = load_coarsening("coarse.json")
    assert sorted(coarse.classes) == sorted(classes)
    assert coarse.left_out == ()
    assert f"coarse classes {len(classes)} (" in run.text


@pytest.mark.usefixtures("folder")
def test_the_summary_shows_sizes_ranks_and_what_to_do_next() -> None:
    run = labelkit("coarsen", "tree.json", "--rank", "family", "-o", "coarse.json")
    assert "fine classes species.csv + inner (4 classes, digest" in run.text
    assert "coarse classes 3 (rank family; digest" in run.text
    assert "ranks 2 of family, 1 of species" in run.text  # a species without a family
    assert "sizes 1 to 2 classes" in run.text
    assert "largest coarse classes id classes Sulidae Sulidae 2" in run.text
    assert run.out.endswith(
        "Next: labelkit train RECIPE --set data.coarsening=coarse.json\n"
        "      in Python: load_coarsening('coarse.json').for_folders(DATA), a target_transform\n"
    )
    shown = labelkit("inspect", "coarse.json")
    assert shown.out == run.out


@pytest.mark.usefixtures("folder")
def test_json_and_quiet() -> None:
    options = ["coarsen", "tree.json", "--rank", "family", "-o"]
    facts = json.loads(labelkit(*options, "coarse.json", "--json").out)
    assert facts["file"] == "coarse.json"
    assert facts["classes"] == 3
    assert facts["sizes"] == {"Sulidae": 2, "Felidae": 1, "Psophia crepitans": 1}
    assert facts["ranks"] == {"family": 2, "species": 1}
    assert facts["left_out"] == []
    assert json.loads(labelkit("inspect", "coarse.json", "--json").out) == facts
    quiet = labelkit(*options, "again.json", "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


@pytest.mark.usefixtures("folder")
def test_a_coarsening_that_merges_nothing_is_said_to_be_none() -> None:
    run = labelkit("coarsen", "flat.json", "--depth", "0", "-o", "coarse.json")
    assert run.code == 0
    assert "No two classes share a coarse class." in run.text
    assert "--inner-levels all, or with --ranks" in run.text


@pytest.mark.usefixtures("folder")
def test_a_rank_that_merges_nothing_asks_for_a_coarser_one() -> None:
    """The tree has ranks already, so it need not be built again."""
    run = labelkit("coarsen", "tree.json", "--rank", "species", "-o", "coarse.json")
    assert run.code == 0
    for text in (run.text, labelkit("inspect", "coarse.json").text):
        assert "No two classes share a coarse class. Choose a coarser rank of" in text
        assert "--inner-levels" not in text
        assert "1 class each" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "pass just one of --depth, --classes and --rank"),
        (["--depth", "0", "--rank", "order"], "pass just one of --depth"),
        (["--rank", "tribe"], "its ranks are class, order, family, species"),
        (["--depth", "4"], "has the depths 0 to 3, not 4"),
        (["--depth", "-1"], "-1 is not in the range x>=0"),
        (["--classes", "1"], "has 2 roots and cannot be coarsened to 1 class: "),
        (["--classes", "0"], "0 is not in the range x>=1"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_the_tree_does_not_have_is_wrong_usage(options: list[str], message: str) -> None:
    run = labelkit("coarsen", "tree.json", *options, "-o", "coarse.json")
    assert run.code == 2
    assert message in run.text
    assert not Path("coarse.json").exists()


@pytest.mark.usefixtures("folder")
def test_a_tree_without_ranks_says_how_to_get_them() -> None:
    run = labelkit("coarsen", "flat.json", "--rank", "family", "-o", "coarse.json")
    assert run.code == 2
    assert "it has none. Build it from a table of columns" in run.text
    assert "--ranks all" in run.text


@pytest.mark.usefixtures("folder")
def test_nothing_is_replaced_unless_asked() -> None:
    Path("coarse.json").write_text("mine")
    command = ["coarsen", "tree.json", "--depth", "0", "-o"]
    assert "pass --overwrite" in labelkit(*command, "coarse.json").text
    assert Path("coarse.json").read_text() == "mine"
    assert labelkit(*command, "coarse.json", "--overwrite").code == 0
    assert "an input of this command" in labelkit(*command, "tree.json", "--overwrite").text
    assert "must end in .json" in labelkit(*command, "coarse.txt").text
    assert SemanticTree.load("tree.json").ranks


@pytest.mark.usefixtures("folder")
def test_class_lists_may_be_coarsenings() -> None:
    labelkit("coarsen", "tree.json", "--rank", "family", "-o", "coarse.json", "--quiet")
    build = ["build-tree", "coarse.json", "--taxonomy", "species.csv", "--ranks", "order"]
    assert labelkit(*build, "-o", "families.json").code == 0
    tree = SemanticTree.load("families.json")
    assert tree.data_classes == read_class_list("coarse.json")
    assert tree.counts == (3, 3)
    assert labelkit("match-names", "coarse.json", "-o", "names.tsv").code == 0


def test_wordnets_coarse_classes_are_for_relabel_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A teacher's classes go where the coarsening puts them: to the nearest ancestor."""
    from labelkit.hierarchy import Taxonomy, project

    monkeypatch.chdir(tmp_path)
    labelkit("build-tree", "imagenet-1k", "--inner-levels", "all", "-o", "tree.json", "--quiet")
    run = labelkit("coarsen", "tree.json", "--classes", "30", "-o", "coarse.json")
    assert "labelkit relabel DATA --classes coarse.json -o maps.h5" in run.out
    assert "and 14 more" in run.out
    coarse = load_coarsening("coarse.json")
    assert coarse.classes == coarsen(SemanticTree.load("tree.json"), 30).classes
    projection = project(read_class_list("imagenet-1k"), coarse.classes, Taxonomy.wordnet())
    assert projection.index.tolist() == coarse.index[:1000].tolist()


@pytest.mark.parametrize("option", [["--find", "x"], ["--key", "x"], ["-o", "x.html"]])
@pytest.mark.usefixtures("folder")
def test_inspect_has_only_a_summary_of_a_coarsening(option: list[str]) -> None:
    labelkit("coarsen", "tree.json", "--rank", "family", "-o", "coarse.json", "--quiet")
    run = labelkit("inspect", "coarse.json", *option)
    assert run.code == 2
    assert f"coarse.json is a coarsening: {option[0]} is for trees or label maps" in run.text
