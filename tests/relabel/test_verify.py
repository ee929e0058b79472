"""``verify`` on label maps of real photos, intact and tampered with."""

from __future__ import annotations

import json
import re
import shutil
import zlib
from dataclasses import replace

import h5py
import msgspec
import numpy as np
import pytest
from PIL import Image

from labelkit.errors import LabelMapError, TeacherError
from labelkit.hierarchy import ClassList
from labelkit.label_maps import (
    Background,
    LabelMap,
    LabelMapFile,
    LabelMaps,
    LabelMapWriter,
    MapForm,
)
from labelkit.relabel import Settings, relabel, verify
from labelkit.relabel.recomputing import compare_maps, map_maker
from labelkit.relabel.verification import likely_renames
from labelkit.teachers import load_teacher
from tests.command import labelkit
from tests.photos import CHECKOUT, write_photos

CAT, GREY, COFFEE, ROCKET = KEYS = (
    "animals/cat.jpg",
    "animals/grey.jpg",
    "things/coffee.png",
    "things/rocket.jpg",
)
SMALL = Settings(sizes=(96,), workers=0)


@pytest.fixture(scope="module")
def made(teacher, tmp_path_factory):
    """Four photos and a truncated one, with their label maps."""
    folder = tmp_path_factory.mktemp("made")
    write_photos(folder / "photos")
    whole = (folder / "photos" / CAT).read_bytes()
    (folder / "photos" / "torn.jpg").write_bytes(whole[:999])
    relabel(folder / "photos", teacher, folder / "maps.h5", SMALL)
    return folder


@pytest.fixture
def there(made, tmp_path, monkeypatch):
    """A copy of them as the current folder."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(folder, teacher=None, sample=0):
    with LabelMapFile.open(folder / "maps.h5") as file:
        return verify(file, folder / "photos", [teacher] if teacher else [], sample)


def change_row(path, position, change):
    """Replace a row's stored bytes by ``change`` of them, which may be shorter."""
    with h5py.File(path, "r+") as file:
        start, end = file["rows"]["record_end"][position - 1 : position + 1].tolist()
        changed = change(file["records"][start:end].tobytes())
        file["records"][start : start + len(changed)] = np.frombuffer(changed, np.uint8)


def flip(data, place):
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def test_intact_maps_of_unchanged_images_are_ok(there, teacher):
    """A truncated image that is recorded as unreadable is no problem."""
    seen = []
    with LabelMapFile.open(there / "maps.h5") as file:
        found = verify(file, there / "photos", [teacher], 9, lambda *step: seen.append(step))
    assert found.ok
    assert (found.rows, found.images, found.sampled) == (4, 5, 4)
    assert list(found.still_unreadable) == ["torn.jpg"]
    assert (seen[-2], seen[-1]) == (("rows", 4, 4), ("sample", 4, 4))
    run = labelkit("verify", "maps.h5", "--images", "photos", "--sample", 2)
    assert run.code == 0
    assert "maps.h5 is intact: 4 rows, imagenet-1k" in run.text
    assert "Recomputed with efficientnet-lite0, equal to the stored maps: 2" in run.text
    assert "Recorded as unreadable, and still so: 1" in run.text


@pytest.mark.parametrize(
    "settings",
    [
        replace(SMALL, batch_size=1),
        replace(SMALL, grid=(1, 1)),
        replace(SMALL, grid=(1, 1), top_k=1),
        replace(SMALL, top_k=700, grid=(2, 3)),
        replace(SMALL, top_k=3, classes=ClassList.of(["n02084071", "n02121808", "n00021939"])),
        replace(SMALL, selection="cell"),
        replace(SMALL, selection="cell", grid=(1, 1), top_k=1),
        replace(SMALL, sizes=(64, 128), scores="float16", log_sum_exp=True),
    ],
    ids=[
        *("batch", "one cell", "one entry", "many classes", "projected"),
        *("cells", "one entry a cell", "two sizes"),
    ],
)
def test_maps_of_other_settings_are_recomputed_as_the_file_says(there, teacher, settings):
    """No false alarm, even for maps of one cell, and a changed image is still found."""
    relabel(there / "photos", teacher, there / "other.h5", settings)
    (there / "other.h5").replace(there / "maps.h5")
    assert check(there, teacher, 4).ok
    shutil.copy(there / "photos" / ROCKET, there / "photos" / GREY)
    assert [difference.key for difference in check(there, teacher, 4).differing] == [GREY]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda stored: flip(stored, 0), "Error -3"),
        (lambda stored: flip(stored, len(stored) - 1), "Error -3"),
        (lambda stored: stored[:99] + bytes(99), "Error -3"),
        (lambda _stored: zlib.compress(bytes(9)), "not one compressed record"),
    ],
    ids=["no zlib stream", "another sum", "torn", "another record"],
)
def test_a_damaged_row_is_named_with_the_reason(there, teacher, change, reason):
    change_row(there / "maps.h5", 1, change)
    found = check(there, teacher, 9)
    assert list(found.damaged) == [GREY]
    assert found.damaged[GREY].startswith(reason)
    assert (found.sampled, found.extra, found.missing, found.differing) == (3, [], [], [])
    run = labelkit("verify", "maps.h5")
    assert run.code == 1
    assert f"Damaged rows: 1 {GREY}: {reason}" in run.text
    assert "Error: maps.h5 has problems: 1 damaged rows" in run.text
    assert "maps.h5 is intact" not in run.text


