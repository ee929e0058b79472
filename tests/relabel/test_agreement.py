"""What ``relabel`` reports of folders that are classes: from maps with known probabilities."""

from __future__ import annotations

import json
import tarfile
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rich.console import Console

from labelkit.cli.agreement_report import agreement_facts, print_agreement
from labelkit.hierarchy import (
    ClassList,
    SemanticTree,
    Taxonomy,
    coarsen_to_depth,
    save_coarsening,
)
from labelkit.label_maps import LabelMapFile, LabelMaps, LabelMapWriter, MapForm
from labelkit.relabel import folder_agreement
from tests.command import labelkit
from tests.photos import write_photos

if TYPE_CHECKING:
    from collections.abc import Mapping

PETS = ClassList.of(["cat", "dog"], "pets")
CAT, DOG, FISH = (0.8, 0.1, 0.1), (0.1, 0.85, 0.05), (0.02, 0.08, 0.9)


def write(
    path: Path,
    images: Mapping[str, tuple[float, ...]],
    classes: ClassList = PETS,
    *,
    other: bool = True,
) -> LabelMapFile:
    """A file whose whole-image targets are the given probabilities, one cell each."""
    form = MapForm(top_k=len(classes) + other, grid=(1, 1), scores="float32", selection="image")
    writer = LabelMapWriter(
        path, classes=classes, keys=list(images), forms=[form], source={}, other=other
    )
    for shard in writer.pending():
        keys = writer.keys[shard.start : shard.stop]
        score = np.log(np.array([images[key] for key in keys], np.float32))[:, :, None, None]
        index = np.tile(np.arange(form.top_k), (len(keys), 1))
        writer.commit(shard, [LabelMaps(index, score)], {})
    return writer.finalize()


def printed(file: LabelMapFile, tmp_path: Path) -> str:
    """What a terminal of 100 columns shows."""
    screen = Console(width=100, record=True, file=StringIO())
    found = folder_agreement(file)
    assert found is not None
    print_agreement(screen, found, tmp_path / "maps.h5", tmp_path / "photos", "Other sizes.")
    return " ".join(screen.export_text().split())


def pets(fish: int) -> dict[str, tuple[float, ...]]:
    """Ten cats, ten dogs, and fish in the folder of dogs."""
    return {
        **{f"cat/{n}.jpg": CAT for n in range(10)},
        **{f"dog/{n}.jpg": DOG for n in range(10)},
        **{f"dog/fish{n}.jpg": FISH for n in range(fish)},
    }


def test_fish_among_dogs_are_counted_and_named(tmp_path: Path) -> None:
    found = folder_agreement(write(tmp_path / "maps.h5", pets(fish=5)))
    assert found is not None
    dog, cat = found.classes
    assert cat.share == dog.share
    # Among cat and dog, these fish are dogs.
    assert (dog.class_id, dog.images, dog.agree, dog.elsewhere) == ("dog", 15, 15, 5)
    assert dog.other == pytest.approx((10 * 0.05 + 5 * 0.9) / 15)
    assert set(dog.examples) <= {f"dog/fish{n}.jpg" for n in range(5)}
    assert len(dog.examples) == 3
    assert dog.suspicious
    assert not dog.near_chance
    assert (cat.agree, cat.elsewhere, cat.suspicious) == (10, 0, False)
    assert found.share == 1
    assert found.other == pytest.approx((10 * 0.1 + 10 * 0.05 + 5 * 0.9) / 25)
    assert json.loads(json.dumps(agreement_facts(found)))["classes"][0]["elsewhere"] == 5


def test_the_report_points_at_them(tmp_path: Path) -> None:
    screen = printed(write(tmp_path / "maps.h5", pets(fish=5)), tmp_path)
    assert "agree with their folders for 100 % of 25 images, 2 classes:" in screen
    assert "Warning: dog: 5 of its 15 images are mostly *other*, such as dog/fish" in screen
    assert "--key dog/fish" in screen
    assert 'train with other="even", or "output" where there is no tree' in screen
    assert "Other sizes." not in screen
    assert "Warning: cat" not in screen


def test_a_class_that_the_maps_never_name_is_near_chance(tmp_path: Path) -> None:
    exchanged = {f"{name}/{n}.jpg": DOG for name in ("cat", "dog") for n in range(12)}
    screen = printed(write(tmp_path / "maps.h5", exchanged), tmp_path)
    assert "Warning: cat is near chance: 0 of 12 images agree. Those that agree least:" in screen
    assert "Warning: dog" not in screen
    assert 'other="output"' not in screen


@pytest.mark.parametrize(("count", "warns"), [(1, False), (2, False), (4, False), (5, True)])
def test_a_few_images_are_not_called_near_chance(
    tmp_path: Path, count: int, *, warns: bool
) -> None:
    """Where half of a class agrees, none of four agrees by accident in 6 % of the cases."""
    few = {f"cat/{n}.jpg": DOG for n in range(count)} | {f"dog/{n}.jpg": DOG for n in range(9)}
    screen = printed(write(tmp_path / "maps.h5", few), tmp_path)
    assert (f"Warning: cat is near chance: 0 of {count} images agree" in screen) == warns
    assert ("Warning" in screen) == warns


