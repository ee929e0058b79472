"""``relabel`` on real photos with a real teacher."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as VF

from labelkit.data import read_image
from labelkit.errors import (
    ClassListMismatch,
    DatasetError,
    LabelMapError,
    TeacherError,
)
from labelkit.geometry import CropBox
from labelkit.hierarchy import ClassList, Taxonomy, project
from labelkit.label_maps import LabelMap, LabelMapFile, MapForm, pool
from labelkit.label_maps.file.reader import stored_rows
from labelkit.relabel import Settings, relabel
from labelkit.teachers import load_teacher
from tests.command import labelkit
from tests.photos import CHECKOUT, SHARED, needs_shared, write_photos
from tests.relabel import killable


def dense_logits(teacher, path, size, grid):
    """All logits of one image, by hand: resize, predict, resize the grid."""
    square = VF.resize(read_image(path), [size, size], InterpolationMode.BICUBIC, antialias=True)
    with torch.inference_mode():
        logits = teacher.logits_map(teacher.normalize(square[None]))
    return torch.nn.functional.interpolate(logits, grid, mode="bilinear")[0]


def test_maps_per_cell_store_the_teachers_strongest_logits(teacher, photos, tmp_path):
    settings = Settings("cell", grid=(15, 15), batch_size=3)
    outcome = relabel(photos, teacher, tmp_path / "maps.h5", settings)
    assert (outcome.images, outcome.processed, outcome.unreadable) == (4, 4, {})
    file = LabelMapFile.open(tmp_path / "maps.h5")
    assert file.classes == teacher.classes
    assert file.forms == (MapForm(top_k=5, grid=(15, 15), background=64, zoom=round(320 / 224, 6)),)
    assert file.made_with["head"] == "exact"
    for key in file:
        logits = dense_logits(teacher, photos / key, 320, (15, 15))
        score, index = logits.sort(dim=0, descending=True)
        label_map = file[key]
        assert (label_map.index == index[:5].numpy()).mean() > 0.995
        step = (label_map.score.max() - label_map.score.min()) / 255
        assert np.abs(label_map.score - score[:5].numpy()).max() < step * 0.51 + 1e-3


def test_maps_of_several_sizes_follow_the_dense_ones(teacher, photos, tmp_path):
    """In the default form: each on the teacher's native grid, up to one constant per cell."""
    relabel(photos, teacher, tmp_path / "maps.h5", Settings(sizes=(224, 448)))
    file = LabelMapFile.open(tmp_path / "maps.h5")
    assert [(form.grid, form.zoom) for form in file.forms] == [((7, 7), 1), ((14, 14), 2)]
    for key in file:
        for label_map, size in zip(file.maps(key), (224, 448), strict=True):
            dense = dense_logits(teacher, photos / key, size, label_map.grid).numpy()
            ours = label_map.dense(1000)
            shift = (dense - ours)[label_map.classes]
            step = np.ptp(label_map.score) / 255
            assert np.ptp(shift, axis=0).max() < step * 1.02 + 1e-3
            everything = np.broadcast_to(np.arange(1000)[:, None, None], dense.shape)
            for box in (CropBox(0, 0, 1, 1), CropBox(0.1, 0.3, 0.6, 0.9)):
                stored = pool(label_map, box, calibrated=False).probabilities(1000)
                expected = pool(LabelMap(everything, dense), box).probabilities(1000)
                assert (expected * np.log(expected / stored)).sum() < 0.15


def test_workers_and_interruptions_change_no_byte(teacher, photos, tmp_path):
    settings = {"batch_size": 2, "sizes": (96,), "shard_rows": 2}
    relabel(photos, teacher, tmp_path / "a.h5", Settings(workers=0, **settings))
    seen = []

    def stop_in_the_second_shard(done: int, total: int) -> None:
        seen.append((done, total))
        if done > 2:
            raise KeyboardInterrupt

    output = tmp_path / "b.h5"
    with pytest.raises(KeyboardInterrupt):
        relabel(photos, teacher, output, Settings(**settings), on_progress=stop_in_the_second_shard)
    assert seen == [(2, 4), (4, 4)]
    outcome = relabel(photos, teacher, output, Settings(workers=2, **settings))
    assert outcome.processed == 0  # what was computed is written, although the run was interrupted
    assert output.read_bytes() == (tmp_path / "a.h5").read_bytes()