def test_an_image_that_was_removed_is_an_extra_row(there):
    (there / "photos" / COFFEE).unlink()
    found = check(there)
    assert (found.extra, found.missing, found.ok) == ([COFFEE], [], False)
    run = labelkit("verify", "maps.h5", "--images", "photos")
    assert run.code == 1
    assert f"Rows without an image: 1 {COFFEE}" in run.text


def test_an_image_that_was_added_is_missing_a_row(there):
    shutil.copy(there / "photos" / CAT, there / "photos" / "new.jpg")
    found = check(there)
    assert (found.extra, found.missing, found.ok) == ([], ["new.jpg"], False)
    run = labelkit("verify", "maps.h5", "--images", "photos")
    assert run.code == 1
    assert "Images without a row: 1 new.jpg" in run.text


def test_without_the_images_only_the_rows_are_checked(there):
    shutil.rmtree(there / "photos")
    with LabelMapFile.open(there / "maps.h5") as file:
        found = verify(file)
    assert (found.ok, found.images, found.extra, found.missing) == (True, None, [], [])
    assert labelkit("verify", "maps.h5").code == 0


def test_an_image_that_was_moved_is_a_rename(there):
    (there / "photos" / CAT).rename(there / "photos" / "cat.jpg")
    found = check(there)
    assert found.renamed == {CAT: "cat.jpg"}
    assert (found.extra, found.missing, found.ok) == ([], [], False)
    run = labelkit("verify", "maps.h5", "--images", "photos")
    assert run.code == 1
    assert f"{CAT}: now cat.jpg" in run.text


def test_another_photo_under_the_same_key_is_found_by_the_sample_only(there, teacher):
    shutil.copy(there / "photos" / ROCKET, there / "photos" / GREY)
    assert check(there).ok
    (difference,) = check(there, teacher, 4).differing
    assert difference.key == GREY
    assert difference.classes > 0.2
    run = labelkit("verify", "maps.h5", "--images", "photos", "--sample", 4)
    assert run.code == 1
    assert f"Of 4 recomputed maps, those that differ from the stored ones: 1 {GREY}: " in run.text


def test_a_recompressed_photo_is_found(there, teacher):
    """The smallest change in practice, at the size at which the photo shows its details."""
    (there / "maps.h5").unlink()
    relabel(there / "photos", teacher, there / "maps.h5", replace(SMALL, sizes=(320,)))
    with Image.open(there / "photos" / ROCKET) as photo:
        photo.convert("RGB").save(there / "photos" / ROCKET, quality=90)
    assert [difference.key for difference in check(there, teacher, 4).differing] == [ROCKET]


def test_a_truncated_photo_is_found_by_the_sample(there, teacher):
    (there / "photos" / ROCKET).write_bytes(b"junk")
    (difference,) = check(there, teacher, 4).differing
    assert difference.key == ROCKET
    assert difference.unreadable
    run = labelkit("verify", "maps.h5", "--images", "photos", "--sample", 4)
    assert f"{ROCKET}: the image cannot be read (" in run.text


def test_a_sample_is_evenly_spaced_and_reproducible(there, teacher):
    photos = [(there / "photos" / key).read_bytes() for key in KEYS]
    for key, photo in zip(KEYS, photos[1:] + photos[:1], strict=True):
        (there / "photos" / key).write_bytes(photo)
    for _ in range(2):
        found = check(there, teacher, 2)
        assert [difference.key for difference in found.differing] == [CAT, ROCKET]
    assert [difference.key for difference in check(there, teacher, 1).differing] == [CAT]


