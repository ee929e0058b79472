"""Processes that share one output while images come, go, or are retried.

Each image is in the file exactly once, or in the list of those that could not be read, and no
shards of an older plan remain.
"""

from __future__ import annotations

import multiprocessing
import shutil
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from labelkit.errors import LabelkitError, LabelMapError
from labelkit.label_maps import LabelMapFile
from labelkit.relabel import DeviceJob, Share, helpers, relabel
from labelkit.sources import as_source
from tests.relabel.processes import FORK, die_at, run_together, slowly, start
from tests.relabel.tiny_teacher import SETTINGS, draw_photos, tiny_teacher, tiny_teachers

if TYPE_CHECKING:
    from pathlib import Path

    from labelkit.relabel import RelabelResult

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = replace(SETTINGS, shard_rows=2)
BROKEN = [f"{number:02}.png" for number in (1, 2, 3, 5, 7, 8, 9, 11)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return draw_photos(tmp_path / "photos")


def tear(photos: Path) -> None:
    for key in BROKEN:
        (photos / key).write_bytes(b"junk")


def repair_half(photos: Path) -> None:
    for key in BROKEN[::2]:
        shutil.copy(photos / "00.png", photos / key)


def left_in(folder: Path) -> list[str]:
    """What is beside the photos."""
    return sorted(path.name for path in folder.iterdir() if path.name != "photos")


def retried(photos: Path, output: Path, share: Share) -> RelabelResult:
    return relabel(
        *(photos, tiny_teacher(), output, SMALL),
        on_progress=slowly,
        retry_failed=True,
        share=share,
    )


@pytest.mark.parametrize("finished", [True, False])
def test_processes_share_what_is_to_be_retried(
    photos: Path, tmp_path: Path, *, finished: bool
) -> None:
    """Each of eight torn images is tried once, though four fail again; then all agree."""
    output, once = tmp_path / "maps.h5", tmp_path / "once" / "maps.h5"
    tear(photos)
    relabel(photos, tiny_teacher(), output, SMALL, part="all" if finished else "make")
    repair_half(photos)
    together = FORK.Barrier(3)

    def work(index: int) -> RelabelResult:
        waited: list[int] = []

        def wait_at_first(done: int, _total: int) -> None:
            if not waited:
                waited.append(done)
                together.wait(60)

        return relabel(
            *(photos, tiny_teacher(), output, SMALL),
            on_progress=wait_at_first,
            retry_failed=True,
            share=Share(index, 3),
        )

    found = run_together([partial(work, index) for index in range(3)])
    assert [(each.images, len(each.unreadable)) for each in found] == [(12, 4)] * 3
    assert sum(each.processed for each in found) == 8
    assert all(each.processed >= 2 for each in found)
    once.parent.mkdir()
    relabel(photos, tiny_teacher(), once, SMALL)
    assert output.read_bytes() == once.read_bytes()
    assert left_in(tmp_path) == ["maps.h5", "once"]


def test_a_process_for_each_device_retries_what_failed_once(photos: Path, tmp_path: Path) -> None:
    """Also if the second process comes when the first has already replaced the file."""
    output = tmp_path / "maps.h5"
    tear(photos)
    relabel(photos, tiny_teacher(), output, SMALL)
    job = DeviceJob(as_source(photos), output, SMALL, tiny_teachers, retry_failed=True)
    others = {child.pid for child in multiprocessing.active_children()}  # loaders of earlier tests
    with helpers(job, ["cpu"], [Share(1, 2)]) as helping:
        made = relabel(photos, tiny_teacher(), output, SMALL, retry_failed=True)
        for child in multiprocessing.active_children():
            if child.pid not in others:
                child.join()
    assert helping.failed == []
    assert made.processed + helping.processed == 8
    assert left_in(tmp_path) == ["maps.h5"]


def test_what_an_interrupted_retry_has_made_is_kept(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "maps.h5"
    tear(photos)
    relabel(photos, tiny_teacher(), output, SMALL)
    repair_half(photos)

    def die_slowly(done: int, total: int) -> None:
        time.sleep(0.1)
        die_at(6)(done, total)

    process, _ = start(
        lambda: relabel(
            *(photos, tiny_teacher(), output, SMALL), retry_failed=True, on_progress=die_slowly
        )
    )
    process.join()
    assert len(LabelMapFile.open(output)) == 8
    found = retried(photos, output, Share())
    assert (found.images, len(found.unreadable)) == (12, 4)
    assert found.processed < 8


def test_a_retry_waits_for_processes_that_do_not_retry(photos: Path, tmp_path: Path) -> None:
    """Two plans at once would make images twice."""
    output = tmp_path / "maps.h5"
    tear(photos)

    def wait_at_last(done: int, _total: int) -> None:
        time.sleep(2 if done > 12 else 0)

    process, _ = start(
        lambda: relabel(photos, tiny_teacher(), output, SMALL, on_progress=wait_at_last)
    )
    while len([*tmp_path.glob("maps.h5.parts/*.json")]) < 4:
        time.sleep(0.01)
    with pytest.raises(LabelMapError, match=r"making maps\.h5 now, without --retry-failed: leave"):
        retried(photos, output, Share())
    process.join()
    assert len(LabelMapFile.open(output)) == 8


def shared(photos: Path, output: Path, share: Share, seconds: float) -> object:
    """Relabel; the result, or the message of the error."""
    try:
        return relabel(
            *(photos, tiny_teacher(), output, SMALL),
            on_progress=lambda _done, _total: time.sleep(seconds),
            share=share,
        )
    except LabelkitError as error:
        return str(error)


def change(photos: Path) -> list[str]:
    """Two images go, one is repaired, five come; the keys of all that can be read."""
    (photos / "00.png").unlink()
    (photos / "13.png").unlink()
    shutil.copy(photos / "01.png", photos / "05.png")
    for name in ("02a.png", "08a.png", "16.png", "17.png", "torn.png"):
        shutil.copy(photos / "01.png", photos / name)
    (photos / "torn.png").write_bytes(b"junk")
    return sorted(path.name for path in photos.iterdir() if path.name != "torn.png")


def require_all(photos: Path, output: Path, readable: list[str]) -> None:
    """Each image once in the file or among the failures, as one run over the folder makes them."""
    with LabelMapFile.open(output) as file:
        assert [*file] == readable
        assert [*file.unreadable] == ["torn.png"]
    assert left_in(output.parent) == [output.name]
    fresh = output.with_name("fresh.h5")
    relabel(photos, tiny_teacher(), fresh, SMALL)
    assert output.read_bytes() == fresh.read_bytes()


@pytest.mark.parametrize("killed_at", [2, 4, 6])
def test_a_folder_that_changes_between_runs_of_three_processes(
    photos: Path, tmp_path: Path, killed_at: int
) -> None:
    """The first three are killed; three others follow over the changed folder."""
    output = tmp_path / "maps.h5"
    killed = [
        start(
            lambda index=index: relabel(
                *(photos, tiny_teacher(), output, SMALL),
                on_progress=die_at(killed_at),
                share=Share(index, 3),
            )
        )[0]
        for index in range(3)
    ]
    for process in killed:
        process.join()
    readable = change(photos)
    found = run_together(
        [partial(shared, photos, output, Share(index, 3), 0.02) for index in range(3)]
    )
    assert [getattr(each, "images", each) for each in found] == [len(readable)] * 3
    require_all(photos, output, readable)


def test_a_folder_that_changes_while_three_processes_start(photos: Path, tmp_path: Path) -> None:
    """One has listed the old folder: it stops with advice, and undoes nothing of the others."""
    output = tmp_path / "maps.h5"
    first, answer = start(partial(shared, photos, output, Share(0, 3), 0.1))
    while len([*tmp_path.glob("maps.h5.parts/*.json")]) < 3:
        time.sleep(0.01)
    readable = change(photos)
    found = run_together(
        [partial(shared, photos, output, Share(index, 3), 0.05) for index in (1, 2)]
    )
    stopped = answer.recv()
    first.join()
    assert [getattr(each, "images", each) for each in found] == [len(readable)] * 2
    assert "its plan is newer, and keeps the shards that were finished before" in stopped
    assert stopped.endswith("Run the same command again to help it")
    require_all(photos, output, readable)
