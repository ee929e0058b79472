"""Check a label-map file: every row's bytes, its keys against a folder of images, a few maps.

Loads torch only to recompute maps.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from labelkit.data import open_image
from labelkit.errors import DatasetError
from labelkit.files import evenly_spaced
from labelkit.image_folders import plain_spelling
from labelkit.label_maps import DamagedRow
from labelkit.sources import as_source

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence

    from labelkit.label_maps import LabelMapFile
    from labelkit.relabel.recomputing import MapDifference
    from labelkit.sources import ImageSource
    from labelkit.teachers import Teacher

    OnProgress = Callable[[str, int, int], None]

_REPORT_EVERY = 256
_DEEPEST = 16


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What a check found. Each key is in one list only.

    Attributes:
        rows: how many rows were read and checked.
        images: how many images the folder holds; None without a folder.
        damaged: rows that cannot be read, key -> reason.
        extra: rows without an image.
        missing: images without a row that are not recorded as unreadable.
        renamed: probable renames, the row's key -> the image's key.
        still_unreadable: images recorded as unreadable that still are, key -> reason.
        readable_now: images recorded as unreadable that can be read now.
        sampled: how many rows' maps were recomputed.
        differing: those that differ from the stored maps.
    """

    rows: int
    images: int | None
    damaged: dict[str, str]
    extra: list[str]
    missing: list[str]
    renamed: dict[str, str]
    still_unreadable: dict[str, str]
    readable_now: list[str]
    sampled: int
    differing: list[MapDifference]

    @property
    def ok(self) -> bool:
        """Whether there is no problem; images that were never readable are none."""
        return not (
            self.damaged
            or self.extra
            or self.missing
            or self.renamed
            or self.readable_now
            or self.differing
        )


def verify(
    file: LabelMapFile,
    images: ImageSource | str | os.PathLike[str] | None = None,
    teachers: Sequence[Teacher] = (),
    sample: int = 0,
    on_progress: OnProgress | None = None,
) -> Verification:
    """Check every row, then the keys, then a sample of the maps. Only keys are kept in memory.

    Opening the file has checked its header and the digest of its class list.

    Args:
        file: what to check.
        images: those that it was made from, a source or the path of one; None checks neither keys
            nor maps.
        teachers: the one that made it, or those whose predictions were averaged.
        sample: maps to recompute, evenly spaced over the intact rows whose image exists.
        on_progress: called with ("rows" or "sample", done, total) now and then.

    Raises:
        ValueError: a sample without images or a teacher.
        DatasetError: there are no images, or their disk fails.
        TeacherError: not the teacher that the file names, or its scores are not finite.
        ClassListMismatch: the teacher lacks classes of the file.
        LabelMapError: the file does not say how its maps were made, or a key leaves the folder.
        OSError: the images or one of them cannot be read.

    Source: Yun et al. 2021 (arXiv 2101.05022), section 3.1, for how a map is made.
    """
    report = on_progress or (lambda _stage, _done, _total: None)
    maker = None
    if sample:
        if images is None or not teachers:
            raise ValueError("a sample needs the folder of images and the teacher")
        from labelkit.relabel.recomputing import map_maker

        maker = map_maker(file, teachers)
    source = None if images is None else as_source(images)
    listed = source.keys if source else []
    check = _RowCheck(listed)
    check.read(file, report)
    still, now = _retry_unreadable(file, check.without_row, source)
    missing = sorted(check.without_row.difference(still, now))
    renamed = likely_renames(check.extra, missing)
    found = set(renamed.values())
    keys = [file.key_at(check.intact[n]) for n in evenly_spaced(len(check.intact), sample)]
    differing: list[MapDifference] = []
    if maker and source:
        from labelkit.relabel.recomputing import recompute

        differing = recompute(
            file, source, keys, maker, lambda done, total: report("sample", done, total)
        )
    return Verification(
        rows=len(file),
        images=len(listed) if source else None,
        damaged=check.damaged,
        extra=[key for key in check.extra if key not in renamed],
        missing=[key for key in missing if key not in found],
        renamed=renamed,
        still_unreadable=still,
        readable_now=now,
        sampled=len(keys),
        differing=differing,
    )


class _RowCheck:
    """One pass over all rows.

    Args:
        images: the keys of all images; empty if keys are not compared.

    Attributes:
        without_row: the images for which no row was found.
        damaged: rows that cannot be read, key -> reason.
        extra: rows without an image.
        intact: the numbers of rows that can be read and have an image.
    """

    def __init__(self, images: Sequence[str]) -> None:
        self.without_row = set(images)
        self.damaged: dict[str, str] = {}
        self.extra: list[str] = []
        self.intact = array("q")
        self._compared = bool(images)

    def read(self, file: LabelMapFile, report: OnProgress) -> None:
        """Read every row, which checks its checksum and content."""
        rows = zip(file.keys(), file.faults(), strict=True)
        for position, (key, error) in enumerate(rows):
            known = key in self.without_row
            self.without_row.discard(key)
            if self._compared and not known:
                self.extra.append(key)
            if error is not None:
                self.damaged[key] = error.reason if isinstance(error, DamagedRow) else str(error)
            elif known:
                self.intact.append(position)
            if not position % _REPORT_EVERY:
                report("rows", position, len(file))
        report("rows", len(file), len(file))


def _retry_unreadable(
    file: LabelMapFile, without_row: set[str], source: ImageSource | None
) -> tuple[dict[str, str], list[str]]:
    """Images recorded as unreadable: those that still are, with the reason, and the others."""
    still: dict[str, str] = {}
    now: list[str] = []
    for key in file.unreadable if source else ():
        if source and key in without_row:
            try:
                open_image(source.file(key))
            except DatasetError as error:
                still[key] = str(error)
            else:
                now.append(key)
    return still, now


def likely_renames(extra: Sequence[str], missing: Sequence[str]) -> dict[str, str]:
    """Pair keys that probably name the same image: old key -> new key.

    Keys are paired if exactly one of each side agrees in, by precedence: the path up to letter case
    and Unicode normalisation, which file systems change; the path up to its extension; the last
    parts of the path, the more the better, as after a move to another folder.

    Args:
        extra: keys of rows without an image.
        missing: keys of images without a row.
    """
    renamed: dict[str, str] = {}
    new_keys = set(missing)
    depth = max((len(PurePosixPath(key).parts) for key in (*extra, *missing)), default=0)
    for normalise in _normalisations(depth):
        old = _unique(normalise, (key for key in extra if key not in renamed))
        new = _unique(normalise, (key for key in missing if key in new_keys))
        for name in old.keys() & new.keys():
            renamed[old[name]] = new[name]
            new_keys.discard(new[name])
    return dict(sorted(renamed.items()))


def _normalisations(depth: int) -> Iterable[Callable[[str], str]]:
    """What probable renames leave unchanged of a key, the most certain first."""
    yield _folded
    yield lambda key: str(PurePosixPath(_folded(key)).with_suffix(""))
    for count in range(min(depth, _DEEPEST), 0, -1):
        yield lambda key, count=count: "/".join(_folded(key).split("/")[-count:])


def _folded(key: str) -> str:
    return plain_spelling(key).casefold()


def _unique(normalise: Callable[[str], str], keys: Iterable[str]) -> dict[str, str]:
    """Normalised key -> key, for those that only one key has."""
    pairs = [(normalise(key), key) for key in keys]
    count = Counter(name for name, _ in pairs)
    return {name: key for name, key in pairs if count[name] == 1}
