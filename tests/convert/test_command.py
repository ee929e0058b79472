"""``labelkit convert`` for trees: formats by suffix, and no file is replaced unasked."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from labelkit.hierarchy import ClassList, SemanticTree, Taxonomy
from tests.command import labelkit
from tests.hierarchy.support.trees import PETS, same, tree_with_levels

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("suffix", ["csv", "pth", "pt", "json"])
def test_a_converted_tree_converts_back(suffix: str) -> None:
    PETS.save("pets.json")
    there = labelkit("convert", "pets.json", "-o", f"other.{suffix}")
    assert there.code == 0, there.text
    assert "5 classes" in there.text
    assert "Next: labelkit" in there.text
    back = labelkit("convert", f"other.{suffix}", "-o", "back.json")
    assert "Next: labelkit inspect back.json" in back.text
    assert same(SemanticTree.load("back.json"), PETS)


@pytest.mark.parametrize("suffix", ["csv", "pth"])
def test_the_next_command_runs_as_printed(tmp_path: Path, suffix: str) -> None:
    """It replaces no file, and a folder with a space in its name is quoted."""
    folder = tmp_path / "my trees"
    folder.mkdir()
    PETS.save(folder / "a pet's.json")
    (folder / "a pet's-2.json").touch()
    run = labelkit("convert", folder / "a pet's.json", "-o", folder / f"a pet's.{suffix}")
    following = shlex.split(run.out.rpartition("Next: ")[2])
    back = "a pet's-3.json"
    assert following[-3:] == [str(folder / f"a pet's.{suffix}"), "-o", str(folder / back)]
    assert following[:2] == ["labelkit", "convert"]
    assert labelkit(*following[1:]).code == 0
    assert same(SemanticTree.load(folder / back), PETS)
    inspect = labelkit(*following[1:], "--overwrite").out.rpartition("Next: ")[2]
    assert shlex.split(inspect) == ["labelkit", "inspect", str(folder / back)]


def test_a_file_name_cannot_steer_the_terminal(tmp_path: Path) -> None:
    PETS.save("pets.json")
    run = labelkit("convert", "pets.json", "-o", tmp_path / "\x1b[31mpets\x07.csv")
    assert (tmp_path / "\x1b[31mpets\x07.csv").exists()
    assert not {"\x1b", "\x07"} & set(run.out)
    assert run.out.count("\ufffd[31mpets\ufffd.csv") == 2


def test_singular_and_plural() -> None:
    taxonomy = Taxonomy.from_parents({"cat": "animal", "dog": "animal"})
    SemanticTree.build(ClassList.of(["cat", "dog"]), taxonomy).save("flat.json")
    assert ", 1 level, " in labelkit("convert", "flat.json", "-o", "flat.csv").text
    tree = SemanticTree.build(ClassList.of(["cat", "dog"]), taxonomy, inner_levels="all")
    tree.save("tree.json")
    run = labelkit("convert", "tree.json", "-o", "tree.pth")
    assert ", 2 levels, " in run.text
    assert f"{len(tree.inner)} inner node becomes a class like any other" in run.text


def test_an_existing_file_is_replaced_only_with_overwrite(tmp_path: Path) -> None:
    PETS.save("pets.json")
    (tmp_path / "pets.csv").write_text("mine")
    refused = labelkit("convert", "pets.json", "-o", "pets.csv")
    assert refused.code == 2
    assert "pets.csv exists: choose another name, or pass --overwrite" in refused.text
    assert (tmp_path / "pets.csv").read_text() == "mine"
    assert labelkit("convert", "pets.json", "-o", "pets.csv", "--overwrite").code == 0
    assert (tmp_path / "pets.csv").read_text().startswith("index,id")


def test_wrong_names_are_usage_errors() -> None:
    PETS.save("pets.json")
    unknown = labelkit("convert", "pets.json", "-o", "pets.xml")
    assert (unknown.code, ".csv" in unknown.text) == (2, True)
    nowhere = labelkit("convert", "pets.json", "-o", "nowhere/pets.csv")
    assert (nowhere.code, "no such folder: nowhere" in nowhere.text) == (2, True)


def test_a_tree_that_a_format_cannot_hold_is_refused_in_one_line(tmp_path: Path) -> None:
    tree_with_levels().save("zoo.json")
    refused = labelkit("convert", "zoo.json", "-o", "zoo.pth")
    assert refused.code == 1
    assert refused.err.count("\n") == 1
    assert "Write .csv, which keeps both" in refused.err
    assert not (tmp_path / "zoo.pth").exists()


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from labelkit.cli import run; run(['convert', '--help']); "
        "sys.exit(', '.join({'torch', 'networkx', 'numpy'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
