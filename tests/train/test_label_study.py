"""Fewer labels, wrong labels, and photos without labels, as a recipe sets them."""

from __future__ import annotations

import shutil
from collections import Counter
from math import exp
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labelkit.errors import LabelkitError
from labelkit.train import build_task, read_recipe
from tests.command import labelkit
from tests.train.support import COLOURS, recipe_text, save_maps
from tests.train.test_loop import numbers, run

if TYPE_CHECKING:
    from labelkit.train import Task

NAMES = tuple(COLOURS)
STRONG = exp(6) / (exp(6) + 2)  # what the maps give an image's class; the two others share the rest


def task_of(folder: Path, photos: Path, labels: str, *changes: str) -> Task:
    (folder / "recipe.toml").write_text(recipe_text(photos, labels))
    return build_task(read_recipe(folder / "recipe.toml", changes))


def hard(folder: Path, photos: Path, *changes: str) -> dict[str, str]:
    """The class of each training image, by its path."""
    task = task_of(folder, photos, 'kind = "hard"', *changes)
    paths = [path for path, _ in task.train_set.folder.samples]
    return {path: NAMES[int(task.train_set[at][1])] for at, path in enumerate(paths)}


@pytest.mark.parametrize(("labels", "each"), [('"25%"', 6), ("5", 5), ('"0.1%"', 1), ("24", 24)])
def test_each_class_keeps_as_many_labels(
    tmp_path: Path, photos: Path, labels: str, each: int
) -> None:
    """Of 24 images each. Those that are left have the class of their folder."""
    kept = hard(tmp_path, photos, f"data.labels={labels}")
    assert Counter(kept.values()) == dict.fromkeys(NAMES, each)
    assert all(Path(path).parent.name == name for path, name in kept.items())


def test_the_choice_follows_from_the_seed_and_grows(tmp_path: Path, photos: Path) -> None:
    few, more = (hard(tmp_path, photos, f"data.labels={count}") for count in (5, 12))
    assert few.keys() < more.keys()
    assert few == hard(tmp_path, photos, "data.labels=5", "run.seed=3")
    assert few != hard(tmp_path, photos, "data.labels=5", "data.labels_seed=1")


def test_the_share_of_wrong_labels_is_exact(tmp_path: Path, photos: Path) -> None:
    """A fifth of 72 is 14, which is 4 or 5 of each class; every other class is drawn."""
    found = hard(tmp_path, photos, "data.noise=0.2")
    wrong = [
        (Path(p).parent.name, name) for p, name in found.items() if Path(p).parent.name != name
    ]
    assert (len(found), len(wrong)) == (72, 14)
    assert set(Counter(folder for folder, _ in wrong).values()) <= {4, 5}
    assert len(set(wrong)) == 6
    everything = hard(tmp_path, photos, "data.noise=1")
    assert all(Path(path).parent.name != name for path, name in everything.items())
    few = task_of(tmp_path, photos, 'kind = "hard"', "data.labels=10", "data.noise=0.2").study
    assert (few.images, len(few.labelled), few.wrong) == (72, 30, 6)


def test_label_maps_use_all_images_and_only_the_labels_that_are_left(
    tmp_path: Path, photos: Path
) -> None:
    """Two images of each class have 0.4 of their label in the target; others only their map."""
    maps = save_maps(tmp_path / "maps.h5", photos / "train")
    labels = f'kind = "label-maps"\nmaps = "{maps}"\noriginal = 0.4'
    task = task_of(tmp_path, photos, labels, "data.labels=2", "data.noise=0.5")
    assert len(task.train_set) == 72
    kept = {
        path.split("/train/")[1]: name
        for path, name in hard(tmp_path, photos, "data.labels=2", "data.noise=0.5").items()
    }
    targets = dict(zip(task.train_set.keys, (target for _, target in task.train_set), strict=True))
    assert sum(key.split("/")[0] != name for key, name in kept.items()) == 3
    for key, target in targets.items():
        for name, value in zip(task.classes, target.tolist(), strict=True):
            soft = STRONG if name == key.split("/")[0] else (1 - STRONG) / 2
            own = 0.4 * (name == kept[key]) + 0.6 * soft if key in kept else soft
            assert value == pytest.approx(own, abs=1e-5)
    # In batches, as the loader takes them, and from every part.
    crops = [task.train_set.draw(position) for position in (0, 71, 3, 40)]
    for crop, (image, target) in zip(crops, task.train_set.complete(crops), strict=True):
        part, drawn = crop
        assert image is drawn.image
        assert target.tolist() == task.train_set.parts[part].complete([drawn])[0][1].tolist()


@pytest.fixture
def extra(tmp_path: Path, photos: Path) -> Path:
    """Six photos without class folders, at two depths, one key of them also in the train folder."""
    for number in range(3):
        for place in ("deep/er", "apple"):
            (tmp_path / "extra" / place).mkdir(parents=True, exist_ok=True)
            source = photos / "val" / "sky" / f"{number:03}.png"
            shutil.copy(source, tmp_path / "extra" / place / f"{number:03}.png")
    return tmp_path / "extra"


