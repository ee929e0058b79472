"""An open file in processes and threads, reopened after closing, and changed while it is open."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import shutil
import threading
from pathlib import Path

import pytest

from labelkit.errors import LabelMapError
from labelkit.label_maps import LabelMapFile
from tests.label_maps.support.small_files import damage, make

KEYS = [f"{'ab'[n % 2]}/é{n:02d}.jpg" for n in range(12)]
DESCRIPTORS = Path("/proc/self/fd")

needs_proc = pytest.mark.skipif(
    not DESCRIPTORS.exists(), reason="reads open descriptors from Linux's /proc"
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "maps.h5"


def content(file: LabelMapFile, key: str) -> bytes:
    return file[key].index.tobytes() + file[key].score.tobytes()


def open_descriptors(path: Path) -> int:
    """The number of descriptors of this process that are open on a file."""
    names = []
    for entry in os.listdir(DESCRIPTORS):  # noqa: PTH208 -- Path.iterdir holds one open itself
        try:
            names.append((DESCRIPTORS / entry).readlink())
        except OSError:
            continue
    return names.count(path)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_an_open_file_works_in_other_processes(path, method):
    written = make(path, KEYS)
    expected = [content(written, key) for key in KEYS]
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.starmap(content, [(written, key) for key in KEYS]) == expected
    assert [content(written, key) for key in KEYS] == expected


INHERITED: list[LabelMapFile] = []


def inherited(key: str) -> bytes:
    return content(INHERITED[0], key)


def close_inherited(_: object) -> int:
    INHERITED[0].close()
    return len(INHERITED[0][KEYS[0]].index)


def test_an_inherited_file_works_and_closes_in_each_process_separately(path):
    """As in a data loader's workers under fork: not pickled, the same descriptor."""
    written = make(path, KEYS)
    INHERITED[:] = [written]
    try:
        expected = [content(written, key) for key in KEYS]
        with multiprocessing.get_context("fork").Pool(3) as pool:
            assert pool.map(inherited, KEYS * 20, chunksize=1) == expected * 20
            assert pool.map(close_inherited, range(3), chunksize=1) == [3] * 3
            assert pool.map(inherited, KEYS, chunksize=1) == expected
        assert [content(written, key) for key in KEYS] == expected
    finally:
        INHERITED.clear()


def test_a_pickled_file_is_a_path_and_is_opened_again(path, tmp_path):
    written = make(path, KEYS)
    pickled = pickle.dumps(written)
    assert len(pickled) < 1000
    copy = pickle.loads(pickled)  # noqa: S301
    assert content(copy, KEYS[3]) == content(written, KEYS[3])
    path.rename(tmp_path / "moved.h5")
    with pytest.raises(FileNotFoundError, match="no such file"):
        pickle.loads(pickled)  # noqa: S301


