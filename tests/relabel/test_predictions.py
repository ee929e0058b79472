"""Averages over views and projections of logits, against plain means and sums."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as VF

from labelkit.data import read_image
from labelkit.errors import ClassListMismatch, LabelMapError, TeacherError
from labelkit.hierarchy import ClassList, Taxonomy, project
from labelkit.label_maps import LabelMapFile
from labelkit.relabel import Settings, relabel, verify
from labelkit.relabel.batches import ResizedImages
from labelkit.relabel.predictions import Predictions, common_classes
from labelkit.sources import as_source
from labelkit.teachers import LogitsProjection, load_teacher
from tests.command import labelkit
from tests.photos import write_photos
from tests.teachers.support import random_teacher


@pytest.fixture(scope="module")
def lite():
    return load_teacher("efficientnet-lite0", device="cpu")


@pytest.fixture(scope="module")
def other(lite):
    """Another teacher of the same classes: random weights, another default size, bilinear."""
    made = random_teacher("resnet18")
    card = msgspec.structs.replace(
        made.card, size=96, native_size=64, interpolation="bilinear", name="other"
    )
    return type(made)(made.model, lite.classes, card, made.weights_digest)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    return folder, write_photos(folder)


def pixels_of(predictions, photos):
    folder, keys = photos
    images = ResizedImages(as_source(folder), keys, predictions.input_sizes)
    return images.collate([images[n] for n in range(len(keys))]).pixels


def plain_logits(teacher, photos, size, *, flip=False):
    """All logits of all photos, one by one, on 3x3 cells."""
    folder, keys = photos
    maps = []
    for key in keys:
        mode = InterpolationMode(teacher.card.interpolation)
        pixels = VF.resize(read_image(folder / key), [size, size], mode, antialias=True)[None]
        logits = teacher.logits_map(teacher.normalize(pixels.flip(3) if flip else pixels))
        maps.append(logits.flip(3) if flip else logits)
    return torch.nn.functional.interpolate(torch.cat(maps), (3, 3), mode="bilinear")


def test_the_mean_of_logits_over_sizes_and_the_mirrored_image(lite, photos):
    predictions = Predictions([lite], lite.classes, [(96, 128)], flip=True)
    expected = sum(
        plain_logits(lite, photos, size, flip=flip) for size in (96, 128) for flip in (False, True)
    )
    found = predictions(pixels_of(predictions, photos), 0, (3, 3))
    torch.testing.assert_close(found, expected / 4, rtol=1e-4, atol=1e-4)
    assert predictions.zooms == [round((96 * 128) ** 0.5 / 224, 6)]


@pytest.mark.parametrize("flip", [False, True])
def test_the_mean_of_probabilities_over_teachers_each_at_its_default_size(
    lite, other, photos, flip
):
    predictions = Predictions([other, lite], lite.classes, [], flip=flip, average="probability")
    views = [(other, 96), (lite, 320)]
    expected = torch.stack(
        [
            plain_logits(teacher, photos, size, flip=mirrored).softmax(dim=1)
            for teacher, size in views
            for mirrored in {False, flip}
        ]
    ).mean(dim=0)
    found = predictions(pixels_of(predictions, photos), 0, (3, 3))
    torch.testing.assert_close(found.exp(), expected, rtol=1e-3, atol=1e-6)


def test_the_order_of_teachers_changes_no_byte_and_verify_recomputes_the_maps(
    lite, other, photos, tmp_path
):
    folder, _ = photos
    settings = Settings(sizes=(96, (64, 128)), flip=True, average="probability", batch_size=2)
    for name, teachers in (("a.h5", [lite, other]), ("b.h5", [other, lite])):
        relabel(folder, teachers, tmp_path / name, settings)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with LabelMapFile.open(tmp_path / "a.h5") as file:
        assert [each["name"] for each in file.attrs["teachers"]] == ["efficientnet-lite0", "other"]
        assert file.attrs["input_sizes"] == [96, [64, 128]]
        assert (file.attrs["flip"], file.attrs["average"]) == (True, "probability")
        assert verify(file, folder, [lite, other], 4).ok
        with pytest.raises(TeacherError, match="was made by 'other'"):
            verify(file, folder, [lite], 1)


@pytest.mark.parametrize("selection", ["cell", "image"])
def test_averaged_probabilities_without_a_background_are_shifted(lite, photos, tmp_path, selection):
    """Absent classes count as logit 0, and must not be more probable than the stored ones."""
    folder, _ = photos
    settings = Settings(
        selection,
        sizes=((96, 128),),
        grid=(3, 3),
        average="probability",
        background=0,
        patterns=0,
        scores="float32",
        log_sum_exp=True,
    )
    relabel(folder, lite, tmp_path / "f.h5", settings)
    predictions = Predictions([lite], lite.classes, [(96, 128)], average="probability")
    with LabelMapFile.open(tmp_path / "f.h5") as file:
        for key in file:
            logits = predictions(pixels_of(predictions, (folder, [key])), 0, (3, 3))[0].double()
            label_map = file[key]
            kept = torch.from_numpy(label_map.index.astype(np.int64))
            stored = logits.gather(0, kept)
            shift = (logits.sum(0) - stored.sum(0)) / (1000 - len(kept))
            assert (shift < -7).all()
            assert np.abs(label_map.score - (stored - shift).numpy()).max() < 2e-3
            assert (
                np.abs(label_map.log_sum_exp - (logits.logsumexp(0) - shift).numpy()).max() < 2e-3
            )
        assert verify(file, folder, [lite], 4).ok


def test_verify_knows_the_size_at_which_each_teacher_predicted(lite, other, photos, tmp_path):
    """Each teacher at its default size gives another file than both at both sizes."""
    folder, _ = photos
    relabel(folder, [lite, other], tmp_path / "default.h5", Settings())
    with LabelMapFile.open(tmp_path / "default.h5") as file:
        assert file.attrs["input_sizes"] == [[[320], [96]]]
        assert verify(file, folder, [lite, other], 4).ok
    with pytest.raises(LabelMapError, match="made with other settings"):
        relabel(folder, [lite, other], tmp_path / "default.h5", Settings(sizes=((96, 320),)))


def test_different_class_lists_and_duplicates_are_refused(lite, other):
    few = type(other)(
        other.model, ClassList.of(map(str, range(1000))), other.card, other.weights_digest
    )
    with pytest.raises(ClassListMismatch, match=r"different class lists.*--classes"):
        common_classes([lite, few])
    with pytest.raises(TeacherError, match="duplicate teacher"):
        Predictions([lite, lite], lite.classes, [])
    with pytest.raises(TeacherError, match=r"\(96, 96\): expected one or more, all different"):
        Predictions([lite], lite.classes, [(96, 96)])


def test_the_command_averages_sizes_and_verify_agrees(photos, tmp_path):
    folder, _ = photos
    made = tmp_path / "maps.h5"
    run = labelkit("relabel", folder, "-o", made, "--size", "128+96,64", "--flip")
    assert run.code == 0, run.text
    with LabelMapFile.open(made) as file:
        assert file.attrs["input_sizes"] == [64, [96, 128]]
        assert [form.zoom for form in file.forms] == sorted(form.zoom for form in file.forms)
    run = labelkit("verify", made, "--images", folder, "--sample", 4)
    assert run.code == 0, run.text
    assert "Recomputed with efficientnet-lite0, equal to the stored maps: 4" in run.text


def test_two_maps_of_one_zoom_are_refused(lite):
    with pytest.raises(TeacherError, match="the same zoom"):
        Predictions([lite], lite.classes, [(225, 400), (300,)])


TAXONOMY = Taxonomy.from_parents({"pug": "dog", "lab": "dog", "manx": "cat", "car": None})
TEACHER = ClassList.of(["car", "pug", "manx", "dog", "lab"])


@pytest.mark.parametrize("shift", [0.0, -300.0, 300.0])
def test_probabilities_are_summed_without_overflow(shift: float) -> None:
    projection = project(TEACHER, ClassList.of(["cat", "dog"]), TAXONOMY)
    logits = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    projected = LogitsProjection(projection, torch.device("cpu"), "sum")(logits + shift) - shift
    expected = torch.stack([logits[:, 2], logits[:, [1, 3, 4]].logsumexp(dim=1)], dim=1)
    torch.testing.assert_close(projected, expected, atol=1e-4, rtol=0)
    # a class far below the others keeps its score
    logits[:, 2] = -200
    projected = LogitsProjection(projection, torch.device("cpu"), "sum")(logits)
    assert (projected[:, 0] == -200).all()


def test_a_projection_of_one_class_each_copies_logits() -> None:
    projection = project(TEACHER, ClassList.of(["lab", "car"]), TAXONOMY)
    logits = torch.randn(2, 5, 1, 1)
    projected = LogitsProjection(projection, torch.device("cpu"), "sum")(logits)
    assert torch.equal(projected, logits[:, [4, 0]])
