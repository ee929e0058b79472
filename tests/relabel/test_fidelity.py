"""Crop fidelity on real photos by a real teacher."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as VF

from labelkit.data import list_images, read_image
from labelkit.errors import DatasetError
from labelkit.geometry import CropBox
from labelkit.label_maps import LabelMapFile, pool
from labelkit.relabel import (
    Configuration,
    Fidelity,
    Settings,
    default_configurations,
    default_sizes,
    measure_fidelity,
    recommend,
    relabel,
)
from labelkit.teachers import count_flops, load_teacher
from tests.command import labelkit
from tests.photos import write_photos


@pytest.fixture(scope="module")
def teacher():
    return load_teacher("efficientnet-lite0", device="cpu")


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
        photos, teacher, [Configuration("default", (224,), Settings())], crops=2, seed=3
    )
    assert found.divergence == pytest.approx(np.mean(divergences), rel=1e-3)
    assert found.agreement == pytest.approx(np.mean(same))
    per_image = np.reshape(divergences, (4, 2)).mean(axis=1)
    assert found.error == pytest.approx(per_image.std(ddof=1) / 2, rel=1e-2)
    assert 500 < found.record_bytes < 1200
    assert 0 < floor.divergence < found.divergence


def test_maps_that_store_more_are_closer_to_the_teacher(teacher, photos):
    configurations = [
        Configuration("all", (320,)),
        Configuration("default", (320,), Settings()),
        Configuration("no patterns", (320,), Settings(patterns=0)),
        Configuration("zeros", (320,), Settings("cell", grid=(15, 15), background=0)),
        Configuration("published", (480,), Settings("cell", grid=(15, 15), background=0)),
    ]
    seen = []
    found = measure_fidelity(
        photos,
        teacher,
        configurations,
        on_progress=lambda *step: seen.append(step),
        temperatures=(0.5, 1),
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [each.temperature for each in found] == [1, *(0.5, 1) * 5]
    cold, warm = found[1::2], found[2::2]
    assert all(one.divergence != two.divergence for one, two in zip(cold, warm, strict=True))
    order = [each.divergence for each in (found[0], *warm)]
    assert order == sorted(order)
    assert warm[4].cost > warm[0].cost > 1


def test_the_cost_counts_operations(teacher, photos):
    """From 224 to 320 pixels 49 cells become 100, and the head works on each."""
    head = 2 * 1280 * 1000
    body = count_flops(teacher, 224) - head
    configurations = [Configuration("one", (320,)), Configuration("two", (224, 320))]
    _, one, two = measure_fidelity(photos, teacher, configurations, sample=1, crops=1)
    assert one.cost == pytest.approx((body * 100 / 49 + head * 100) / (body + head))
    assert two.cost == pytest.approx(one.cost + (body + head * 49) / (body + head))


def test_mixing_two_sizes_is_better_than_either(teacher, photos):
    configurations = [
        Configuration("default", sizes, Settings()) for sizes in ((224,), (448,), (224, 448))
    ]
    _, small, large, both = measure_fidelity(photos, teacher, configurations)
    assert both.divergence < min(small.divergence, large.divergence)
    assert both.record_bytes > large.record_bytes > small.record_bytes


def test_probabilities_are_pooled_if_a_configuration_says_so(teacher, photos):
    kept = Settings(log_sum_exp=True)
    configurations = [
        Configuration("all", (224,)),
        Configuration("all", (224,), None, "probability"),
        Configuration("kept", (224,), kept),
        Configuration("kept", (224,), kept, "probability"),
        Configuration("kept", (224, 320), kept, "probability"),
    ]
    _, logits, probabilities, *kept_both, both = measure_fidelity(photos, teacher, configurations)
    assert abs(logits.divergence - probabilities.divergence) > 0.01
    for all_of_it, part in zip((logits, probabilities), kept_both, strict=True):
        assert part.divergence == pytest.approx(all_of_it.divergence, rel=0.3)
    assert both.divergence != kept_both[1].divergence
    assert both.record_bytes > kept_both[1].record_bytes == kept_both[0].record_bytes


def result(name, divergence, record_bytes, cost=1.0, temperature=1.0):
    settings = None if name == "all" else Settings()
    method = "probability" if name == "pooled probabilities" else "relabel"
    configuration = Configuration(name, (224,), settings, method)
    return Fidelity(configuration, temperature, divergence, 0.01, 0.8, record_bytes, cost)


def test_the_cheapest_of_the_nearly_best_is_recommended():
    results = [
        result("all", 0.1, 0),
        result("best", 0.500, 2000),
        result("cheap", 0.508, 1000),
        result("slow", 0.508, 900, cost=2),
        result("worse", 0.52, 100),
        result("large", 0.2, 3000),
        result("cold", 0.1, 1000, temperature=0.5),
        result("pooled probabilities", 0.1, 1000),
    ]
    assert recommend(results, 2400).configuration.name == "cheap"
    assert recommend(results, 999).configuration.name == "slow"
    assert recommend(results, 3000).configuration.name == "large"
    assert recommend(results, 50) is None


def test_default_sizes_reach_from_the_native_size_to_twice_that():
    assert default_sizes(224) == (224, 288, 320, 448)
    configurations = default_configurations((224, 448), 480)
    assert configurations[-1] == Configuration(
        "as published", (480,), Settings("cell", grid=(15, 15), background=0)
    )
    assert Configuration("default", (224, 448), Settings()) in configurations
    assert len(default_configurations((224,), 480)) == 1 + 6 + 2 + 1


def test_a_folder_without_a_readable_image_is_an_error(teacher, tmp_path):
    (tmp_path / "a.jpg").write_text("junk")
    with pytest.raises(DatasetError, match="none of the images could be read"):
        measure_fidelity(tmp_path, teacher, [Configuration("default", (224,), Settings())])


def test_the_command_recommends_what_relabel_takes(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos, "photos")
    shared = ["fidelity", "photos", "--sizes", "96,128", "--crops", "1", "--temperatures", "1"]
    run = labelkit(*shared, "-o", "f.html")
    assert run.code == 0, run.text
    assert "the mirrored crop" in run.text
    assert "as published" in run.text
    command = run.text.split("Next: labelkit ")[1].split(" All figures")[0].split()
    assert labelkit(*command).code == 0
    page = Path("f.html").read_text()
    assert page.count("<circle") > 12
    again = labelkit(*shared, "-o", "f.html")
    assert again.code == 2
    assert "f.html exists: choose another name, or pass --overwrite" in again.text
    printed = labelkit(*shared, "-o", "f.html", "--overwrite", "--json")
    assert printed.code == 0, printed.text
    facts = json.loads(printed.out)
    assert facts["results"][0]["configuration"]["name"] == "the mirrored crop"
    assert len(facts["results"]) == 1 + 2 + 12 + 4 + 2 + 1
    assert facts["command"].split() == ["labelkit", *command]
    assert facts["recommended"] in facts["results"]
    assert labelkit(*shared, "--quiet").out == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none"], 2, "does not exist"),
        (["."], 1, "holds no images"),
        ([".", "-o", "f.txt"], 2, "f.txt must end in .html"),
        ([".", "-o", "no/f.html"], 2, "no such folder: no"),
        ([".", "--sizes", "big"], 2, "expected numbers separated by commas"),
        ([".", "--temperatures", "0"], 2, "expected numbers above 0"),
    ],
    ids=str,
)
def test_wrong_input_is_one_clear_line(tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    run = labelkit("fidelity", *arguments)
    assert run.code == code
    assert message in run.text
    assert "Traceback" not in run.text
