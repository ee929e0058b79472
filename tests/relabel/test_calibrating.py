"""The calibration that ``relabel`` fits on random crops."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from labelkit.data import list_images, read_image
from labelkit.errors import LabelMapError
from labelkit.hierarchy import ClassList
from labelkit.label_maps import LabelMapFile, MapForm, pool, pool_by_zoom
from labelkit.relabel import CalibrationSample, RelabelResult, Settings, relabel
from labelkit.relabel.batches import InputSize
from labelkit.relabel.calibrating import CropLogits, calibrate, fit
from labelkit.relabel.maps import MapMaker
from labelkit.relabel.random_crops import random_crops
from labelkit.sources import as_source
from labelkit.teachers import load_teacher
from tests.command import labelkit
from tests.oracles.calibration import calibrated_logits

SMALL = Settings(sizes=(96,), workers=0, calibration=CalibrationSample(crops=2))


def form(zoom: float) -> MapForm:
    return MapForm(top_k=5, grid=(2, 2), zoom=zoom)


def crops_of_a_known_teacher(scale, compression, mixing, *, images=240, crops=4, classes=12):
    """Random logits, and a teacher that predicts what this calibration makes of them."""
    random = np.random.default_rng(0)
    zooms = random.uniform(0.3, 1, (images, crops))
    spreads = random.uniform(0.3, 5, (len(mixing), images, crops, 1))
    pooled = random.standard_t(4, (len(mixing), images, crops, classes)) * spreads
    shares = np.exp([c + d * np.log(zooms) for c, d in mixing])
    mixed = (pooled * (shares / shares.sum(axis=0))[..., None]).sum(axis=0)
    deviation = mixed - mixed.mean(axis=-1, keepdims=True)
    spread = (deviation**4).mean(axis=-1) ** 0.25
    factor = np.exp(scale[0]) * zooms ** scale[1] / spread**compression
    predicted = log_softmax(mixed * factor[..., None], axis=-1)
    return CropLogits(
        torch.from_numpy(pooled),
        torch.from_numpy(log_softmax(mixed, axis=-1)),
        torch.from_numpy(np.log(zooms)),
        torch.from_numpy(predicted),
    )


def test_the_fit_recovers_the_numbers_of_a_known_teacher():
    """Two maps, and logits of heavy tails and unequal spread."""
    known = crops_of_a_known_teacher((0.7, 0.6), 0.6, [(0, 0), (0.4, -2.0)], images=1000)
    found = fit(known, [form(1), form(2)], seed=5)
    assert found.scale == pytest.approx((0.7, 0.6), abs=0.03)
    assert found.compression == pytest.approx(0.6, abs=0.02)
    assert found.mixing[0] == (0, 0)
    assert found.mixing[1] == pytest.approx((0.4, -2.0), abs=0.15)
    assert (found.classes, found.images, found.crops, found.seed) == (12, 1000, 4, 5)
    before, after = found.divergence
    gap = (known.predicted.exp() * (known.predicted - known.plain)).sum(dim=-1)
    assert before == pytest.approx(float(gap.mean()), abs=1e-3)
    assert before > 0.1
    assert after < 0.005
    found.check(2, 12)


def test_what_was_fitted_is_measured_on_images_that_it_was_not_fitted_on():
    """Halves of two kinds: a fit to one is wrong for the other, and the figure says so."""
    sharp = crops_of_a_known_teacher((1.5, 0), 0.5, [(0, 0)])
    flat = crops_of_a_known_teacher((-1.5, 0), 0.5, [(0, 0)])
    mixed = CropLogits(
        sharp.pooled,
        sharp.plain,
        sharp.log_zooms,
        torch.stack([sharp.predicted[0::2], flat.predicted[1::2]], dim=1).flatten(0, 1),
    )
    assert fit(mixed, [form(1)]).divergence[1] > 5 * fit(sharp, [form(1)]).divergence[1] + 1


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_identical_logits_give_usable_numbers(value):
    """A teacher that sees nothing: no number may become infinite or NaN."""
    pooled = torch.full((1, 3, 2, 10), value, dtype=torch.float64)
    predicted = pooled[0].log_softmax(dim=-1)
    logits = CropLogits(pooled, predicted, torch.full((3, 2), -0.5), predicted)
    found = fit(logits, [form(1)])
    found.check(1, 10)
    assert found.divergence[1] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("size", [1e-12, 1e9, 1e30])
def test_logits_of_any_size_give_numbers_that_a_file_can_hold(size):
    """The maps are made by then: a calibration that a reader refuses would lose them."""
    known = crops_of_a_known_teacher((0.7, 0.6), 0.6, [(0, 0), (0.4, -2.0)], images=6)
    pooled = known.pooled * size
    plain = (pooled.mean(dim=0) - pooled.mean(dim=0).logsumexp(-1, keepdim=True)).clamp(min=-1e38)
    found = fit(replace(known, pooled=pooled, plain=plain), [form(1), form(2)])
    found.check(2, 12)


def test_one_crop_gives_numbers_near_the_usual_ones_and_no_divergence():
    known = crops_of_a_known_teacher((0.7, 0.6), 0.6, [(0, 0)], images=1, crops=1)
    found = fit(known, [form(1)])
    assert found.divergence is None
    assert found.compression == pytest.approx(0.8, abs=0.15)
    assert found.scale[1] == pytest.approx(0.3, abs=0.3)


def test_targets_of_the_fitted_file_follow_the_formula_and_the_teacher(teacher, photos, tmp_path):
    """On the crops that it was fitted on: by the formula to 1e-6, and closer than without."""
    sample = CalibrationSample(crops=4, seed=2)
    settings = replace(SMALL, sizes=(96, 224), calibration=sample)
    relabel(photos, teacher, tmp_path / "maps.h5", settings)
    file = LabelMapFile.open(tmp_path / "maps.h5")
    assert (file.calibration.images, file.calibration.crops, file.calibration.seed) == (4, 4, 2)
    zooms = [each.zoom for each in file.forms]
    divergences = []
    for key in file:
        native = InputSize(224, "bicubic")
        crops = random_crops(read_image(photos / key), key, 4, [native], seed=2)
        live = teacher.logits(teacher.normalize(crops.pixels[0])).double().log_softmax(1).numpy()
        for box, predicted in zip(crops.boxes, live, strict=True):
            maps = file.maps(key)
            pooled = [pool(each, box, calibrated=False).dense(1000) for each in maps]
            expected = log_softmax(calibrated_logits(pooled, box, file.calibration))
            target, plain = (
                log_softmax(pool_by_zoom(maps, zooms, box, calibrated=each).dense(1000))
                for each in (True, False)
            )
            assert np.exp(target) == pytest.approx(np.exp(expected), abs=1e-6)
            divergences.append(
                [(np.exp(predicted) * (predicted - each)).sum() for each in (target, plain)]
            )
    calibrated, plain = np.mean(divergences, axis=0)
    assert calibrated < 0.7 * plain
    assert plain == pytest.approx(file.calibration.divergence[0], abs=0.01)


def test_the_file_depends_neither_on_the_hash_seed_nor_on_the_order_of_files(photos, tmp_path):
    shutil.copytree(photos / "things", tmp_path / "again" / "things")  # the later folder first
    shutil.copytree(photos / "animals", tmp_path / "again" / "animals")
    command = [sys.executable, "-m", "labelkit", "relabel", "--size", "64", "--workers", "0"]
    written = []
    for hash_seed in ("1", "2"):
        output = tmp_path / f"{hash_seed}.h5"
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        subprocess.run(
            [*command, "photos", "-o", output], cwd=tmp_path, env=environment, check=True
        )
        written.append(output.read_bytes())
        if hash_seed == "1":
            shutil.rmtree(photos)
            (tmp_path / "again").rename(photos)
    assert written[0] == written[1]


def test_an_interruption_between_the_last_shard_and_the_end_changes_no_byte(
    teacher, photos, tmp_path
):
    """While it calibrates: the next run makes no map again."""

    def interrupt(done: int, total: int) -> None:
        assert total == 4
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        relabel(photos, teacher, tmp_path / "a.h5", SMALL, on_calibration=interrupt)
    assert not (tmp_path / "a.h5").exists()
    assert relabel(photos, teacher, tmp_path / "a.h5", SMALL).processed == 0
    relabel(photos, teacher, tmp_path / "b.h5", SMALL)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_unreadable_images_of_the_sample_are_skipped(teacher, photos, tmp_path):
    for name in ("animals/cat.jpg", "things/coffee.png"):
        (photos / name).write_bytes(b"junk")
    relabel(photos, teacher, tmp_path / "maps.h5", SMALL)
    assert LabelMapFile.open(tmp_path / "maps.h5").calibration.images == 2
    assert relabel(photos, teacher, tmp_path / "maps.h5", SMALL).existed
    one = replace(SMALL, calibration=CalibrationSample(images=1))
    relabel(photos, teacher, tmp_path / "one.h5", one)
    assert LabelMapFile.open(tmp_path / "one.h5").calibration is None
    assert relabel(photos, teacher, tmp_path / "one.h5", one).existed


def test_crops_whose_prediction_is_not_finite_are_skipped(photos):
    """A teacher that fails on one crop only, as in half precision, loses that image's crops."""
    teacher = load_teacher("efficientnet-lite0", device="cpu")
    maker = MapMaker([teacher], SMALL)
    calls = []

    def damage(_module, _inputs, logits):
        calls.append(logits)
        return logits * torch.nan if len(calls) == 2 else logits

    teacher.model.classifier.register_forward_hook(damage)
    found = calibrate(as_source(photos), list_images(photos), maker, SMALL.calibration)
    assert found.images == 3
    found.check(1, 1000)


