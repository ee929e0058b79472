"""What comes out is right to the file, whatever kind of source it came from."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image
from webdataset.tariterators import group_by_keys, tar_file_iterator

from labelkit.data import ClassFolders
from labelkit.errors import LabelkitError
from labelkit.prepare import PrepareSettings, load_manifest, plan_preparation, prepare
from tests.photos import SHARED, needs_shared
from tests.prepare.support import SETTINGS, SOURCES, as_folder, as_tar_of_tars, content, dump, photo

ODD = "zoë's & ünï (1)"
ROOT = Path(__file__).parents[2]


def resized(original: bytes, quality: int = 95) -> bytes:
    """What the recipe makes of one photo, in Pillow's words."""
    file = io.BytesIO()
    square = Image.open(io.BytesIO(original)).convert("RGB").resize((32, 32), Image.BILINEAR)
    square.save(file, "JPEG", quality=quality)
    return file.getvalue()


def expected() -> dict[str, bytes]:
    """The images of the output, written down by hand."""
    made = {}
    for class_id, val, train in (("n01", "01", "245678"), ("n02", "01", "23456")):
        for split, numbers in (("val", val), ("train", train)):
            for number in numbers:
                name = f"{class_id}_{number}.JPEG"
                made[f"{split}/{class_id}/{name}"] = resized(dump()[class_id][name])
    for path in (
        "val/A.jpg",
        "val/a b.jpg",
        "train/deep/er/1.jpg",
        "train/two.dots.jpg",
        "train/ä.jpg",
    ):
        split, _, name = path.partition("/")
        source = name.replace("a b.jpg", "a b.png")
        made[f"{split}/{ODD}/{name}"] = resized(dump()[ODD][source])
    made[f"train/{ODD}/small.jpg"] = dump()[ODD]["small.jpg"]  # smaller than 32: as it was
    return made


@pytest.mark.parametrize("write", SOURCES, ids=lambda write: write.__name__)
def test_every_kind_of_source_gives_exactly_the_expected_files(write, tmp_path):
    """Broken images, classes below the limit and odd names among them; the source is unchanged."""
    source = write(dump(), tmp_path / "source")
    before = content(tmp_path)
    result = prepare(source, tmp_path / "out", SETTINGS, workers=0)
    made = content(tmp_path / "out")
    lists = {name: made.pop(name) for name in ("classes.txt", "manifest.json")}
    assert made == expected()
    assert lists["classes.txt"].decode() == f"n01\nn02\n{ODD}\n"
    assert {name: made for name, made in content(tmp_path).items() if name in before} == before
    records = {record.class_id: record for record in result.manifest.classes}
    assert records["n01"].unreadable.keys() == {"n01_3.JPEG"}
    assert records["n02"].unreadable == {
        "n02_7.JPEG": "the file is empty",
        "n02_8.JPEG": records["n02"].unreadable["n02_8.JPEG"],
    }
    assert "the content is an HTML page" in records["n02"].unreadable["n02_8.JPEG"]
    assert records["few"].dropped == "fewer than 5 images"
    assert (records["few"].found, records["n02"].found) == (4, 9)
    assert {name for name, record in records.items() if record.dropped} >= {"few"}
    assert json.loads(lists["manifest.json"])["counts"]["train"] == 6 + 5 + 4
    assert load_manifest(tmp_path / "out") == result.manifest


def test_two_processes_give_the_same_bytes_as_none(tmp_path):
    source = as_folder(dump(), tmp_path / "source")
    for shards in (None, 4):
        settings = PrepareSettings(min_images=5, val=2, resize=32, shards=shards)
        for workers in (0, 2):
            prepare(source, tmp_path / f"{shards}-{workers}", settings, workers=workers)
        made, other = (content(tmp_path / f"{shards}-{workers}") for workers in (0, 2))
        assert made == other


def test_the_digest_of_a_class_is_that_of_sha256sum(tmp_path):
    source = as_folder(dump(), tmp_path / "source")
    result = prepare(source, tmp_path / "out", SETTINGS, workers=0)
    command = "LC_ALL=C ls -1 */n02/* | xargs sha256sum | sha256sum"
    run = subprocess.run(  # noqa: S602 -- what a user would type
        command, shell=True, cwd=tmp_path / "out", capture_output=True, text=True, check=True
    )
    record = next(record for record in result.manifest.classes if record.class_id == "n02")
    assert run.stdout.split()[0] == record.sha256


