"""*Other*, the teacher's classes outside a list: projection, maps, and what shows them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
import timm
import torch

from labelkit.convert import export_relabel_folder
from labelkit.data import read_image
from labelkit.errors import LabelMapError
from labelkit.geometry import CropBox
from labelkit.hierarchy import ClassList, Taxonomy, project
from labelkit.inspection import draw_label_map, label_map_report, output_names
from labelkit.label_maps import LabelMapFile, MapForm, pool
from labelkit.relabel import Settings, relabel, verify
from labelkit.relabel.batches import InputSize, resized
from labelkit.relabel.predictions import Predictions
from labelkit.relabel.selection import select, select_log_probabilities
from labelkit.teachers import LogitsProjection, resize_grid
from labelkit.teachers.loading import prepare
from labelkit.torch_files import read_torch_file
from tests.command import labelkit

if TYPE_CHECKING:
    from pathlib import Path

    from labelkit.teachers import Teacher

TAXONOMY = Taxonomy.from_parents({"pug": "dog", "lab": "dog", "manx": "cat", "car": None})
TEACHER = ClassList.of(["car", "pug", "manx", "dog", "lab", "bus", "tree"])
PETS = ClassList.of(["cat", "dog"])
CPU = torch.device("cpu")
# A cat, a cup and a rocket are among the photos; the classes are a cat and a cup.
FEW = ClassList.of(["n02124075", "n07920052"], "cat and espresso")


def shares(merge: str, probabilities: np.ndarray) -> np.ndarray:
    """How much cat, dog and other get of the teacher's probabilities (7,), up to one factor."""
    groups = ([2], [1, 3, 4], [0, 5, 6])
    sums = np.array([probabilities[group].sum() for group in groups])
    count = np.array([1, 3, 3])
    match merge:
        case "sum":
            return sums
        case "mean":
            return sums / count
        case "root":
            return sums / np.sqrt(count)
        case _:
            return np.array([probabilities[group].max() for group in groups])


@pytest.mark.parametrize("merge", ["sum", "root", "mean", "max"])
@pytest.mark.parametrize("shift", [0.0, -300.0])
def test_classes_and_other_are_merged_as_named(merge: str, shift: float) -> None:
    logits = 3 * torch.randn(4, 7, 1, 1, generator=torch.Generator().manual_seed(0))
    projection = project(TEACHER, PETS, TAXONOMY)
    projected = LogitsProjection(projection, CPU, merge, other=True)(logits + shift)
    assert projected.shape == (4, 3, 1, 1)
    probabilities = logits[:, :, 0, 0].double().softmax(dim=1).numpy()
    for found, said in zip(projected[:, :, 0, 0].double(), probabilities, strict=True):
        expected = shares(merge, said)
        np.testing.assert_allclose(found.softmax(0), expected / expected.sum(), rtol=2e-4)


