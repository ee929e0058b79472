"""Open a tree or a label-map file; find a class, a row or a photo by name, or suggest others."""

from __future__ import annotations

import difflib
from collections import deque
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from labelkit.data import RowFinder, open_image
from labelkit.errors import DatasetError, LabelkitError, LabelMapError
from labelkit.file_kinds import BEGINNING, is_coarsening, is_hdf5, is_tree
from labelkit.hierarchy import (
    ClassList,
    Coarsening,
    SemanticTree,
    Taxonomy,
    class_names,
    load_coarsening,
    match_names,
)
from labelkit.label_maps import LabelMapFile
from labelkit.sources import as_source
from labelkit.wording import printable, readable, summary

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from PIL import Image

    from labelkit.label_maps import LabelMap
    from labelkit.sources import ImageSource

_CLOSE = 0.75
_NEIGHBOURS = 2000  # comparing a key with a million others takes a minute
_OTHER_FORMATS = {  # of labelkit convert, besides labelkit's own trees
    ".pth": "the layout published with ImageNet-21K-P",
    ".pt": "the layout published with ImageNet-21K-P",
    ".csv": "a table",
}


def open_artifact(path: str | os.PathLike[str]) -> SemanticTree | Coarsening | LabelMapFile:
    """Open a tree, a coarsening or a label-map file; its first bytes decide which, not its name.

    Raises:
        LabelkitError: none of these, or damaged; the message describes what was found.
        FileNotFoundError: no such file.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise LabelkitError(f"{path} is not a regular file")
    with path.open("rb") as file:
        beginning = file.read(BEGINNING)
    if is_hdf5(beginning):
        return LabelMapFile.open(path)
    if is_tree(beginning):
        return SemanticTree.load(path)
    if is_coarsening(beginning):
        return load_coarsening(path)
    if beginning and (what := _OTHER_FORMATS.get(path.suffix.lower())):
        raise LabelkitError(f"{path} is not a labelkit tree but {what}. {_conversion_hint(path)}")
    found = f"begins with {beginning[:16]!r}" if beginning else "is empty"
    raise LabelkitError(
        f"{path} {found}, expected a tree (from labelkit build-tree) or a label-map file (from "
        "labelkit relabel), or a coarsening (from labelkit coarsen)"
    )


def _conversion_hint(path: Path) -> str:
    """How to convert another format to a labelkit tree."""
    convert = f"labelkit convert {path} -o tree.json"
    if path.suffix.lower() == ".csv":
        build = f"labelkit build-tree --taxonomy {path} -o tree.json"
        return f"If it holds a tree, run {convert}; if it holds a taxonomy, run {build}"
    return f"Run {convert} first"


def find_classes(tree: SemanticTree, wanted: str) -> list[int]:
    """The class with this id, or else all classes with this name, as indices.

    Ids are case-sensitive, names are not; spaces, underscores and hyphens are equivalent.

    Raises:
        LabelkitError: no such class; the message suggests similar ones or, in a WordNet tree, where
            a synset of that name would be.
    """
    if wanted in tree.classes.index:
        return [tree.classes.index[wanted]]
    names = [plain(name) for name in tree.names]
    name = plain(wanted)
    found = [at for at, known in enumerate(names) if known == name]
    if not found:
        otherwise = "Pass an id or a name; --find TEXT searches for a part of one."
        raise LabelkitError(
            f"no class {wanted!r} in the tree of {printable(str(tree.classes))}. "
            f"{_omitted(tree, wanted) or _close_classes(tree, name) or otherwise}"
        )
    return found


def search_classes(tree: SemanticTree, text: str, definitions: Mapping[str, str]) -> list[int]:
    """The classes whose id, name or definition contains a text, as indices, best matches first.

    Case is ignored; spaces, underscores and hyphens are equivalent. Ids and names that equal the
    text come first, then those that begin with it, then those that contain it, then definitions.

    Args:
        tree: the tree to search.
        text: the text to search for.
        definitions: definitions of classes, by id.

    Raises:
        LabelkitError: there is none; the message suggests similar ones.
    """
    wanted = plain(text)
    ranked: list[tuple[int, int]] = []
    for at, (identity, name) in enumerate(zip(tree.classes, tree.names, strict=True)):
        words = (plain(identity), plain(name))
        if wanted in words:
            ranked.append((0, at))
        elif any(word.startswith(wanted) for word in words):
            ranked.append((1, at))
        elif any(wanted in word for word in words):
            ranked.append((2, at))
        elif wanted in plain(definitions.get(identity, "")):
            ranked.append((3, at))
    if not ranked:
        where = "id, name or definition" if definitions else "id or name"
        hint = _close_classes(tree, wanted) or "Try a shorter text."
        raise LabelkitError(
            f"no class with {text!r} in its {where} in the tree of {printable(str(tree.classes))}. "
            f"{hint}"
        )
    return [at for _, at in sorted(ranked)]


def plain(text: str) -> str:
    """A name for comparison: lower case, with spaces for underscores and hyphens."""
    return readable(text).replace("-", " ").casefold()


def _close_classes(tree: SemanticTree, name: str) -> str:
    """Similar classes, as a question; empty if there are none."""
    known = {plain(identity): printable(identity) for identity in tree.classes}
    known |= {plain(named): readable(named) for named in reversed(tree.names)}
    close = difflib.get_close_matches(name, known, n=3, cutoff=_CLOSE)
    return f"Did you mean {' or '.join(known[each] for each in close)}?" if close else ""


def _omitted(tree: SemanticTree, wanted: str) -> str:
    """Where a synset would be that a WordNet tree omits; empty if there is no such synset."""
    source, words = tree.source, " ".join(wanted.split())
    followed = source.get("taxonomy"), source.get("rule")
    if followed != ("WordNet 3.0", "imagenet") or "custom_parents" in source or not words:
        return ""
    taxonomy = Taxonomy.wordnet()
    (match,) = match_names(ClassList.of([words]))
    fitting = {"whole name", "spelled together", "singular"}
    synsets = [each.wnid for each in match.candidates if each.how in fitting]
    for synset in synsets:
        nearest = next(
            (wnid for wnid in _above(taxonomy, synset) if wnid in tree.classes.index), ""
        )
        if nearest == synset:
            return f"{_name(taxonomy, synset)} is its name in WordNet: pass the id or that name."
        if nearest:
            # Classes with custom ids cannot be found by a wnid.
            which = "with a wnid " if "custom_ids" in source else ""
            place = f"the nearest {which}above it is {_name(taxonomy, nearest)}"
            return f"{_name(taxonomy, synset)} is not in this tree; {place}."
    for synset in synsets:
        tops = [tree.classes[at] for at, above in enumerate(tree.parent.tolist()) if above < 0]
        below = [top for top in tops if top in taxonomy.index and synset in _above(taxonomy, top)]
        if below:
            place = f"right below it: {summary([_name(taxonomy, top) for top in below])}"
            return f"{_name(taxonomy, synset)} is not in this tree; {place}."
    return ""


def _above(taxonomy: Taxonomy, wnid: str) -> list[str]:
    """A synset and all synsets above it, the nearest first."""
    chain: list[str] = []
    at = taxonomy.index[wnid]
    while at >= 0:
        chain.append(taxonomy.ids[at])
        at = int(taxonomy.parent[at])
    return chain


def _name(taxonomy: Taxonomy, wnid: str) -> str:
    return f"{readable(taxonomy.names[taxonomy.index[wnid]])} ({wnid})"


def output_names(file: LabelMapFile) -> tuple[str, ...]:
    """The names of all that a file's indices stand for: its classes, and ``*other*`` if stored."""
    return class_names(ClassList(file.outputs))


