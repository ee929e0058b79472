"""The average ensemble: what several teachers say together, from their files alone."""

from __future__ import annotations

import shutil
from itertools import permutations

import msgspec
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from labelkit.errors import LabelMapError
from labelkit.hierarchy import ClassList
from labelkit.label_maps import LabelMapFile, MapForm
from labelkit.relabel import average
from tests.label_maps.dying import deaths
from tests.label_maps.small_files import CLASSES, FORM, SOURCE, damage, make

KEYS = [f"a/{n:02d}.jpg" for n in range(10)]
# All classes in all cells, as they are: the file is the dense map.
DENSE = MapForm(top_k=20, grid=(4, 5), scores="float32")


def source(name: str) -> dict:
    return {**SOURCE, "teacher": {"name": name}}


def teachers(tmp_path, *forms: MapForm, keys=KEYS):
    return [
        make(tmp_path / f"{n}.h5", keys, [form], seed=n, source=source(f"t{n}"))
        for n, form in enumerate(forms)
    ]


def test_the_mean_of_whole_maps_is_the_mean_of_their_logits(tmp_path):
    files = teachers(tmp_path, DENSE, DENSE, DENSE)
    made = average(files, tmp_path / "m.h5")
    assert list(made) == KEYS
    for key in KEYS:
        expected = np.mean([file[key].dense(20).astype(np.float64) for file in files], axis=0)
        assert np.abs(made[key].dense(20) - expected).max() < 1e-5
        assert (np.diff(made[key].score, axis=0) <= 0).all()


def test_the_mean_of_probabilities_is_their_logarithm(tmp_path):
    files = teachers(tmp_path, DENSE, DENSE)
    made = average(files, tmp_path / "m.h5", method="probability")
    for key in KEYS:
        dense = np.stack([file[key].dense(20).astype(np.float64) for file in files])
        each = np.exp(dense) / np.exp(dense).sum(axis=1, keepdims=True)
        expected = np.log(each.mean(axis=0))
        assert np.abs(made[key].dense(20) - expected).max() < 1e-4


def test_maps_of_other_grids_are_brought_to_the_finest(tmp_path):
    """The result has the first file's grid, whichever it is."""
    coarse = msgspec.structs.replace(DENSE, grid=(2, 3))
    files = teachers(tmp_path, coarse, DENSE)
    for order, grid in ((files, (2, 3)), (files[::-1], (4, 5))):
        made = average(order, tmp_path / f"{grid[0]}.h5")
        assert made.forms[0].grid == grid
        low, high = (torch.from_numpy(file[KEYS[3]].dense(20))[None] for file in files)
        mean = (F.interpolate(low, size=(4, 5), mode="bilinear") + high) / 2
        expected = mean if grid == (4, 5) else F.interpolate(mean, size=grid, mode="bilinear")
        assert np.abs(made[KEYS[3]].dense(20) - expected[0].numpy()).max() < 1e-5


@pytest.mark.parametrize("method", ["logit", "probability"])
def test_a_map_averaged_with_itself_keeps_what_it_says(tmp_path, method):
    """Up to a constant a cell, which no softmax sees, and to half a step."""
    form = MapForm(top_k=3, grid=(4, 5), scores="float32")
    file = make(tmp_path / "a.h5", KEYS, [form])
    more = make(tmp_path / "b.h5", [*KEYS, "more.jpg"], [form])
    made = average([file, more], tmp_path / "m.h5", method=method, common=True)
    for key in KEYS:
        ours = torch.from_numpy(made[key].dense(20)).log_softmax(0)
        theirs = torch.from_numpy(file[key].dense(20)).log_softmax(0)
        # A stored class below 0 is weaker than those that count as 0: then others are stored.
        kept = (file[key].score > 0).all(axis=0)
        assert kept.sum() > 3
        assert (ours - theirs).abs()[:, torch.from_numpy(kept)].max() < 1e-4


