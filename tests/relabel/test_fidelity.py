"""Crop fidelity on real photos by a real teacher."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as VF

from labelkit.cli.fidelity_report import relabel_options
from labelkit.data import list_images, read_image
from labelkit.errors import DatasetError
from labelkit.geometry import CropBox
from labelkit.hierarchy import ClassList, read_class_list
from labelkit.label_maps import LabelMapFile, pool, pool_by_zoom
from labelkit.relabel import (
    CalibrationSample,
    Configuration,
    Fidelity,
    Settings,
    default_configurations,
    default_sizes,
    measure_fidelity,
    recommend,
    relabel,
)
from labelkit.relabel.batches import InputSize
from labelkit.relabel.random_crops import random_crops
from labelkit.teachers import count_flops, load_teacher
from tests.command import labelkit
from tests.photos import write_photos

IMAGENET = read_class_list("imagenet-1k")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder)
    return folder


def test_fidelity_equals_relabelling_and_pooling_by_hand(teacher, photos, tmp_path):
    """Relabel, pool each crop, predict the crop, one after the other."""
    settings = Settings(sizes=(224,), batch_size=1, calibration=None)
    relabel(photos, teacher, tmp_path / "maps.h5", settings)
    maps = LabelMapFile.open(tmp_path / "maps.h5")
    divergences, same = [], []
    for key in sorted(list_images(photos)):
        image = read_image(photos / key)
        seed = np.random.SeedSequence([3, *key.encode()]).generate_state(1)[0]
        torch.manual_seed(int(seed))
        for _ in range(2):
            top, left, height, width = v2.RandomResizedCrop.get_params(
                image, [0.08, 1.0], [3 / 4, 4 / 3]
            )
            crop = VF.resized_crop(
                image, top, left, height, width, [224, 224], InterpolationMode.BICUBIC
            )
            predicted = teacher.logits(teacher.normalize(crop[None]))[0].double().log_softmax(0)
            box = CropBox.from_pixels(left, top, width, height, tuple(image.shape[1:]))
            target = torch.from_numpy(pool(maps[key], box).dense(1000)).double().log_softmax(0)
            divergences.append(float((predicted.exp() * (predicted - target)).sum()))
            same.append(bool(predicted.argmax() == target.argmax()))
    floor, found = measure_fidelity(
        photos,
        teacher,
        [Configuration("default", (224,), Settings(), calibrated=False)],
        crops=2,
        seed=3,
    )
    assert found.divergence == pytest.approx(np.mean(divergences), rel=1e-3)
    assert found.agreement == pytest.approx(np.mean(same))
    per_image = np.reshape(divergences, (4, 2)).mean(axis=1)
    assert found.error == pytest.approx(per_image.std(ddof=1) / 2, rel=1e-2)
    assert 500 < found.record_bytes < 1200
    assert 0 < floor.divergence < found.divergence


def test_maps_that_store_more_are_closer_to_the_teacher(teacher, photos):
    published = Settings("cell", grid=(15, 15), background=0)
    configurations = [
        Configuration("all", (320,), calibrated=False),
        Configuration("default", (320,), Settings(), calibrated=False),
        Configuration("no patterns", (320,), Settings(patterns=0), calibrated=False),
        Configuration("zeros", (320,), published, calibrated=False),
        Configuration("published", (480,), published, calibrated=False),
    ]
    seen, fitted = [], []
    found = measure_fidelity(
        photos,
        teacher,
        configurations,
        on_progress=lambda *step: seen.append(step),
        on_calibration=lambda *step: fitted.append(step),
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert fitted == [(done, 5) for done in range(6)]
    assert [each.configuration for each in found[1:]] == configurations
    order = [each.divergence for each in found]
    assert order == sorted(order)
    assert found[5].cost > found[1].cost > 1


def test_the_cost_counts_operations(teacher, photos):
    """From 224 to 320 pixels 49 cells become 100, and the head works on each."""
    head = 2 * 1280 * 1000
    body = count_flops(teacher, 224) - head
    configurations = [Configuration("one", (320,)), Configuration("two", (224, 320))]
    _, one, two = measure_fidelity(photos, teacher, configurations, sample=2, crops=1)
    assert one.cost == pytest.approx((body * 100 / 49 + head * 100) / (body + head))
    assert two.cost == pytest.approx(one.cost + (body + head * 49) / (body + head))


def test_mixing_two_sizes_is_better_than_either(teacher, photos):
    configurations = [
        Configuration("default", sizes, Settings(), calibrated=False)
        for sizes in ((224,), (448,), (224, 448))
    ]
    _, small, large, both = measure_fidelity(photos, teacher, configurations)
    assert both.divergence < min(small.divergence, large.divergence)
    assert both.record_bytes > large.record_bytes > small.record_bytes


def test_probabilities_are_pooled_if_a_configuration_says_so(teacher, photos):
    kept = Settings(log_sum_exp=True)
    configurations = [
        Configuration("all", (224,), calibrated=False),
        Configuration("all", (224,), None, "probability", calibrated=False),
        Configuration("kept", (224,), kept, calibrated=False),
        Configuration("kept", (224,), kept, "probability", calibrated=False),
        Configuration("kept", (224, 320), kept, "probability", calibrated=False),
    ]
    _, logits, probabilities, *kept_both, both = measure_fidelity(photos, teacher, configurations)
    assert abs(logits.divergence - probabilities.divergence) > 0.01
    for all_of_it, part in zip((logits, probabilities), kept_both, strict=True):
        assert part.divergence == pytest.approx(all_of_it.divergence, rel=0.3)
    assert both.divergence != kept_both[1].divergence
    assert both.record_bytes > kept_both[1].record_bytes == kept_both[0].record_bytes


def result(name, by_image, record_bytes, cost=1.0, sizes=(224,)):
    settings = None if name == "all" else Settings()
    method = "probability" if name == "pooled probabilities" else "relabel"
    return Fidelity(
        Configuration(name, sizes, settings, method),
        divergence=float(np.mean(by_image)),
        error=0.01,
        agreement=0.8,
        top_probability=0.5,
        teacher_top_probability=0.5,
        record_bytes=record_bytes,
        cost=cost,
        by_image=tuple(by_image),
    )


def test_the_cheapest_of_the_nearly_best_is_recommended():
    results = [
        result("all", [0.1] * 9, 0),
        result("best", [0.500] * 9, 2000),
        result("cheap", [0.508] * 9, 1000),
        result("slow", [0.508] * 9, 900, cost=2),
        result("worse", [0.52] * 9, 100),
        result("large", [0.2] * 9, 3000),
        result("pooled probabilities", [0.1] * 9, 1000),
    ]
    found = recommend(results, 2400)
    assert found.chosen.configuration.name == "cheap"
    assert found.certain
    assert found.rival.configuration.name == "best"
    assert found.margin == pytest.approx(0.008)
    assert recommend(results, 999).chosen.configuration.name == "slow"
    assert recommend(results, 3000).chosen.configuration.name == "large"
    assert recommend(results, 50) is None


@pytest.mark.parametrize("images", [2, 5, 30, 300])
def test_a_recommendation_is_certain_as_often_as_it_says(images):
    """The margin is the upper end of the t interval of paired differences, by scipy."""
    random = np.random.default_rng(images)
    easy = random.gamma(1, 0.4, images)  # images differ far more than configurations do
    chosen = result("chosen", easy, 1000)
    other = easy + random.normal(0.01, 0.2, images)
    found = recommend([chosen, result("other", other, 1001)], 2400, least=1)
    interval = stats.ttest_rel(easy, other).confidence_interval(0.95)
    assert found.chosen is chosen
    tolerance = 0.15 if images == 2 else 0.01
    assert found.margin == pytest.approx(interval.high, rel=tolerance, abs=1e-3)
    assert found.tolerance == pytest.approx(0.1 * min(easy.mean(), other.mean()))
    assert found.certain == (found.margin <= found.tolerance)
    assert found.certain == (images == 300)
    assert found.images == images if found.certain else found.images > images


def test_only_what_was_asked_for_is_measured():
    """All kinds at each size, the default ones and all logits also as a pair; no other size."""
    assert default_sizes(224) == (224, 288, 320, 448)
    configurations = default_configurations((224, 448))
    assert {each.sizes for each in configurations} == {(224,), (448,), (224, 448)}
    assert Configuration("default", (224, 448), Settings()) in configurations
    published = Settings("cell", grid=(15, 15), background=0)
    assert Configuration("as published", (448,), published, calibrated=False) in configurations
    assert len(default_configurations((224,))) == 6 + 2 + 1 + 2
    assert len(configurations) == 2 * 11 + 4
    assert len(set(map(str, configurations))) == len(configurations)


def test_calibrated_targets_are_measured_on_the_other_half_of_the_images(teacher, tmp_path):
    """As two runs of ``relabel`` would: each half with what is fitted on the other one."""
    folders = [tmp_path / "0", tmp_path / "1"]
    write_photos(tmp_path / "all")
    keys = sorted(list_images(tmp_path / "all"))
    for place, key in enumerate(keys):
        copy = folders[place % 2] / key
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "all" / key, copy)
    files = []
    for folder in folders:
        output = folder.with_suffix(".h5")
        sample = CalibrationSample(crops=3)
        relabel(folder, teacher, output, Settings(sizes=(224, 320), calibration=sample))
        files.append(LabelMapFile.open(output))
    expected = []
    for place, key in enumerate(keys):
        image = read_image(tmp_path / "all" / key)
        crops = random_crops(image, key, 3, [InputSize(224, "bicubic")], seed=0)
        maps = [
            replace(each, calibration=files[1 - place % 2].calibration)
            for each in files[place % 2].maps(key)
        ]
        live = teacher.logits(teacher.normalize(crops.pixels[0])).double().log_softmax(1)
        for box, predicted in zip(crops.boxes, live, strict=True):
            target = pool_by_zoom(maps, [1, 320 / 224], box).dense(1000)
            gap = predicted - torch.from_numpy(target).double().log_softmax(0)
            expected.append(float((predicted.exp() * gap).sum()))
    configuration = Configuration("default", (224, 320), Settings())
    floor, found = measure_fidelity(tmp_path / "all", teacher, [configuration], crops=3)
    assert found.divergence == pytest.approx(np.mean(expected), rel=5e-3)
    assert found.by_image == pytest.approx(np.reshape(expected, (4, 3)).mean(axis=1), rel=0.02)
    assert found.teacher_top_probability == floor.teacher_top_probability
    assert 0 < found.top_probability < 1


def test_a_class_list_of_ones_own_is_measured_as_relabel_projects_it(teacher, photos, tmp_path):
    classes = ClassList.of(["n02124075", "n07920052", "n04008634", "n02123045"])
    plain = Configuration("default", (224,), Settings(), calibrated=False)
    shared = Settings(classes=classes)
    floor, found = measure_fidelity(photos, teacher, [plain], shared=shared, crops=2, seed=3)
    settings = Settings(sizes=(224,), classes=classes, calibration=CalibrationSample(4, 2, 3))
    relabel(photos, teacher, tmp_path / "maps.h5", settings)
    before, _ = LabelMapFile.open(tmp_path / "maps.h5").calibration.divergence
    assert found.divergence == pytest.approx(before, abs=2e-3)
    assert floor.divergence < found.divergence


@pytest.mark.parametrize("count", [1, 3, 8, 9, 10, 12, 20, 200, 204, 1000])
def test_every_kind_of_map_has_room_in_a_short_class_list(count):
    """And none is the default under another name: kinds of one size have different forms."""
    configurations = default_configurations((224,), count)
    kinds = {each.name: each.settings for each in configurations if each.settings}
    forms = {name: kind.form(count, (7, 7), 1.0) for name, kind in kinds.items()}
    plain = {name: form for name, form in forms.items() if "," not in name or "background" in name}
    if count < 5:  # then 5 per cell and as published both store all classes
        del plain["as published"]
    assert len(set(plain.values())) == len(plain)
    (wide,) = [form for name, form in plain.items() if "background" in name] or [forms["default"]]
    assert wide.top_k == min(count, 12)
    assert wide.background == min(count - wide.top_k, 192)


def test_the_command_measures_a_short_class_list(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "few.txt").write_text("n02124075\nn07920052\nn04008634\n")
    shared = ["--sizes", "96", "--crops", "1", "--sample", "2"]
    run = labelkit("fidelity", photos, "--classes", "few.txt", *shared)
    assert run.code == 0, run.text
    assert "5 per cell" in run.text


def test_several_teachers_are_averaged(teacher, photos):
    other = load_teacher("efficientnet-lite1", device="cpu")
    configuration = Configuration("default", (224,), Settings(), calibrated=False)
    _, alone = measure_fidelity(photos, teacher, [configuration], crops=1)
    floor, both = measure_fidelity(photos, [other, teacher], [configuration], crops=1)
    assert both.divergence != alone.divergence
    assert floor.teacher_top_probability != alone.teacher_top_probability
    assert both.cost > 0


def test_a_folder_without_a_readable_image_is_an_error(teacher, tmp_path):
    (tmp_path / "a.jpg").write_text("junk")
    with pytest.raises(DatasetError, match="none of the images could be read"):
        measure_fidelity(tmp_path, teacher, [Configuration("default", (224,), Settings())])
    write_photos(tmp_path)
    for key in list_images(tmp_path)[2:]:
        (tmp_path / key).write_text("junk")
    with pytest.raises(DatasetError, match="only one of the images could be read, expected at"):
        measure_fidelity(tmp_path, teacher, [Configuration("default", (224,), Settings())])


def test_the_command_says_if_it_is_too_few_to_tell(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos, "photos")
    shared = ["fidelity", "photos", "--sizes", "96,128", "--crops", "1"]
    run = labelkit(*shared, "-o", "f.html")
    assert run.code == 0, run.text
    assert "the mirrored crop" in run.text
    assert "as published" in run.text
    needed = run.text.split("Too few to tell, with 4 images x 1 crops: ")[1]
    assert "may be up to" in needed
    assert int(needed.split("--sample ")[1].split(",")[0]) > 4
    assert "Next:" not in run.text
    page = Path("f.html").read_text()
    assert page.count("<circle") > 12
    again = labelkit(*shared, "-o", "f.html")
    assert again.code == 2
    assert "f.html exists: choose another name, or pass --overwrite" in again.text
    printed = labelkit(*shared, "-o", "f.html", "--overwrite", "--json")
    assert printed.code == 0, printed.text
    facts = json.loads(printed.out)
    assert facts["results"][0]["configuration"]["name"] == "the mirrored crop"
    assert len(facts["results"]) == 1 + 2 * 11 + 4
    assert facts["recommended"] is facts["command"] is None
    assert facts["images"] == 4 < facts["images_needed"]
    assert labelkit(*shared, "--quiet").out == ""


def test_relabel_makes_exactly_what_is_recommended(photos, tmp_path, monkeypatch):
    """A budget that only one kind of map fits, so that four photos are enough."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos, "photos")
    (tmp_path / "my list.txt").write_text("\n".join(IMAGENET.ids[:500]))
    shared = ["fidelity", "photos", "--sizes", "96,128", "--crops", "1", "--classes", "my list.txt"]
    shared += ["--teacher", "efficientnet-lite0", "--teacher", "efficientnet-lite1", "--json"]
    smallest = min(
        each["record_bytes"]
        for each in json.loads(labelkit(*shared).out)["results"]
        if each["configuration"]["settings"]
    )
    facts = json.loads(labelkit(*shared, "--budget", int(smallest) + 1).out)
    assert facts["recommended"]["configuration"]["name"] == "no patterns"
    assert facts["recommended"] in facts["results"]
    command = shlex.split(facts["command"])
    assert command[0] == "labelkit"
    assert labelkit(*command[1:], "--batch-size", 1, "--workers", 0).code == 0
    with LabelMapFile.open("maps.h5") as file:
        assert file.attrs["input_sizes"] == facts["recommended"]["configuration"]["sizes"]
        assert file.record_bytes / 4 == pytest.approx(smallest, rel=0.01)
        assert file.calibration
        assert len(file.classes) == 500
        assert len(file.attrs["teachers"]) == 2


def test_options_of_relabel_name_all_that_differs_from_its_defaults():
    settings = Settings("cell", 3, (7, 7), background=0, scores="float16", log_sum_exp=True)
    configuration = Configuration("all of it", (224, 448), settings, calibrated=False)
    assert shlex.join(relabel_options(configuration)) == (
        "--size 224,448 --selection cell --grid 7 --topk 3 --background 0 --scores float16 "
        "--log-sum-exp --no-calibration"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none"], 2, "does not exist"),
        (["."], 1, "holds no images"),
        ([".", "-o", "f.txt"], 2, "f.txt must end in .html"),
        ([".", "-o", "no/f.html"], 2, "no such folder: no"),
        ([".", "--sizes", "big"], 2, "expected numbers separated by commas"),
        ([".", "--sizes", "0"], 2, "expected numbers above 0"),
    ],
    ids=str,
)
def test_wrong_input_is_one_clear_line(tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    run = labelkit("fidelity", *arguments)
    assert run.code == code
    assert message in run.text
    assert "Traceback" not in run.text
