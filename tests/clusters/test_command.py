"""``labelkit cluster`` as users run it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labelkit.manifests import read_manifest
from labelkit.sources import open_source
from tests.clusters.support import write_card
from tests.command import labelkit
from tests.train.support import draw_folders, recipe_text, save_tree

CLUSTER = ["cluster", "train", "--model", "card/tiny.toml", "--device", "cpu"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    draw_folders(tmp_path, train=12, val=1)
    write_card(tmp_path / "card")
    save_tree(tmp_path / "tree.json")
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_colours_are_found_and_compared_with_the_folders():
    run = labelkit(*CLUSTER, "--tree", "tree.json", "-o", "clusters.json", "--json")
    assert run.code == 0, run.err
    found = json.loads(run.out)
    assert found["levels"][0]["agreement"]["accuracy"] == 1  # as many clusters as folders
    assert [level["level"] for level in found["levels"]] == ["own", "depth 0"]
    assert sum(found["second_nearest"]["second"][name] for name in NAMES) == pytest.approx(1)
    manifest = read_manifest("clusters.json")
    assert manifest.classes == ("cluster-0", "cluster-1", "cluster-2")
    assert manifest.counts == tuple(found["sizes"]) == (12, 12, 12)
    assert manifest.digest == found["digest"]
    assert list(manifest.keys) == open_source("train").keys


@pytest.mark.usefixtures("folder")
def test_a_student_learns_clusters_and_is_measured_on_them(tmp_path: Path):
    """Validation images get the clusters of the training images, which are the colours."""
    val = ["--val", "val", "--val-output", "val.json"]
    run = labelkit(*CLUSTER, *val, "-o", "clusters.json")
    assert "--set data.train=clusters.json --set data.val=val.json" in run.text
    train, other = read_manifest("clusters.json"), read_manifest("val.json")
    colours = dict(zip((key.split("/")[0] for key in train.keys), train.labels, strict=True))
    assert other.classes == train.classes
    assert [colours[key.split("/")[0]] for key in other.keys] == list(other.labels)
    Path("recipe.toml").write_text(recipe_text(tmp_path, epochs=1))
    sets = ["--set", "data.train=clusters.json", "--set", "data.val=val.json"]
    run = labelkit("train", "recipe.toml", *sets, "-o", "run")
    assert run.code == 0, run.err
    assert "3 classes" in run.text
    assert "36 training images, 3 evaluation images" in run.text
    assert labelkit("evaluate", "run", "val.json").code == 0


@pytest.mark.usefixtures("folder")
def test_the_largest_cluster_comes_first():
    """The features of the colours in the order of their names: 3 apples, 12 leaves, 7 skies."""
    for colour, count in {"apple": 3, "sky": 7}.items():
        for path in sorted(Path("train", colour).iterdir())[count:]:
            path.unlink()
    assert labelkit(*CLUSTER, "-o", "clusters.json").code == 0
    assert read_manifest("clusters.json").counts == (12, 7, 3)


@pytest.mark.usefixtures("folder")
def test_validation_images_need_an_output():
    run = labelkit(*CLUSTER, "--val", "val", "-o", "clusters.json")
    assert (run.code, "pass both of --val and --val-output" in run.err) == (2, True)


NAMES = ("own", "coarser", "finer", "other", "unnamed")


@pytest.mark.usefixtures("folder")
def test_features_are_made_once_and_the_result_is_the_same():
    assert labelkit(*CLUSTER, "-o", "a.json").code == 0
    made = [path.stat().st_mtime_ns for path in sorted(Path("a.json.features").iterdir())]
    again = labelkit(*CLUSTER, "--features", "a.json.features", "-o", "b.json")
    assert again.code == 0
    assert not Path("b.json.features").exists()
    kept = [path.stat().st_mtime_ns for path in sorted(Path("a.json.features").iterdir())]
    assert kept == made
    assert Path("a.json").read_bytes() == Path("b.json").read_bytes()
    assert "the folders 3 100.0 % 1.000 1.000" in again.text
    assert "Next: labelkit train RECIPE --set data.train=b.json" in again.text


@pytest.mark.usefixtures("folder")
def test_images_without_classes_need_a_number():
    for number, path in enumerate(sorted(Path("train").glob("*/*.png"))):
        path.rename(Path("train", f"{number}.png"))
    run = labelkit(*CLUSTER, "-o", "a.json")
    assert (run.code, "--clusters is needed" in run.err) == (2, True)
    run = labelkit(*CLUSTER, "--clusters", "2", "-o", "a.json")
    assert run.code == 0, run.err
    assert "compared with" not in run.text
    assert read_manifest("a.json").classes == ("cluster-0", "cluster-1")


@pytest.mark.usefixtures("folder")
def test_unreadable_images_are_listed_and_left_out():
    Path("train/sky/003.png").write_bytes(b"no image")
    run = labelkit(*CLUSTER, "-o", "a.json")
    assert "Unreadable, left out: 1 sky/003.png: " in run.text
    assert "sky/003.png" not in read_manifest("a.json").keys


@pytest.mark.usefixtures("folder")
def test_a_subset_is_clustered_like_a_folder():
    assert labelkit("subset", "train", "--per-class", "4", "-o", "few.json").code == 0
    run = labelkit("cluster", "few.json", *CLUSTER[2:], "-o", "a.json")
    assert run.code == 0, run.err
    manifest = read_manifest("a.json")
    assert manifest.keys == read_manifest("few.json").keys
    assert manifest.images == Path("train").resolve()