def test_shards_hold_the_same_images_and_webdataset_reads_them(tmp_path):
    source = as_folder(dump(), tmp_path / "source")
    settings = PrepareSettings(min_images=5, val=2, resize=32, shards=6)
    manifest = prepare(source, tmp_path / "out", settings, workers=0).manifest
    classes = (tmp_path / "out" / "classes.txt").read_text().splitlines()
    assert [(shard.file, shard.images) for shard in manifest.shards] == [
        ("train-00000.tar", 6),
        ("train-00001.tar", 6),
        ("train-00002.tar", 3),
        ("val-00000.tar", 6),
    ]
    found, order = {}, []
    for shard in manifest.shards:
        path = tmp_path / "out" / shard.file
        assert hashlib.sha256(path.read_bytes()).hexdigest() == shard.sha256
        with path.open("rb") as file:
            files = ({"__url__": shard.file} | each for each in tar_file_iterator(file))
            samples = list(group_by_keys(files))
        for sample in samples:
            class_id = classes[int(sample["cls"])]
            assert sample["__key__"].startswith(f"{class_id}/")
            split = shard.file.partition("-")[0]
            found[f"{split}/{sample['__key__']}"] = sample["jpg"]
            order += [class_id] if split == "train" else []
    wanted = {
        name.rpartition(".")[0].replace("two.dots", "two_dots"): image
        for name, image in expected().items()
    }
    assert found == wanted
    assert order != sorted(order)  # classes are mixed


def test_prepared_shards_can_be_prepared_again(tmp_path):
    """Numbers in .cls files are looked up in the class list beside the shards."""
    source = as_folder(dump(), tmp_path / "source")
    settings = PrepareSettings(min_images=5, val=2, resize=32, shards=6)
    prepare(source, tmp_path / "out", settings, workers=0)
    again = PrepareSettings(min_images=3, val=0, mode="keep")
    pattern = tmp_path / "out" / "train-{00000..00002}.tar"
    manifest = prepare(pattern, tmp_path / "again", again, workers=0).manifest
    assert manifest.kept == ["n01", "n02", ODD]
    assert manifest.counts["train"] == 15


@pytest.mark.parametrize("mode", ["short-edge", "keep"])
def test_the_other_modes(tmp_path, mode):
    files = {f"{number}.png": photo(number, "PNG") for number in range(3)}
    source = as_folder({"a": files}, tmp_path / "source")
    settings = PrepareSettings(min_images=1, val=0, resize=32, mode=mode)
    prepare(source, tmp_path / "out", settings, workers=0)
    made = content(tmp_path / "out" / "train" / "a")
    if mode == "keep":
        assert made == files
        return
    for name, original in files.items():
        width, height = Image.open(io.BytesIO(original)).size
        size = Image.open(io.BytesIO(made[name.replace("png", "jpg")])).size
        assert min(size) == 32
        assert abs(size[0] / size[1] - width / height) < 1.5 / 32


def test_the_resized_image_is_torchvisions(tmp_path):
    """Another implementation of bilinear resizing with antialiasing."""
    from torchvision.transforms.v2.functional import resize

    from labelkit.data import read_image

    source = as_folder({"a": {"1.jpg": photo(5)}}, tmp_path / "source")
    prepare(source, tmp_path / "out", PrepareSettings(1, 0, resize=32, quality=100), workers=0)
    made = read_image(tmp_path / "out" / "train" / "a" / "1.jpg").float()
    wanted = resize(read_image(source / "a" / "1.jpg"), [32, 32], antialias=True).float()
    assert (made - wanted).abs().mean() < 3  # what 4:2:0 costs at this quality


def test_names_that_would_be_the_same_in_the_output_are_told_apart(tmp_path):
    names = ("a.jpg", "A.jpg", "a.png", "e\u0301.jpg", "\u00e9.jpg")
    files = {
        name: photo(number, "PNG" if "png" in name else "JPEG") for number, name in enumerate(names)
    }
    source = as_tar_of_tars({"a": files}, tmp_path / "source")
    result = prepare(source, tmp_path / "out", PrepareSettings(1, 0, resize=32), workers=0)
    assert content(tmp_path / "out" / "train" / "a").keys() == {
        "A.jpg",
        "a-2.jpg",
        "a-3.jpg",
        "e\u0301.jpg",
        "\u00e9-2.jpg",
    }
    assert result.manifest.classes[0].renamed == {
        "a.jpg": "a-2.jpg",
        "a.png": "a-3.jpg",
        "\u00e9.jpg": "\u00e9-2.jpg",
    }


