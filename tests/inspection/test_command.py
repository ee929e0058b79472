"""``labelkit inspect`` as users run it."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from labelkit.convert import export_tree
from labelkit.hierarchy import ClassList, SemanticTree
from labelkit.inspection import PALETTE
from tests.command import labelkit
from tests.inspection.conftest import KEYS
from tests.label_maps.support.small_files import make


def test_a_label_map_file_is_summarised(maps):
    run = labelkit("inspect", maps)
    assert (run.code, run.err) == (0, "")
    for words in (
        f"Label maps {maps} images 3",
        "4 x 6 cells stored 2 classes in every cell, the cell's strongest",
        "five (5 classes",
        "teacher test-teacher",
        "1 image b/torn.jpg: truncated file",
        "class id area largest in other other 50 % 0 tabby n02123045 17 % 1",
        "example keys a/cat.jpg",
    ):
        assert words in run.text
    assert "--images FOLDER -o report.html" in run.text


def test_a_summary_of_a_sample_says_so(tmp_path):
    many = make(tmp_path / "many.h5", [f"{number:03}.jpg" for number in range(300)])
    run = labelkit("inspect", many.path)
    assert "Classes with the largest area, in a sample of 256 of the 300 images" in run.text


def test_json_has_the_facts_of_a_summary(maps, tree_file):
    facts = json.loads(labelkit("inspect", maps, "--json").out)
    assert (facts["path"], facts["images"], facts["num_classes"]) == (str(maps), 3, 5)
    assert facts["forms"][0]["grid"] == [4, 6]
    assert facts["settings"] == {"teacher.mean": "[0.5, 0.5, 0.5]", "size": "96"}
    assert facts["unreadable_examples"] == {"b/torn.jpg": "truncated file"}
    assert facts["frequent"][1]["class_id"] == "n02123045"
    facts = json.loads(labelkit("inspect", tree_file, "--json").out)
    assert [level["nodes"] for level in facts["levels"]] == [2, 2, 2]
    assert facts["deepest_chains"] == [["animal", "cat", "tabby cat"]]
    assert facts["source"]["taxonomy"] == "house"


def test_quiet_prints_nothing(maps, photos, tree_file, tmp_path):
    for arguments in (
        [tree_file],
        [tree_file, "--path", "cat"],
        [tree_file, "-o", tmp_path / "tree.html"],
        [maps, "--images", photos, "-o", tmp_path / "report.html"],
    ):
        run = labelkit("inspect", *arguments, "--quiet")
        assert (run.code, run.out, run.err) == (0, "", "")


def test_a_tree_is_summarised(tree_file):
    run = labelkit("inspect", tree_file)
    assert run.code == 0
    assert f"Tree {tree_file} classes" in run.text
    # Each level has two of the six classes: 6 / 6, 6 / 4 and 6 / 2.
    assert "level classes share weight 0 2 33 % 1.00 1 2 33 % 1.50 2 2 33 % 3.00" in run.text
    assert "roots 2, with no class above them deepest chain animal > cat > tabby cat" in run.text
    assert "Share: of all classes. Weight: of the level in the semantic softmax loss." in run.text
    assert "largest roots id classes below animal animal 4 thing thing 0" in run.text
    assert f"labelkit inspect {tree_file} --path 'tabby cat'" in run.text


def test_a_flat_list_suggests_how_to_add_levels(tmp_path):
    flat = SemanticTree(ClassList.of(["only"]), ("only",), np.array([-1]))
    flat.save(tmp_path / "flat.json")
    run = labelkit("inspect", tmp_path / "flat.json")
    assert "class list (1 class, digest" in run.text
    assert "No class is above another one. labelkit build-tree --inner adds levels" in run.text
    assert "largest roots" not in run.text


def test_a_key_without_images_is_printed(maps):
    run = labelkit("inspect", maps, "--key", KEYS[0])
    assert run.code == 0
    assert re.search(r"A\s+tabby\s+n02123045\s+50 %\s+50 %", run.out)
    assert run.out.count("  A A A · · ·\n") == 4


def test_a_key_with_images_is_drawn(maps, photos, tmp_path):
    target = tmp_path / "cat.png"
    arguments = ("inspect", maps, "--images", photos, "--key", KEYS[0], "-o", target)
    assert labelkit(*arguments).code == 0
    with Image.open(target) as picture:
        assert picture.format == "PNG"
        assert PALETTE[0] in {color for _, color in picture.getcolors(1 << 20)}
    # An existing file is kept without --overwrite.
    target.write_bytes(b"mine")
    run = labelkit(*arguments)
    assert (run.code, target.read_bytes()) == (2, b"mine")
    assert "--overwrite" in run.err
    assert labelkit(*arguments, "--overwrite").code == 0
    assert target.read_bytes().startswith(b"\x89PNG")


def test_a_picture_without_output_goes_to_the_current_folder(maps, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert labelkit("inspect", maps, "--images", photos, "--key", KEYS[2]).code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["cup_one.labels.png"]


def test_no_picture_is_written_among_the_images_unless_asked_to(maps, photos, monkeypatch):
    """It would become an image of the data set."""
    before = sorted(photos.rglob("*"))
    for folder in (photos, (photos / KEYS[0]).parent):
        monkeypatch.chdir(folder)
        run = labelkit("inspect", maps, "--images", photos, "--key", KEYS[2])
        assert run.code == 2
        assert "pass -o with a path outside of it" in run.err
        assert sorted(photos.rglob("*")) == before
    asked = ("inspect", maps, "--images", photos, "--key", KEYS[2], "-o", "../cup.png")
    assert labelkit(*asked).code == 0


def test_several_images_become_a_page(maps, photos, tmp_path):
    target = tmp_path / "report.html"
    run = labelkit("inspect", maps, "--images", photos, "-o", target)
    assert run.code == 0
    assert target.read_text().count('<img src="data:image/jpeg') == 3


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing.h5"], 2, "does not exist"),
        (["PHOTO"], 1, "expected a tree"),
        (["MAPS", "--key", "a/cta.jpg"], 1, "did you mean 'a/cat.jpg'?"),
        (["MAPS", "--key", "b/torn.jpg"], 1, "truncated file"),
        (["MAPS", "-o", "x.png"], 2, "needs --images"),
        (["MAPS", "--images", "PHOTOS", "-o", "x.png"], 2, "must end in .html"),
        (["MAPS", "--images", "PHOTOS", "--key", "k", "-o", "x.h5"], 2, "must end in .png"),
        (["MAPS", "--images", "PHOTOS", "-o", "no/x.html"], 2, "no such folder: no"),
        (["MAPS", "--images", "nowhere"], 2, "does not exist"),
        (["TREE", "--images", "PHOTOS"], 2, "is a tree"),
        (["TREE", "--key", "cat"], 2, "--path shows a class"),
        (["TREE", "--path", "tiger"], 1, "no class 'tiger'"),
        (["TREE", "--subtree", "taby"], 1, "Did you mean tabby?"),
        (["TREE", "--find", "tabyb cat"], 1, "Did you mean tabby cat?"),
        (["TREE", "--find", "x", "--path", "cat"], 2, "use just one of --path, --find"),
        (["TREE", "--subtree", "cat", "-o", "x.html"], 2, "use just one of --subtree, -o"),
        (["TREE", "--path", "cat", "--depth", "2"], 2, "--depth needs --subtree"),
        (["TREE", "--limit", "2"], 2, "--limit needs --find"),
        (["TREE", "-o", "x.png"], 2, "must end in .html"),
        (["MAPS", "--path", "cat"], 2, "--path is for trees, --key shows an image"),
        (["MAPS", "--key", "k", "--depth", "2"], 2, "--depth is for trees"),
        (["MAPS", "--key", "k", "--json"], 2, "--json prints the summary"),
        (["TREE", "--find", "cat", "--json"], 2, "--json prints the summary"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_failures_are_one_line(arguments, code, message, maps, tree_file, photos):
    places = {"MAPS": maps, "TREE": tree_file, "PHOTOS": photos, "PHOTO": photos / KEYS[0]}
    run = labelkit("inspect", *(places.get(argument, argument) for argument in arguments))
    assert run.code == code
    *usage, last = run.err.splitlines()
    assert message in last
    assert "Traceback" not in run.err
    assert len(usage) == (3 if code == 2 else 0)


def test_piped_output_has_no_trailing_spaces(maps, tree_file):
    for arguments in (
        [tree_file],
        [tree_file, "--path", "tabby"],
        [tree_file, "--subtree", "animal"],
        [maps],
        [maps, "--key", KEYS[0]],
    ):
        lines = labelkit("inspect", *arguments).out.splitlines()
        assert len(lines) > 3
        assert lines == [line.rstrip() for line in lines]


@pytest.mark.parametrize(
    ("suffix", "words"),
    [
        ("pth", "Run labelkit convert {} -o tree.json first"),
        ("csv", "holds a taxonomy, run labelkit build-tree --taxonomy {} -o tree.json"),
        ("csv", "If it holds a tree, run labelkit convert {} -o tree.json;"),
    ],
)
def test_a_tree_in_another_format_suggests_a_conversion(suffix, words, tree_file, tmp_path):
    path = tmp_path / f"other.{suffix}"
    export_tree(SemanticTree.load(tree_file), path)
    run = labelkit("inspect", path)
    assert (run.code, run.out) == (1, "")
    assert f"{path} is not a labelkit tree but" in run.err
    assert words.format(path, path) in run.err


@pytest.mark.parametrize(("target", "code"), [("maps", 0), ("photo", 1), ("nothing", 2)])
def test_a_separate_process_exits_with_the_same_codes(target, code, maps, photos):
    path = {"maps": maps, "photo": photos / KEYS[0], "nothing": maps / "nothing"}[target]
    run = subprocess.run(
        [sys.executable, "-m", "labelkit", "inspect", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == code
    assert "Traceback" not in run.stderr
    assert bool(run.stderr) == (code != 0)


def test_a_summary_loads_no_torch(maps):
    code = (
        "import sys; from labelkit.cli import run; "
        f"code = run(['inspect', {str(maps)!r}]); sys.exit(code or ('torch' in sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert run.returncode == 0