def test_an_unreadable_image_that_was_repaired_is_reported(there):
    shutil.copy(there / "photos" / CAT, there / "photos" / "torn.jpg")
    found = check(there)
    assert (found.readable_now, found.still_unreadable) == (["torn.jpg"], {})
    assert (found.missing, found.ok) == ([], False)
    run = labelkit("verify", "maps.h5", "--images", "photos")
    assert run.code == 1
    assert "and can be read now: 1 torn.jpg" in run.text
    (there / "photos" / "torn.jpg").unlink()
    assert check(there).ok


def test_another_teacher_is_refused_with_both_names(there, teacher):
    other = replace(teacher, weights_digest="0" * 64)
    digest = teacher.weights_digest[:12]
    name = "'efficientnet-lite0'"
    message = rf"{name} \(weights '{digest}'\), got {name} \(weights '0{{12}}'"
    with pytest.raises(TeacherError, match=message):
        check(there, other, 1)
    blurred = replace(teacher, card=msgspec.structs.replace(teacher.card, mean=(0.1, 0.1, 0.1)))
    with pytest.raises(TeacherError, match="which differs in 'mean'"):
        check(there, blurred, 1)
    shutil.copy(CHECKOUT / "teachers" / "efficientnet-lite0.toml", there / "mine.toml")
    arguments = ["verify", "maps.h5", "--images", "photos", "--sample", 1]
    run = labelkit(*arguments, "--teacher", "mine.toml", "--device", "cpu")
    assert run.code == 1
    assert "was made by 'efficientnet-lite0'" in run.text
    assert "got 'mine' (weights" in run.text


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"teacher": {"name": "/etc/evil.toml"}}, "names no teacher"),
        (
            {"teacher": {"name": "unknown-net"}},
            "was made by 'unknown-net', which cannot be loaded here",
        ),
    ],
    ids=str,
)
def test_a_file_that_names_no_known_teacher_needs_one(there, source, message):
    write_plain(there / "plain.h5", source)
    run = labelkit("verify", "plain.h5", "--images", "photos", "--sample", 1)
    assert run.code == 1
    assert message in run.text
    assert "--teacher" in run.text


def test_maps_of_unknown_settings_are_not_recomputed(there, teacher):
    with LabelMapFile.open(there / "maps.h5") as file:
        source = file.attrs
    write_plain(there / "maps.h5", source | {"resize": "\x1bupside down"})
    with pytest.raises(LabelMapError, match=r"'resize': '.x1bupside down' there, 'whole image"):
        check(there, teacher, 1)
    write_plain(there / "maps.h5", source | {"input_sizes": [1 << 20]})
    with pytest.raises(LabelMapError, match=r"input sizes \[1048576\]"):
        check(there, teacher, 1)
    write_plain(there / "maps.h5", {})


@pytest.mark.parametrize(
    "how",
    [
        ["--flip"],
        ["--size", "64+96", "--average", "probability"],
        ["--teacher", "efficientnet-lite0", "--teacher", "efficientnet-lite1"],
    ],
    ids=str,
)
def test_averages_of_relabel_are_recomputed(there, how):
    size = [] if "--size" in how else ["--size", 96]
    made = labelkit("relabel", "photos", "-o", "average.h5", "--workers", 0, *size, *how)
    assert made.code == 0, made.text
    run = labelkit("verify", "average.h5", "--images", "photos", "--sample", 4)
    assert run.code == 0, run.text
    assert "equal to the stored maps: 4" in run.text
    shutil.copy(there / "photos" / ROCKET, there / "photos" / GREY)
    run = labelkit("verify", "average.h5", "--images", "photos", "--sample", 4)
    assert f"those that differ from the stored ones: 1 {GREY}: " in run.text


