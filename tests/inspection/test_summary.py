"""Summaries report what the real writer and the real builder put into the files."""

from __future__ import annotations

import dataclasses
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from labelkit.errors import LabelkitError, LabelMapError, TreeFileError
from labelkit.geometry import CropBox
from labelkit.hierarchy import SemanticTree
from labelkit.inspection import (
    LabelMapSummary,
    TreeSummary,
    class_shares,
    find_classes,
    find_label_map,
    open_artifact,
    stored_presence,
    summarize_label_maps,
    summarize_tree,
)
from labelkit.inspection.summary import FrequentClass, TreeRoot
from labelkit.label_maps import (
    Calibration,
    LabelMap,
    LabelMapFile,
    LabelMapWriter,
    MapForm,
    pool,
)
from labelkit.wording import flatten
from tests.inspection.conftest import CLASSES, FORM, KEYS, SOURCE, left_half, together
from tests.label_maps.support.random_maps import random_maps
from tests.label_maps.support.small_files import calibration_of, make

if TYPE_CHECKING:
    from pathlib import Path


def summarize(path: Path, **options: int) -> LabelMapSummary | TreeSummary:
    """The summary of whichever of the two a file is."""
    opened = open_artifact(path)
    if isinstance(opened, SemanticTree):
        return summarize_tree(path, opened)
    with opened:
        return summarize_label_maps(opened, **options)


def test_label_maps(maps):
    summary = summarize(maps)
    assert isinstance(summary, LabelMapSummary)
    assert (summary.images, summary.forms) == (3, (FORM,))
    assert (summary.classes_name, summary.num_classes) == ("five", 5)
    assert summary.digest == CLASSES.digest
    assert summary.teacher == "test-teacher"
    assert summary.settings == (("teacher.mean", "[0.5, 0.5, 0.5]"), ("size", "96"))
    assert summary.file_bytes == maps.stat().st_size
    assert summary.bytes_per_image == maps.stat().st_size / 3
    assert (summary.unreadable, summary.sampled) == (1, 3)
    assert summary.unreadable_examples == (("b/torn.jpg", "truncated file"),)
    assert summary.example_keys == tuple(KEYS)


def test_classes_are_ordered_by_their_area_in_all_images_and_named(tmp_path):
    """A class with a small area in many images comes after one with a large area in few."""
    path = tmp_path / "maps.h5"
    keys = ["1", "2", "3"]
    writer = LabelMapWriter(path, classes=CLASSES, keys=keys, forms=[FORM], source=SOURCE)
    third = left_half(3, 1, background=1)
    third.index[0, :, 2], third.index[1, :, 2] = 1, 3
    rows = [left_half(0, 1), left_half(0, 2), third]
    writer.commit(writer.shards[0], [together(rows)], {})
    writer.finalize().close()
    frequent = summarize(path).frequent
    # Twelve columns in two images are class 0 and class 4 half and half: the more present one of
    # two equal areas counts as the largest. In the third, of six columns, class 1 has four.
    assert frequent == (
        FrequentClass("n02123045", "tabby", 2, pytest.approx(6 / 18)),
        FrequentClass("other", "other", 0, pytest.approx(6 / 18)),
        FrequentClass("n02084071", "dog", 1, pytest.approx(4 / 18)),
        FrequentClass("plain_thing", "plain thing", 0, pytest.approx(2 / 18)),
    )
    assert sum(each.area for each in frequent) == pytest.approx(1)
    assert summarize(path).sample_name == "3 images"
    assert summarize(path, sample=1).sampled == 1
    with LabelMapFile.open(path) as file:
        one = dataclasses.replace(summarize_label_maps(file), images=1, sampled=1)
    assert one.sample_name == "1 image"
    assert summarize(path, sample=1).sample_name == "a sample of 1 of the 3 images"
    assert summarize(path, sample=0).frequent == ()
    assert len(summarize(path, frequent=1).frequent) == 1