def test_an_image_that_is_gone_since_its_maps_were_made_is_skipped(teacher, photos):
    maker = MapMaker([teacher], SMALL)
    keys = list_images(photos)
    (photos / keys[1]).unlink()
    assert calibrate(as_source(photos), keys, maker, SMALL.calibration).images == 3


@pytest.mark.parametrize("wrong", [{"images": 0}, {"crops": 0}, {"seed": -1}, {"seed": 2**53}])
def test_an_impossible_sample_is_refused_at_once(wrong):
    with pytest.raises(ValueError, match="expected at least one image and crop, and a seed"):
        CalibrationSample(**wrong)


def test_maps_of_one_class_are_not_calibrated(teacher, photos, tmp_path):
    """Without *other*, which would be a second output."""
    one = replace(SMALL, classes=ClassList.of(["n02124075"]), other=False)
    relabel(photos, teacher, tmp_path / "maps.h5", one)
    assert LabelMapFile.open(tmp_path / "maps.h5").calibration is None
    assert relabel(photos, teacher, tmp_path / "maps.h5", one).existed


def test_a_file_with_another_calibration_is_not_the_file_asked_for(teacher, photos, tmp_path):
    """Its maps can be kept; more images than asked are as good."""
    output = tmp_path / "maps.h5"

    def asks_for(sample: CalibrationSample | None, **options) -> RelabelResult:
        return relabel(photos, teacher, output, replace(SMALL, calibration=sample), **options)

    asks_for(CalibrationSample(images=3))
    assert asks_for(CalibrationSample(images=2)).existed
    with pytest.raises(
        LabelMapError, match=r"fitted on 3 images x 4 crops.* on 4 x 4, seed 0, now"
    ):
        asks_for(CalibrationSample())
    with pytest.raises(LabelMapError, match="seed 0, there; on 3 x 4, seed 1, now"):
        asks_for(CalibrationSample(images=3, seed=1))
    with pytest.raises(LabelMapError, match=r"\(fitted there, none now\).* to keep its maps"):
        asks_for(None)
    with LabelMapFile.open(output) as old:
        outcome = asks_for(None, reuse=old, overwrite=True)
    assert (outcome.reused, outcome.processed) == (4, 0)
    assert LabelMapFile.open(output).calibration is None
    assert asks_for(None).existed
    with pytest.raises(LabelMapError, match=r"\(none there, fitted now\)"):
        asks_for(CalibrationSample())


