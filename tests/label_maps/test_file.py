"""The file: what goes in comes out, by key, in any process; damage is told; nothing is lost."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from labelkit.errors import LabelMapError
from labelkit.hierarchy import ClassList
from labelkit.label_maps import LabelMapFile, LabelMapWriter
from labelkit.label_maps.layout import VERSION
from tests.label_maps.random_maps import random_arrays, random_background

CLASSES = ClassList.of([f"class {n}" for n in range(20)], "twenty")
KEYS = [f"b/{n:02d}.jpg" for n in range(7)] + ["a/é.png", "a/z.jpg", "bad.jpg"]


def writer(path: Path, keys: list[str] = KEYS, **settings: object) -> LabelMapWriter:
    options = {"classes": CLASSES, "top_k": 3, "grid": (5, 4), "source": {"seed": 0}}
    return LabelMapWriter(path, keys=keys, shard_rows=4, **(options | settings))


def arrays(shard, keys):
    """The maps of a shard: always the same for the same shard; bad.jpg has none."""
    readable = [key for key in keys[shard.start : shard.stop] if key != "bad.jpg"]
    rng = np.random.default_rng(shard.number)
    return random_arrays(rng, len(readable), 3, (5, 4), 20), {
        key: "torn" for key in keys[shard.start : shard.stop] if key == "bad.jpg"
    }


def write(path: Path, **settings: object) -> LabelMapFile:
    made = writer(path, **settings)
    for shard in made.pending():
        (index, score), unreadable = arrays(shard, made.keys)
        made.commit(shard, index, score, unreadable)
    return made.finalize()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "maps.h5"


def test_every_row_comes_back_under_its_key(path):
    made = writer(path)
    written = write(path)
    assert list(written) == sorted(set(KEYS) - {"bad.jpg"}, key=str.encode)
    for shard in made.shards:
        (index, score), _ = arrays(shard, made.keys)
        keys = [key for key in made.keys[shard.start : shard.stop] if key != "bad.jpg"]
        for n, key in enumerate(keys):
            label_map = written[key]
            assert np.array_equal(label_map.index, index[n])
            assert np.abs(label_map.score - score[n]).max() < 0.05
    assert written.unreadable == {"bad.jpg": "torn"}
    assert written.classes == CLASSES
    assert written.attrs == {"seed": 0}
    assert not path.with_name("maps.h5.parts").exists()


def test_backgrounds_are_kept_and_are_part_of_the_plan(path):
    rng = np.random.default_rng(0)
    index, score = random_arrays(rng, len(KEYS), 2, (2, 3), len(CLASSES))
    background = random_background(rng, len(KEYS), 4, len(CLASSES))
    facts = {"classes": CLASSES, "keys": KEYS, "top_k": 2, "grid": (2, 3), "source": {}}
    writer = LabelMapWriter(path, **facts, background=4)
    with pytest.raises(LabelMapError, match="background: 4 there, 0 now"):
        LabelMapWriter(path, **facts)
    (shard,) = writer.pending()
    with pytest.raises(ValueError, match="background of 4 classes is missing"):
        writer.commit(shard, index, score, {})
    writer.commit(shard, index, score, {}, background)
    with writer.finalize() as file:
        assert file.background == 4
        for row, key in enumerate(file):
            assert np.array_equal(file[key].background.classes, background.classes[row])


def test_a_changed_header_is_told(path):
    write(path).close()
    with h5py.File(path, "r+") as file:
        changed = bytes(file.attrs["header"]).replace(b"twenty", b"twentY", 1)
        assert changed != bytes(file.attrs["header"])
        file.attrs["header"] = np.bytes_(changed)
    with pytest.raises(LabelMapError, match="header's checksum differs"):
        LabelMapFile.open(path)


def test_the_file_does_not_depend_on_the_order_of_keys_or_shards(tmp_path):
    first = write(tmp_path / "a.h5").path.read_bytes()
    made = writer(tmp_path / "b.h5", keys=KEYS[::-1])
    for shard in reversed(made.pending()):
        (index, score), unreadable = arrays(shard, made.keys)
        made.commit(shard, index, score, unreadable)
    assert made.finalize().path.read_bytes() == first


def test_a_second_run_makes_only_what_is_missing(path):
    made = writer(path)
    shard = made.pending()[1]
    (index, score), unreadable = arrays(shard, made.keys)
    made.commit(shard, index, score, unreadable)
    assert [s.number for s in writer(path).pending()] == [0, 2]


def test_a_missing_key_is_named(path):
    written = write(path)
    with pytest.raises(LabelMapError, match=r"'b/99.jpg'.*keys look like 'a/z.jpg'"):
        written["b/99.jpg"]
    with pytest.raises(LabelMapError, match=r"bad.jpg.*could not be read \(torn\)"):
        written["bad.jpg"]
    assert "b/99.jpg" not in written
    assert "b/01.jpg" in written
    assert written.missing(["b/9.jpg", "b/01.jpg", "a/é.png", "x" * 500]) == ["b/9.jpg", "x" * 500]


def test_finalize_names_what_is_still_to_be_made(path):
    with pytest.raises(LabelMapError, match="3 of 3 shards are still to be made"):
        writer(path).finalize()


def test_other_settings_do_not_mix_with_earlier_shards(path):
    writer(path)
    with pytest.raises(LabelMapError, match=r"header.source.seed: 0 there, 1 now"):
        writer(path, source={"seed": 1})
    with pytest.raises(LabelMapError, match="count: 10 there, 9 now"):
        writer(path, keys=KEYS[:-1])


def test_an_existing_file_is_never_overwritten(path):
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="exists"):
        writer(path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("key", ["../x.jpg", "/x.jpg", "a/../../x.jpg", "a\0b", "", "\udcff.jpg"])
def test_keys_that_leave_the_folder_are_refused(path, key):
    with pytest.raises(LabelMapError):
        writer(path, keys=[key])


def test_a_key_twice_is_refused(path):
    with pytest.raises(LabelMapError, match="stands twice"):
        writer(path, keys=["a.jpg", "a.jpg"])


def test_a_changed_byte_in_a_row_is_told(path):
    written = write(path)
    written.close()
    with h5py.File(path, "r+") as file:
        row = file["records"][3]
        row[10] ^= 1
        file["records"][3] = row
    damaged = LabelMapFile.open(path)
    damaged.at(2)
    with pytest.raises(LabelMapError, match=r"row 3.*checksum"):
        damaged.at(3)


def test_a_damaged_shard_is_removed_and_made_again(path):
    made = writer(path)
    for shard in made.pending():
        (index, score), unreadable = arrays(shard, made.keys)
        made.commit(shard, index, score, unreadable)
    shard = path.with_name("maps.h5.parts") / "000001.h5"
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(LabelMapError, match="Run the same command again"):
        made.finalize()
    assert [shard.number for shard in writer(path).pending()] == [1]
    assert len(write(path)) == 9


def test_a_shard_that_was_torn_before_its_marker_is_made_again(path):
    made = writer(path)
    shard = made.pending()[0]
    (made.parts / "000000.h5").write_bytes(b"torn")
    (index, score), unreadable = arrays(shard, made.keys)
    made.commit(shard, index, score, unreadable)
    with write(path) as file:
        assert len(file) == len(KEYS) - 1


def test_torn_and_foreign_files_are_refused(path, tmp_path):
    content = write(path).path.read_bytes()
    torn = tmp_path / "torn.h5"
    torn.write_bytes(content[: len(content) // 2])
    with pytest.raises(LabelMapError, match="not a whole HDF5 file"):
        LabelMapFile.open(torn)
    foreign = tmp_path / "foreign.h5"
    with h5py.File(foreign, "w") as file:
        file["x"] = 1
    with pytest.raises(LabelMapError, match="not one of label maps"):
        LabelMapFile.open(foreign)
    with pytest.raises(FileNotFoundError, match="no such file"):
        LabelMapFile.open(tmp_path / "none.h5")


def test_one_wrong_bit_anywhere_is_told_or_changes_nothing(path, tmp_path):
    """No flipped byte gives another map, and none gives another kind of error."""
    written = write(path)
    content = path.read_bytes()
    expected = {key: written[key].score.tobytes() for key in written}
    flipped, told = tmp_path / "flipped.h5", 0
    for position in np.random.default_rng(0).choice(len(content), 400, replace=False):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(position % 8)
        flipped.write_bytes(damaged)
        try:
            with LabelMapFile.open(flipped) as file:
                found = {key: file[key].score.tobytes() for key in file}
        except LabelMapError as error:
            assert str(flipped) in str(error) or "key" in str(error)  # noqa: PT017
            told += 1
        else:
            assert set(found.values()) <= set(expected.values())
    assert told > 100


def test_a_lost_plan_is_told_with_the_way_out(path):
    made = writer(path)
    shard = made.pending()[0]
    (index, score), unreadable = arrays(shard, made.keys)
    made.commit(shard, index, score, unreadable)
    (made.parts / "plan.json").unlink()
    with pytest.raises(LabelMapError, match=r"lost its plan\.json: remove the folder"):
        writer(path)


def test_versions_and_the_lists_name_are_no_part_of_the_plan(path):
    """An upgrade in the middle of a long job must not cost the finished shards."""
    writer(path, made_with={"torch": "1"})
    renamed = ClassList(CLASSES.ids, "another name")
    assert len(writer(path, made_with={"torch": "2"}, classes=renamed).pending()) == 3


def test_a_dangling_link_is_no_free_name(path):
    path.symlink_to(path.with_name("nowhere"))
    with pytest.raises(FileExistsError, match="exists"):
        writer(path)


@pytest.mark.parametrize(
    "kind", ["huge", "filter", "link", "external", "vlen", "shape", "extra", "version"]
)
def test_hostile_files_are_refused(path, tmp_path, kind):
    write(path).close()
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * 4096)
    with h5py.File(path, "r+") as file:
        if kind == "link":
            del file["crc32"]
            file["crc32"] = h5py.ExternalLink("other.h5", "/crc32")
        elif kind == "external":
            del file["records"]
            file.create_dataset("records", (9, 188), "u1", external=[(str(secret), 0, 4096)])
        elif kind == "huge":
            del file["unreadable_keys"]
            file.create_dataset("unreadable_keys", (1 << 34,), "S4000", chunks=(1,))
        elif kind == "filter":
            del file["crc32"]
            file.create_dataset("crc32", data=np.zeros(9, "<u4"), compression="lzf")
        elif kind == "vlen":
            del file["keys"]
            file.create_dataset("keys", data=["a"] * 9, dtype=h5py.string_dtype())
        elif kind == "shape":
            del file["crc32"]
            file["crc32"] = np.zeros(8, "<u4")
        elif kind == "extra":
            file["more"] = 1
        else:
            header = bytes(file.attrs["header"]).replace(b'"version":%d' % VERSION, b'"version":9')
            file.attrs["header"] = np.bytes_(header)
    with pytest.raises(LabelMapError):
        LabelMapFile.open(path)


def _read(file: LabelMapFile, key: str) -> int:
    return int(file[key].index.sum())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_an_open_file_works_in_other_processes(path, method):
    written = write(path)
    expected = _read(written, "b/03.jpg")
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.starmap(_read, [(written, "b/03.jpg")] * 4) == [expected] * 4
    assert _read(pickle.loads(pickle.dumps(written)), "b/03.jpg") == expected  # noqa: S301


def test_an_open_file_works_in_threads(path):
    written = write(path)
    expected = {key: _read(written, key) for key in written}
    found: list[bool] = []
    threads = [
        threading.Thread(
            target=lambda: found.extend(_read(written, key) == expected[key] for key in expected)
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8 * len(expected)


KILLED = """
import os, signal, sys
import labelkit.label_maps.hdf5 as hdf5
from pathlib import Path
from tests.label_maps.test_file import arrays, writer

