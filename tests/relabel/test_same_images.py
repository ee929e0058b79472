"""``relabel --reuse-by content``: images keep their maps, whatever their names."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from labelkit.errors import LabelMapError
from labelkit.label_maps import LabelMapFile, merge, rename
from labelkit.relabel import Share, relabel
from tests.command import labelkit
from tests.label_maps.support.small_files import make
from tests.relabel.processes import die_at, run_together, start
from tests.relabel.tiny_teacher import SETTINGS, draw_photos, tiny_teacher

if TYPE_CHECKING:
    from pathlib import Path

    from labelkit.relabel import RelabelResult

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = replace(SETTINGS, shard_rows=4)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return draw_photos(tmp_path / "photos")


@pytest.fixture
def old(photos: Path, tmp_path: Path) -> LabelMapFile:
    relabel(photos, tiny_teacher(), tmp_path / "old.h5", SMALL)
    return LabelMapFile.open(tmp_path / "old.h5")


def by_content(photos: Path, output: Path, old: LabelMapFile) -> RelabelResult:
    return relabel(photos, tiny_teacher(), output, SMALL, reuse=old, reuse_by="content")


def require_fresh(photos: Path, output: Path) -> None:
    """The file is that of a run over these photos that reuses nothing, byte for byte."""
    fresh = output.with_name("fresh.h5")
    relabel(photos, tiny_teacher(), fresh, SMALL)
    assert output.read_bytes() == fresh.read_bytes()
    fresh.unlink()


def moved(photos: Path) -> Path:
    """The same images under other names, in two folders, in another order."""
    target = photos.with_name("moved")
    for number, path in enumerate(sorted(photos.iterdir())):
        folder = target / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / f"{99 - number}.png")
    photos.rmdir()
    return target


def test_a_file_keeps_the_digest_of_each_image(photos: Path, old: LabelMapFile) -> None:
    """As ``sha256sum`` prints it; also where rows are merged, renamed or copied."""
    expected = {
        path.name: hashlib.sha256(path.read_bytes()).digest()[:16]
        for path in sorted(photos.iterdir())
        if path.name != "05.png"
    }
    assert dict(old.image_digests()) == expected
    folder = old.path.parent
    renamed = rename(old, {"00.png": "zz.png"}, folder / "renamed.h5")
    assert dict(renamed.image_digests())["zz.png"] == expected["00.png"]
    imported = make(folder / "imported.h5", ["a.jpg"])
    assert not list(imported.image_digests())
    assert dict(merge([old], folder / "merged.h5").image_digests()) == expected


def test_a_renamed_folder_costs_nothing(photos: Path, tmp_path: Path, old: LabelMapFile) -> None:
    """Only the torn image is looked at again; by their keys, none would be found."""
    target = moved(photos)
    assert relabel(target, tiny_teacher(), tmp_path / "b.h5", SMALL, reuse=old).reused == 0
    found = by_content(target, tmp_path / "new.h5", old)
    assert (found.images, found.reused, found.processed) == (15, 15, 1)
    require_fresh(target, tmp_path / "new.h5")
    assert not [*tmp_path.glob("*.parts")]


def test_a_changed_image_is_noticed_and_copies_share_a_row(
    photos: Path, tmp_path: Path, old: LabelMapFile
) -> None:
    """Two images exchange their names, one takes the other's content, one is new."""
    (photos / "00.png").rename(photos / "x")
    (photos / "01.png").rename(photos / "00.png")
    (photos / "x").rename(photos / "01.png")
    for name in ("02.png", "copy.png"):
        shutil.copy(photos / "03.png", photos / name)
    (photos / "new.png").write_bytes((photos / "04.png").read_bytes() + b"\0")
    found = by_content(photos, tmp_path / "new.h5", old)
    assert (found.images, found.reused, found.processed) == (17, 16, 2)
    require_fresh(photos, tmp_path / "new.h5")


def test_what_is_no_file_is_not_waited_for(photos: Path, tmp_path: Path, old: LabelMapFile) -> None:
    """To open a named pipe would wait for somebody to write into it."""
    target = moved(photos)
    os.mkfifo(target / "pipe.png")
    (target / "link.png").symlink_to("nowhere")
    found = by_content(target, tmp_path / "new.h5", old)
    assert found.reused == 15
    assert {"pipe.png", "link.png"} <= {*found.unreadable}


def test_a_tar_of_the_folder_costs_nothing(photos: Path, tmp_path: Path, old: LabelMapFile) -> None:
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        archive.add(photos, "inside")
    found = by_content(tmp_path / "photos.tar", tmp_path / "new.h5", old)
    assert (found.images, found.reused, found.processed) == (15, 15, 1)


def test_a_damaged_row_is_made_again(photos: Path, tmp_path: Path, old: LabelMapFile) -> None:
    content = bytearray(old.path.read_bytes())
    stored = old.path.read_bytes()
    row = next(iter(old._rows.unchecked()))[1]
    content[stored.index(row) + len(row) // 2] ^= 1
    old.path.write_bytes(content)
    target = moved(photos)
    with LabelMapFile.open(old.path) as damaged:
        found = by_content(target, tmp_path / "new.h5", damaged)
    assert (found.reused, found.processed, [*found.damaged]) == (14, 2, ["a/99.png"])
    require_fresh(target, tmp_path / "new.h5")


def test_processes_and_later_runs_compare_once(
    photos: Path, tmp_path: Path, old: LabelMapFile
) -> None:
    """Three at once, after one that was killed while it made the maps of new images."""
    target, output = moved(photos), tmp_path / "new.h5"
    draw_photos(target / "more", 30)
    for path in (target / "more").iterdir():
        path.write_bytes(path.read_bytes() + b"\0")

    def work(count: int, on_progress: object) -> tuple[int, int]:
        seen: list[int] = []
        result = relabel(
            *(target, tiny_teacher(), output, SMALL),
            on_progress=on_progress,  # pyright: ignore[reportArgumentType]
            on_comparing=lambda done, _total: seen.append(done),
            reuse=old,
            reuse_by="content",
            share=Share(count % 3, 3),
        )
        return len(seen), result.processed

    killed, _ = start(lambda: work(0, die_at(20)))
    killed.join()
    assert not output.exists()
    found = run_together([partial(work, count, None) for count in range(3)])
    assert [seen for seen, _ in found] == [0, 0, 0]
    require_fresh(target, output)
    other = tmp_path / "other.h5"
    output = other
    found = run_together([partial(work, count, None) for count in range(3)])
    assert sorted(seen for seen, _ in found) == [0, 0, 1]
    assert sum(processed for _, processed in found) == 31


def test_a_file_without_digests_is_refused_with_advice(photos: Path, tmp_path: Path) -> None:
    unknown = make(tmp_path / "imported.h5", ["a.jpg"])
    with pytest.raises(LabelMapError, match=r"imported\.h5 has no digests of its images"):
        by_content(photos, tmp_path / "new.h5", unknown)
    run = labelkit("relabel", photos, "-o", tmp_path / "new.h5", "--reuse-by", "content")
    assert run.code == 2
    assert "--reuse-by content needs a finished file: --reuse OLD.h5" in run.text