def test_the_command_reports_the_calibration(photos, tmp_path):
    output = tmp_path / "maps.h5"
    command = ("relabel", photos, "-o", output, "--size", 96, "--workers", 0)
    run = labelkit(*command, "--calibration-sample", 3)
    calibration = LabelMapFile.open(output).calibration
    before, after = calibration.divergence
    line = f"Calibrated on 3 images x 4 crops: KL {before:.3f} -> {after:.3f} from the teacher's"
    assert f"{line} prediction (held out)." in run.text
    assert "Calibrate" in run.text
    again = labelkit(*command, "--calibration-sample", 3)
    assert line in again.text
    assert "already complete" in again.text
    facts = json.loads(labelkit(*command, "--calibration-sample", 3, "--json").out)
    assert facts["calibration"]["scale"] == list(calibration.scale)
    assert facts["calibration"]["divergence"] == [before, after]
    without = (*command, "--no-calibration", "--reuse", output, "--overwrite")
    assert "Not calibrated: --no-calibration." in labelkit(*without).text
    assert json.loads(labelkit(*without, "--json").out)["calibration"] is None
    single = labelkit(*command, "--calibration-sample", 1, "--overwrite")
    assert "Warning: calibrated on 1 image x 4 crops: too few to measure the gain" in single.text
    both = labelkit(*command, "--no-calibration", "--calibration-sample", 3)
    assert both.code == 2
    assert "use just one of --no-calibration and --calibration-sample" in both.text