def test_where_most_classes_are_near_chance_the_settings_are_named_and_no_image(
    tmp_path: Path,
) -> None:
    wrong = {f"cat/{n}.jpg": DOG for n in range(9)} | {f"dog/{n}.jpg": CAT for n in range(9)}
    screen = printed(write(tmp_path / "maps.h5", wrong), tmp_path)
    assert "Warning: 2 of 2 classes rarely agree or are near chance" in screen
    assert "--size" in screen
    assert ".jpg" not in screen
    assert "Other sizes." in screen


def test_maps_that_agree_give_no_warning(tmp_path: Path) -> None:
    screen = printed(write(tmp_path / "maps.h5", pets(fish=0)), tmp_path)
    assert "100 % of 20 images" in screen
    assert "Warning" not in screen
    assert "Look at them" not in screen


def test_without_other_nothing_is_elsewhere(tmp_path: Path) -> None:
    images = {"cat/1.jpg": (0.9, 0.1), "dog/1.jpg": (0.2, 0.8)}
    found = folder_agreement(write(tmp_path / "maps.h5", images, other=False))
    assert found is not None
    assert [(each.agree, each.other, each.elsewhere) for each in found.classes] == [(1, 0, 0)] * 2
    assert not found.stores_other
    assert "other" not in printed(LabelMapFile.open(tmp_path / "maps.h5"), tmp_path)


def test_a_class_that_rarely_agrees_is_named_even_far_above_chance(tmp_path: Path) -> None:
    """Of a thousand classes, one in twelve is far above chance; the other folders agree."""
    classes = ClassList.of([f"c{at}" for at in range(1000)])

    def shows(at: int) -> tuple[float, ...]:
        return tuple(0.9 if each == at else 0.0001 for each in range(1000))

    images = {f"c0/{n}.jpg": shows(0 if n < 1 else 7) for n in range(12)}
    images |= {f"c{at}/{n}.jpg": shows(at) for at in (1, 2, 4) for n in range(12)}
    images |= {f"c3/{n}.jpg": shows(3 if n < 5 else 7) for n in range(12)}  # 42 %, all others 100 %
    file = write(tmp_path / "maps.h5", images, classes, other=False)
    found = folder_agreement(file)
    assert found is not None
    assert [each.class_id for each in found.classes if each.suspicious] == ["c0", "c3"]
    assert not any(each.near_chance for each in found.classes)
    assert "Warning: c0 rarely agrees: 1 of 12 images agree. Those" in printed(file, tmp_path)


def test_fine_folders_agree_with_the_coarse_classes_that_they_map_to(tmp_path: Path) -> None:
    images = {"manx/1.jpg": CAT, "pug/1.jpg": DOG, "lab/1.jpg": DOG, "lab/2.jpg": CAT}
    edges = [("manx", "cat"), ("pug", "dog"), ("lab", "dog")]
    fine = ClassList.of(["cat", "dog", "lab", "manx", "pug"])
    coarse = coarsen_to_depth(SemanticTree.build(fine, Taxonomy.from_edges(edges)), 0)
    file = write(tmp_path / "maps.h5", images, coarse.classes)
    assert folder_agreement(file) is None
    found = folder_agreement(file, folders=coarse.by_id)
    assert found is not None
    counts = [(each.class_id, each.images, each.agree) for each in found.classes]
    assert counts == [("dog", 3, 2), ("cat", 1, 1)]


def test_labels_beside_the_images_come_before_their_folders(tmp_path: Path) -> None:
    images = {"cat/1.jpg": CAT, "cat/2.jpg": DOG, "cat/3.jpg": DOG, "cat/4.jpg": CAT}
    labels = {"cat/1.jpg": "cat", "cat/2.jpg": "dog", "cat/3.jpg": "cat", "cat/4.jpg": "cow"}
    file = write(tmp_path / "maps.h5", images)
    found = folder_agreement(file, label_of={**labels, "cat/4.jpg": "cat"}.get)
    assert found is not None
    assert (found.by, found.share, found.unknown) == ("labels", 0.75, 0)
    found = folder_agreement(file, label_of=labels.get)  # one is of another class list
    assert found is not None
    assert (found.by, found.unknown) == ("labels", 1)
    found = folder_agreement(file, label_of={"cat/1.jpg": "cat", "cat/2.jpg": "dog"}.get)
    assert found is not None
    assert (found.by, found.share, found.unknown) == ("folders", 0.5, 0)
    plain = {f"{n}.jpg": target for n, target in enumerate(images.values())}
    file = write(tmp_path / "plain.h5", plain)
    found = folder_agreement(file, label_of={"0.jpg": "cat", "1.jpg": "dog", "2.jpg": "cat"}.get)
    assert found is not None
    assert (found.by, found.unknown) == ("labels", 1)
    screen = Console(width=200, record=True, file=StringIO())
    print_agreement(screen, found, tmp_path / "plain.h5", tmp_path / "photos", "Other sizes.")
    text = screen.export_text()
    assert "agree with their labels for 67 % of 4 images (1 with other labels or none)" in text