made = writer(Path(sys.argv[1]))
for shard in made.pending():
    if shard.number == 1:
        def die(*arguments):
            os.kill(os.getpid(), signal.SIGKILL)
        hdf5._write_column = die
    (index, score), unreadable = arrays(shard, made.keys)
    made.commit(shard, index, score, unreadable)
"""


def test_killed_in_the_middle_of_a_shard_the_next_run_goes_on(path, tmp_path):
    """Kill -9 while HDF5 is half-written: the finished shard stays, the file is as if unbroken."""
    root = Path(__file__).parents[2]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)], cwd=root, env=os.environ, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert [shard.number for shard in writer(path).pending()] == [1, 2]
    assert write(path).path.read_bytes() == write(tmp_path / "unbroken.h5").path.read_bytes()


def test_a_full_disk_loses_nothing(path):
    """A limit on file sizes stands in for the disk: one shard fails, the earlier one stays."""
    made = writer(path)
    first, second, *_ = made.pending()
    (index, score), unreadable = arrays(first, made.keys)
    made.commit(first, index, score, unreadable)
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from tests.label_maps.test_file import arrays, writer\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "made = writer(Path(sys.argv[1])); shard = made.pending()[0]\n"
        "(index, score), unreadable = arrays(shard, made.keys)\n"
        "try: made.commit(shard, index, score, unreadable)\n"
        "except OSError as error:\n"
        "    sys.exit(7 if 'File too large. 1 of 3 shards are kept' in str(error) else 1)\n"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", program, str(path)], cwd=root, check=False)
    assert run.returncode == 7
    assert writer(path).pending()[0] == second
    assert len(write(path)) == 9
