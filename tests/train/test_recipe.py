"""Every error in a recipe or its data is one line that names it, with exit code 1 or 2."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labelkit.cli import run as run_command
from labelkit.errors import RecipeError
from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy
from labelkit.train import read_recipe
from labelkit.train.recipe import FREE_FIELDS, recipe_fields, with_defaults
from tests.train.support import EDGES, recipe_text, save_maps, save_tree

if TYPE_CHECKING:
    from collections.abc import Callable

RECIPES = sorted((Path(__file__).parents[2] / "train").glob("*/*.toml"))


@pytest.fixture
def recipe(tmp_path: Path, photos: Path) -> Path:
    path = tmp_path / "colours.toml"
    path.write_text(recipe_text(photos, epochs=1))
    return path


WRONG = {
    "run.batchsize=3": r"\[run\] has no field batchsize, only batch_size, .* mean batch_size\?$",
    "seed=3": r"the recipe has no field seed, only data, labels, model",
    "runs.seed=3": r"the recipe has no field runs, only .*run.*\. Did you mean run\?$",
    "labels.maps=m.h5": r"\[labels\] has no field maps, only label_smoothing",
    "labels.kind=soft": r"labels.kind is 'soft', expected one of hard, semantic-softmax,",
    'labels={"x" = 1}': r"\[labels\] needs the field kind: one of hard, semantic-softmax, hie",
    "labels.kind=label-maps": r"\[labels\] needs the field maps",
    "run.batch_size=many": r"run.batch_size is 'many', expected int",
    "run.batch_size=0": r"run.batch_size is 0, expected int >= 1",
    "optimizer.lr=-1": r"optimizer.lr is -1, expected float > 0",
    "optimizer.lr=nan": r"optimizer.lr is nan",
    "optimizer.lr=inf": r"optimizer.lr is inf, expected a finite number",
    "optimizer.kwargs={betas=[0.9, nan]}": r"optimizer.kwargs.betas\[1\] is nan, expected a fini",
    "data.repeats=100": r"data.repeats is 100, expected at most run.batch_size, \d+: a batch has",
    "labels.label=foo": r"labels: label is 'foo', expected one of local-multi, global-multi, ",
    "labels.method=median": r"labels: method is 'median', expected relabel or probability",
    "labels.absent=ones": r"labels: absent is 'ones', expected background or zeros",
    "labels.temperature=inf": r"labels: temperature is inf, expected a number from 0.001 to 1000",
    "labels.temperature=hot": r"labels.temperature is 'hot', expected float",
    "labels.original=1.5": r"labels: original is 1.5, expected a share from 0 to 1",
    "data.crop_scale=[0.5, 0.1]": r"data: crop_scale is \[0.5, 0.1\], expected 0 < smallest",
    "data.crop_scale=[0.5, 'a']": r"data.crop_scale\[1\] is 'a', expected float",
    "schedule.name=plateau": r"schedule.name is 'plateau', expected one of cosine, tanh, step, mul",
    "run.precision=half": r"run.precision is 'half', expected one of float32, bfloat16, float16$",
    "labels.level_weights=papre": r"labels.level_weights is 'papre', expected paper, uniform or",
    'labels={kind="label-maps", maps="m", level_weights="paper"}': "weights without a tree: set",
    'labels={kind="label-maps", maps="m", tree="t", level_weights="a"}': "'a', expected paper,",
    'labels={kind="label-maps", maps="m", tree=""}': "tree is '', expected str of length >= 1",
    "data.train.deeper=1": r"cannot set data.train.deeper: train is not a table",
    "data=3": r"data is 3, expected object",
    "mix.prob=0.5": "mix: prob or switch_prob without mixup or cutmix: set one of these",
    "mix.cutmix=-1": r"mix.cutmix is -1, expected float >= 0",
}


MAP_FIELDS = ("label", "method", "absent", "temperature", "original")


@pytest.mark.parametrize("change", WRONG)
def test_a_wrong_field_is_named(recipe: Path, change: str) -> None:
    of_maps = change.startswith(tuple(f"labels.{name}=" for name in MAP_FIELDS))
    kind = ['labels={kind="label-maps", maps="m.h5"}'] if of_maps else []
    if "level_weights" in change:
        kind = ['labels={kind="semantic-softmax", tree="t.json"}']
    with pytest.raises(RecipeError, match=WRONG[change]) as caught:
        read_recipe(recipe, [*kind, change])
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(recipe)) or "cannot set" in str(caught.value)


def test_invalid_toml(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("[data\n")
    with pytest.raises(RecipeError, match="not valid TOML"):
        read_recipe(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="looks like UTF-16: save it as UTF-8"):
        read_recipe(path)
    path.write_bytes(b'[data]\ntrain = "\xff"\n')
    with pytest.raises(RecipeError, match="line 2: not valid UTF-8"):
        read_recipe(path)


def test_changes_are_toml_or_plain_text(recipe: Path) -> None:
    """Applied in order; a path needs no quotes, and a value cannot inject a second field."""
    changes = ["run.seed=1", "run.seed=2", "data.train=a/b c", "model.kwargs={drop_rate = 0.5}"]
    loaded = read_recipe(recipe, [*changes, "data.val=1\nworkers = 9"])
    assert loaded.run.seed == 2
    assert loaded.data.train == "a/b c"
    assert loaded.model.kwargs == {"drop_rate": 0.5}
    assert (loaded.data.val, loaded.data.workers) == ("1\nworkers = 9", 0)
    assert loaded.run.output == "runs/colours"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_of_the_repository_are_valid_and_start_with_their_claim(path: Path) -> None:
    read_recipe(path)
    head = path.read_text().split("\n\n")[0]
    for part in ("# Claim: ", "# Paper: ", "# Command: "):
        assert part in head


def test_free_fields_exist(recipe: Path) -> None:
    """A typo there would let a run resume with a recipe that changes its results."""
    loaded = read_recipe(recipe)
    assert not FREE_FIELDS & recipe_fields(loaded).keys()
    for name in FREE_FIELDS:
        table, field = name.split(".")
        assert hasattr(getattr(loaded, table), field)


def fails(capfd: pytest.CaptureFixture[str], code: int, *arguments: str | Path) -> str:
    """Run the command and return what it prints on stderr: one line if the code is 1."""
    assert run_command(["train", *map(str, arguments)]) == code
    error = capfd.readouterr().err
    if code == 1:
        assert error.startswith("Error: ")
        assert error.count("\n") == 1
    return error


@pytest.fixture
def error_of(tmp_path: Path, recipe: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the recipe with changes in a new folder, and returns the error line."""

    def run(*changes: str, code: int = 1) -> str:
        arguments = [part for change in changes for part in ("--set", change)]
        return fails(capfd, code, recipe, *arguments, "-o", tmp_path / "out")

    return run