def test_relabel_compares_with_the_labels_of_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels that cannot be read cost the comparison, and not the maps."""
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos")
    names = sorted(path.relative_to(tmp_path) for path in (tmp_path / "photos").glob("*/*.*"))
    wnids = {"animals": "n02124075", "things": "n04008634"}
    rows = [f"{name},{wnids[name.parts[1]]}" for name in names]
    Path("list.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    Path("two.txt").write_text("n02124075\nn04008634\n")
    shared = ["--size", "96", "--no-calibration", "--classes", "two.txt"]
    run = labelkit("relabel", "list.csv", *shared, "-o", "maps.h5")
    assert run.code == 0, run.text
    assert "agree with their labels" in run.text
    with tarfile.open("set.tar", "w") as tar:
        for name in names:
            tar.add(name, f"{name.stem}{name.suffix}")
            Path("label").write_bytes(b"\xff\xfe")
            tar.add("label", f"{name.stem}.cls")
    run = labelkit("relabel", "set.tar", *shared, "-o", "more.h5")
    assert run.code == 0, run.text
    assert "Warning: no comparison with labels: set.tar: " in run.err
    assert "its label cannot be read" in run.err
    assert Path("more.h5").exists()


def test_relabel_reports_on_fine_folders_with_a_coarsening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folders are a cat's and a cup's; the classes are an animal and an artifact."""
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos")
    (tmp_path / "photos" / "animals").rename(tmp_path / "photos" / "n02124075")
    (tmp_path / "photos" / "things").rename(tmp_path / "photos" / "n04008634")
    fine = ClassList.of(["n02124075", "n04008634", "n00015388", "n00021939"])
    tree = SemanticTree.build(fine, Taxonomy.wordnet())
    save_coarsening(coarsen_to_depth(tree, 0), "two.json")
    shared = ["relabel", "photos", "--size", "96", "--no-calibration"]
    run = labelkit(*shared, "--classes", "two.json", "-o", "maps.h5")
    assert run.code == 0, run.text
    assert "agree with their folders" in run.text
    assert "of 4 images, 2 classes:" in run.text
    (tmp_path / "photos" / "n02124075").rename(tmp_path / "photos" / "here")
    (tmp_path / "photos" / "n04008634").rename(tmp_path / "photos" / "there")
    run = labelkit(*shared, "--classes", "two.json", "-o", "more.h5")
    assert (
        "No comparison with folders or labels: at least half of the images are outside the folders"
        in run.text
    )


def test_folders_that_are_no_classes_give_no_report(tmp_path: Path) -> None:
    images = {"2024/1.jpg": CAT, "2024/2.jpg": DOG, "cat/3.jpg": CAT, "4.jpg": CAT}
    assert folder_agreement(write(tmp_path / "maps.h5", images)) is None


def test_a_few_other_folders_are_not_counted(tmp_path: Path) -> None:
    images = {**pets(fish=0), "2024/1.jpg": FISH, "2.jpg": FISH}
    found = folder_agreement(write(tmp_path / "maps.h5", images))
    assert found is not None
    assert (found.unknown, found.share) == (2, 1)


def test_of_many_images_a_sample_is_read(tmp_path: Path) -> None:
    file = write(tmp_path / "maps.h5", pets(fish=5))
    found = folder_agreement(file, sample=10)
    assert found is not None
    assert (found.sampled, found.images) == (10, 25)
    assert sum(each.images for each in found.classes) == 10


def test_a_file_without_rows_gives_no_report(tmp_path: Path) -> None:
    form = MapForm(top_k=3, grid=(1, 1))
    writer = LabelMapWriter(
        tmp_path / "maps.h5", classes=PETS, keys=["cat/1.jpg"], forms=[form], source={}, other=True
    )
    (shard,) = writer.pending()
    writer.commit(shard, [LabelMaps.empty(form)], {"cat/1.jpg": "torn"})
    assert folder_agreement(writer.finalize()) is None


def test_maps_that_training_cannot_choose_between_give_no_report(tmp_path: Path) -> None:
    forms = [MapForm(top_k=3, grid=(1, 1), selection="image", zoom=zoom) for zoom in (2.0, 1.0)]
    writer = LabelMapWriter(
        tmp_path / "maps.h5", classes=PETS, keys=["cat/1.jpg"], forms=forms, source={}, other=True
    )
    (shard,) = writer.pending()
    maps = LabelMaps(np.arange(3)[None], np.zeros((1, 3, 1, 1), np.float32))
    writer.commit(shard, [maps, maps], {})
    assert folder_agreement(writer.finalize()) is None