def test_a_file_without_rows(tmp_path):
    path = tmp_path / "maps.h5"
    LabelMapWriter(path, classes=CLASSES, keys=[], forms=[FORM], source={}).finalize().close()
    summary = summarize(path)
    assert (summary.images, summary.sampled, summary.frequent, summary.teacher) == (0, 0, (), "")


def test_tree(tree_file):
    summary = summarize(tree_file)
    assert isinstance(summary, TreeSummary)
    assert (summary.num_classes, summary.classes_name) == (6, "six")
    assert [(level.nodes, level.inner) for level in summary.levels] == [(2, 0)] * 3
    assert [level.weight for level in summary.levels] == pytest.approx([1.0, 1.5, 3.0])
    assert summary.roots == 2
    assert summary.largest_roots == (TreeRoot("animal", "animal", 4), TreeRoot("thing", "thing", 0))
    assert summary.deepest_chains == (("animal", "cat", "tabby cat"),)
    assert summary.digest == SemanticTree.load(tree_file).classes.digest
    assert ("taxonomy", "house") in summary.source


def test_the_content_decides_what_a_file_is_not_its_suffix(maps, tree_file, tmp_path):
    shutil.copy(maps, tmp_path / "maps.json")
    shutil.copy(tree_file, tmp_path / "tree.h5")
    assert isinstance(summarize(tmp_path / "maps.json"), LabelMapSummary)
    assert isinstance(summarize(tmp_path / "tree.h5"), TreeSummary)


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"", "is empty"), (b"\xff\xd8\xff\xe0 photo", "begins with"), (b'{"a": 1}', "begins with")],
)
def test_something_else_is_refused_with_what_was_found(tmp_path, content, found):
    path = tmp_path / "maps.h5"
    path.write_bytes(content)
    with pytest.raises(LabelkitError, match=f"{found}.*expected a tree .* or a label-map file"):
        summarize(path)


def test_damaged_files_are_refused(maps, tree_file, tmp_path):
    path = tmp_path / "damaged"
    path.write_bytes(maps.read_bytes()[:2000])
    with pytest.raises(LabelMapError):
        summarize(path)
    path.write_bytes(tree_file.read_bytes()[:100])
    with pytest.raises(TreeFileError):
        summarize(path)
    with pytest.raises(FileNotFoundError):
        summarize(tmp_path / "none")


def test_wrong_numbers_are_refused(maps):
    with pytest.raises(ValueError, match="negative"):
        summarize(maps, sample=-1)


def test_presence_is_the_target_of_a_crop_of_one_cell():
    """If all cells are equal, any crop's target is the presence."""
    index = np.array([3, 1]).reshape(2, 1, 1).repeat(5, 1).repeat(5, 2).astype(np.uint16)
    score = np.where(index == 3, 4.0, 2.5).astype(np.float32)
    label_map = LabelMap(index, score)
    target = pool(label_map, CropBox(0.2, 0.2, 0.4, 0.4)).probabilities(7)
    shares = class_shares(label_map, 7)
    assert [share.class_index for share in shares] == [3, 1]
    assert [share.presence for share in shares] == pytest.approx(target[[3, 1]].tolist(), rel=1e-5)
    assert [share.area for share in shares] == [1.0, 0.0]


GAIN = "fitted on 64 images x 4 crops: KL 0.566 -> 0.359 from the teacher's prediction (held out)"


