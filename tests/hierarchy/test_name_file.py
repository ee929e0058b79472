"""The file in which users choose the synsets of their class names."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Literal

import pytest

from labelkit.errors import TaxonomyError
from labelkit.hierarchy import (
    ClassList,
    SemanticTree,
    Taxonomy,
    match_names,
    read_name_file,
    settled,
    write_name_file,
)
from labelkit.hierarchy.wordnet.name_file import NO_SYNSET
from tests.hierarchy.support.published_names import CIFAR_100

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["apple", "clock", "bibimbap", "maple_tree"]


def written(folder: Path, names: list[str]) -> Path:
    path = folder / "names.tsv"
    write_name_file(path, match_names(ClassList.of(names)))
    return path


def test_a_settled_class_has_its_wnid_and_others_list_their_candidates(tmp_path: Path) -> None:
    lines = written(tmp_path, NAMES).read_text().splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    assert [row[:2] for row in rows] == [
        ["class", "wnid"],
        ["apple", "?"],
        ["clock", "n03046257"],
        ["bibimbap", "?"],
        ["maple_tree", "?"],
    ]
    assert [row[2] for row in rows[3:]] == [
        f"0 candidates: {NO_SYNSET}",
        "4 candidates, by first word, last word",
    ]
    assert "such as under n07557434 (dish)" in rows[3][2]
    below_apple = lines[lines.index("apple\t?\t2 candidates, by whole name") + 1].split("\t")
    assert below_apple[:2] == ["#", "n07739125"]
    assert below_apple[2].startswith("whole name: apple < pome < fruit < ")
    assert below_apple[3].startswith("fruit with red or yellow or green skin")


def test_all_names_of_cifar_100_come_back_once_chosen(tmp_path: Path) -> None:
    """Each ``?`` is replaced by the first unused candidate, as a user would."""
    matches = match_names(ClassList.of(CIFAR_100))
    path = written(tmp_path, CIFAR_100)
    chosen = settled(matches)
    text = path.read_text()
    for match in matches:
        if match.class_id not in chosen:
            free = (each.wnid for each in match.candidates if each.wnid not in chosen.values())
            chosen[match.class_id] = next(free)
            row = f"\n{match.class_id}\t?\t"
            assert row in text
            text = text.replace(row, f"\n{match.class_id}\t{chosen[match.class_id]}\t")
    path.write_text(text)
    names = read_name_file(path)
    assert (names.synsets, names.under) == (chosen, {})
    assert list(names.synsets) == CIFAR_100
    assert len(chosen) == 100


def test_an_existing_file_is_replaced_only_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "names.tsv"
    path.write_text("my own choices")
    with pytest.raises(
        FileExistsError, match=r"names\.tsv exists and may contain choices made by hand"
    ):
        written(tmp_path, NAMES)
    assert path.read_text() == "my own choices"
    assert list(tmp_path.iterdir()) == [path]
    write_name_file(path, match_names(ClassList.of(NAMES)), overwrite=True)
    assert "\nclock\tn03046257\t" in path.read_text()


@pytest.mark.parametrize("name", ["#1", "a\tb"])
def test_a_class_that_no_line_can_represent_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(TaxonomyError, match=r"starts with # or contains a tab.*rename it"):
        written(tmp_path, [name])
    assert list(tmp_path.iterdir()) == []


def test_a_class_with_whitespace_around_it_is_refused(
    tmp_path: Path,
) -> None:
    for name in (" dog", "dog\u3000"):
        with pytest.raises(
            TaxonomyError, match=r"starts or ends with whitespace, which .*rename it"
        ):
            written(tmp_path, [name])
    assert list(tmp_path.iterdir()) == []


QUOTED_NAMES = ['the "big" clock', '"x"', "clock, wall", '"', '""', '"a" "b"', "x's", '5" pipe']


def test_any_name_survives_a_round_trip(tmp_path: Path) -> None:
    path = written(tmp_path, [*QUOTED_NAMES, "clock"])
    path.write_text(path.read_text().replace("\t?\t", "\tunder n03046257\t"))
    names = read_name_file(path)
    assert names.under == dict.fromkeys(QUOTED_NAMES, "n03046257")
    assert names.synsets == {"clock": "n03046257"}


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_a_file_saved_by_a_spreadsheet_is_read(quoting: Literal[0, 1], tmp_path: Path) -> None:
    """Python's dialect excel-tab; if all cells are quoted, so are the comments."""
    path = written(tmp_path, [*QUOTED_NAMES, "apple", "bibimbap", "clock"])
    with path.open(newline="") as file:
        rows = list(csv.reader(file, dialect="excel-tab"))
    width = max(map(len, rows))
    choice = {"?": "under n03046257"}
    rows = [[choice.get(cell, cell) for cell in row] + [""] * (width - len(row)) for row in rows]
    with path.open("w", newline="") as file:
        csv.writer(file, dialect="excel-tab", quoting=quoting).writerows(rows)
    content = path.read_text()
    assert '"the ""big"" clock"\t' in content
    assert content.startswith('"# The meaning' if quoting else "# The meaning")
    names = read_name_file(path)
    assert list(names.under) == [*QUOTED_NAMES, "apple", "bibimbap"]
    assert names.synsets == {"clock": "n03046257"}


