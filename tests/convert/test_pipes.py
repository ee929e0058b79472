"""Pipes in place of files are refused at once: opening one could block forever."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labelkit.convert import (
    export_relabel_folder,
    folder_record,
    import_tree,
    read_csv_tree,
    read_published,
)
from labelkit.errors import LabelMapError, TreeFileError
from labelkit.files import require_regular_file
from labelkit.label_maps import merge
from tests.command import labelkit
from tests.convert.support import KEYS, write_file

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


@pytest.fixture(autouse=True)
def _no_blocking() -> Generator[None]:
    def stop(_number: int, _frame: object) -> None:
        raise TimeoutError("blocked on a pipe")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 20, 1)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


COMMANDS = {
    "maps.h5": ("-o", "b", "--axes", "rows-first"),
    "tree.json": ("-o", "x.csv"),
    "tree.csv": ("-o", "x.json"),
    "tree.pth": ("-o", "x.json"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_source_that_is_a_pipe_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo(name)
    run = labelkit("convert", name, *COMMANDS[name])
    assert run.code == 1
    assert f"{name} is not a regular file" in run.text or f"{name} is neither a file" in run.text
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_merge_refuses_a_pipe(tmp_path: Path) -> None:
    file = write_file(tmp_path / "a.h5")
    os.mkfifo(tmp_path / "b.h5")
    run = labelkit("merge", file.path, tmp_path / "b.h5", "-o", tmp_path / "m.h5")
    assert (run.code, "b.h5 is not a regular file" in run.text) == (1, True), run.text


READERS: dict[str, tuple[Callable[[Path], object], type[Exception]]] = {
    "labelkit.json": (lambda path: folder_record(path.parent), LabelMapError),
    "a.json": (import_tree, TreeFileError),
    "a.csv": (read_csv_tree, TreeFileError),
    "a.pth": (read_published, TreeFileError),
}


@pytest.mark.parametrize("name", READERS)
def test_readers_refuse_a_pipe(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    read, error = READERS[name]
    with pytest.raises(error, match="is not a regular file"):
        read(tmp_path / name)


def test_an_export_refuses_a_pipe_in_place_of_a_map(tmp_path: Path) -> None:
    files = [write_file(tmp_path / "a.h5"), write_file(tmp_path / "b.h5", keys=KEYS[:4])]
    os.mkfifo(tmp_path / "m.h5")
    with pytest.raises(FileExistsError, match="exists"):
        merge(files, tmp_path / "m.h5")
    export_relabel_folder(files[0], tmp_path / "loose", "rows-first")
    (tmp_path / "loose/cat/b.pt").unlink()
    os.mkfifo(tmp_path / "loose/cat/b.pt")
    with pytest.raises(LabelMapError, match=r"b\.pt is not a regular file"):
        export_relabel_folder(files[0], tmp_path / "loose", "rows-first")


def test_links_to_files_count_as_files(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").symlink_to("a")
    require_regular_file(tmp_path / "b", LabelMapError)
    with pytest.raises(LabelMapError, match="not a regular file"):
        require_regular_file(Path("/dev/null"), LabelMapError)
    with pytest.raises(FileNotFoundError):
        require_regular_file(tmp_path / "c", LabelMapError)