def labels_with_more(tmp_path: Path, photos: Path, extra: Path) -> str:
    maps = save_maps(tmp_path / "maps.h5", photos / "train")
    if not (tmp_path / "more.h5").exists():
        of = {"deep": "sky", "apple": "leaf"}
        save_maps(tmp_path / "more.h5", extra, class_of=of)
    return (
        f'kind = "label-maps"\nmaps = "{maps}"\noriginal = 0.5\n'
        f'unlabelled_maps = "{tmp_path / "more.h5"}"'
    )


def test_photos_without_labels_have_their_own_maps(
    tmp_path: Path, photos: Path, extra: Path
) -> None:
    labels = labels_with_more(tmp_path, photos, extra)
    task = task_of(tmp_path, photos, labels, f"data.unlabelled={extra}")
    assert len(task.train_set) == 72 + 6
    own = dict(zip(task.train_set.keys[72:], range(72, 78), strict=True))
    for key, name in (("apple/001.png", "leaf"), ("deep/er/002.png", "sky")):
        target = task.train_set[own[key]][1]
        assert float(target[task.classes.index[name]]) == pytest.approx(STRONG, abs=1e-5)
    first = task.train_set[0][1]  # an apple, and half of its target is the label
    expected = 0.5 + 0.5 * STRONG
    assert float(first[task.classes.index["apple"]]) == pytest.approx(expected, abs=1e-5)


def test_a_run_says_how_many_labels_are_left_and_wrong(
    tmp_path: Path, photos: Path, extra: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(recipe_text(photos, labels_with_more(tmp_path, photos, extra), epochs=1))
    changes = [f"data.unlabelled={extra}", "data.labels=25%", "data.noise=0.5"]
    options = [part for change in changes for part in ("--set", change)]
    shown = labelkit("train", recipe, "-o", tmp_path / "run", *options)
    assert shown.code == 0, shown
    assert "78 training images, 24 evaluation images" in shown.out
    line = "Labels: 18 of 72 training images keep theirs, 9 of these are wrong on purpose"
    assert shown.out.count(line) == 2  # at the start, and in the summary


def test_neither_workers_nor_a_second_start_change_a_study(
    tmp_path: Path, photos: Path, extra: Path
) -> None:
    text = recipe_text(photos, labels_with_more(tmp_path, photos, extra), epochs=1)
    changes = [f"data.unlabelled={extra}", "data.labels=3", "data.noise=0.4"]
    first = run(tmp_path, text, *changes, name="alone")
    assert numbers(run(tmp_path, text, *changes, name="alone")) == numbers(first)
    shared = run(tmp_path, text, *changes, "data.workers=1", name="shared")
    assert numbers(shared) == numbers(first)


def of_maps(more: str) -> str:
    return f'labels={{kind="label-maps", maps="{{tmp}}/maps.h5"{more}}}'


WRONG = {
    ("data.labels=25",): r"keeps 25 labels in each class, but apple of .* has 24 images: lower",
    ("data.labels=ten",): r"data: labels is 'ten', expected a share such as \"10%\", or a number",
    ("data.labels=120%",): r"data: labels is '120%'",
    ("data.unlabelled={tmp}/extra",): "only label maps or a teacher can teach .* is 'hard'",
    ("data.labels=2", of_maps(', label="original"')): 'Set kind = "hard"',
    ("data.labels=2", of_maps(', other="label"')): "Set labels.other to drop",
    (of_maps(""), "data.unlabelled={tmp}/extra"): (
        "needs label maps: labelkit relabel .*extra --classes .*train -o MAPS, and set labels.unl"
    ),
    (of_maps(', unlabelled_maps="m.h5"'),): "without data.unlabelled: set both",
    (
        of_maps(', unlabelled_maps="m.h5"'),
        "data.unlabelled={tmp}/extra",
    ): "labels.unlabelled_maps: no such file: 'm.h5'. Make it with labelkit relabel .*extra --cl",
    (
        of_maps(', unlabelled_maps="{tmp}/few.h5"'),
        "data.unlabelled={tmp}/extra",
    ): "few.h5",
    (
        of_maps(', unlabelled_maps="{tmp}/maps.h5"'),
        "data.unlabelled={tmp}/none",
    ): "data.unlabelled: .*none'",
}


@pytest.mark.parametrize("changes", WRONG, ids=lambda changes: changes[0][:25])
def test_what_is_impossible_is_refused(
    tmp_path: Path, photos: Path, extra: Path, changes: tuple[str, ...]
) -> None:
    save_maps(tmp_path / "maps.h5", photos / "train")
    save_maps(tmp_path / "few.h5", extra, ("leaf", "sky"), {"deep": "sky", "apple": "leaf"})
    given = [change.replace("{tmp}", str(tmp_path)) for change in changes]
    with pytest.raises(LabelkitError, match=WRONG[changes]):
        task_of(tmp_path, photos, 'kind = "hard"', *given)