@pytest.mark.parametrize("background", [0, 5])
@pytest.mark.parametrize("calibrated", [False, True])
def test_presence_is_that_of_the_map_and_not_calibrated(background, calibrated):
    """Grids of powers of two: the edges of their cells are exact."""
    form = MapForm(top_k=3, grid=(2, 4), background=background)
    label_map = random_maps(np.random.default_rng(0), 1, form, 9)[0]
    calibration = Calibration(scale=(0.6, 0.3), compression=0.8, mixing=((0.0, 0.0),), classes=9)
    if calibrated:
        label_map = dataclasses.replace(label_map, calibration=calibration)
    found = stored_presence(label_map, 9)
    for row in range(2):
        for column in range(4):
            cell = CropBox(column / 4, row / 2, (column + 1) / 4, (row + 1) / 2)
            target = pool(label_map, cell, calibrated=False).probabilities(9)
            stored = target[label_map.index[:, row, column]]
            np.testing.assert_allclose(found[:, row, column], stored, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (
            {"images": 64, "crops": 4, "divergence": (0.566, 0.359)},
            GAIN,
        ),
        ({"images": 1, "crops": 1}, "fitted on 1 image x 1 crop"),
        ({}, "of unknown origin"),
    ],
)
def test_the_calibration_is_part_of_how_the_maps_were_made(tmp_path, facts, text):
    path = tmp_path / "maps.h5"
    make(path, ["a.jpg"], calibration=calibration_of(**facts)).close()
    summary = summarize(path)
    assert ("calibration", text) in summary.provenance
    assert summary.calibration == calibration_of(**facts)


def test_a_file_without_calibration_says_so(maps):
    expected = ("calibration", "none: targets are pooled as published")
    assert expected in summarize(maps).provenance


def test_presence_survives_extreme_scores():
    label_map = LabelMap(np.zeros((1, 2, 2), np.uint16), np.full((1, 2, 2), 3e4, np.float32))
    assert class_shares(label_map, 5)[0].presence == 1.0
    label_map = LabelMap(np.zeros((1, 2, 2), np.uint16), np.full((1, 2, 2), -3e4, np.float32))
    assert class_shares(label_map, 5)[0].presence == 0.0
    with pytest.raises(ValueError, match="only 0 classes"):
        class_shares(label_map, 0)


def test_classes_are_found_by_id_and_by_name(tree_file):
    tree = SemanticTree.load(tree_file)
    assert find_classes(tree, "c1") == [4]
    assert find_classes(tree, "Tabby_Cat") == find_classes(tree, "tabby cat") == [3]
    assert find_classes(tree, "crane") == [4, 5]
    with pytest.raises(LabelkitError, match=r"no class 'tabby cta'.*Did you mean tabby cat\?"):
        find_classes(tree, "tabby cta")


def test_a_missing_key_suggests_similar_ones(maps):
    with LabelMapFile.open(maps) as file:
        assert find_label_map(file, "a/cat.jpg").index[0, 0, 0] == 0
        with pytest.raises(LabelMapError, match=r"did you mean 'a/cat\.jpg'\?"):
            find_label_map(file, "wrong/folder/cat.jpg")
        with pytest.raises(LabelMapError, match=r"did you mean 'b/cup one\.jpg'\?"):
            find_label_map(file, "b/cup_one.jpg")
        with pytest.raises(LabelMapError, match=r"could not be read [(]truncated file"):
            find_label_map(file, "b/torn.jpg")


def test_settings_stop_at_a_depth():
    deep: dict[str, object] = {"end": 1}
    for _ in range(10):
        deep = {"x": deep}
    ((name, text),) = flatten(deep)
    assert name == "x.x.x.x"
    assert text.startswith('{"x"')


def test_the_synsets_of_plain_names_take_one_line(tmp_path):
    """Of a thousand classes they would hide the rest."""
    synsets = {name: f"n0000000{number}" for number, name in enumerate("abcd")}
    for source, expected in (
        ({"synsets": synsets}, ("synsets", "a n00000000, b n00000001, c n00000002 and 1 more")),
        ({"synsets": {"a": "n1"}}, ("synsets", "a n1")),
    ):
        path = tmp_path / f"{len(str(source))}.h5"
        writer = LabelMapWriter(path, classes=CLASSES, keys=["1"], forms=[FORM], source=source)
        writer.commit(writer.shards[0], [together([left_half(0, 1)])], {})
        writer.finalize().close()
        assert summarize(path).settings == (expected,)


def test_where_every_class_is_stored_no_other_has_logit_0(maps):
    summary = summarize(maps)
    complete = dataclasses.replace(summary, num_classes=FORM.top_k)
    assert ("background", "none: every class is stored") in complete.form_facts
    assert ("background", "none: classes that are not stored have logit 0") in summary.form_facts