def test_an_open_file_works_in_threads(path):
    written = make(path, KEYS)
    expected = {key: content(written, key) for key in KEYS}
    found: list[bool] = []

    def read_all() -> None:
        found.extend(content(written, key) == expected[key] for key in KEYS * 10)

    threads = [threading.Thread(target=read_all) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8 * 10 * len(KEYS)


def test_threads_that_reopen_a_closed_file_read_that_file(path, monkeypatch):
    """A thread that arrives while another reopens it must not read from the old descriptor."""
    written = make(path, KEYS)
    expected = content(written, KEYS[0])
    written.close()
    decoy = os.open(__file__, os.O_RDONLY)  # has the number that the file had
    opening, go_on = threading.Event(), threading.Event()
    status = os.fstat

    def slow(descriptor: int) -> os.stat_result:
        opening.set()
        go_on.wait(10)
        return status(descriptor)

    found: list[bytes] = []
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fstat", slow)
            first = threading.Thread(target=lambda: found.append(content(written, KEYS[0])))
            first.start()
            opening.wait(10)
            second = threading.Thread(target=lambda: found.append(content(written, KEYS[0])))
            second.start()
            second.join(0.2)
            go_on.set()
            first.join()
            second.join()
    finally:
        os.close(decoy)
    assert found == [expected] * 2


@needs_proc
def test_no_descriptor_is_left_open(path):
    make(path, KEYS)
    gc.collect()
    assert open_descriptors(path) == 0
    file = LabelMapFile.open(path)
    assert open_descriptors(path) == 1
    for _ in range(3):
        file.close()
        file.close()
        assert open_descriptors(path) == 0
        content(file, KEYS[0])
        assert open_descriptors(path) == 1
    with file:
        content(file, KEYS[0])
    assert open_descriptors(path) == 0
    content(file, KEYS[0])
    del file
    gc.collect()
    assert open_descriptors(path) == 0


@needs_proc
def test_a_file_that_is_refused_leaves_no_descriptor_open(path):
    whole = make(path, KEYS).path.read_bytes()
    for damaged in (whole[:-100], whole.replace(b"b/\xc3\xa901.jpg", b"b/\xc3\xa900.jpg"), b"x"):
        assert damaged != whole
        path.write_bytes(damaged)
        with pytest.raises(LabelMapError) as caught:
            LabelMapFile.open(path)
        assert open_descriptors(path) == 0, caught.value


def test_a_closed_file_that_was_replaced_is_refused(path):
    written = make(path, KEYS)
    written.close()
    path.unlink()
    with pytest.raises(FileNotFoundError, match="no such file"):
        written.at(0)
    make(path, KEYS, seed=1).close()
    with pytest.raises(LabelMapError, match="has changed since it was opened: open it again"):
        written.at(0)
    with pytest.raises(LabelMapError, match="has changed since"):
        written.position(KEYS[0])


def test_an_open_file_that_was_replaced_still_reads_the_old_content(path, tmp_path):
    written = make(path, KEYS)
    expected = content(written, KEYS[0])
    other = make(tmp_path / "other.h5", KEYS, seed=1)
    assert content(other, KEYS[0]) != expected
    other.path.replace(path)
    assert content(written, KEYS[0]) == expected


def test_an_open_file_that_is_overwritten_in_place_is_refused(path):
    written = make(path, KEYS)
    damage(written, KEYS[4]).close()
    with pytest.raises(LabelMapError, match="has changed since it was opened"):
        written[KEYS[4]]
    path.write_bytes(b"")
    for read in (
        lambda: written.at(0),
        lambda: written.position(KEYS[0]),
        lambda: list(written),
        lambda: written.why_not("x"),
    ):
        with pytest.raises(LabelMapError, match=r"damaged|has changed"):
            read()


def touch(path: Path) -> None:
    """As scripts do that keep files on scratch space from being deleted."""
    os.utime(path, ns=(1, 1))


def rewrite(path: Path) -> None:
    path.write_bytes(path.read_bytes())


@pytest.mark.parametrize("change_time", [touch, rewrite])
@pytest.mark.parametrize("state", ["open", "closed"])
def test_a_new_time_alone_changes_nothing(path, change_time, state):
    """Rows are read by key and by number, before and after the file is closed."""
    written = make(path, KEYS)
    expected = [content(written, key) for key in KEYS]
    for _ in range(2):
        if state == "closed":
            written.close()
        change_time(path)
        assert [content(written, key) for key in KEYS] == expected
        written.check_rows()
        assert list(written) == sorted(KEYS)


def test_a_file_of_other_maps_of_the_same_size_is_refused_whatever_its_time(path, tmp_path):
    """Also after a mere touch has been accepted."""
    pairs = ((make(tmp_path / f"{n}.h5", KEYS[:1], seed=n).path, n) for n in range(1, 200))
    written = make(path, KEYS[:1])
    other = next(
        each.read_bytes() for each, _ in pairs if each.stat().st_size == path.stat().st_size
    )
    touch(path)
    content(written, KEYS[0])
    path.write_bytes(other)
    with pytest.raises(LabelMapError, match="has changed since it was opened"):
        written.at(0)
    os.utime(path, ns=(2, 2))
    with pytest.raises(LabelMapError, match="has changed since it was opened"):
        written.at(0)


def test_closing_in_one_thread_does_not_disturb_reads_in_another(path):
    """Nor may a file that is opened meanwhile be read instead: it gets the lowest free number."""
    written = make(path, KEYS)
    expected = [content(written, key) for key in KEYS]
    found: list[bool] = []
    errors: list[BaseException] = []

    def read_all() -> None:
        try:
            for _ in range(60):
                found.extend(
                    content(written, key) == one for key, one in zip(KEYS, expected, strict=True)
                )
                assert list(written) == sorted(KEYS)
        except BaseException as error:  # noqa: BLE001 -- reported by the assertion below
            errors.append(error)

    readers = [threading.Thread(target=read_all) for _ in range(3)]
    for reader in readers:
        reader.start()
    while any(reader.is_alive() for reader in readers):
        written.close()
        with Path(__file__).open("rb"):  # takes the number if it is free too early
            pass
    assert errors == []
    assert found == [True] * 3 * 60 * len(KEYS)


def test_a_copy_and_a_link_read_like_the_file(path, tmp_path):
    written = make(path, KEYS)
    copy, link = tmp_path / "copy.h5", tmp_path / "link.h5"
    shutil.copyfile(path, copy)
    link.symlink_to(path)
    for name in (copy, link):
        with LabelMapFile.open(name) as other:
            assert other.digest == written.digest
            assert content(other, KEYS[5]) == content(written, KEYS[5])


def test_a_file_moved_within_an_hdf5_user_block_is_found(path, tmp_path):
    """HDF5 files may begin at byte 512, 1024, ...: offsets count from there."""
    written = make(path, KEYS)
    shifted = tmp_path / "shifted.h5"
    shifted.write_bytes(bytes(512) + path.read_bytes())
    with LabelMapFile.open(shifted) as other:
        assert content(other, KEYS[5]) == content(written, KEYS[5])


def test_a_pickled_file_that_has_been_replaced_is_refused(path, tmp_path):
    """Its row numbers would belong to other images."""
    pickled = pickle.dumps(make(path, KEYS[1:]))
    make(tmp_path / "grown.h5", KEYS).path.replace(path)
    with pytest.raises(LabelMapError, match="has changed since it was opened"):
        pickle.loads(pickled)  # noqa: S301 -- our own


def test_a_file_of_other_images_written_over_an_open_one_is_refused(path, tmp_path):
    """Of the same size, so that every row is where another row was."""
    written = make(path, KEYS)
    other = make(tmp_path / "other.h5", [key.replace("é", "è") for key in KEYS])
    shutil.copyfile(other.path, path)
    with pytest.raises(LabelMapError, match="has changed since it was opened"):
        written.at(2)
