"""Processes that make one file, and what happens when they are killed, stopped or out of disk.

In each case every image is in the file exactly once, or in the list of those that have no map, and
the file is the same, byte for byte, as that of an undisturbed run.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from labelkit.cli.relabel import _Job, _relabel
from labelkit.errors import LabelMapError
from labelkit.label_maps import LabelMapFile, LabelMapWriter
from labelkit.relabel import (
    CalibrationSample,
    DeviceJob,
    Share,
    SomeImages,
    Stages,
    estimate,
    helpers,
    relabel,
)
from labelkit.relabel.local import open_writer
from labelkit.relabel.maps import MapMaker
from labelkit.relabel.sharing import claim_joining
from labelkit.sources import as_source
from tests.command import labelkit
from tests.photos import CHECKOUT, write_photos
from tests.relabel.processes import die_at, slowly, small_disk, start
from tests.relabel.tiny_teacher import SETTINGS, draw_photos, tiny_teacher, tiny_teachers

if TYPE_CHECKING:
    from pathlib import Path

    from labelkit.relabel import RelabelResult
    from labelkit.teachers import Teacher

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_photos(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def undisturbed(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a run in one process, shard after shard."""
    path = tmp_path_factory.mktemp("undisturbed") / "maps.h5"
    result = relabel(photos, tiny_teacher(), path, SETTINGS)
    assert (result.images, [*result.unreadable], result.processed) == (15, ["05.png"], 16)
    return path.read_bytes()


@pytest.mark.parametrize("images", [2, 4, 6, 8, 12, 16])
def test_a_killed_run_goes_on_where_it_was_saved(
    photos: Path, tmp_path: Path, undisturbed: bytes, images: int
) -> None:
    """At most what was between the device and the disk is made again: five batches of two."""
    output = tmp_path / "maps.h5"
    process, _ = start(
        lambda: relabel(photos, tiny_teacher(), output, SETTINGS, on_progress=die_at(images))
    )
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not output.exists()
    result = relabel(photos, tiny_teacher(), output, SETTINGS)
    assert result.processed <= 16 - images + 10
    assert output.read_bytes() == undisturbed


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_the_images_of_one_file(
    photos: Path, tmp_path: Path, undisturbed: bytes, count: int
) -> None:
    """No image is made twice, whoever joins; all of them return the finished file's facts."""
    output = tmp_path / "maps.h5"
    settings = replace(SETTINGS, shard_rows=2)

    def work(index: int) -> tuple[int, int]:
        share = Share(index, count)
        made = relabel(photos, tiny_teacher(), output, settings, on_progress=slowly, share=share)
        return made.processed, made.images

    running = [start(lambda index=index: work(index)) for index in range(count)]
    found = [pipe.recv() for _, pipe in running]
    for process, _ in running:
        process.join()
    assert [images for _, images in found] == [15] * count
    assert sum(processed for processed, _ in found) == 16
    assert output.read_bytes() == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["maps.h5"]


def test_a_process_takes_over_what_a_killed_one_leaves(
    photos: Path, tmp_path: Path, undisturbed: bytes
) -> None:
    output, waited = tmp_path / "maps.h5", []

    def work() -> object:
        return relabel(photos, tiny_teacher(), output, SETTINGS, on_progress=die_at(4))

    process, _ = start(work)
    relabel(photos, tiny_teacher(), output, SETTINGS, on_progress=slowly, on_waiting=waited.append)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert output.read_bytes() == undisturbed


def test_a_process_waits_for_one_that_is_alive_and_says_so(
    photos: Path, tmp_path: Path, undisturbed: bytes
) -> None:
    output, waited = tmp_path / "maps.h5", []
    settings = replace(SETTINGS, shard_rows=16)

    def work() -> object:
        def wait_at_first(done: int, _total: int) -> None:
            time.sleep(1.5 if done == 2 else 0)

        return relabel(photos, tiny_teacher(), output, settings, on_progress=wait_at_first)

    process, _ = start(work)
    while not list(tmp_path.glob("maps.h5.parts/*.claim")):
        time.sleep(0.01)
    relabel(photos, tiny_teacher(), output, settings, on_waiting=waited.append)
    process.join()
    assert waited[0] == 1
    assert output.read_bytes() == undisturbed