def test_classes_that_are_left_out_have_a_mean_of_zero_where_zero_is_what_they_count(tmp_path):
    form = MapForm(top_k=3, grid=(4, 5), scores="float32", log_sum_exp=True)
    files = [
        make(tmp_path / "a.h5", KEYS, [form], seed=0),
        make(tmp_path / "b.h5", KEYS, [DENSE], seed=1),
    ]
    made = average(files, tmp_path / "m.h5", method="probability")
    for key in KEYS:
        dense = np.stack([file[key].dense(20).astype(np.float64) for file in files])
        each = np.exp(dense) / np.exp(dense).sum(axis=1, keepdims=True)
        logits = np.log(each.mean(axis=0))
        order = np.sort(logits, axis=0)[::-1]
        shift = order[3:].mean(axis=0)
        assert np.abs(made[key].score - (order[:3] - shift)).max() < 1e-4
        lse = made[key].log_sum_exp
        assert np.abs(lse - (np.log(np.exp(logits).sum(axis=0)) - shift)).max() < 1e-4


def test_two_maps_an_image_are_averaged_each_with_its_own(tmp_path):
    forms = [msgspec.structs.replace(DENSE, zoom=1.0), MapForm(top_k=20, grid=(2, 2), zoom=2.0)]
    files = [make(tmp_path / f"{n}.h5", KEYS, forms, seed=n) for n in range(2)]
    made = average(files, tmp_path / "m.h5")
    assert list(made.forms) == forms
    for number, tolerance in ((0, 1e-5), (1, 0.2)):
        expected = sum(file.maps(KEYS[1])[number].dense(20) for file in files) / 2
        assert np.abs(made.maps(KEYS[1])[number].dense(20) - expected).max() < tolerance


def test_maps_of_other_zooms_are_not_mixed(tmp_path):
    def zoomed(zoom):
        return [msgspec.structs.replace(FORM, zoom=zoom), msgspec.structs.replace(FORM, zoom=4.0)]

    files = [make(tmp_path / f"{n}.h5", KEYS, zoomed(n + 1.0), seed=n) for n in range(2)]
    with pytest.raises(LabelMapError, match=r"0\.h5 and .*1\.h5 hold maps of different zooms"):
        average(files, tmp_path / "m.h5")
    one = make(tmp_path / "2.h5", KEYS)
    with pytest.raises(LabelMapError, match="different zooms"):
        average([files[0], one], tmp_path / "m.h5")


def test_a_zoom_that_not_all_share_is_not_known(tmp_path):
    files = teachers(tmp_path, *(msgspec.structs.replace(FORM, zoom=zoom) for zoom in (1.0, 2.0)))
    assert average(files, tmp_path / "m.h5").forms[0].zoom == 0


def test_the_order_of_the_files_changes_nothing(tmp_path):
    files = teachers(tmp_path, FORM, FORM, FORM)
    results = {
        average(order, tmp_path / f"m{n}.h5").path.read_bytes()
        for n, order in enumerate(permutations(files))
    }
    assert len(results) == 1
    made = LabelMapFile.open(tmp_path / "m0.h5")
    assert made.attrs == {"average": "logit", "of": [source(f"t{n}") for n in range(3)]}
    assert made.forms == (FORM,)


def test_an_image_that_a_file_lacks_is_told_or_left_out(tmp_path):
    files = [
        make(tmp_path / "a.h5", KEYS, seed=0),
        make(tmp_path / "b.h5", KEYS[:7], seed=1, unreadable={KEYS[2]: "torn"}),
    ]
    with pytest.raises(LabelMapError, match=rf"b\.h5 lacks 4 .*first is '{KEYS[2]}'.*--common"):
        average(files, tmp_path / "m.h5")
    assert not list(tmp_path.glob("m.h5*"))
    made = average(files, tmp_path / "m.h5", common=True)
    assert list(made) == [*KEYS[:2], *KEYS[3:7]]
    assert made.unreadable == {}


