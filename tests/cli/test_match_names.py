"""``labelkit match-names`` as users run it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.command import labelkit

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    path = tmp_path / "classes.txt"
    path.write_text("apple\nclock\nbibimbap\nmaple_tree\ncrane\nhouse\n")
    return path


def test_the_summary_shows_what_is_settled_what_to_choose_and_what_to_do_next(
    classes: Path,
) -> None:
    output = classes.with_name("names.tsv")
    run = labelkit("match-names", classes, "-o", output)
    assert run.code == 0
    assert "settled 1 have one meaning" in run.text
    assert "to choose 4 have several" in run.text
    assert "no candidate 1: bibimbap" in run.text
    assert "maple_tree ? n12752205 first word: maple < angiospermous_tree" in run.text
    assert "n03126707 whole name: crane < lifting_device" in run.text
    assert "and 1 more to choose in" in run.text
    assert run.out.endswith(
        f"Next: edit {output}, then\n"
        f"  labelkit build-tree {classes} --names {output} -o tree.json\n"
        f"  labelkit relabel DATA --classes {classes} --names {output} -o maps.h5\n"
    )
    assert "clock\tn03046257\t" in output.read_text()


def test_folder_names_with_one_meaning_need_no_edit(tmp_path: Path) -> None:
    for name in ("clock", "n02111889"):
        (tmp_path / "photos" / name).mkdir(parents=True)
    run = labelkit("match-names", tmp_path / "photos", "-o", tmp_path / "names.tsv")
    assert run.code == 0
    assert "edit" not in run.out
    photos, names = tmp_path / "photos", tmp_path / "names.tsv"
    assert run.out.endswith(
        f"Next:\n  labelkit build-tree {photos} --names {names} -o tree.json\n"
        f"  labelkit relabel {photos} --classes {photos} --names {names} -o maps.h5\n"
    )
    assert labelkit("build-tree", photos, "--names", names, "-o", tmp_path / "tree.json").code == 0


def test_numbered_folders_are_said_to_look_like_indices(tmp_path: Path) -> None:
    """WordNet has the noun zero, but a folder called 0 shows the data set's first class."""
    for name in ("0", "1", "2", "10", "clock"):
        (tmp_path / "photos" / name).mkdir(parents=True)
    output = tmp_path / "names.tsv"
    run = labelkit("match-names", tmp_path / "photos", "-o", output)
    assert run.code == 0
    assert "4 of 5 classes are numbers: 0, 1, 10, 2. They look like indices, not names." in run.text
    assert "Rename the folders" in run.text
    assert "settled 1 have one meaning" in run.text
    lines = output.read_text().splitlines()
    assert "0\t?\t1 candidate, by whole name" in lines
    assert any(line.startswith("#\tn13742358\twhole name: zero") for line in lines)
    assert (
        labelkit("match-names", tmp_path / "photos", "-o", tmp_path / "x.tsv", "--json").code == 0
    )


def test_paths_with_spaces_are_quoted_in_the_next_command(tmp_path: Path) -> None:
    folder = tmp_path / "my data"
    folder.mkdir()
    (folder / "clock.txt").write_text("clock\n")
    (folder / "apple.txt").write_text("apple\n")
    for name, before in (("clock", []), ("apple", ["edit", f"{folder / 'apple.tsv'},", "then"])):
        source, output = folder / f"{name}.txt", folder / f"{name}.tsv"
        run = labelkit("match-names", source, "-o", output)
        assert shlex.split(run.out.rpartition("Next:")[2]) == [
            *before,
            *("labelkit", "build-tree", str(source), "--names", str(output), "-o", "tree.json"),
            *("labelkit", "relabel", "DATA", "--classes", str(source)),
            *("--names", str(output), "-o", "maps.h5"),
        ]


def test_control_characters_are_not_printed(tmp_path: Path) -> None:
    """Neither in class names, nor in candidates, nor in paths."""
    path = tmp_path / "\x1b[1mclasses.txt"
    undecided = ["\x1bapple", "crane\x9b", "house\x07", "maple\x08_tree"]
    path.write_text("\n".join(["bibi\x1b]0;mbap", *undecided]), encoding="utf-8")
    run = labelkit("match-names", path, "-o", tmp_path / "\x1bnames.tsv")
    assert run.code == 0, run.text
    assert "no candidate 1: bibi\ufffd]0;mbap" in run.text
    assert "\ufffdapple ?" in run.text
    assert "more to choose in" in run.text
    assert all(line.isprintable() for line in run.out.splitlines())
    assert "\ufffd[1mclasses.txt" in run.out
    assert "\ufffdnames.tsv" in run.out


def test_an_existing_file_is_replaced_only_with_overwrite(classes: Path) -> None:
    output = classes.with_name("names.tsv")
    output.write_text("my own choices")
    run = labelkit("match-names", classes, "-o", output)
    assert run.code == 2
    assert "names.tsv exists: choose another name, or pass --overwrite" in run.err
    assert output.read_text() == "my own choices"
    assert labelkit("match-names", classes, "-o", output, "--overwrite").code == 0
    assert "clock\tn03046257\t" in output.read_text()


def test_quiet_prints_nothing_and_json_prints_one_document(classes: Path) -> None:
    quiet = labelkit("match-names", classes, "-o", classes.with_name("quiet.tsv"), "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    run = labelkit("match-names", classes, "-o", classes.with_name("names.tsv"), "--json")
    facts = json.loads(run.out)
    assert facts["classes"] == 6
    assert facts["settled"] == {"clock": "n03046257"}
    assert list(facts["to_choose"]) == ["apple", "maple_tree", "crane", "house"]
    assert facts["to_choose"]["apple"] == ["n07739125", "n12633994"]
    assert facts["no_candidate"] == ["bibimbap"]


@pytest.mark.parametrize(
    ("source", "output", "message"),
    [
        ("nowhere.txt", "names.tsv", "no file, folder or named list"),
        ("classes.txt", "nowhere/names.tsv", "no such folder"),
        ("classes.txt", "names.json", "names.json must end in .tsv or .txt"),
    ],
)
def test_wrong_usage_is_refused(source: str, output: str, message: str, classes: Path) -> None:
    run = labelkit(
        "match-names", classes.with_name(source), "-o", classes.with_name("x").parent / output
    )
    assert run.code == 2
    assert message in run.err


def test_help_loads_neither_numpy_nor_rich() -> None:
    code = (
        "import sys, labelkit.cli.match_names as m;"
        "sys.exit(bool({'numpy', 'rich', 'nltk', 'networkx'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