def test_a_process_says_once_that_it_waits_for_the_one_that_joins(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labelkit.relabel.sharing._POLL", 0.0)
    settings = (as_source(photos), tmp_path / "maps.h5", as_source(photos).keys)
    maker = MapMaker([tiny_teacher()], SETTINGS)
    first, second = (open_writer(*settings, maker, None, overwrite=False) for _ in range(2))
    claim_joining(first)
    waited, asked = [], []

    def take(name: str) -> bool:
        asked.append(name)
        if len(asked) == 4:
            first.claims.release_all()
        return type(second.claims).take(second.claims, name)

    monkeypatch.setattr(second.claims, "take", take)
    claim_joining(second, waited.append)
    assert (waited, len(asked)) == ([0], 4)


def test_a_process_leaves_the_report_to_the_one_that_joins(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process joins the shards while this one begins."""
    monkeypatch.setattr("labelkit.cli.relabel.load_teachers", lambda *_: tiny_teachers("cpu"))
    alone = _relabel

    def second(job: _Job, teachers: list[Teacher], share: Share, stages: Stages) -> RelabelResult:
        relabel(job.source, teachers, job.output, job.settings)
        return alone(job, teachers, share, stages)

    monkeypatch.setattr("labelkit.cli.relabel._relabel", second)
    output, options = tmp_path / "maps.h5", ("--size", 32, "--background", 0, "--no-calibration")
    run = labelkit("relabel", photos, "-o", output, "--workers", 0, *options)
    assert run.out == (
        f"Another process has written {output}, and reports on it. Images that this one has done: "
        "0 of 16.\n"
    )
    again = labelkit("relabel", photos, "-o", output, "--workers", 0, *options)
    assert "is already complete, nothing to do: 15 label maps" in again.out


@pytest.mark.parametrize("free", [12, 20, 40])
def test_a_full_disk_ends_the_run_and_loses_nothing(
    photos: Path, tmp_path: Path, undisturbed: bytes, free: int
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        output, filler = disk / "maps.h5", disk / "filler"
        filler.write_bytes(bytes((256 - free) << 10))
        with pytest.raises(OSError, match=r"(cannot write to .*No space left|No space left)"):
            relabel(photos, tiny_teacher(), output, SETTINGS)
        assert not output.exists()
        finished = len([*output.with_name("maps.h5.parts").glob("[0-9]*.json")])
        filler.unlink()
        result = relabel(photos, tiny_teacher(), output, SETTINGS)
        assert result.processed <= 16 - finished * 4
        assert output.read_bytes() == undisturbed


def test_a_second_interruption_does_not_wait(
    photos: Path, tmp_path: Path, undisturbed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one saves what is done; the second one ends a run whose disk hangs."""
    output, hanging = tmp_path / "maps.h5", tmp_path / "hanging"

    def hang(*_: object) -> None:
        hanging.touch()
        time.sleep(99)

    def work() -> None:
        monkeypatch.setattr(LabelMapWriter, "save", hang)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            relabel(photos, tiny_teacher(), output, SETTINGS, on_progress=slowly)
        except KeyboardInterrupt:
            os._exit(130)

    process, _ = start(work)
    while not hanging.exists():
        time.sleep(0.01)
    os.kill(process.pid or 0, signal.SIGINT)
    time.sleep(0.5)
    assert process.is_alive()
    os.kill(process.pid or 0, signal.SIGINT)
    process.join(20)
    assert process.exitcode == 130
    relabel(photos, tiny_teacher(), output, SETTINGS)
    assert output.read_bytes() == undisturbed


def test_shards_can_be_joined_without_making_any(
    photos: Path, tmp_path: Path, undisturbed: bytes
) -> None:
    output = tmp_path / "maps.h5"
    with pytest.raises(LabelMapError, match="3 of 3 shards not made yet: make them first"):
        relabel(photos, tiny_teacher(), output, SETTINGS, part="join")
    made = relabel(photos, tiny_teacher(), output, SETTINGS, part="make")
    assert made.processed == 16
    assert not output.exists()
    assert relabel(photos, tiny_teacher(), output, SETTINGS, part="join").processed == 0
    assert output.read_bytes() == undisturbed


def test_a_process_for_each_device_makes_the_same_file(
    photos: Path, tmp_path: Path, undisturbed: bytes
) -> None:
    """The second process does not start before the first one has left it something."""
    output = tmp_path / "maps.h5"
    settings = replace(SETTINGS, shard_rows=2)
    job = DeviceJob(as_source(photos), output, settings, tiny_teachers)
    parts = output.with_name("maps.h5.parts")

    def wait_for_other(done: int, _total: int) -> None:
        while done <= 2 and len([*parts.glob("*.claim")]) < 2:
            time.sleep(0.05)

    with helpers(job, ["cpu"], [Share(1, 2)]) as helping:
        made = relabel(
            *(photos, tiny_teacher(), output, settings),
            on_progress=wait_for_other,
            share=Share(0, 2),
        )
    assert helping.failed == []
    assert made.processed + helping.processed == 16
    assert helping.processed > 0
    assert output.read_bytes() == undisturbed


def test_images_that_could_not_be_read_are_tried_again_if_asked(tmp_path: Path) -> None:
    """Of a finished file, whose other rows are copied."""
    photos, output = draw_photos(tmp_path / "photos"), tmp_path / "maps.h5"
    relabel(photos, tiny_teacher(), output, SETTINGS)
    shutil.copy(photos / "04.png", photos / "05.png")
    assert relabel(photos, tiny_teacher(), output, SETTINGS).existed
    result = relabel(photos, tiny_teacher(), output, SETTINGS, retry_failed=True)
    assert (result.images, result.processed, result.reused) == (16, 1, 15)
    again = relabel(photos, tiny_teacher(), tmp_path / "b.h5", SETTINGS)
    assert again.images == 16
    assert output.read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert relabel(photos, tiny_teacher(), output, SETTINGS, retry_failed=True).existed


def test_a_trial_says_so_and_an_estimate_writes_nothing(photos: Path, tmp_path: Path) -> None:
    some = SomeImages(as_source(photos), 4)
    relabel(some, tiny_teacher(), tmp_path / "maps.trial.h5", SETTINGS)
    with LabelMapFile.open(tmp_path / "maps.trial.h5") as file:
        assert [*file, *file.unreadable] == ["00.png", "10.png", "15.png", "05.png"]
        assert file.made_with["trial"] == "4 of 16 images"
    before = sorted(tmp_path.rglob("*"))
    found = estimate(as_source(photos), [tiny_teacher()], SETTINGS)
    assert sorted(tmp_path.rglob("*")) == before
    assert (found.images, found.sample, found.unreadable) == (16, 14, 1)
    assert found.images_per_second > 0
    assert found.calibrating == 0
    assert found.seconds == pytest.approx(16 / found.images_per_second + found.starting)


@pytest.mark.parametrize("count", [6, 16])
def test_the_size_of_the_file_is_estimated(tmp_path: Path, count: int) -> None:
    """With the header and the class list, which a small file mostly consists of."""
    photos = draw_photos(tmp_path / "photos", count)
    found = estimate(as_source(photos), [tiny_teacher()], SETTINGS)
    relabel(photos, tiny_teacher(), tmp_path / "maps.h5", SETTINGS)
    with LabelMapFile.open(tmp_path / "maps.h5") as file:
        row = (file.record_bytes + sum(len(key) + 36 for key in file)) / (count - 1)
        torn = sum(map(len, file.unreadable.values()))
    expected = (tmp_path / "maps.h5").stat().st_size - torn + row
    assert found.nbytes == pytest.approx(expected, abs=0.02 * row * count + 200)


def test_the_time_of_each_stage_is_counted(photos: Path, tmp_path: Path) -> None:
    stages = Stages()
    settings = replace(SETTINGS, calibration=CalibrationSample(4, 2))
    start = time.perf_counter()
    relabel(photos, tiny_teacher(), tmp_path / "maps.h5", settings, stages=stages)
    whole = time.perf_counter() - start
    assert stages.images == 16
    assert min(stages.starting, stages.calibrating, stages.joining) > 0
    parts = stages.starting + stages.elapsed + stages.calibrating + stages.joining
    assert 0.5 * whole < parts <= whole + 0.1
    main = stages.waiting + stages.predicting + stages.selecting + stages.blocked
    assert 0 < main <= stages.elapsed
    assert 0 < stages.writing <= stages.elapsed
    assert 0 <= stages.waiting_share <= 1


def test_a_finished_run_says_so_without_loading_torch(tmp_path: Path) -> None:
    """And another setting is not taken for the same."""
    write_photos(tmp_path / "photos")
    words = ["relabel", tmp_path / "photos", "-o", tmp_path / "maps.h5", "--no-calibration"]
    words = [*map(str, words), "--workers", "0", "--size", "64"]
    assert labelkit(*words).code == 0
    code = (
        "import sys; from labelkit.cli import run; code = run(sys.argv[1:]); "
        "print('torch' in sys.modules); sys.exit(code)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "is already complete, nothing to do: 4 label maps" in run.stdout
    assert run.stdout.splitlines()[-1] == "False"
    refused = labelkit(*words, "--topk", 3)
    assert refused.code == 1
    assert "made with other settings" in refused.text
    (tmp_path / "classes.txt").write_text("n02123045\nn02099601\n")
    projected = labelkit(*words, "--classes", tmp_path / "classes.txt")
    assert projected.code == 1
    assert "made with other settings (class list: imagenet-1k" in projected.text
    trial = labelkit(*words, "--limit", 2)
    assert "A trial: 2 of 4 images. To keep its maps in the full run, add --reuse " in trial.text
    assert len(LabelMapFile.open(tmp_path / "maps.trial.h5")) == 2
    assert len(LabelMapFile.open(tmp_path / "maps.h5")) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shard", "4/4"], "'4/4': expected i/n with i from 0 to n - 1"),
        (["--shard", "first"], "expected i/n"),
        (["--devices", "0,,1"], "expected devices such as 0,1,2,3"),
        (["--finish", "--shard", "0/2"], "--finish makes no maps"),
        (["--devices", "0,1", "--device", "cpu"], "just one of --device and --devices"),
    ],
)
def test_wrong_shares_are_refused(photos: Path, tmp_path: Path, options, message) -> None:
    run = labelkit("relabel", photos, "-o", tmp_path / "maps.h5", *options)
    assert run.code == 2
    assert message in run.text


@pytest.mark.parametrize("how", ["settings", "retry"])
def test_a_finished_file_that_is_asked_for_again_does_not_cost_the_run_that_replaces_it(
    photos: Path, tmp_path: Path, how: str
) -> None:
    output, parts = tmp_path / "maps.h5", tmp_path / "maps.h5.parts"
    relabel(photos, tiny_teacher(), output, SETTINGS)
    if how == "settings":
        settings = replace(SETTINGS, top_k=3)
        process, _ = start(
            lambda: relabel(
                photos, tiny_teacher(), output, settings, overwrite=True, on_progress=die_at(12)
            )
        )
    else:
        process, _ = start(
            lambda: relabel(
                photos, tiny_teacher(), output, SETTINGS, retry_failed=True, on_progress=die_at(1)
            )
        )
    process.join()
    before = sorted(path.name for path in parts.iterdir())
    assert relabel(photos, tiny_teacher(), output, SETTINGS).existed
    assert sorted(path.name for path in parts.iterdir()) == before
