"""``labelkit subset`` as users run it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labelkit.hierarchy import read_class_list
from labelkit.manifests import read_manifest
from tests.command import labelkit
from tests.subsets.support import animals, draw, write_maps


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    draw(Path("images"), {"cat": 8, "cow": 4, "dog": 6})
    animals().save("tree.json")
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_a_manifest_is_the_same_each_time_and_says_how_it_was_made():
    command = ["subset", "images", "--tree", "tree.json", "--below", "pet", "--per-class", "5"]
    runs = [labelkit(*command, "-o", f"{n}.json") for n in range(2)]
    assert [run.code for run in runs] == [0, 0]
    assert Path("0.json").read_bytes() == Path("1.json").read_bytes()
    manifest = read_manifest("0.json")
    assert manifest.classes == ("cat", "dog")
    assert manifest.settings["tree"] == animals().digest
    assert "images 10 (5 per class)" in runs[0].text
    assert "left out 1 class not below pet: cow" in runs[0].text


@pytest.mark.usefixtures("folder")
def test_the_same_classes_for_validation():
    labelkit("subset", "images", "--classes", 2, "--seed", 3, "-o", "train.json")
    chosen = read_manifest("train.json").classes
    run = labelkit("subset", "images", "--same-classes", "train.json", "-o", "val.json")
    assert run.code == 0, run.err
    assert read_manifest("val.json").classes == chosen
    assert "Next: labelkit train RECIPE --set data.val=val.json" in run.text
    Path("lynx.txt").write_text("cat\nlynx\n")
    run = labelkit("subset", "images", "--same-classes", "lynx.txt", "-o", "x.json")
    assert (run.code, Path("x.json").exists()) == (1, False)
    assert "1 classes of lynx.txt" in run.err


@pytest.mark.usefixtures("folder")
def test_json_has_the_numbers():
    run = labelkit("subset", "images", "--imbalance", "2", "--json", "-o", "tail.json")
    found = json.loads(run.out)
    assert found["counts"] == {"cat": 8, "cow": 4, "dog": 5}
    assert found["digest"] == read_manifest("tail.json").digest


@pytest.mark.usefixtures("folder")
def test_links_lead_to_the_images():
    assert labelkit("subset", "images", "--per-class", "2", "--links", "-o", "some").code == 0
    manifest = read_manifest("some/manifest.json")
    links = sorted(path.relative_to("some").as_posix() for path in Path("some").glob("*/*"))
    assert links == list(manifest.keys)
    for key in links:
        assert Path("some", key).samefile(Path("images", key))
    assert read_class_list("some").ids == ("cat", "cow", "dog")
    again = labelkit("subset", "images", "--links", "-o", "some")
    assert (again.code, "exists" in again.err) == (2, True)


def test_links_of_one_name_get_their_folders_in_front(folder: Path):
    for place in ("a", "b"):
        draw(folder / "images" / "cat" / place, {"x": 1})
    run = labelkit("subset", "images", "--links", "-o", "all")
    assert run.code == 0, run.err
    names = {path.name for path in Path("all/cat").iterdir()}
    assert {"cat--000.png", "cat--a--x--000.png", "cat--b--x--000.png", "001.png"} <= names


@pytest.mark.usefixtures("folder")
def test_a_table_gives_a_class_list():
    Path("counts.csv").write_text("cat,8\ncow,4\ndog,6\n")
    run = labelkit("subset", "counts.csv", "--percentiles", "40-60", "-o", "classes.txt")
    assert (run.code, Path("classes.txt").read_text()) == (0, "dog\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["images", "--depth", "1", "-o", "x.json"], "need --tree"),
        (["images", "--several", "2", "-o", "x.json"], "need --maps"),
        (["images", "--depth", "x", "-o", "x.json"], "not a range such as 2-4"),
        (["images", "--depth", "3-2", "-o", "x.json"], "depth is 3 to 2"),
        (["images", "--per-class", "0", "-o", "x.json"], "neither a number from 1"),
        (["images", "--area", "0.5", "-o", "x.json"], "--area is only for --several"),
        (["images", "--tree", "counts.csv", "-o", "x.json"], "--tree is only for --depth, --bel"),
        (["images", "--maps", "counts.csv", "-o", "x.json"], "--maps is only for easy, hard and"),
        (["images", "--choose-classes", "largest", "-o", "x.json"], "only for --classes N: add it"),
        (["images", "--links", "--overwrite", "-o", "new"], "replaces a file, not a folder"),
        (["images", "-o", "x.csv"], "must end in .json or .txt"),
        (["counts.csv", "-o", "x.json"], "names classes, not images"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_wrong_usage_is_explained(arguments: list[str], message: str):
    Path("counts.csv").write_text("cat,8\n")
    run = labelkit("subset", *arguments)
    assert run.code == 2
    assert message in run.err


@pytest.mark.usefixtures("folder")
def test_images_without_a_map_are_named(tmp_path: Path):
    keys = {f"cat/{n:03}.png": [[0.5, 0.3, 0.2]] for n in range(8)}
    write_maps(tmp_path / "maps.h5", keys, ("cat", "dog", "cow")).close()
    easy = ("--maps", "maps.h5", "--choose-images", "easy", "--per-class", 2)
    run = labelkit("subset", "images", *easy, "-o", "x.json")
    assert run.code == 1
    assert "10 of 18 images have no map in" in run.err
    assert "cow/000.png, cow/001.png" in run.err