IMPORT = {"imported from": "ReLabel folder", "axes": "columns-first"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({}, "does not say which teacher made its maps: they cannot be recomputed"),
        (
            IMPORT,
            "was imported from a 'ReLabel folder', which does not say which teacher made its maps",
        ),
        ({"teachers": [{"name": "a"}, "\x1b"]}, "does not say which teacher made its maps"),
    ],
    ids=["unknown", "imported", "nonsense"],
)
def test_maps_that_cannot_be_recomputed_are_reported_with_what_to_check_instead(
    there, source, message
):
    """A teacher would not help, so none is requested; everything else is checked as usual."""
    write_plain(there / "plain.h5", source)
    for teacher in ([], ["--teacher", "efficientnet-lite0"]):
        run = labelkit("verify", "plain.h5", "--images", "photos", "--sample", 1, *teacher)
        assert run.code == 1
        assert message in run.text
        assert "Without --sample, verify checks every row" in run.text
        assert "--teacher" not in run.text
    with (
        LabelMapFile.open("plain.h5") as file,
        pytest.raises(LabelMapError, match=re.escape(message)),
    ):
        map_maker(file, [])
    for key in (GREY, COFFEE, ROCKET, "torn.jpg"):
        (there / "photos" / key).unlink()
    assert labelkit("verify", "plain.h5", "--images", "photos").code == 0


def write_plain(path, source, key=CAT):
    """A file of one row with any source in its header."""
    path.unlink(missing_ok=True)
    classes = load_teacher("efficientnet-lite0", device="cpu").classes
    writer = LabelMapWriter(
        path, classes=classes, keys=[key], forms=[MapForm(top_k=5, grid=(15, 15))], source=source
    )
    index = np.broadcast_to(np.arange(5)[:, None, None], (1, 5, 15, 15))
    writer.commit(writer.shards[0], [LabelMaps(index, -index.astype(np.float32))], {})
    writer.finalize().close()


def test_long_lists_are_cut_and_names_cannot_control_the_terminal(there):
    for number in range(13):
        shutil.copy(there / "photos" / CAT, there / "photos" / f"\x1b[31m{number:02}.jpg")
    run = labelkit("verify", "maps.h5", "--images", "photos")
    assert run.code == 1
    assert "Images without a row: 13" in run.text
    assert "\N{REPLACEMENT CHARACTER}[31m09.jpg and 3 more" in run.text
    assert "\x1b" not in run.out + run.err
    write_plain(there / "plain.h5", {}, key="\x1b[31m/cat.jpg")
    (there / "photos" / "animals").rename(there / "photos" / "\x1b[32m")
    run = labelkit("verify", "plain.h5", "--images", "photos")
    mark = "\N{REPLACEMENT CHARACTER}"
    assert f"{mark}[31m/cat.jpg: now {mark}[32m/cat.jpg" in run.text
    assert "\x1b" not in run.out + run.err


def test_json_lists_all_problems_and_stdout_holds_nothing_else(there):
    shutil.copy(there / "photos" / CAT, there / "photos" / "new.jpg")
    run = labelkit("verify", "maps.h5", "--images", "photos", "--json")
    facts = json.loads(run.out)
    assert (run.code, facts["ok"], facts["rows"], facts["missing"]) == (1, False, 4, ["new.jpg"])
    assert "maps.h5 has problems: 1 images without a row" in run.err
    (there / "photos" / "new.jpg").unlink()
    shutil.copy(there / "photos" / ROCKET, there / "photos" / GREY)
    run = labelkit("verify", "maps.h5", "--images", "photos", "--sample", 4, "--json")
    (difference,) = json.loads(run.out)["differing"]
    assert difference["key"] == GREY
    assert difference["classes"] > 0.2


def test_quiet_prints_nothing_but_the_error(there):
    assert labelkit("verify", "maps.h5", "--quiet").text == ""
    (there / "photos" / CAT).unlink()
    run = labelkit("verify", "maps.h5", "--images", "photos", "-q")
    assert (run.code, run.out) == (1, "")
    assert run.err.startswith("Error: maps.h5 has problems")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.h5"], 2, "does not exist"),
        (["photos"], 2, "is a directory"),
        ([f"photos/{CAT}"], 1, "is not a complete HDF5 file"),
        (["maps.h5", "--images", "none"], 2, "does not exist"),
        (["maps.h5", "--images", "empty"], 1, "holds no images"),
        (["maps.h5", "--sample", "4"], 2, "--sample needs --images"),
        (["maps.h5", "--images", "photos", "--teacher", "resnet50"], 2, "needs --sample"),
        (["maps.h5", "--images", "photos", "--device", "cpu"], 2, "needs --sample"),
        (["maps.h5", "--images", "photos", "--sample", "0"], 2, "--sample"),
    ],
    ids=str,
)
def test_wrong_input_is_one_clear_line(there, arguments, code, message):
    (there / "empty").mkdir()
    run = labelkit("verify", *arguments)
    assert run.code == code
    assert message in run.text
    assert "Traceback" not in run.text