def test_a_finished_file_is_never_changed(teacher, photos, tmp_path):
    output = tmp_path / "maps.h5"
    relabel(photos, teacher, output, Settings(sizes=(96,)))
    before = output.read_bytes()
    assert relabel(photos, teacher, output, Settings(sizes=(96,))).existed
    with pytest.raises(LabelMapError, match=r"\(settings.input_sizes.0: 96 there, 128 now\)"):
        relabel(photos, teacher, output, Settings(sizes=(128,)))
    (photos / "animals" / "cat.jpg").rename(photos / "animals" / "tiger.jpg")
    with pytest.raises(LabelMapError, match=r"other images \(1 more and 1 fewer now\)"):
        relabel(photos, teacher, output, Settings(sizes=(96,)))
    assert output.read_bytes() == before


def test_overwrite_replaces_another_file_once_the_new_one_is_complete(teacher, photos, tmp_path):
    output = tmp_path / "maps.h5"
    relabel(photos, teacher, output, Settings(sizes=(96,)))
    before = output.read_bytes()

    def interrupt(*_: int) -> None:
        raise KeyboardInterrupt

    other = Settings(sizes=(64,))
    with pytest.raises(KeyboardInterrupt):
        relabel(photos, teacher, output, other, on_progress=interrupt, overwrite=True)
    assert output.read_bytes() == before
    assert not relabel(photos, teacher, output, other, overwrite=True).existed
    assert LabelMapFile.open(output).attrs["input_sizes"] == [64]
    assert relabel(photos, teacher, output, other, overwrite=True).existed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maps.h5", "photos"]


def test_a_file_grows_in_place_if_it_is_reused_and_overwritten(photos, tmp_path):
    output, away = tmp_path / "maps.h5", tmp_path / "grey.jpg"
    (photos / "animals" / "grey.jpg").rename(away)
    command = ("relabel", photos, "-o", output, "--size", 64, "--workers", 0)
    assert labelkit(*command).code == 0
    away.rename(photos / "animals" / "grey.jpg")
    refused = labelkit(*command)
    assert refused.code == 1
    assert "(1 more and 0 fewer now): choose another name with -o and pass --reuse" in refused.text
    run = labelkit(*command, "--reuse", output, "--overwrite")
    assert run.code == 0, run.text
    assert f"Copied from {output}: 3. Made now: 1." in run.text
    assert len(LabelMapFile.open(output)) == 4


def test_unreadable_images_are_recorded_and_never_replaced(teacher, photos, tmp_path):
    (photos / "animals" / "empty.jpg").touch()
    (photos / "things" / "torn.jpg").write_bytes((photos / "animals/cat.jpg").read_bytes()[:999])
    outcome = relabel(photos, teacher, tmp_path / "maps.h5", Settings(sizes=(96,), batch_size=1))
    assert outcome.images == 4
    assert set(outcome.unreadable) == {"animals/empty.jpg", "things/torn.jpg"}
    assert all(outcome.unreadable.values())
    assert LabelMapFile.open(tmp_path / "maps.h5").unreadable == outcome.unreadable


@pytest.mark.parametrize("workers", [0, 1])
def test_a_vanished_disk_is_not_recorded_as_unreadable_images(teacher, photos, tmp_path, workers):
    """Once it is back, the same command writes the file of an uninterrupted run."""
    away = photos.with_name("away")

    def unmount(done: int, _: int) -> None:
        if done == 1:
            photos.rename(away)

    settings = Settings(sizes=(96,), batch_size=1, shard_rows=1, workers=workers)
    output = tmp_path / "maps.h5"
    with pytest.raises(DatasetError, match="permission failed, not the image"):
        relabel(photos, teacher, output, settings, on_progress=unmount)
    away.rename(photos)
    outcome = relabel(photos, teacher, output, settings)
    assert (outcome.images, outcome.unreadable) == (4, {})


