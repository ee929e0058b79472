"""``labelkit match-names`` as users run it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from labelkit.cli import group
from tests.cli.terminal import at_terminal
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
    assert "settled 1 with one meaning" in run.text
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
    assert "settled 1 with one meaning" in run.text
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


def choices(path: Path) -> dict[str, str]:
    """Each class of a name file and what stands beside it, by hand."""
    lines = (line.split("\t") for line in path.read_text().splitlines() if "\t" in line)
    return {cells[0]: cells[1] for cells in lines if not cells[0].startswith(("#", "class"))}


UNDECIDED = dict.fromkeys(("apple", "bibimbap", "maple_tree", "crane", "house"), "?")


def test_accepted_first_candidates_are_listed(classes: Path) -> None:
    output = classes.with_name("names.tsv")
    run = labelkit("match-names", classes, "-o", output, "--accept-first")
    assert run.code == 0
    assert "chosen 4 now" in run.text
    assert "apple: n07739125 first candidate, whole name: apple < pome" in run.text
    assert "no candidate 1: bibimbap" in run.text
    assert choices(output) == {
        **UNDECIDED,
        "apple": "n07739125",
        "clock": "n03046257",
        "maple_tree": "n12752205",
        "crane": "n03126707",
        "house": "n03544360",
    }


def test_numbers_and_shared_candidates_are_not_accepted(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("1\ncrane\nCrane\napple\n")
    run = labelkit(
        "match-names", tmp_path / "c.txt", "-o", tmp_path / "n.tsv", "--accept-first", "--json"
    )
    assert json.loads(run.out)["chosen"] == {"apple": "n07739125"}


def test_update_keeps_choices_and_adds_new_classes(classes: Path) -> None:
    """Also those of classes that are gone, for when they come back; notes stay as they are."""
    output = classes.with_name("names.tsv")
    labelkit("match-names", classes, "-o", output)
    text = output.read_text()
    text = text.replace("crane\t?\t", "crane\tn02012849\tmine, ").replace(
        "bibimbap\t?\t", "bibimbap\tunder n07557434\tKorean "
    )
    output.write_text(text)
    classes.write_text("apple\nclock\nbibimbap\nairfield\n")
    run = labelkit("match-names", classes, "-o", output, "--update")
    assert run.code == 0
    assert "kept 2 from the earlier file" in run.text
    assert "no longer listed 1, kept as comments: crane" in run.text
    expected = {"apple": "?", "clock": "n03046257", "bibimbap": "under n07557434"}
    assert choices(output) == {**expected, "airfield": "n02687992"}
    assert "bibimbap\tunder n07557434\tKorean " in output.read_text()
    assert "\n# was\tcrane\tn02012849\tmine, " in output.read_text()
    before = output.read_bytes()
    assert labelkit("match-names", classes, "-o", output, "--update").code == 0
    assert output.read_bytes() == before
    classes.write_text("crane\nclock\n")
    facts = json.loads(labelkit("match-names", classes, "-o", output, "--update", "--json").out)
    assert facts["kept"] == {"clock": "n03046257", "crane": "n02012849"}
    assert facts["no_longer_listed"] == ["bibimbap", "airfield"]
    assert choices(output) == {"crane": "n02012849", "clock": "n03046257"}


def test_a_synset_that_was_chosen_before_is_not_given_to_another_class(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("timepiece_of_mine\nclock\n")
    output = tmp_path / "n.tsv"
    output.write_text("timepiece_of_mine\tn03046257\tmy clock\n# was\tclock\tn03046257\t\n")
    labelkit("match-names", tmp_path / "c.txt", "-o", output, "--update")
    assert choices(output) == {"timepiece_of_mine": "n03046257", "clock": "?"}


def test_update_makes_a_file_that_is_not_there_and_refuses_a_broken_one(classes: Path) -> None:
    output = classes.with_name("names.tsv")
    assert labelkit("match-names", classes, "-o", output, "--update").code == 0
    assert "crane\t?" in output.read_text()
    output.write_text("crane\tn1\n")
    run = labelkit("match-names", classes, "-o", output, "--update")
    assert run.code == 1
    assert "names.tsv, line 1: class 'crane' has the wnid 'n1'" in run.err
    assert output.read_text() == "crane\tn1\n"
    run = labelkit("match-names", classes, "-o", output)
    assert run.code == 2
    assert "--update to keep the choices in it" in run.text
    assert (
        "just one" in labelkit("match-names", classes, "-o", output, "--update", "--overwrite").text
    )


def test_a_path_is_matched_by_its_last_part(tmp_path: Path) -> None:
    names = ["food/pizza", "bird/crane", "machine/crane", "x/1", "/a/airfield", "food/bibimbap"]
    (tmp_path / "c.txt").write_text("\n".join(names))
    output = tmp_path / "n.tsv"
    run = labelkit("match-names", tmp_path / "c.txt", "-o", output, "--json")
    facts = json.loads(run.out)
    assert facts["settled"] == {"food/pizza": "n07873807", "/a/airfield": "n02687992"}
    assert facts["to_choose"]["bird/crane"][0] == "n02012849"  # below bird
    assert facts["to_choose"]["machine/crane"][0] == "n03126707"  # below machine, or device
    assert facts["to_choose"]["x/1"] == ["n13742573"]
    assert facts["no_candidate"] == ["food/bibimbap"]


def test_the_terminal_asks_for_each_class(classes: Path) -> None:
    """At a real terminal: candidates by number, words to look up, synsets that are taken."""
    answers = {
        "apple": [""],
        "bibimbap": ["dish", "under 2"],
        "maple_tree": ["s"],
        "crane": ["1"],
        "house": ["70", "xyzzy", "n07739125", "under n07739125"],
    }
    code, screen = at_terminal(
        ["match-names", "classes.txt", "-o", "names.tsv", "--interactive"],
        [answer for each in answers.values() for answer in each],
        classes.parent,
    )
    assert code == 0
    assert "bibimbap  2 of 5\n  no candidate: type a word to look up" in screen
    assert "  2  n07557434  whole name: dish < nutriment" in screen
    assert "'70' is not a number in the list: try again" in screen
    assert "'xyzzy' is not a noun in WordNet 3.0: try again" in screen
    assert "n07739125 is already apple, and a synset can be only one class" in screen
    assert "chosen        4 now" in screen
    assert choices(classes.with_name("names.tsv")) == {
        "apple": "n07739125",
        "clock": "n03046257",
        "bibimbap": "under n07557434",
        "maple_tree": "?",
        "crane": "n03126707",
        "house": "under n07739125",
    }


@pytest.mark.parametrize(("end", "expected"), [("q", 0), ("\x03", 130), ("\x04", 130)])
def test_answers_given_before_the_end_are_kept(end: str, expected: int, classes: Path) -> None:
    command = ["match-names", "classes.txt", "-o", "names.tsv", "--interactive"]
    code, screen = at_terminal(command, ["2", end], classes.parent)
    assert code == expected
    assert "Traceback" not in screen
    output = classes.with_name("names.tsv")
    assert choices(output) == {**UNDECIDED, "clock": "n03046257", "apple": "n12633994"}
    if expected:
        assert "Your answers are in names.tsv: pass --update --interactive" in screen
    code, screen = at_terminal([*command, "--update"], ["q"], classes.parent)
    assert code == 0
    assert "bibimbap  1 of 4" in screen
    assert choices(output)["apple"] == "n12633994"


def test_json_goes_to_stdout_and_questions_to_stderr(classes: Path) -> None:
    """With stdout piped, as ``| jq`` does."""
    code, screen = at_terminal(
        ["match-names", "classes.txt", "-o", "names.tsv", "--interactive", "--json"],
        ["", "q"],
        classes.parent,
        stdout="answers.json",
    )
    assert code == 0
    assert "apple  1 of 5" in screen
    facts = json.loads(classes.with_name("answers.json").read_text())
    assert facts["chosen"] == {"apple": "n07739125"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--interactive asks at a terminal, but stdin is not one: edit the file instead, or"),
        (["--accept-first"], "use just one of --interactive and --accept-first"),
        (["--quiet"], "asks questions, which --quiet would hide"),
    ],
)
def test_without_a_terminal_nothing_is_asked(
    options: list[str], message: str, classes: Path
) -> None:
    output = classes.with_name("names.tsv")
    arguments = ["match-names", str(classes), "-o", str(output), "--interactive", *options]
    run = CliRunner().invoke(group, arguments, input="1\n1\n")
    assert run.exit_code == 2
    assert message in " ".join(run.output.split())
    assert not output.exists()
