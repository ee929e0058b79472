"""Where a copy of WordNet may stand: in labelkit, in a folder or an archive, or in NLTK's data."""

from __future__ import annotations

import contextlib
import io
import socket
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from labelkit.errors import TaxonomyError, first_line
from labelkit.hierarchy.wordnet.dict_files import REMEDY, parse_data_noun, read_data_noun
from labelkit.hierarchy.wordnet.noun_graph import noun_graph

if TYPE_CHECKING:
    from collections.abc import Generator

    from labelkit.hierarchy.wordnet.noun_graph import SynsetGraph

NLTK = "nltk"
FILE = "data.noun"
NLTK_PLACES = (f"corpora/wordnet/{FILE}", "corpora/wordnet.zip")
PLACES = (FILE, f"dict/{FILE}", f"wordnet/{FILE}", "wordnet.zip", *NLTK_PLACES)
LARGEST_MEMBER = 256 * 2**20
TIMEOUT = 30.0


def open_wordnet(copy: str | Path | None = None) -> SynsetGraph:
    """The nouns of WordNet from wherever a copy of it stands.

    *None* means WordNet 3.0 as packed with labelkit.

    A *path* leads to WordNet's ``dict`` folder, to a folder that holds one (as ``dict``,
    ``wordnet`` or NLTK's ``corpora/wordnet``), to a ``data.noun`` file, or to NLTK's
    ``wordnet.zip``, which is read without being unpacked. Line ends may be LF or CRLF.

    The *word* ``nltk`` means WordNet in NLTK's data folders; where they lack it, NLTK downloads it
    into its own folder. Write ``./nltk``, or give a ``Path``, for a file or a folder of that name.

    Only WordNet 3.0 has ImageNet's wnids. Other versions number their synsets otherwise; the
    graph's ``version`` tells them apart.

    Raises:
        FileNotFoundError: no such file or folder.
        TaxonomyError: it holds no WordNet, or a damaged one; or NLTK could not download it.
        OSError: it cannot be read.
    """
    if copy is None:
        return noun_graph()
    if copy == NLTK:
        return _read(_in_nltk() or _fetched_by_nltk())
    path = Path(copy)
    if not path.exists():
        raise FileNotFoundError(
            f"no WordNet in {str(copy)!r}: there is no such file or folder. Give WordNet's dict "
            f"folder, its data.noun, NLTK's wordnet.zip, or the word {NLTK}"
        )
    found = path if not path.is_dir() else _first_file(path, PLACES)
    if found is None:
        raise TaxonomyError(
            f"{path} holds no WordNet (no {', no '.join(PLACES)}). Give the folder that holds "
            f"{FILE}, or the word {NLTK}"
        )
    return _read(found)


def _first_file(folder: Path, places: tuple[str, ...]) -> Path | None:
    paths = (folder / place for place in places)
    return next((path for path in paths if path.is_file()), None)


def _read(path: Path) -> SynsetGraph:
    return _read_archive(path) if zipfile.is_zipfile(path) else read_data_noun(path)


def _read_archive(path: Path) -> SynsetGraph:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [
                member for member in archive.infolist() if member.filename.split("/")[-1] == FILE
            ]
            if len(members) != 1:
                raise TaxonomyError(f"{path} holds {len(members)} files {FILE}, not one. {REMEDY}")
            (member,) = members
            if member.file_size > LARGEST_MEMBER:
                raise TaxonomyError(
                    f"{path}: its {FILE} has {member.file_size:,} bytes, WordNet's has some 15 "
                    f"million. {REMEDY}"
                )
            content = archive.read(member)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise TaxonomyError(f"{path} is damaged ({first_line(error)}). {REMEDY}") from error
    return parse_data_noun(content, f"{path}/{member.filename}")


def _in_nltk() -> Path | None:
    import nltk.data

    found = (_first_file(Path(root), NLTK_PLACES) for root in nltk.data.path)
    return next((path for path in found if path is not None), None)


def _fetched_by_nltk() -> Path:
    """Let NLTK download WordNet, and find it again."""
    from xml.etree.ElementTree import ParseError

    import nltk

    said = io.StringIO()
    try:
        with _network_timeout():
            nltk.download("wordnet", quiet=True, print_error_to=said)
        reason = " ".join(said.getvalue().replace("[nltk_data]", "").split())
    except (OSError, ValueError, ParseError) as error:
        reason = first_line(error)
    found = _in_nltk()
    if found is None:
        raise TaxonomyError(
            "NLTK has no WordNet in its data folders (nltk.data.path) and could not download it: "
            f"{reason or 'it gives no reason'}. Give the path of a copy of WordNet instead, or use "
            "the nouns that come with labelkit"
        )
    return found


@contextlib.contextmanager
def _network_timeout() -> Generator[None]:
    """No connection may wait for ever: older releases of NLTK set no limit of their own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