LATE = {
    "model.name=test_resnett": r"model.name is 'test_resnett', .* did you mean test_resnet",
    "optimizer.name=adamv": r"optimizer.name is 'adamv', .* did you mean adam",
    "model.kwargs.wings=2": r"model: timm cannot build test_resnet: .*wings",
    "optimizer.kwargs.wings=2": r"optimizer: timm cannot build adamw: .*wings",
    "schedule.kwargs.wings=2": r"schedule: timm cannot build cosine: .*wings",
    "model.name=vit_tiny_patch16_224": r"data.image_size: vit_.* 32x32 images .*img_size",
    "run.device=warp": r"torch cannot use the device 'warp'",
    "data.train=nowhere": r"data.train: no such folder: 'nowhere' .* --set data.train=PATH",
    'labels={kind="label-maps", maps="m"}': r"labels.maps: no such file: 'm'. .*labelkit relabel",
    'labels={kind="semantic-softmax", tree="t"}': r"labels.tree: no such file: 't'. .*build-tree",
}


def test_a_tree_must_have_every_class_of_the_label_maps(
    error_of: Callable[..., str], tmp_path: Path, photos: Path
) -> None:
    maps = save_maps(tmp_path / "maps.h5", photos / "train")
    labels = f'labels={{kind="label-maps", maps="{maps}", tree="{tmp_path}/tree.json"'
    assert re.search("labels.tree: no such file: .*build-tree", error_of(labels + "}"))
    classes = ClassList.of(["apple", "leaf"])
    SemanticTree.build(classes, Taxonomy.from_edges(EDGES)).save(tmp_path / "tree.json")
    error = error_of(labels + "}")
    assert re.search(r"maps.h5 has classes that are not in .*tree.json .*: sky\. Build", error)
    save_tree(tmp_path / "tree.json")
    error = error_of(labels + ", level_weights=[1]}")
    assert "labels: level_weights has 1 weights, expected 2" in error


