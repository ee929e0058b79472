"""``labelkit build-tree`` as users run it, in a separate process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from labelkit.hierarchy import NAMED_LISTS, SemanticTree
from tests.command import labelkit

if TYPE_CHECKING:
    from pathlib import Path


def build_tree(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [sys.executable, "-m", "labelkit", "build-tree", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A carnivore, a dog and a corgi in wnid folders, and some files."""
    for wnid in ("n02075296", "n02084071", "n02112826"):
        (tmp_path / "photos" / wnid).mkdir(parents=True)
    (tmp_path / "twice.txt").write_text("n02084071\nn02084071\n")
    (tmp_path / "names.txt").write_text("n02084071 dog\n")
    (tmp_path / "notes.json").write_text('{"mine": true}')
    (tmp_path / "pets.csv").write_text(
        "child,parent\ncat,pet\ncat,animal\ndog,animal\npet,animal\n"
    )
    return tmp_path


def test_a_folder_becomes_a_tree_file_and_a_summary(folder: Path) -> None:
    result = build_tree("photos", "-o", "tree.json", folder=folder)
    assert (result.returncode, result.stderr) == (0, "")
    tree = SemanticTree.load(folder / "tree.json")
    assert list(tree.classes) == ["n02075296", "n02084071", "n02112826"]
    assert tree.parent.tolist() == [-1, -1, 1]
    assert "photos (3 classes, digest" in result.stdout
    assert "WordNet 3.0, by the rule imagenet" in result.stdout
    assert "dog > corgi" in result.stdout
    assert result.stdout.endswith("Next: labelkit inspect tree.json\n")


def test_a_flat_list_is_reported_to_have_one_level(folder: Path) -> None:
    result = build_tree("imagenet-1k", "-o", "tree.json", folder=folder)
    assert result.returncode == 0
    assert "there is one level" in result.stdout


def test_a_named_list_is_recognised_by_its_digest(folder: Path) -> None:
    from labelkit.hierarchy import read_class_list

    (folder / "classes.txt").write_text("\n".join(read_class_list("imagenet-1k")))
    result = build_tree("classes.txt", "-o", "tree.json", folder=folder)
    assert "the same as imagenet-1k" in " ".join(result.stdout.split())


def test_a_reordered_class_list_is_reported(folder: Path) -> None:
    (folder / "classes.txt").write_text("n02112826\nn02084071\n")
    result = build_tree("classes.txt", "-o", "tree.json", "--order", "level", folder=folder)
    assert result.returncode == 0
    assert "The class list is reordered" in result.stdout
    tree = SemanticTree.load(folder / "tree.json")
    assert list(tree.classes) == ["n02084071", "n02112826"]
    assert tree.parent.tolist() == [-1, 0]
    assert tree.classes.name == "classes.txt, ordered by level"


def test_inner_nodes_give_a_flat_list_levels_and_are_counted(folder: Path) -> None:
    result = build_tree("imagenet-1k", "--inner", "-o", "tree.json", folder=folder)
    assert "there is one level" not in result.stdout
    assert "A model needs 1,225 outputs: 1,000 for the classes, then 225" in " ".join(
        result.stdout.split()
    )
    tree = SemanticTree.load(folder / "tree.json")
    assert tree.counts == (15, 19, 68, 123, 1000)
    assert tree.data_classes.name == "imagenet-1k"
    options = ["--inner-levels", "2", "-o", "tree.json", "--overwrite"]
    assert build_tree("imagenet-1k", *options, folder=folder).returncode == 0
    assert len(SemanticTree.load(folder / "tree.json").counts) == 3


def test_the_leaves_of_a_taxonomy_are_the_default_classes(folder: Path) -> None:
    options = ["--taxonomy", "pets.csv", "-o", "tree.json", "--overwrite"]
    assert build_tree(*options, folder=folder).returncode == 0
    tree = SemanticTree.load(folder / "tree.json")
    assert list(tree.classes) == ["cat", "dog"]
    assert tree.source["taxonomy"] == "pets.csv"
    (folder / "all.txt").write_text("animal\npet\ncat\ndog\n")
    chains = {}
    for rule in ("first", "shortest", "longest"):
        assert build_tree("all.txt", *options, "--rule", rule, folder=folder).returncode == 0
        tree = SemanticTree.load(folder / "tree.json")
        assert tree.source["rule"] == rule
        chains[rule] = [tree.classes[at] for at in tree.chain("cat")]
    assert chains == {
        "first": ["animal", "pet", "cat"],
        "shortest": ["animal", "cat"],
        "longest": ["animal", "pet", "cat"],
    }


