"""Copies of WordNet in all supported places, cross-checked with NLTK's reader."""

from __future__ import annotations

import socket
import sys
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from labelkit.errors import TaxonomyError
from labelkit.hierarchy import open_wordnet
from labelkit.hierarchy.wordnet.graph import packaged_graph
from tests.hierarchy.support.small_wordnet import (
    ID,
    SMALL,
    data_noun,
    same,
    write_dict_folder,
    write_zip,
)
from tests.oracles.wordnet_parents import DICT_FOLDER, needs_wordnet

if TYPE_CHECKING:
    from labelkit.hierarchy.wordnet.graph import SynsetGraph


def test_the_default_is_the_packaged_graph() -> None:
    assert open_wordnet() is packaged_graph()
    assert packaged_graph().version == "3.0"


@needs_wordnet
def test_the_folder_of_wordnet_3_0_is_the_packaged_graph() -> None:
    assert same(open_wordnet(DICT_FOLDER), packaged_graph())


@needs_wordnet
def test_a_crlf_copy_of_wordnet_is_the_packaged_graph(tmp_path: Path) -> None:
    content = (DICT_FOLDER / "data.noun").read_bytes().replace(b"\n", b"\r\n")
    assert same(open_wordnet(write_dict_folder(tmp_path / "crlf", content)), packaged_graph())


@pytest.mark.parametrize(
    ("place", "given"),
    [
        ("WordNet-3.0/dict", "WordNet-3.0"),
        ("WordNet-3.0/dict", "WordNet-3.0/dict"),
        ("WordNet-3.0/dict", "WordNet-3.0/dict/data.noun"),
        ("nltk_data/corpora/wordnet", "nltk_data"),
        ("nltk_data/corpora/wordnet", "nltk_data/corpora"),
        ("nltk_data/corpora/wordnet", "nltk_data/corpora/wordnet"),
        ("nltk_data/corpora/wordnet.zip", "nltk_data"),
        ("nltk_data/corpora/wordnet.zip", "nltk_data/corpora"),
        ("nltk_data/corpora/wordnet.zip", "nltk_data/corpora/wordnet.zip"),
    ],
)
def test_a_path_may_lead_to_or_above_a_copy(place: str, given: str, tmp_path: Path) -> None:
    if place.endswith(".zip"):
        write_zip(tmp_path / place)
    else:
        write_dict_folder(tmp_path / place)
    for copy in (tmp_path / given, str(tmp_path / given)):
        assert open_wordnet(copy).lemmas[-1] == "Laika"


def test_a_path_without_a_copy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file or folder\. Pass WordNet's dict"):
        open_wordnet(tmp_path / "nowhere")
    with pytest.raises(TaxonomyError, match=r"contains no WordNet \(no data\.noun, .* or the word"):
        open_wordnet(tmp_path)


@pytest.fixture
def nltk_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as NLTK's only data folder."""
    import nltk

    folder = tmp_path / "nltk_data"
    folder.mkdir()
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path / "none"), str(folder)])
    return folder


def test_the_word_nltk_means_its_data_folders(nltk_data: Path) -> None:
    write_zip(nltk_data / "corpora" / "wordnet.zip")
    assert open_wordnet("nltk").lemmas[-1] == "Laika"
    write_dict_folder(nltk_data / "corpora" / "wordnet", data_noun(version="3.1").encode())
    assert open_wordnet("nltk").version == "3.1"


