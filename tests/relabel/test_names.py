"""From folders with plain names to targets in their order: ``relabel --names``, as users run it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from labelkit.data import LabelMapDataset, TargetOptions
from labelkit.errors import ClassListError, ClassListMismatch, LabelMapError
from labelkit.hierarchy import ClassList
from labelkit.label_maps import LabelMapFile, LabelMaps, LabelMapWriter, merge
from labelkit.label_maps.file.reader import stored_rows
from labelkit.relabel import Settings, relabel, verify
from labelkit.relabel.batches import ResizedImages
from labelkit.relabel.predictions import Predictions
from labelkit.sources import as_source
from labelkit.teachers import Teacher
from tests.command import labelkit
from tests.photos import write_photos
from tests.teachers.support import random_teacher

if TYPE_CHECKING:
    from pathlib import Path

    from tests.command import Run

ANIMAL, ARTIFACT, VEHICLE = "n00015388", "n00021939", "n04524313"
COW, SEA = "n01887787", "n09426788"  # an ImageNet-1k teacher has nothing for them
# Sorted otherwise than their synsets.
SYNSETS = {"artefacts": ARTIFACT, "beasts": ANIMAL}
CLASSES = ClassList.of(SYNSETS)
SMALL = Settings(sizes=(96,), batch_size=1, workers=0, classes=CLASSES, synsets=SYNSETS)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_photos(tmp_path / "photos")
    (tmp_path / "photos" / "animals").rename(tmp_path / "photos" / "beasts")
    (tmp_path / "photos" / "things").rename(tmp_path / "photos" / "artefacts")
    return tmp_path / "photos"


def write_names(photos: Path, **synsets: str) -> Path:
    path = photos.with_name("names.tsv")
    path.write_text("".join(f"{name}\t{wnid}\n" for name, wnid in (SYNSETS | synsets).items()))
    return path


def command(photos: Path, output: str, *options: object) -> Run:
    return labelkit(
        *("relabel", photos, "-o", photos.with_name(output), "--classes", photos, "--size", 96),
        *("--batch-size", 1, "--workers", 0, *options),
    )


def test_targets_come_in_the_order_of_the_folders(photos: Path) -> None:
    """Every image's strongest class is the index of its folder; the user needs no wnid."""
    run = command(photos, "maps.h5", "--names", write_names(photos))
    assert run.code == 0, run.text
    folder = ImageFolder(str(photos))
    whole = v2.Compose([v2.Resize((64, 64)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    maps = photos.with_name("maps.h5")
    train_set = LabelMapDataset(folder, maps, whole)
    assert list(train_set.classes) == folder.classes == ["artefacts", "beasts"]
    (_, targets) = next(iter(DataLoader(train_set, batch_size=4)))
    shown = dict(zip(train_set.keys, targets.argmax(dim=1).tolist(), strict=True))
    assert shown["beasts/cat.jpg"] == folder.class_to_idx["beasts"]
    assert shown["artefacts/rocket.jpg"] == folder.class_to_idx["artefacts"]
    original = LabelMapDataset(folder, maps, whole, options=TargetOptions(label="original"))
    hard = torch.stack([target for _, target in original]).argmax(dim=1)
    assert hard.tolist() == folder.targets


def test_the_maps_are_those_of_the_synsets(photos: Path, teacher: Teacher) -> None:
    """All rows equal those for a list of wnids in the same order; only the class list differs."""
    relabel(photos, teacher, photos.with_name("named.h5"), SMALL)
    by_hand = Settings(sizes=(96,), batch_size=1, workers=0, classes=ClassList.of(SYNSETS.values()))
    relabel(photos, teacher, photos.with_name("wnids.h5"), by_hand)
    named, wnids = (LabelMapFile.open(photos.with_name(f"{n}.h5")) for n in ("named", "wnids"))
    assert [*stored_rows(named).unchecked()] == [*stored_rows(wnids).unchecked()]
    assert (named.classes, [*wnids.classes]) == (CLASSES, [*SYNSETS.values()])
    assert named.attrs["synsets"] == SYNSETS
    assert {**named.attrs, "synsets": None} == {**wnids.attrs, "synsets": None}


def test_unused_names_are_not_recorded(photos: Path, teacher: Teacher) -> None:
    """Names of other classes, or a wnid for itself, must not change a file's identity."""
    more = SYNSETS | {"clock": "n03046257"}
    settings = Settings(sizes=(96,), classes=ClassList.of([ANIMAL, "artefacts"]), synsets=more)
    relabel(photos, teacher, photos.with_name("maps.h5"), settings)
    with LabelMapFile.open(photos.with_name("maps.h5")) as file:
        assert file.attrs["synsets"] == {"artefacts": ARTIFACT}
    same_ids = Settings(sizes=(96,), synsets={"clock": "n03046257", ANIMAL: ANIMAL})
    relabel(photos, teacher, photos.with_name("all.h5"), same_ids)
    with LabelMapFile.open(photos.with_name("all.h5")) as file:
        assert "synsets" not in file.attrs


def test_a_changed_synset_is_noticed_wherever_rows_would_mix(photos: Path) -> None:
    names = write_names(photos)
    assert command(photos, "old.h5", "--names", names).code == 0
    write_names(photos, artefacts=VEHICLE)
    run = command(photos, "old.h5", "--names", names)
    assert run.code == 1
    change = f"settings.synsets.artefacts: {ARTIFACT} there, {VEHICLE} now"
    assert f"made with other settings ({change})" in run.text
    run = command(photos, "new.h5", "--names", names, "--reuse", photos.with_name("old.h5"))
    assert run.code == 1
    assert f"its source.synsets.artefacts is '{ARTIFACT}', here it is '{VEHICLE}'" in run.text
    assert command(photos, "new.h5", "--names", names).code == 0
    old, new = (LabelMapFile.open(photos.with_name(name)) for name in ("old.h5", "new.h5"))
    with pytest.raises(LabelMapError, match=r"synsets\.artefacts"):
        merge([old, new], photos.with_name("joined.h5"))


def test_an_interrupted_run_resumes_only_with_the_same_synsets(
    photos: Path, teacher: Teacher
) -> None:
    output = photos.with_name("maps.h5")
    settings = replace(SMALL, shard_rows=1)

    def stop(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        relabel(photos, teacher, output, settings, on_progress=stop)
    other = replace(settings, synsets=SYNSETS | {"artefacts": VEHICLE})
    message = (
        rf"other settings \(header\.source\.synsets\.artefacts: {ARTIFACT} there, {VEHICLE} now"
    )
    with pytest.raises(LabelMapError, match=message):
        relabel(photos, teacher, output, other)
    assert relabel(photos, teacher, output, settings).processed == 2


def test_verify_takes_the_synsets_from_the_file(photos: Path, teacher: Teacher) -> None:
    relabel(photos, teacher, photos.with_name("maps.h5"), SMALL)
    with LabelMapFile.open(photos.with_name("maps.h5")) as file:
        assert verify(file, photos, [teacher], 4).ok
    shutil.copy(photos / "artefacts" / "rocket.jpg", photos / "beasts" / "cat.jpg")
    with LabelMapFile.open(photos.with_name("maps.h5")) as file:
        found = verify(file, photos, [teacher], 4)
    assert [each.key for each in found.differing] == ["beasts/cat.jpg"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("artefacts\tn00021939\nbeasts\t?\n", r"1 of 2 classes still have a ?.*(beasts)"),
        (
            "artefacts\tn00021939\n",
            "names.tsv does not contain 1 of the 2 classes of photos ('beas",
        ),
        (
            "artefacts\tn00021939\nbeasts\tunder n00015388\n",
            "names.tsv places 1 of the 2 classes of photos ('beasts') under a synset",
        ),
        (
            "artefacts\tn00021939\nbeasts\tn01887787\n",
            "): beasts (n01887787). Choose other synsets for them, remove them from the list",
        ),
    ],
    ids=["undecided", "absent", "under", "unknown to the teacher"],
)
def test_a_class_without_a_synset_is_named_with_what_to_do_next(
    lines: str, message: str, photos: Path
) -> None:
    names = photos.with_name("names.tsv")
    names.write_text(lines)
    run = command(photos, "maps.h5", "--names", names)
    assert run.code == 1
    for part in message.split(".*"):
        assert part in run.text
    assert not photos.with_name("maps.h5").exists()


def test_names_without_classes_are_wrong_usage(photos: Path) -> None:
    names = write_names(photos)
    run = labelkit("relabel", photos, "-o", photos.with_name("maps.h5"), "--names", names)
    assert run.code == 2
    assert "--names needs --classes, the classes that it names" in run.text
    run = labelkit("relabel", photos, "-o", photos.with_name("maps.h5"), "--classes", " ")
    assert run.code == 2
    assert "--classes is empty" in run.text


def test_plain_names_without_a_name_file_lead_to_match_names(
    photos: Path, teacher: Teacher
) -> None:
    with pytest.raises(
        ClassListMismatch, match=r"match-names CLASSES -o names\.tsv.*--names names"
    ):
        relabel(photos, teacher, photos.with_name("maps.h5"), Settings(classes=CLASSES))


def test_a_teacher_that_knows_the_plain_names_needs_no_synsets(
    photos: Path, teacher: Teacher
) -> None:
    """So it can be averaged with a teacher that knows wnids: each class is found in both."""
    plain = random_teacher("resnet18")
    ids = ClassList.of(["beasts", *(f"class {at}" for at in range(998)), "artefacts"])
    plain = Teacher(plain.model, ids, plain.card, plain.weights_digest)
    both = Predictions([plain, teacher], CLASSES, [(96,)], synsets=SYNSETS)
    alone = Predictions([plain], CLASSES, [(96,)], synsets=SYNSETS)
    images = ResizedImages(as_source(photos), ["beasts/cat.jpg"], alone.input_sizes)
    pixels = images.collate([images[0]]).pixels
    logits = plain.logits_map(plain.normalize(pixels[0]))[:, [999, 0]]
    assert torch.equal(alone(pixels, 0, logits.shape[2:]), logits)
    assert both.describe()["synsets"] == SYNSETS


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            {"cow": COW},
            r": of labelkit's cards, .*tresnet-l-21k-p \(imagenet-21k-p\) lacks none of them$",
        ),
        ({"cow": COW, "sea": SEA}, r"convnext-xlarge-22k \(imagenet-22k\) lacks 1, .*of them$"),
        (
            {"sea": SEA},
            r"classes in .*: sea \(n09426788\)\. Choose .*, or use another teacher$",
        ),
    ],
    ids=["all", "some", "none"],
)
def test_cards_that_lack_fewer_of_the_classes_are_named(
    names: dict[str, str], message: str, teacher: Teacher
) -> None:
    """Only the larger class lists contain WordNet's cow, and none contains its sea."""
    classes = ClassList.of(["tench", *names])
    with pytest.raises(ClassListMismatch, match=message) as caught:
        Predictions([teacher], classes, [(96,)], synsets={"tench": "n01440764", **names})
    assert "efficientnet" not in str(caught.value).partition("use another")[2]