def test_a_hash_split_depends_on_the_seed_and_not_on_other_images(tmp_path):
    source = as_folder(dump(), tmp_path / "source")
    chosen = []
    for seed in range(3):
        settings = PrepareSettings(min_images=5, val=2, resize=32, split="hash", seed=seed)
        prepare(source, tmp_path / str(seed), settings, workers=0)
        chosen.append(
            {name for name in content(tmp_path / str(seed)) if name.startswith("val/n01")}
        )
    ranked = sorted(
        (f"n01_{number}.JPEG" for number in "01245678"),
        key=lambda name: hashlib.sha256(f"0/n01/{name}".encode()).hexdigest(),
    )
    assert chosen[0] == {f"val/n01/{name}" for name in ranked[:2]}
    assert len({frozenset(each) for each in chosen}) > 1


def test_a_class_of_which_too_few_can_be_read_is_dropped(tmp_path):
    broken = {f"{number}.jpg": b"broken" for number in range(6)}
    classes = {"good": dump()["n01"], "bad": broken | {"7.jpg": photo(7), "8.jpg": photo(8)}}
    source = as_folder(classes, tmp_path / "source")
    manifest = prepare(source, tmp_path / "out", SETTINGS, workers=0).manifest
    assert manifest.kept == ["good"]
    assert manifest.dropped[0].dropped == "only 2 readable images"
    assert len(manifest.dropped[0].unreadable) == 6
    assert sorted(path.name for path in (tmp_path / "out" / "train").iterdir()) == ["good"]


def test_a_dry_run_counts_and_writes_nothing(tmp_path):
    for write in SOURCES:
        folder = tmp_path / write.__name__
        folder.mkdir()
        source = write(dump(), folder / "source")
        before = content(folder)
        manifest = plan_preparation(source, SETTINGS)
        assert content(folder) == before
        assert manifest.kept == ["n01", "n02", ODD]
        assert manifest.counts["train"] == 7 + 7 + 4  # broken images count as found


def test_training_reads_the_output(tmp_path):
    source = as_folder(dump(), tmp_path / "source")
    prepare(source, tmp_path / "out", SETTINGS, workers=0)
    train, val = (ClassFolders(tmp_path / "out" / split) for split in ("train", "val"))
    assert train.classes == val.classes == ["n01", "n02", ODD]
    assert (len(train), len(val)) == (15, 6)


def test_no_torch_is_loaded(tmp_path):
    source = as_folder(dump(), tmp_path / "source")
    program = (
        "import sys\nfrom labelkit.prepare import PrepareSettings, prepare\n"
        f"prepare({str(source)!r}, {str(tmp_path / 'out')!r}, PrepareSettings(5, 2), workers=0)\n"
        "assert not {'torch', 'timm', 'h5py'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@needs_shared
def test_real_classes_are_right_to_the_file(tmp_path):
    """Two of Tiny ImageNet's, beside a tar of tars with a broken photo."""
    root = SHARED / "data" / "tiny_imagenet" / "val"
    ids = sorted(path.name for path in root.iterdir())[:3]
    classes = {
        each: {path.name: path.read_bytes() for path in (root / each).iterdir()} for each in ids
    }
    classes[ids[2]] = dict(list(classes[ids[2]].items())[:4])
    first = min(classes[ids[0]])
    classes[ids[0]][first] = classes[ids[0]][first][:200]
    source = as_tar_of_tars(classes, tmp_path / "source")
    prepare(source, tmp_path / "out", SETTINGS, workers=0)
    made = content(tmp_path / "out")
    for class_id in ids[:2]:
        names = sorted(name for name in classes[class_id] if name != first)
        for number, name in enumerate(names):
            split = "val" if number < 2 else "train"
            assert made.pop(f"{split}/{class_id}/{name}") == resized(classes[class_id][name])
    assert made.keys() == {"classes.txt", "manifest.json"}


def test_settings_that_make_no_sense_are_refused():
    for wrong in (
        {"val": 500},
        {"quality": 0},
        {"resize": 0},
        {"shards": 0},
        {"mode": "crop"},
        {"split": "x"},
    ):
        with pytest.raises(ValueError, match=r"expected|must"):
            PrepareSettings(**wrong)


def test_no_class_left_is_an_error_and_another_limit_can_be_tried(tmp_path):
    source = as_folder(dump(), tmp_path / "source")
    with pytest.raises(LabelkitError, match="the largest has 9 images, and --min-images is 500"):
        prepare(source, tmp_path / "out", workers=0)
    assert prepare(source, tmp_path / "out", SETTINGS, workers=0).manifest.counts["classes"] == 3


def test_tar_members_of_shards_have_no_times_or_owners(tmp_path):
    source = as_folder(dump(), tmp_path / "source")
    prepare(source, tmp_path / "out", PrepareSettings(5, 2, resize=32, shards=6), workers=0)
    with tarfile.open(tmp_path / "out" / "val-00000.tar") as tar:
        assert {(member.mtime, member.uid, member.uname) for member in tar} == {(0, 0, "")}
