"""Pipes where a file should be: refused at once, since to open one waits for ever."""

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
    read_graphml,
    read_published,
)
from labelkit.convert.plain_file import require_plain_file
from labelkit.errors import LabelMapError, TreeFileError
from labelkit.label_maps import merge
from tests.command import labelkit
from tests.convert.loose_maps import KEYS, write_file

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


@pytest.fixture(autouse=True)
def _no_endless_wait() -> Generator[None]:
    def give_up(_number: int, _frame: object) -> None:
        raise TimeoutError("it waits for a pipe")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, 20, 1)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


COMMANDS = {
    "maps.h5": ("-o", "b", "--format", "relabel", "--axes", "rows-first"),
    "tree.json": ("-o", "x.csv"),
    "tree.csv": ("-o", "x.json"),
    "tree.graphml": ("-o", "x.json"),
    "tree.pth": ("-o", "x.json"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_source_may_be_a_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo(name)
    run = labelkit("convert", name, *COMMANDS[name])
    assert (run.code, f"{name} is no plain file" in run.text) == (1, True), run.text
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_no_file_to_be_merged_may_be_a_pipe(tmp_path: Path) -> None:
    file = write_file(tmp_path / "a.h5")
    os.mkfifo(tmp_path / "b.h5")
    run = labelkit("merge", file.path, tmp_path / "b.h5", "-o", tmp_path / "m.h5")
    assert (run.code, "b.h5 is no plain file" in run.text) == (1, True), run.text


READERS: dict[str, tuple[Callable[[Path], object], type[Exception]]] = {
    "labelkit.json": (lambda path: folder_record(path.parent), LabelMapError),
    "a.json": (import_tree, TreeFileError),
    "a.csv": (read_csv_tree, TreeFileError),
    "a.graphml": (read_graphml, TreeFileError),
    "a.pth": (read_published, TreeFileError),
}


@pytest.mark.parametrize("name", READERS)
def test_no_reader_opens_a_pipe(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    read, error = READERS[name]
    with pytest.raises(error, match="is no plain file"):
        read(tmp_path / name)


def test_no_output_that_is_a_pipe_is_opened(tmp_path: Path) -> None:
    files = [write_file(tmp_path / "a.h5"), write_file(tmp_path / "b.h5", keys=KEYS[:4])]
    os.mkfifo(tmp_path / "m.h5")
    with pytest.raises(FileExistsError, match="exists"):
        merge(files, tmp_path / "m.h5")
    export_relabel_folder(files[0], tmp_path / "loose", "rows-first")
    (tmp_path / "loose/cat/b.pt").unlink()
    os.mkfifo(tmp_path / "loose/cat/b.pt")
    with pytest.raises(LabelMapError, match=r"b\.pt is no plain file"):
        export_relabel_folder(files[0], tmp_path / "loose", "rows-first")


def test_links_to_files_are_files(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").symlink_to("a")
    require_plain_file(tmp_path / "b", LabelMapError)
    with pytest.raises(LabelMapError, match="no plain file"):
        require_plain_file(Path("/dev/null"), LabelMapError)
    with pytest.raises(FileNotFoundError):
        require_plain_file(tmp_path / "c", LabelMapError)