def test_fields_that_a_checkpoint_lacks_have_their_defaults(recipe: Path) -> None:
    """So a run that began before label maps took a tree resumes; fields of no recipe stay."""
    read = read_recipe(recipe, ['labels={kind="label-maps", maps="m.h5"}'])
    fields = recipe_fields(read)
    late = ("tree", "level_weights", "calibrated", "other")
    early = {name: value for name, value in fields.items() if name.split(".")[1] not in late}
    assert len(early) == len(fields) - len(late)
    assert with_defaults(early) == fields
    assert with_defaults({**early, "run.colour": 3}) == {**early, "run.colour": 3}


@pytest.mark.parametrize("change", LATE)
def test_names_that_do_not_exist_are_reported(error_of: Callable[..., str], change: str) -> None:
    assert re.search(LATE[change], error_of(change))


def test_label_maps_over_another_class_list_are_refused(
    error_of: Callable[..., str], tmp_path: Path, photos: Path
) -> None:
    """The teacher here has no sky; the message says to make maps over the data set's classes."""
    (tmp_path / "few").mkdir()
    for name in ("apple", "leaf"):
        (tmp_path / "few" / name).symlink_to(photos / "train" / name)
    maps = save_maps(tmp_path / "maps.h5", tmp_path / "few", classes=("leaf", "apple"))
    error = error_of(f'labels={{kind="label-maps", maps="{maps}"}}')
    assert "are not in a teacher's colours" in error
    assert "): sky. Make label maps" in error
    assert f"--classes {photos / 'train'} -o MAPS" in error
    assert "not ids such as n01440764, also need --names: labelkit match-names" in error


def test_messages_show_paths_without_dotdot(
    error_of: Callable[..., str], tmp_path: Path, photos: Path
) -> None:
    """Also if a link makes ``..`` lead to another folder than the text suggests."""
    (tmp_path / "link").symlink_to(photos / "train")
    val = tmp_path / "link" / ".." / "val"
    few = save_maps(tmp_path / "few.h5", photos / "val")
    (tmp_path / "rec").mkdir()
    error = error_of(f'labels={{kind="label-maps", maps="{tmp_path}/rec/../few.h5"}}')
    assert f"{few} has no label map for" in error
    tree = save_tree(tmp_path / "tree.json")
    tree.write_text("{}")
    error = error_of(f'labels={{kind="semantic-softmax", tree="{tmp_path}/rec/../tree.json"}}')
    assert error.startswith(f"Error: {tree}")
    (tmp_path / "more" / "stone").mkdir(parents=True)
    (tmp_path / "more" / "stone" / "0.png").symlink_to(photos / "val" / "sky" / "000.png")
    error = error_of(f"data.train={tmp_path / 'more'}", f"data.val={val}")
    assert f"Error: {photos / 'val'} has folders" in error