def test_an_image_that_nobody_could_read_stays_so(tmp_path):
    files = [
        make(tmp_path / f"{n}.h5", KEYS, seed=n, unreadable={KEYS[0]: f"reason {n}"})
        for n in range(2)
    ]
    made = average(files, tmp_path / "m.h5")
    assert made.unreadable == {KEYS[0]: "reason 0"}
    assert list(made) == KEYS[1:]


def test_one_file_is_not_averaged_with_itself(tmp_path):
    """Nor with a copy: it would count twice against the others."""
    files = [make(tmp_path / f"{n}.h5", KEYS, seed=n) for n in range(2)]
    copy = LabelMapFile.open(shutil.copy(files[0].path, tmp_path / "copy.h5"))
    for twice in (files[0], copy):
        with pytest.raises(LabelMapError, match=rf"0\.h5 and .*{twice.path.name} .* once"):
            average([*files, twice], tmp_path / "m.h5")
    assert not list(tmp_path.glob("m.h5*"))


def test_other_class_lists_are_refused(tmp_path):
    other = ClassList.of(CLASSES.ids[::-1], "turned")
    files = [make(tmp_path / "a.h5", KEYS), make(tmp_path / "b.h5", KEYS, classes=other)]
    with pytest.raises(LabelMapError, match=r"twenty.*turned"):
        average(files, tmp_path / "m.h5")


def test_a_damaged_row_is_named(tmp_path):
    files = teachers(tmp_path, FORM, FORM)
    files[1] = damage(files[1], KEYS[5])
    with pytest.raises(LabelMapError, match=rf"1\.h5, row 5 \({KEYS[5]}\)"):
        average(files, tmp_path / "m.h5")
    assert not (tmp_path / "m.h5").exists()


def test_shards_of_other_files_are_not_gone_on_with(tmp_path):
    """Though the teachers are called the same, and the images are."""
    files = [make(tmp_path / f"{n}.h5", KEYS, seed=n) for n in range(3)]
    broken = damage(make(tmp_path / "broken.h5", KEYS, seed=1), KEYS[9])
    with pytest.raises(LabelMapError, match="row 9"):
        average([files[0], broken], tmp_path / "m.h5", shard_rows=4)
    with pytest.raises(LabelMapError, match="made_from"):
        average([files[0], files[2]], tmp_path / "m.h5", shard_rows=4)
    assert len(average([files[0], files[1]], tmp_path / "m.h5", shard_rows=4)) == len(KEYS)


def test_the_same_call_finds_the_finished_file_and_another_one_does_not(tmp_path):
    files = [make(tmp_path / f"{n}.h5", KEYS, seed=n) for n in range(3)]
    made = average(files[:2], tmp_path / "m.h5")
    assert average(files[1::-1], tmp_path / "m.h5").path == made.path
    for others, method in ((files[1:], "logit"), (files[:2], "probability")):
        with pytest.raises(FileExistsError, match="exists"):
            average(others, tmp_path / "m.h5", method=method)
    (tmp_path / "text.h5").write_text("mine")
    with pytest.raises(FileExistsError, match="exists"):
        average(files, tmp_path / "text.h5")


def test_killed_after_any_step_the_same_call_goes_on(tmp_path):
    files = teachers(tmp_path, FORM, DENSE)
    whole = average(files, tmp_path / "whole.h5", shard_rows=4).path.read_bytes()
    output = tmp_path / "out" / "m.h5"
    output.parent.mkdir()
    steps, resumed = 0, 0
    for _ in deaths(lambda: average(files, output, shard_rows=4)):
        steps += 1
        resumed += bool([*output.parent.glob("*.parts/0*.json")])
        assert average(files, output, shard_rows=4).path.read_bytes() == whole
        assert [path.name for path in output.parent.iterdir()] == ["m.h5"]
        shutil.rmtree(output.parent)
        output.parent.mkdir()
    assert steps > 50
    assert resumed > 10