def find_label_map(file: LabelMapFile, key: str) -> LabelMap:
    """The label map of a key; if it has several, the one of the largest input size.

    Raises:
        LabelMapError: no such row, or a damaged one; the message suggests similar keys. A key in
            another Unicode form finds its row.
    """
    row = RowFinder(file).row(key)
    if row is not None:
        return file.maps(file.key_at(row))[-1]
    if key in file.unreadable:
        raise LabelMapError(f"{file.path} has no label map for {key!r}: {file.why_not(key)}")
    close = close_keys(file, key)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else file.why_not(key)
    raise LabelMapError(f"{file.path} has no label map for {key!r}: {hint}")


def close_keys(file: LabelMapFile, key: str, limit: int = 3) -> list[str]:
    """At most ``limit`` keys with the same file name, or else with a similar one."""
    name = PurePosixPath(key).name
    same_name: list[str] = []
    before: deque[str] = deque(maxlen=_NEIGHBOURS // 2)
    after: list[str] = []
    for known in file:  # one pass over all rows
        if name and PurePosixPath(known).name == name:
            same_name.append(known)
            if len(same_name) == limit:
                break
        # Keys are sorted by bytes; for near misses that is as good as by characters.
        if known < key:
            before.append(known)
        elif len(after) < _NEIGHBOURS // 2:
            after.append(known)
    near = [*before, *after]
    if same_name:
        return same_name
    return difflib.get_close_matches(key, near, n=limit, cutoff=_CLOSE)


def open_photo(images: ImageSource | str | os.PathLike[str], key: str) -> Image.Image:
    """The photo of a row, with the pixels that the teacher and training see.

    Args:
        images: those that the label maps were made from, a source or the path of one.
        key: the row's key.

    Raises:
        DatasetError: there is no such image, or it cannot be read.
    """
    source = as_source(images)
    found = source.find(key)
    if found is None:
        raise DatasetError(
            f"{source.path} has no image {key!r}: pass what the label maps were made from"
        )
    try:
        return open_image(source.file(found))
    except DatasetError as error:
        raise DatasetError(f"{source.where(found)} cannot be read: {error}") from error