def test_a_table_of_parents_overrides_the_rule(folder: Path) -> None:
    (folder / "all.txt").write_text("animal\npet\ncat\ndog\n")
    (folder / "mine.tsv").write_text("cat\tanimal\n")
    options = ["all.txt", "--taxonomy", "pets.csv", "--parents", "mine.tsv"]
    options += ["-o", "tree.json", "--overwrite"]
    assert build_tree(*options, folder=folder).returncode == 0
    tree = SemanticTree.load(folder / "tree.json")
    assert [tree.classes[at] for at in tree.chain("cat")] == ["animal", "cat"]
    assert tree.source["custom_parents"].startswith("sha256:")
    (folder / "mine.tsv").write_text("\ufeffchild\tparent\r\n\r\ncat\tanimal \r\n", "utf-8")
    assert build_tree(*options, folder=folder).returncode == 0
    again = SemanticTree.load(folder / "tree.json")
    assert again.source == tree.source
    (folder / "mine.tsv").write_text("cat\tanimal\ncat\tpet\n")
    result = build_tree(*options, folder=folder)
    assert "mine.tsv: 'cat' has several parents here: choose one" in result.stderr
    (folder / "mine.tsv").write_text("animal\tcat\n")
    result = build_tree(*options, folder=folder)
    assert result.returncode == 1
    assert "'cat' is not a parent of 'animal' in pets.csv: it has none" in result.stderr


def test_an_edge_list_with_spaces_is_read_and_its_order_can_be_given(folder: Path) -> None:
    """BREEDS' class_hierarchy.txt has lines of 'parent child'."""
    lines = "n02084071 n02112826\nn02084071 dummy1\ndummy1 n02075296\n"
    (folder / "hierarchy.txt").write_text(lines)
    options = ["--taxonomy", "hierarchy.txt", "--inner", "-o", "tree.json", "--overwrite"]
    result = build_tree(*options, folder=folder)
    assert result.returncode == 0, result.stderr
    assert "the first row is parent n02084071, child n02112826 (as in WordNet)" in " ".join(
        result.stdout.split()
    )
    (folder / "hierarchy.txt").write_text("a b\nb c\n")
    result = build_tree(*options, folder=folder)
    assert result.returncode == 1
    assert "--edges parent-child" in result.stderr
    for order, leaf in (("parent-child", "c"), ("child-parent", "a")):
        assert build_tree(*options, "--edges", order, folder=folder).returncode == 0
        assert list(SemanticTree.load(folder / "tree.json").classes) == [leaf]


def test_unknown_classes_are_left_out_on_request_and_listed(folder: Path) -> None:
    for name in ("zebra crossing", "n99999999"):
        (folder / "photos" / name).mkdir()
    options = ["photos", "-o", "tree.json", "--overwrite"]
    result = build_tree(*options, folder=folder)
    assert result.returncode == 1
    assert "does not contain 2 of the 5 ids" in result.stderr
    assert "pass --skip-unknown" in result.stderr
    result = build_tree(*options, "--skip-unknown", folder=folder)
    assert result.returncode == 0
    assert "2: n99999999, zebra crossing" in result.stdout
    assert "the class list is shorter" in " ".join(result.stdout.split())
    tree = SemanticTree.load(folder / "tree.json")
    assert list(tree.classes) == ["n02075296", "n02084071", "n02112826"]
    assert tree.source["class_list"] == "photos without 2 unknown"
    result = build_tree(*options, "--skip-unknown", "--json", folder=folder)
    assert json.loads(result.stdout)["skipped"] == ["n99999999", "zebra crossing"]
    (folder / "mine.csv").write_text("child,parent\ncat,pet\n")
    own = ["twice.txt", "--taxonomy", "mine.csv", "--skip-unknown", "-o", "own.json"]
    (folder / "twice.txt").write_text("cat\ndog\n")
    assert build_tree(*own, folder=folder).returncode == 0
    assert list(SemanticTree.load(folder / "own.json").classes) == ["cat"]


def test_a_list_without_any_known_class_is_refused(folder: Path) -> None:
    (folder / "classes.txt").write_text("bibimbap\nramen\n")
    result = build_tree("classes.txt", "--skip-unknown", "-o", "tree.json", folder=folder)
    assert result.returncode == 1
    assert "does not contain 2 of the 2 ids" in result.stderr
    assert not (folder / "tree.json").exists()


def test_numbered_folders_are_said_to_look_like_indices(folder: Path) -> None:
    for name in ("0", "1", "2", "10"):
        (folder / "numbered" / name).mkdir(parents=True)
    result = build_tree("numbered", "-o", "tree.json", folder=folder)
    assert result.returncode == 1
    assert "They look like indices, not names. Rename the folders" in result.stderr