def test_a_sample_without_images_or_teacher_is_a_wrong_argument(there, teacher):
    with LabelMapFile.open(there / "maps.h5") as file:
        with pytest.raises(ValueError, match="a sample needs"):
            verify(file, None, [teacher], 1)
        with pytest.raises(ValueError, match="a sample needs"):
            verify(file, there / "photos", [], 1)


@pytest.mark.parametrize(
    ("extra", "missing", "renamed"),
    [
        (["a/1.jpg"], ["b/1.jpg"], {"a/1.jpg": "b/1.jpg"}),
        (["a/1.jpg"], ["a/2.jpg"], {}),
        (["a/1.JPG"], ["a/1.jpg"], {"a/1.JPG": "a/1.jpg"}),
        (["a/1.bmp"], ["a/1.png"], {"a/1.bmp": "a/1.png"}),
        (["caf\u00e9.jpg"], ["cafe\u0301.jpg"], {"caf\u00e9.jpg": "cafe\u0301.jpg"}),
        (["a/1.jpg", "b/1.jpg"], ["c/1.jpg"], {}),
        (["a/1.jpg"], ["b/1.jpg", "c/1.jpg"], {}),
        (
            ["a/1.jpg", "b/1.jpg"],
            ["train/a/1.jpg", "train/b/1.jpg"],
            {"a/1.jpg": "train/a/1.jpg", "b/1.jpg": "train/b/1.jpg"},
        ),
        (
            ["a/1.jpg", "b/1.jpg"],
            ["a/1.png", "c/1.jpg"],
            {"a/1.jpg": "a/1.png", "b/1.jpg": "c/1.jpg"},
        ),
        ([], ["a/1.jpg"], {}),
    ],
)
def test_a_rename_needs_exactly_one_fitting_key_on_each_side(extra, missing, renamed):
    """By precedence; without a unique pair, no rename is reported."""
    assert likely_renames(extra, missing) == renamed
    assert likely_renames(missing, extra) == {new: old for old, new in renamed.items()}


def test_two_classes_of_nearly_equal_score_may_change_places():
    """Within a cell, and in and out of it; a strong class that is missing is a difference."""
    index = np.array([3, 5, 7]).reshape(3, 1, 1)
    score = np.array([9.0, 8.0, 0.5], np.float32).reshape(3, 1, 1)
    stored = LabelMap(index.astype(np.uint16), score)

    def now(classes, scores):
        shape = (3, 1, 1)
        again = LabelMap(np.reshape(classes, shape), np.reshape(np.float32(scores), shape))
        return compare_maps("k", stored, again)

    assert now([3, 5, 7], [9, 8, 0.5]) is None
    assert now([3, 5, 8], [9, 8, 0.51]) is None  # 7 is a little below 8
    assert now([3, 5, 7], [9, 8, 0.6]).score == pytest.approx(0.1 / 8.5, rel=1e-3)
    assert now([3, 6, 5], [9, 8.1, 8.0]).score == pytest.approx(7.5 / 8.5)  # 6 is new and strong
    assert now([3, 6, 7], [9, 8, 0.5]).classes == pytest.approx(1 / 3)


def test_one_class_of_an_image_may_have_moved_to_the_background():
    """Backgrounds are compared too: that of another image is a difference."""

    def image(classes, scores, others, logits):
        index = np.broadcast_to(np.reshape(classes, (-1, 1, 1)), (len(classes), 2, 2))
        score = np.broadcast_to(np.reshape(np.float32(scores), (-1, 1, 1)), index.shape)
        background = Background(np.array(others), np.float32(logits), -2.0)
        return LabelMap(index, score.copy(), background, np.array(classes))

    stored = image([1, 4], [9, 3], [5, 7], [2, 1])
    assert compare_maps("k", stored, image([1, 4], [9.01, 3], [5, 7], [2.1, 1])) is None
    assert compare_maps("k", stored, image([1, 5], [9, 3], [4, 7], [2.9, 1])) is None
    assert compare_maps("k", stored, image([2, 5], [9, 3], [4, 7], [2.9, 1])).classes == 1
    assert compare_maps("k", stored, image([1, 4], [8, 3], [5, 7], [2, 1])).score == pytest.approx(
        1 / 6
    )
    assert compare_maps("k", stored, image([1, 4], [9, 3], [5, 7], [2, 0])) is not None
    assert compare_maps("k", stored, image([1, 4], [9, 3], [6, 8], [2, 1])) is not None
