"""What ImageNet's synsets mean, in WordNet's words, as timm ships them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelkit.hierarchy.class_sources import timm_file

if TYPE_CHECKING:
    from collections.abc import Iterable

FILE = "imagenet_synset_to_definition.txt"


def definitions(ids: Iterable[str]) -> dict[str, str]:
    """The definitions of the ids that have one: ImageNet's 21,844 synsets, from timm's data.

    They are for people to read, so an id without one is left out, and so are all of them where
    timm is not installed or lacks the file.

    >>> definitions(["n02111889", "my cat"])
    {'n02111889': 'Siberian breed of white or cream-colored dog of the spitz family'}
    """
    path = timm_file(FILE)
    if path is None:
        return {}
    wanted = dict.fromkeys(ids)
    with path.open(encoding="utf-8", errors="replace") as lines:
        rows = (line.rstrip("\n").partition("\t") for line in lines)
        found = {wnid: definition for wnid, _, definition in rows if wnid in wanted}
    return {wnid: found[wnid] for wnid in wanted if wnid in found}