def test_the_rule_is_kept_and_shown_wherever_the_tree_is_opened(folder: Path) -> None:
    """Distances depend on it: by ImageNet's own choice a dog is below domestic animal."""
    result = build_tree("photos", "--rule", "longest", "-o", "tree.json", folder=folder)
    assert "WordNet 3.0, by the rule longest" in result.stdout
    assert SemanticTree.load(folder / "tree.json").source["rule"] == "longest"
    shown = labelkit("inspect", folder / "tree.json")
    assert "rule longest" in shown.text
    summary = json.loads(labelkit("inspect", folder / "tree.json", "--json").out)
    assert "longest" in json.dumps(summary)


def test_names_that_the_terminal_cannot_encode_do_not_fail(folder: Path) -> None:
    (folder / "drinks.csv").write_text("child,parent\ncaf\u00e9,drink\n", "utf-8")
    (folder / "classes.txt").write_text("caf\u00e9\ndrink\n", "utf-8")
    options = ["classes.txt", "--taxonomy", "drinks.csv", "-o", "tree.json"]
    result = subprocess.run(
        [sys.executable, "-m", "labelkit", "build-tree", *options],
        cwd=folder,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"drink > caf?" in result.stdout


def test_plain_names_get_the_synsets_of_their_name_file(folder: Path) -> None:
    (folder / "plain.txt").write_text("hound\nmy dog\nn02075296\n")
    (folder / "names.tsv").write_text(
        "class\twnid\tnote\nhound\tn02087551\t\nmy dog\tn02084071\t\n"
    )
    options = ["plain.txt", "--names", "names.tsv", "-o", "tree.json"]
    result = build_tree(*options, folder=folder)
    assert (result.returncode, result.stderr) == (0, "")
    tree = SemanticTree.load(folder / "tree.json")
    assert tree.names == ("hound", "my dog", "carnivore")
    assert [tree.classes[at] for at in tree.chain("hound")] == ["my dog", "hound"]
    result = build_tree("plain.txt", "-o", "other.json", folder=folder)
    assert "labelkit match-names" in result.stderr


@pytest.mark.parametrize("name", ["tree.json", "notes.json"])
def test_an_existing_file_is_replaced_only_with_overwrite(folder: Path, name: str) -> None:
    """A tree is as safe as any other file."""
    if name == "tree.json":
        assert build_tree("imagenet-1k", "-o", name, folder=folder).returncode == 0
    before = (folder / name).read_bytes()
    result = build_tree("photos", "-o", name, folder=folder)
    assert (result.returncode, result.stdout) == (2, "")
    assert f"{name} exists: choose another name, or pass --overwrite" in result.stderr
    assert (folder / name).read_bytes() == before
    assert build_tree("photos", "-o", name, "--overwrite", folder=folder).returncode == 0
    assert len(SemanticTree.load(folder / name).classes) == 3


def test_quiet_prints_nothing_and_json_prints_one_document(folder: Path) -> None:
    result = build_tree("photos", "-o", "quiet.json", "--quiet", folder=folder)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert len(SemanticTree.load(folder / "quiet.json").classes) == 3
    result = build_tree("imagenet-1k", "--inner", "-o", "facts.json", "--json", folder=folder)
    facts = json.loads(result.stdout)
    tree = SemanticTree.load(folder / "facts.json")
    assert facts["levels"] == [15, 19, 68, 123, 1000] == list(tree.counts)
    assert (facts["classes"], facts["inner_nodes"], facts["roots"]) == (1000, 225, 18)
    assert facts["class_list"]["digest"] == tree.classes.digest
    assert facts["source"] == tree.source


USAGE = {
    "no such source": (["photoes", "-o", "t.json"], "no file, folder or named list 'photoes'"),
    "a name nearly right": (["imagenet1k", "-o", "t.json"], "Did you mean imagenet-1k?"),
    "no output": (["imagenet-1k"], "Missing option '-o'"),
    "no arguments": ([], "Missing option '-o'"),
    "no classes": (["-o", "t.json"], "pass CLASSES, or a --taxonomy whose leaves"),
    "no number of levels": (["imagenet-1k", "--inner-levels", "0", "-o", "t.json"], "nor 'all'"),
    "a form without a file": (
        ["imagenet-1k", "--form", "edges", "-o", "t.json"],
        "need --taxonomy FILE",
    ),
    "one column": (
        ["--taxonomy", "pets.csv", "--columns", "child", "-o", "t.json"],
        "(--form, --columns, --edges)",
    ),
    "names for another taxonomy": (
        ["--taxonomy", "pets.csv", "--names", "names.txt", "-o", "t.json"],
        "--names works only with the WordNet that is included in labelkit",
    ),
    "two taxonomies": (
        ["--taxonomy", "pets.csv", "--wordnet", "nltk", "-o", "t.json"],
        "a tree has one taxonomy",
    ),
    "ImageNet's rule for pets": (
        ["--taxonomy", "pets.csv", "--rule", "imagenet", "-o", "t.json"],
        "--rule imagenet is for WordNet",
    ),
    "output in no folder": (["imagenet-1k", "-o", "no/t.json"], "no such folder: no"),
    "a tree as weights": (["imagenet-1k", "-o", "t.pth"], "t.pth must end in .json"),
    "output is a folder": (["imagenet-1k", "-o", "photos"], "is a directory"),
    "unknown order": (["imagenet-1k", "-o", "t.json", "--order", "x"], "'x' is not one of"),
}
FAILURES = {
    "a class twice": (["twice.txt", "-o", "t.json"], "duplicate class id 'n02084071' in twice.txt"),
    "names after ids": (["names.txt", "-o", "t.json"], "one per line and nothing else"),
    "not wnids": ([".", "-o", "t.json"], "does not contain 1 of the 1 ids"),
}


@pytest.mark.parametrize(("arguments", "message"), USAGE.values(), ids=USAGE.keys())
def test_a_usage_error_exits_with_2_and_one_line(
    arguments: list[str], message: str, folder: Path
) -> None:
    result = build_tree(*arguments, folder=folder)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr.splitlines()[-1]
    assert not (folder / "t.json").exists()


@pytest.mark.parametrize(("arguments", "message"), FAILURES.values(), ids=FAILURES.keys())
def test_bad_data_exits_with_1_and_one_line(
    arguments: list[str], message: str, folder: Path
) -> None:
    result = build_tree(*arguments, folder=folder)
    assert (result.returncode, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr
    assert not (folder / "t.json").exists()


def test_help_shows_an_example_and_every_named_list(folder: Path) -> None:
    result = build_tree("--help", folder=folder)
    assert result.returncode == 0
    assert "labelkit build-tree imagenet-21k-p -o tree.json" in result.stdout
    for name, known in NAMED_LISTS.items():
        assert f"{name} " in result.stdout
        assert f"{known.length:,}" in result.stdout


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import labelkit.cli.build_tree", ["numpy", "rich", "torch", "timm", "h5py"]),
        (
            "from labelkit.hierarchy import *; read_class_list('imagenet-1k')",
            ["rich", "torch", "torchvision", "timm", "h5py", "nltk", "networkx"],
        ),
    ],
)
def test_nothing_heavy_is_imported(statement: str, forbidden: list[str]) -> None:
    code = f"{statement}; import sys; print([m for m in {forbidden} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