def test_two_classes_with_one_synset_are_refused(photos: Path, teacher: Teacher) -> None:
    settings = Settings(classes=ClassList.of(["beasts", ANIMAL]), synsets={"beasts": ANIMAL})
    with pytest.raises(ClassListError, match=f"'{ANIMAL}' .*synsets of"):
        relabel(photos, teacher, photos.with_name("maps.h5"), settings)


def test_names_in_the_order_of_the_teachers_classes_need_no_projection(
    photos: Path, teacher: Teacher
) -> None:
    """A thousand plain names for a thousand wnids: the same logits, under other names."""
    names = {f"class {number}": wnid for number, wnid in enumerate(teacher.classes)}
    settings = Settings(sizes=(96,), classes=ClassList.of(names), synsets=names)
    relabel(photos, teacher, photos.with_name("named.h5"), settings)
    relabel(photos, teacher, photos.with_name("plain.h5"), Settings(sizes=(96,)))
    named, plain = (LabelMapFile.open(photos.with_name(f"{n}.h5")) for n in ("named", "plain"))
    assert named.attrs["projected"] is False
    for key in plain:
        assert np.array_equal(named[key].index, plain[key].index)
        assert np.array_equal(named[key].score, plain[key].score)


@pytest.mark.parametrize("synsets", [["n00021939", ANIMAL], {"beasts": 7}])
def test_malformed_synsets_in_a_header_are_refused_before_any_image(
    synsets: object, photos: Path, teacher: Teacher
) -> None:
    relabel(photos, teacher, photos.with_name("maps.h5"), SMALL)
    with LabelMapFile.open(photos.with_name("maps.h5")) as file:
        writer = LabelMapWriter(
            photos.with_name("odd.h5"),
            classes=file.classes,
            keys=[*file],
            forms=file.forms,
            source={**file.attrs, "synsets": synsets},
            other=file.header.other,
        )
        maps = [LabelMaps.concatenate([file.batch([at])[0] for at in range(len(file))])]
        writer.commit(*writer.pending(), maps, {})
    odd = writer.finalize()
    assert not verify(odd, photos).damaged
    with pytest.raises(LabelMapError, match=r"odd\.h5 has the synsets .*cannot be recomputed"):
        verify(odd, photos, [teacher], 1)