def test_a_path_named_nltk_is_a_path(
    nltk_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_zip(nltk_data / "corpora" / "wordnet.zip", data_noun(version="3.1").encode())
    write_dict_folder(tmp_path / "nltk")
    monkeypatch.chdir(tmp_path)
    assert open_wordnet("nltk").version == "3.1"
    assert open_wordnet("./nltk").version == "3.0"
    assert open_wordnet(Path("nltk")).version == "3.0"


def test_nltk_downloads_a_missing_copy(nltk_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The download itself is NLTK's; here it is replaced by its result."""
    import nltk

    def download(package: str, **options: object) -> bool:
        del options
        write_zip(nltk_data / "corpora" / f"{package}.zip")
        return True

    monkeypatch.setattr(nltk, "download", download)
    assert open_wordnet("nltk").lemmas[-1] == "Laika"


def test_without_a_network_the_message_says_what_to_do(
    nltk_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise socket.gaierror("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    with pytest.raises(TaxonomyError, match=r"could not download it: .*Pass the path of a copy"):
        open_wordnet("nltk")
    assert list(nltk_data.iterdir()) == []
    assert socket.getdefaulttimeout() is None


def test_nltk_is_imported_only_for_its_copy(tmp_path: Path) -> None:
    import subprocess

    folder = write_dict_folder(tmp_path / "own")
    code = (
        "import sys; from labelkit.hierarchy.wordnet.copies import open_wordnet;"
        f"open_wordnet({str(folder)!r}); sys.exit('nltk' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    whole = write_zip(tmp_path / "wordnet.zip").read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(b"wordnet/data.noun") + 200] ^= 0xFF
    cases = {
        bytes(flipped): "is damaged",
        whole[: len(whole) // 2]: "not valid UTF-8|not a synset|is truncated",
    }
    for content, message in cases.items():
        (tmp_path / "wordnet.zip").write_bytes(content)
        with pytest.raises(TaxonomyError, match=rf"wordnet\.zip.*({message}).*Use an intact copy"):
            open_wordnet(tmp_path / "wordnet.zip")


def test_an_archive_without_its_one_data_noun_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "nothing")
    with pytest.raises(TaxonomyError, match=r"contains 0 files named data\.noun, expected one"):
        open_wordnet(path)


def test_an_archive_too_large_to_unpack_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labelkit.hierarchy.wordnet.copies.LARGEST_MEMBER", 100)
    with pytest.raises(TaxonomyError, match=r"data\.noun has [\d,]+ bytes"):
        open_wordnet(write_zip(tmp_path / "wordnet.zip"))


# NLTK's reader


def read_by_nltk(folder: Path) -> dict[str, tuple[set[str], set[str]]]:
    """Each synset's hypernyms and instance hypernyms, as NLTK reads a dict folder."""
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    for file in WordNetCorpusReader._FILES:
        (folder / file).touch()
    (folder / "index.sense").touch()  # this and lexnames are not in Debian's copy
    kinds = {"noun": range(3, 29), "verb": range(29, 44), "adj": (0, 1, 44), "adv": (2,)}
    rows = {at: f"{at:02} {kind}.{at} 1" for kind, numbers in kinds.items() for at in numbers}
    (folder / "lexnames").write_text("\n".join(rows[at] for at in range(45)) + "\n")
    with warnings.catch_warnings(action="ignore"):
        reader = WordNetCorpusReader(str(folder), None)
        synsets = list(reader.all_synsets("n"))
    return {
        f"n{synset.offset():08}": (
            {f"n{above.offset():08}" for above in synset.hypernyms()},
            {f"n{above.offset():08}" for above in synset.instance_hypernyms()},
        )
        for synset in synsets
    }


def read_by_us(graph: SynsetGraph) -> dict[str, tuple[set[str], set[str]]]:
    instances = np.split(graph.instance_hypernym, graph.instance_start[1:-1])
    return {
        wnid: (set(graph.hypernyms(wnid)), {graph.ids[above] for above in row})
        for wnid, row in zip(graph.ids, instances, strict=True)
    }


def test_nltk_reads_the_small_dictionary_as_we_do(nltk_data: Path) -> None:
    content = data_noun().replace("house | or", "house   or")  # NLTK refuses such a gloss
    folder = write_dict_folder(nltk_data / "corpora" / "wordnet", content.encode())
    index = sorted(f"{name.lower()} n 1 0 1 0 {offset}  \n" for name, offset in ID.items())
    (folder / "index.noun").write_text("".join(index))
    found = read_by_nltk(folder)
    assert len(found) == len(SMALL)
    assert found == read_by_us(open_wordnet("nltk"))


@needs_wordnet
def test_nltk_reads_the_same_sets_of_hypernyms(nltk_data: Path) -> None:
    """All 82,115 synsets; as sets, since NLTK does not keep the order of pointers.

    NLTK finds a synset by its byte offset, which CRLF line ends would move.
    """
    folder = nltk_data / "corpora" / "wordnet"
    folder.mkdir(parents=True)
    for path in DICT_FOLDER.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes().replace(b"\r\n", b"\n"))
    found = read_by_nltk(folder)
    assert len(found) == 82_115
    assert found == read_by_us(open_wordnet("nltk"))