RANKED = "order,family,species\nO,F,a\nO,F,b\nO,,c\nP,G,d\n"


def test_ranks_of_a_table_become_named_levels(folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "table.csv").write_text(RANKED)
    run = labelkit("build-tree", "--taxonomy", "table.csv", "-o", "flat.json")
    assert "--ranks all makes the table's ranks levels (order, family, species)" in run.text
    run = labelkit("build-tree", "--taxonomy", "table.csv", "--ranks", "-o", "all.json")
    assert "levels 3: order, family, species" in run.text
    assert "classes with a target 4 3 4" in run.text
    tree = SemanticTree.load("all.json")
    assert (tree.ranks, tree.counts) == (("order", "family", "species"), (2, 2, 4))
    some = ["--taxonomy", "table.csv", "--ranks", "family, species", "-o", "some.json"]
    assert json.loads(labelkit("build-tree", *some, "--json").out)["ranks"] == ["family", "species"]
    text = labelkit("inspect", "all.json").text
    assert "rank level classes inner share weight order 0 0 2" in text
    assert "level 1 (family), 2 classes" in labelkit("inspect", "all.json", "--path", "F").text
    levels = json.loads(labelkit("inspect", "all.json", "--json").out)["levels"]
    assert [level["rank"] for level in levels] == ["order", "family", "species"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ranks", "tribe"], "table.csv has no rank 'tribe', only order, family, species"),
        (["--ranks", "order,"], "'order,' is neither 'all' nor names separated by commas"),
        (["--ranks", "all", "--inner"], "use just one of --ranks and --inner"),
        (["--ranks", "all", "--columns", "family,species", "--inner-levels", "2"], "just one of"),
    ],
)
def test_wrong_ranks_are_wrong_usage(
    options: list[str], message: str, folder: Path, monkeypatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "table.csv").write_text(RANKED)
    run = labelkit("build-tree", "--taxonomy", "table.csv", *options, "-o", "tree.json")
    assert run.code == 2
    assert message in run.text
    assert not (folder / "tree.json").exists()


def test_wordnet_and_edge_lists_have_no_ranks(folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    for source in (["photos"], ["--taxonomy", "pets.csv"]):
        run = labelkit("build-tree", *source, "--ranks", "all", "-o", "tree.json")
        assert run.code == 2
        assert "has no ranks: only a table of columns" in run.text