@pytest.mark.parametrize("when", ["without worker", "without worker in head"])
def test_a_worker_that_is_killed_is_one_clear_error(photos, tmp_path, when):
    """The kernel does so when memory runs out. In a subprocess, because of the signal handlers.

    Torch raises its error wherever the main process is, such as in the teacher's head.
    """
    arguments = [photos, tmp_path / "maps.h5", when]
    run = subprocess.run(
        [sys.executable, "-m", "tests.relabel.killable", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "LabelkitError: relabel stopped: a data-loading worker was killed" in run.stderr
    assert "memory ran out" in run.stderr
    assert "with --workers 0 or a smaller --batch-size" in run.stderr
    assert "head" not in run.stderr.splitlines()[-1]
    assert "Finished shards are kept" in run.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_an_image_that_does_not_fit_into_memory_is_recorded_and_the_run_goes_on(photos, tmp_path):
    Image.new("RGB", (13_000, 13_000)).save(photos / "huge.png")
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.relabel.killable",
            photos,
            tmp_path / "m.h5",
            "little memory",
        ],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    file = LabelMapFile.open(tmp_path / "m.h5")
    assert len(file) == 4
    assert [*file.unreadable] == ["huge.png"]
    assert "not enough memory to decode 13,000 x 13,000 pixels" in file.unreadable["huge.png"]


def test_whatever_a_decoder_raises_is_recorded_for_that_image(teacher, photos, tmp_path):
    """A plugin of Pillow fails in its own way: with a KeyError."""

    class Broken(ImageFile.ImageFile):
        format = "PPM"

        def _open(self) -> None:
            self._size, self._mode = (9, 9), "RGB"

        def load(self) -> None:
            raise KeyError("compression 7")

    (photos / "odd.ppm").write_bytes(b"P6 9 9 255 ")
    Image.init()
    original = Image.OPEN["PPM"]
    Image.OPEN["PPM"] = (Broken, original[1])
    try:
        outcome = relabel(photos, teacher, tmp_path / "m.h5", Settings(sizes=(96,), workers=0))
    finally:
        Image.OPEN["PPM"] = original
    assert outcome.images == 4
    assert outcome.unreadable == {"odd.ppm": "KeyError: 'compression 7'"}


def test_a_worker_that_cannot_return_a_batch_ends_the_run(photos, tmp_path):
    """No shared memory: the error says what to do next, and the run resumes.

    A plain queue would drop the batch, and the run would wait for it forever.
    """
    output = tmp_path / "maps.h5"
    run = subprocess.run(
        [sys.executable, "-m", "tests.relabel.killable", photos, output, "small files"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 1
    assert "data-loading worker failed to return a batch (unable to resize file" in run.stderr
    assert "with --workers 0" in run.stderr
    assert (tmp_path / "maps.h5.parts" / "000000.json").exists()
    killable.main(str(photos), str(output))
    killable.main(str(photos), str(tmp_path / "b.h5"))
    assert output.read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_run_that_another_one_overtakes_succeeds(teacher, photos, tmp_path):
    """Two runs of the same command: the slower one finds no shards but the finished file.

    The faster one takes the other for dead, as if it had made no progress for minutes.
    """
    settings, output = Settings(sizes=(96,), batch_size=1, shard_rows=1), tmp_path / "maps.h5"
    overtaken = []

    def overtake(*_: int) -> None:
        if not overtaken:
            for claim in (tmp_path / "maps.h5.parts").glob("*.claim"):
                os.utime(claim, (0, 0))
            overtaken.append(relabel(photos, teacher, output, settings))

    outcome = relabel(photos, teacher, output, settings, on_progress=overtake)
    assert outcome.existed
    assert outcome.images == overtaken[0].images == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maps.h5", "photos"]


def test_a_folder_of_unreadable_images_gives_an_empty_file_that_lists_them(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg"):
        (tmp_path / "photos" / name).write_text("junk")
    (tmp_path / "photos" / "empty.jpg").touch()
    run = labelkit("relabel", tmp_path / "photos", "--size", 64, "-o", tmp_path / "maps.h5")
    assert run.code == 0
    assert "5 images could not be read, so without a label map: 4: " in run.text
    assert " (a.jpg, b.jpg, c.jpg, …) 1: " in run.text
    assert " (empty.jpg) Repair or remove them" in run.text
    following = ("labelkit", "inspect", tmp_path / "maps.h5", "--images", tmp_path / "photos")
    assert run.out.splitlines()[-1] == f"Next: {shlex.join(map(str, following))} -o report.html"
    file = LabelMapFile.open(tmp_path / "maps.h5")
    assert (len(file), len(file.unreadable)) == (0, 5)
    assert labelkit("inspect", tmp_path / "maps.h5").code == 0


def test_json_and_quiet_leave_stdout_to_scripts(photos, tmp_path):
    (photos / "torn.jpg").write_text("junk")
    command = ("relabel", photos, "-o", tmp_path / "maps.h5", "--size", 64, "--workers", 0)
    run = labelkit(*command, "--json")
    facts = json.loads(run.out)
    assert facts["bytes"] == (tmp_path / "maps.h5").stat().st_size
    assert (facts["images"], facts["processed"], facts["existed"]) == (4, 5, False)
    assert [*facts["unreadable"]] == ["torn.jpg"]
    assert facts["head"] == "exact"
    assert json.loads(labelkit(*command, "--json").out)["existed"]
    assert labelkit(*command, "--quiet").text == ""
    assert "is already complete, nothing to do: 4 label maps" in labelkit(*command).text


def test_a_subset_of_classes_is_projected_before_the_selection(teacher, photos, tmp_path):
    """``classes``: the rows store only these classes, in the order of the list."""
    wnids = ["n02124075", "n07920052", "n04008634"]  # Egyptian cat, espresso, projectile
    classes = ClassList.of(wnids, "three")
    settings = Settings(sizes=(320,), classes=classes, top_k=3, other=False)
    relabel(photos, teacher, tmp_path / "maps.h5", settings)
    file = LabelMapFile.open(tmp_path / "maps.h5")
    assert file.classes == classes
    strongest = [file[key].classes_by_area()[0][0] for key in file]
    assert strongest[0] == 0
    assert strongest[2] == 1
    assert strongest[3] == 2


def test_a_coarser_class_gets_the_sum_of_the_teachers_classes_below_it(teacher, photos, tmp_path):
    """The teacher has 118 classes of dogs, 5 of domestic cats and 522 of artifacts.

    In ImageNet's tree the two greyhounds are racers; they are dogs by another parent.
    """
    classes = ClassList.of(["n02084071", "n02121808", "n00021939"])
    small = Settings("cell", 1000, sizes=(64,), background=0, merge="sum", other=False)
    relabel(photos, teacher, tmp_path / "all.h5", small)
    relabel(photos, teacher, tmp_path / "few.h5", replace(small, top_k=3, classes=classes))
    projection = project(teacher.classes, classes, Taxonomy.wordnet())
    assert np.bincount(projection.index + 1).tolist() == [355, 118, 5, 522]
    every, few = LabelMapFile.open(tmp_path / "all.h5"), LabelMapFile.open(tmp_path / "few.h5")
    for key in few:
        dense = np.empty((1000, 2, 2))
        np.put_along_axis(dense, every[key].index.astype(int), every[key].score, axis=0)
        sums = projection.sum_probabilities(np.moveaxis(np.exp(dense), 0, -1))
        found = np.empty((3, 2, 2))
        np.put_along_axis(found, few[key].index.astype(int), few[key].score, axis=0)
        step = np.ptp(every[key].score) / 255
        assert np.abs(found - np.log(np.moveaxis(sums, -1, 0))).max() < step


def test_a_class_that_the_teacher_lacks_is_named(teacher, photos, tmp_path):
    classes = ClassList.of(["n02124075", "no such class"])
    named = r"has nothing for 1 of the classes.*no such class\. .*such as n01440764.*--names"
    with pytest.raises(ClassListMismatch, match=named):
        relabel(photos, teacher, tmp_path / "maps.h5", Settings(classes=classes, top_k=1))


def test_scores_that_are_not_finite_name_the_image(photos, tmp_path):
    broken = load_teacher("efficientnet-lite0", device="cpu")

    def damage(*_: int) -> None:
        broken.model.classifier.bias.data[3] = float("nan")

    settings = Settings(sizes=(96,), batch_size=1)
    with pytest.raises(TeacherError, match=r"not finite for 'animals/grey\.jpg'"):
        relabel(photos, broken, tmp_path / "maps.h5", settings, on_progress=damage)
    with pytest.raises(TeacherError, match="not finite for noise"):
        relabel(photos, broken, tmp_path / "maps.h5", settings)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none", "-o", "x.h5"], 2, "does not exist"),
        ([".", "-o", "x.h5"], 1, "holds no images"),
        (["photos", "-o", "taken.h5"], 1, "exists, not a complete label-map file"),
        (["photos", "-o", "x.h5", "--teacher", "resnet5"], 1, "unknown teacher 'resnet5'"),
        (["photos", "-o", "x.h5", "--classes", "imagenet-2k"], 2, "imagenet-12k"),
        (["photos", "-o", "x.h5", "--topk", "0"], 2, "--topk"),
        (["photos", "-o", "x.h5", "--size", "8"], 2, "8 is not between 16 and 4096"),
        (["photos", "-o", "x.h5", "--size", "big"], 2, "expected whole numbers, such as"),
        (["photos", "-o", "x.h5", "--topk", "1001"], 1, "top-k 1001 of a list of 1,000 classes"),
        (["photos"], 2, "--output"),
        (["photos", "-o", "photos"], 2, "is a directory"),
        *(
            (["photos", "-o", name], 2, f"{name} must end in .h5 or .hdf5")
            for name in ("photos/maps.PNG", "x.npz", "x.json", "x.pt", "x.h5.gz", "x")
        ),
        (["photos", "-o", "x.h5", "--device", "tpu"], 1, "torch cannot use the device 'tpu'"),
    ],
)
def test_wrong_input_is_one_clear_line(tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    if "photos" in arguments:
        write_photos(tmp_path / "photos")
    (tmp_path / "taken.h5").write_text("mine")
    run = labelkit("relabel", *arguments)
    assert run.code == code
    assert message in run.text
    assert "Traceback" not in run.text
    assert (tmp_path / "taken.h5").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} <= {"photos", "taken.h5", "x.h5.parts"}


def test_a_killed_run_resumes(photos, tmp_path):
    """``kill -9``, then the same command: the same file as an uninterrupted run."""
    output, marker = tmp_path / "maps.h5", tmp_path / "maps.h5.parts" / "000000.json"
    command = [sys.executable, "-m", "tests.relabel.killable", photos, output, "slowly"]
    process = subprocess.Popen(command, cwd=CHECKOUT)
    while not marker.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not output.exists()
    killable.main(str(photos), str(output))
    killable.main(str(photos), str(tmp_path / "b.h5"))
    assert output.read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_killed_run_over_a_folder_that_changed_since_resumes(photos, tmp_path):
    """``kill -9``; an image with a map goes, another one without comes, a third is repaired.

    The file equals that of an undisturbed run over the folder as it is now.
    """
    (photos / "animals" / "torn.jpg").write_bytes(b"junk")
    output, parts = tmp_path / "maps.h5", tmp_path / "maps.h5.parts"
    command = [sys.executable, "-m", "tests.relabel.killable", photos, output, "slowly"]
    process = subprocess.Popen(command, cwd=CHECKOUT)
    while not (parts / "000001.json").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    first = (parts / "000000.h5").read_bytes()
    (photos / "things" / "rocket.jpg").unlink()
    shutil.copy(photos / "animals" / "grey.jpg", photos / "animals" / "aaa.jpg")
    shutil.copy(photos / "animals" / "grey.jpg", photos / "animals" / "torn.jpg")
    seen = []

    def stop(done: int, total: int) -> None:
        seen.append((done, total, (parts / "000000.h5").read_bytes() == first))
        if done > 1:
            raise KeyboardInterrupt

    teacher = load_teacher("efficientnet-lite0", device="cpu")
    settings = Settings(sizes=(96,), batch_size=1, shard_rows=1, workers=0)
    with pytest.raises(KeyboardInterrupt):
        relabel(photos, teacher, output, settings, on_progress=stop)
    assert seen == [(1, 3, True), (2, 3, True)]
    (photos / "animals" / "aaa.jpg").unlink()
    outcome = relabel(photos, teacher, output, settings)
    assert (outcome.images, outcome.processed, outcome.kept, outcome.reused) == (4, 1, 3, 0)
    relabel(photos, teacher, tmp_path / "b.h5", settings)
    assert output.read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert not parts.exists()


def test_the_finished_shards_of_an_unfinished_run_can_be_reused(teacher, photos, tmp_path):
    """By the name of the file that the run was to write, or of its folder of shards."""
    settings = Settings(sizes=(96,), batch_size=1, shard_rows=1, workers=0)

    def stop(done: int, _: int) -> None:
        if done > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        relabel(photos, teacher, tmp_path / "old.h5", settings, on_progress=stop)
    relabel(photos, teacher, tmp_path / "all.h5", settings)
    asked = ("--size", 96, "--batch-size", 1, "--workers", 0)
    for old, new in (("old.h5", "a.h5"), ("old.h5.parts", "b.h5")):
        words = ("relabel", photos, "-o", tmp_path / new, "--reuse", tmp_path / old, *asked)
        run = labelkit(*words)
        assert run.code == 0, run.text
        assert "old.h5.parts: 3. Made now: 1." in run.text
        assert (tmp_path / new).read_bytes() == (tmp_path / "all.h5").read_bytes()
    missing = labelkit("relabel", photos, "-o", tmp_path / "x.h5", "--reuse", "none.h5")
    assert missing.code == 2
    assert "none.h5 does not exist, nor does none.h5.parts" in missing.text
    with pytest.raises(LabelMapError, match=r"cannot be reused: its maps\.0\.grid\.0 is 3"):
        relabel(
            *(photos, teacher, tmp_path / "x.h5", Settings(sizes=(64,))),
            reuse=tmp_path / "old.h5.parts",
        )


@needs_shared
def test_the_teacher_knows_the_imagenet_photos(teacher, tmp_path):
    """On 40 ImageNet photos of 40 classes, the map's mean predicts most photos' class."""
    folders = sorted((SHARED / "data" / "imagenet_sample").iterdir())[:40]
    (tmp_path / "photos").mkdir()
    for folder in folders:
        (tmp_path / "photos" / folder.name).symlink_to(folder)
    relabel(tmp_path / "photos", teacher, tmp_path / "maps.h5")
    file = LabelMapFile.open(tmp_path / "maps.h5")
    right = 0
    for key in file:
        dense = file[key].dense(1000).mean(axis=(1, 2))
        right += file.classes[int(dense.argmax())] == key.split("/")[0]
    assert right / len(file) > 0.75


def test_reuse_copies_old_rows_and_relabels_new_images(teacher, photos, tmp_path):
    """Byte for byte the file of one run over all images; other settings are refused."""
    settings = Settings(sizes=(96,), batch_size=1)
    away = tmp_path / "grey.jpg"
    (photos / "animals" / "grey.jpg").rename(away)
    relabel(photos, teacher, tmp_path / "old.h5", settings)
    away.rename(photos / "animals" / "grey.jpg")
    (photos / "things" / "rocket.jpg").unlink()
    with LabelMapFile.open(tmp_path / "old.h5") as old:
        outcome = relabel(photos, teacher, tmp_path / "new.h5", settings, reuse=old)
        assert (outcome.images, outcome.processed, outcome.reused) == (3, 1, 2)
        with pytest.raises(LabelMapError, match=r"old\.h5 cannot be reused"):
            relabel(photos, teacher, tmp_path / "x.h5", Settings(sizes=(64,)), reuse=old)
    relabel(photos, teacher, tmp_path / "all.h5", settings)
    assert (tmp_path / "new.h5").read_bytes() == (tmp_path / "all.h5").read_bytes()
    run = labelkit(
        *("relabel", photos, "-o", tmp_path / "z.h5"),
        *("--reuse", tmp_path / "old.h5", "--size", 96, "--batch-size", 1),
    )
    assert run.code == 0, run.text
    assert f"Copied from {tmp_path / 'old.h5'}: 2. Made now: 1." in run.text


def test_a_damaged_row_of_the_reused_file_is_recreated_and_reported(teacher, photos, tmp_path):
    """One byte of one record is flipped; a truncated file is refused."""
    old, new = tmp_path / "old.h5", tmp_path / "new.h5"
    relabel(photos, teacher, old, Settings(sizes=(96,), batch_size=1))
    whole = old.read_bytes()
    with LabelMapFile.open(old) as file:
        (record,) = [
            row[1] for row in stored_rows(file).unchecked() if row[0] == b"things/coffee.png"
        ]
    content = bytearray(whole)
    content[content.index(record) + len(record) // 2] ^= 0xFF
    old.write_bytes(content)
    asked = ("--reuse", old, "--size", 96, "--batch-size", 1, "--workers", 0)
    run = labelkit("relabel", photos, "-o", new, *asked)
    assert run.code == 0, run.text
    assert f"Copied from {old}: 3. Made now: 1." in run.text
    assert f"Damaged in {old} and recreated: 1 (things/coffee.png)." in run.text
    assert new.read_bytes() == whole
    old.write_bytes(whole[: len(whole) // 2])
    run = labelkit("relabel", photos, "-o", tmp_path / "x.h5", *asked)
    assert run.code == 1
    assert "old.h5 is not a complete HDF5 file" in run.text