@pytest.mark.parametrize("merge", ["sum", "root", "mean", "max"])
def test_three_quarters_of_other_suit_the_mean_logits(merge: str) -> None:
    """So a quarter of the gap between merging first and averaging first stays."""
    logits = 3 * torch.randn(2, 7, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    merge_all = LogitsProjection(project(TEACHER, PETS, TAXONOMY), CPU, merge, other=True)
    of_mean = merge_all(logits.mean((2, 3), keepdim=True))[:, :, 0, 0]
    cells = merge_all(logits.permute(0, 2, 3, 1).reshape(24, 7, 1, 1)).view(2, 12, 3)
    mean_of = cells.mean(1)
    assert (mean_of[:, 2] > of_mean[:, 2]).all()
    found = merge_all(logits)
    torch.testing.assert_close(found[:, :2].flatten(2).mT, cells[:, :, :2])
    torch.testing.assert_close(
        found[:, 2].mean((1, 2)), 0.25 * mean_of[:, 2] + 0.75 * of_mean[:, 2]
    )


def test_other_of_a_teacher_that_knows_nothing_else_is_all_but_impossible() -> None:
    logits = torch.randn(2, 7, 1, 1)
    everything = project(TEACHER, TEACHER, None)
    projected = LogitsProjection(everything, CPU, other=True)(logits)
    assert torch.equal(projected[:, :7], logits)
    outside = projected.softmax(dim=1)[:, 7]
    torch.testing.assert_close(outside, torch.full_like(outside, np.exp(-20)), rtol=1e-3, atol=0)


def test_teachers_are_averaged_with_one_other(teacher: Teacher, photos: Path) -> None:
    """A teacher of just these classes and one of a thousand: both get the output."""
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=2)
    card = msgspec.structs.replace(teacher.card, name="narrow", model="resnet18")
    narrow = prepare(model, FEW, card, CPU)
    both = Predictions([narrow, teacher], FEW, [], other=True)
    alone = Predictions([teacher], FEW, [], other=True)
    assert both.other
    assert not Predictions([narrow], FEW, [], other=True).other
    pixels = [resized(read_image(photos / "animals/cat.jpg"), InputSize(320, "bicubic"))[None]]
    with torch.inference_mode():
        mean, wide = both(pixels, 0, (10, 10)), alone(pixels, 0, (10, 10))
        known = resize_grid(narrow.logits_map(narrow.normalize(pixels[0])), (10, 10))
    torch.testing.assert_close(2 * mean[:, :2] - wide[:, :2], known, atol=1e-4, rtol=0)
    nothing = known.logsumexp(dim=1) - 20
    torch.testing.assert_close(2 * mean[:, 2] - wide[:, 2], nothing, atol=1e-2, rtol=0)


@pytest.mark.parametrize("selection", ["image", "cell"])
@pytest.mark.parametrize("background", [0, 4])
@pytest.mark.parametrize("make", [select, select_log_probabilities])
def test_every_cell_stores_other_however_weak(selection, background, make) -> None:
    logits = 3 * torch.randn(2, 12, 3, 4, generator=torch.Generator().manual_seed(0))
    logits[0, 11] -= 30
    form = MapForm(selection=selection, top_k=4, grid=(3, 4), background=background)
    if make is select_log_probabilities:
        logits = logits.log_softmax(dim=1)
    for stored, dense in zip(make(logits, form, other=True), logits, strict=True):
        assert (stored.index == 11).sum() == 12
        strength = dense.softmax(0).mean((1, 2)) + dense.mean((1, 2)).softmax(0)
        ranked = dense if selection == "cell" else strength[:, None, None].expand(12, 3, 4)
        known = ranked[:11].argsort(dim=0, descending=True)[:3].sort(dim=0).values
        found = np.sort(stored.index, axis=0)
        np.testing.assert_array_equal(found[:3], known)
        # up to one constant per cell, these are the teacher's logits
        gap = stored.score - np.take_along_axis(dense.numpy(), stored.index.astype(int), axis=0)
        assert np.ptp(gap, axis=0).max() < 1e-4