def test_unmatched_quotes_are_part_of_the_name(tmp_path: Path) -> None:
    """Only a cell between two quotes is quoted, and a note may begin with a quote."""
    path = tmp_path / "names.tsv"
    path.write_text(
        '"big" dog\tn02084071\t"of any kind\n"cat\t"n02121808"\tsaid "so"\n'
        '"# mine, too"\n"cow, milk"\tunder n01887787\n'
    )
    names = read_name_file(path)
    assert names.synsets == {'"big" dog': "n02084071", '"cat': "n02121808"}
    assert names.under == {"cow, milk": "n01887787"}


@pytest.mark.parametrize(
    "content",
    [
        b"cat\tn02121808\tnote\ndog\tn02084071\tnote\n",
        b"class\twnid\tnote\r\ncat\tn02121808\r\ndog\tn02084071\r\n",
        b"\xef\xbb\xbfclass\twnid\n\n# mine\ncat\t n02121808 \ta\tb\n  \ndog\tn02084071",
        b" cat \tn02121808\n\t\t\n\xe3\x80\x80dog\tn02084071\n \t \n # mine\tn0\n",
        b'"class"\t"wnid"\r\n"cat"\t"n02121808"\r\n"# ""x"" y"\t\r\n" dog "\t" n02084071"\r\n',
    ],
    ids=[
        "plain",
        "CRLF without notes",
        "mark, comment, blanks, more columns",
        "blanks around",
        "quotes",
    ],
)
def test_files_from_any_editor_read_the_same(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "names.tsv"
    path.write_bytes(content)
    assert read_name_file(path).synsets == {"cat": "n02121808", "dog": "n02084071"}
    assert read_name_file(str(path)) == read_name_file(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "a\t?\nb\t?\nc\tn02121808\n",
            r"2 of 3 classes still have a \? .*\(a, b\): replace each with a wnid",
        ),
        ("".join(f"c{at}\t?\n" for at in range(9)), r"9 of 9 .*\(c0, c1, c2, c3, c4, \.\.\.\)"),
        (
            "cat\tn99999999\n",
            r"line 1: class 'cat' has the wnid 'n99999999', which is not a noun synset",
        ),
        ("cat\tanimal\n", r"line 1: class 'cat' has the word 'animal' in place of a wnid"),
        ("soup\tunder dish\n", r"line 1: class 'soup' has the word 'dish' .*write under and the"),
        ("soup\tunder dish\n", r"n07557434 \(dish < nutriment < food\).*, or \d more$"),
        ("a\tunder  Pickup truck\n", r"such as n03930630 \(pickup < truck < .*\)$"),
        ("a\tunder,n02121808\n", r"line 1: class 'a' has the wnid 'under,n02121808', which is not"),
        ("a\t\x1c\n", r"line 1: class 'a' has the wnid ''"),
        ("cat,n02121808\n", r"line 1: expected 'class TAB wnid TAB note', found 'cat,n02121808'"),
        (
            f"{'a' * 90}\t{'b' * 90}\n",
            r"'a{40}'\.\.\. has the wnid 'b{40}'\.\.\., which is not a noun synset",
        ),
        ("cat\t\n", r"line 1: class 'cat' has the wnid ''"),
        ("#\ncat\tn02121808\ncat\tn02084071\n", r"line 3: duplicate class 'cat'"),
        ("cat\tn02121808\ndog\tn02121808\n", r"line 2: 'dog' and 'cat' are both n02121808"),
        ("cat n02121808\n", r"line 1: expected 'class TAB wnid TAB note', found 'cat n02121808'"),
        ("\tn02121808\n", r"line 1: expected 'class TAB wnid"),
        ("cat\tunder\n", r"line 1: class 'cat' has the wnid ''"),
        ("cat\tunder ?\n", r"line 1: class 'cat' has the wnid '\?'"),
        ("a\tunder n02121808\na\tn02121808\n", r"line 2: duplicate class 'a'"),
    ],
)
def test_an_invalid_file_is_refused_with_line_and_reason(
    content: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "names.tsv"
    path.write_text(content)
    with pytest.raises(TaxonomyError, match=rf"names\.tsv.*{message}"):
        read_name_file(path)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "names.tsv"
    path.write_bytes("kätzchen\tn02121808\n".encode("latin-1"))
    with pytest.raises(
        TaxonomyError, match=r"names\.tsv, line 1: not valid UTF-8.*Save the file as UTF-8"
    ):
        read_name_file(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_utf_16_is_recognized(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "names.tsv"
    path.write_bytes("cat\tn02121808\n".encode(encoding))
    with pytest.raises(TaxonomyError, match=r"names\.tsv looks like UTF-16: save it as UTF-8"):
        read_name_file(path)


def test_a_class_without_a_synset_becomes_a_child_of_one(tmp_path: Path) -> None:
    """Two salads of one synset, and a dish that is not in WordNet."""
    path = tmp_path / "names.tsv"
    path.write_text(
        "salad\tn07806221\nbeet salad\tunder n07806221\nbibimbap\tunder  n07557434\t\n"
        "soup\tn07583197\n"
    )
    names = read_name_file(path)
    assert names.under == {"beet salad": "n07806221", "bibimbap": "n07557434"}
    tree = SemanticTree.build(
        ClassList.of(["soup", "beet salad", "bibimbap", "salad"]), names.place(Taxonomy.wordnet())
    )
    assert tree.parent.tolist() == [-1, 3, -1, -1]
    assert tree.names == ("soup", "beet salad", "bibimbap", "salad")
    joined = SemanticTree.build(tree.classes, names.place(Taxonomy.wordnet()), inner_levels="all")
    assert [joined.names[at] for at in joined.chain("bibimbap")][-2:] == ["dish", "bibimbap"]


def test_synsets_of_classes_for_a_teacher(tmp_path: Path) -> None:
    """Other lines of the file are ignored, and a class that is a wnid needs none."""
    path = tmp_path / "names.tsv"
    path.write_text("soup\tn07583197\ncat\tn02121808\nbibimbap\tunder n07557434\n")
    names = read_name_file(path)
    assert names.synsets_of(ClassList.of(["cat", "n02084071"])) == {"cat": "n02121808"}
    with pytest.raises(
        TaxonomyError, match=r"tsv places 1 of the 2 classes of menu \('bibimbap'\)"
    ):
        names.synsets_of(ClassList.of(["bibimbap", "soup"], "menu"))
    rest = [f"dish {number}" for number in range(9)]
    with pytest.raises(TaxonomyError, match=r"does not contain 9 .*'dish 4', \.\.\.\): add a line"):
        names.synsets_of(ClassList.of(["soup", *rest]))