def test_images_without_label_maps_are_named_with_what_to_do(
    error_of: Callable[..., str], tmp_path: Path, photos: Path
) -> None:
    """They were added after the maps were made, or could not be read then."""
    maps = save_maps(tmp_path / "maps.h5", photos / "train")
    shutil.copytree(photos / "train", tmp_path / "more")
    for number in range(5):
        shutil.copy(photos / "val" / "sky" / "000.png", tmp_path / "more/sky" / f"new{number}.png")
    labels = f'labels={{kind="label-maps", maps="{maps}"}}'
    error = error_of(f"data.train={tmp_path / 'more'}", f"data.val={photos / 'val'}", labels)
    assert f"{maps} has no label map for 5 of 77 images (sky/new0.png, sky/new1.png" in error
    assert "and 2 more): were they added since? labelkit relabel --reuse makes only their" in error


def test_a_tree_without_one_of_the_folders_is_refused(
    error_of: Callable[..., str], tmp_path: Path, photos: Path
) -> None:
    more = tmp_path / "more" / "stone"
    more.mkdir(parents=True)
    (more / "0.png").symlink_to(photos / "train" / "sky" / "000.png")
    tree = save_tree(tmp_path / "tree.json")
    labels = f'labels={{kind="semantic-softmax", tree="{tree}"}}'
    error = error_of(labels, f"data.train={tmp_path / 'more'}")
    assert "are not in" in error
    assert ": stone. Build the tree" in error
    assert "labelkit build-tree" in error


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_named(
    error_of: Callable[..., str], tmp_path: Path, photos: Path, workers: int
) -> None:
    for name in ("apple", "leaf", "sky"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "0.png").symlink_to(photos / "train" / name / "000.png")
    (tmp_path / "data" / "sky" / "1.png").write_bytes(b"no image")
    changes = (f"data.train={tmp_path / 'data'}", "run.batch_size=4", f"data.workers={workers}")
    assert re.search(r"cannot read .*sky/1\.png: ", error_of(*changes))


def test_a_damaged_checkpoint_is_named(error_of: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for content in (b"PK\x03\x04 truncated", b"junk", b""):
        (tmp_path / "out" / "last.pt").write_bytes(content)
        assert re.search(r"last\.pt is (damaged|not a PyTorch file)\. Delete it", error_of())


@pytest.mark.parametrize("change", ["run.seed", "=1", "run.=1"])
def test_a_malformed_change_is_a_usage_error(error_of: Callable[..., str], change: str) -> None:
    assert "table.field=value" in error_of(change, code=2)


def test_a_missing_recipe_is_a_usage_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert "does not exist" in fails(capfd, 2, "nowhere.toml")


def test_the_command_lists_the_files_that_it_wrote(tmp_path: Path, recipe: Path) -> None:
    """In a separate process, as users run it."""
    command = [sys.executable, "-m", "labelkit", "train", recipe, "-o", tmp_path / "out"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert re.search(
        r"epoch 1/1  train loss \d\.\d{4}  val loss \d\.\d{4}  top1 \d+\.\d\d  ", done.stdout
    )
    assert done.stdout.splitlines()[-1].startswith(f"Next: labelkit evaluate {tmp_path}/out ")
    for name in ("best.safetensors", "last.pt", "log.jsonl"):
        assert str(tmp_path / "out" / name) in done.stdout
    assert done.stderr == ""
    quiet = subprocess.run([*command, "--quiet"], check=True, capture_output=True, text=True)
    assert (quiet.stdout, quiet.stderr) == ("", "")


def test_the_command_line_overrides_the_device_of_the_recipe(
    capfd: pytest.CaptureFixture[str], recipe: Path
) -> None:
    assert "cannot use the device 'warp'" in fails(capfd, 1, recipe, "--device", "warp")
    assert "cannot use the device 'weft'" in fails(capfd, 1, recipe, "--set", "run.device=weft")


def test_help_loads_nothing_heavy_and_shows_an_example() -> None:
    code = (
        "import sys, labelkit.cli; assert labelkit.cli.run(['train', '--help']) == 0;"
        "print(sorted({'torch', 'timm', 'numpy', 'rich', 'h5py'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "labelkit train train/imagenette/hard.toml" in done.stdout
    assert done.stdout.endswith("[]\n")