@pytest.mark.parametrize("selection", ["image", "cell"])
def test_maps_hold_what_the_teacher_says_of_everything_else(
    teacher: Teacher, photos: Path, tmp_path: Path, selection
) -> None:
    settings = Settings(selection, sizes=(96,), classes=FEW, scores="float32", calibration=None)
    relabel(photos, teacher, tmp_path / "maps.h5", settings)
    file = LabelMapFile.open(tmp_path / "maps.h5")
    assert file.header.other
    assert file.outputs == (*FEW, "*other*")
    assert file.attrs["merged"] == "root"
    assert [form.top_k for form in file.forms] == [3]
    alone = np.array([teacher.classes.index[each] for each in FEW])
    for key in file:
        square = resized(read_image(photos / key), InputSize(96, "bicubic"))[None]
        with torch.inference_mode():
            logits = teacher.logits_map(teacher.normalize(square))[0].double().numpy()
        outside = np.delete(logits, alone, axis=0)
        mean = outside.mean(axis=(1, 2), keepdims=True)
        weights = np.exp(mean) / np.exp(mean).sum()
        tangent = np.log(np.exp(mean).sum()) + (weights * (outside - mean)).sum(axis=0)
        merged = np.log(np.exp(outside).sum(axis=0)) / 4 + tangent * 3 / 4 - np.log(998) / 2
        expected = np.concatenate([logits[alone], merged[None]])
        dense = file[key].dense(3)
        np.testing.assert_allclose(dense - dense[2], expected - expected[2], atol=2e-4)
    assert verify(file, photos, [teacher], 4).ok
    targets = {key: pool(file[key], CropBox.whole()).probabilities(3) for key in file}
    assert targets["things/rocket.jpg"].argmax() == 2
    assert targets["animals/cat.jpg"].argmax() == 0


def test_without_other_a_file_is_as_before(teacher: Teacher, photos: Path, tmp_path: Path) -> None:
    settings = Settings(sizes=(96,), classes=FEW, other=False)
    relabel(photos, teacher, tmp_path / "maps.h5", settings)
    file = LabelMapFile.open(tmp_path / "maps.h5")
    assert not file.header.other
    assert "merged" not in file.attrs
    assert file.outputs == FEW.ids
    with pytest.raises(LabelMapError, match=r"without \*other\* there, with it now"):
        relabel(photos, teacher, tmp_path / "maps.h5", replace(settings, other=True, top_k=1))
    assert verify(file, photos, [teacher], 4).ok


def test_a_published_folder_leaves_other_out(
    teacher: Teacher, photos: Path, tmp_path: Path
) -> None:
    for selection, background in (("image", None), ("cell", None), ("cell", 0)):
        path = tmp_path / f"{selection}{background}.h5"
        relabel(
            photos,
            teacher,
            path,
            Settings(selection, sizes=(96,), classes=FEW, background=background),
        )
        file = LabelMapFile.open(path)
        folder = path.with_suffix("")
        assert export_relabel_folder(file, folder, "rows-first").top_k == 2
        for key in file:
            content = (folder / key).with_suffix(".pt").read_bytes()
            scores, index = read_torch_file(content, largest=1 << 20).numpy()
            assert index.max() <= 1
            found = np.take_along_axis(scores, index.astype(int).argsort(axis=0), axis=0)
            dense = file[key].dense(3)[:2]
            np.testing.assert_allclose(found[0] - found[1], dense[0] - dense[1], atol=1e-4)


def test_pictures_and_summaries_show_other(teacher: Teacher, photos: Path, tmp_path: Path) -> None:
    maps = tmp_path / "maps.h5"
    relabel(photos, teacher, maps, Settings(sizes=(96,), classes=FEW))
    summary = labelkit("inspect", maps)
    assert summary.code == 0, summary.text
    assert "2 classes in every cell, the image's strongest, and other (no class)" in summary.text
    one = labelkit("inspect", maps, "--key", "things/rocket.jpg")
    assert "*other*" in one.out.splitlines()[2]
    facts = json.loads(labelkit("inspect", maps, "--json").out)
    assert facts["other"] is True
    assert facts["num_classes"] == 2
    assert "*other*" in {each["class_id"] for each in facts["frequent"]}
    with LabelMapFile.open(maps) as file:
        names = output_names(file)
        assert names == ("Egyptian_cat", "espresso", "*other*")
        from PIL import Image

        with Image.open(photos / "things/rocket.jpg") as photo:
            draw_label_map(photo, file["things/rocket.jpg"], names, crops=[CropBox.whole()])
        page = label_map_report(file, photos)
    legends = [entry.text for card in page.sections[1].blocks[1].cards for entry in card.legend]
    assert "other (no class)" in legends
    assert "Stripes are where" in page.sections[1].blocks[0].text
