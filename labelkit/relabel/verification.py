"""Check a label-map file: every row's bytes, the keys against a folder of images, a few maps anew.

Loads torch only where maps are made anew.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labelkit.data import list_images, open_image
from labelkit.errors import DatasetError
from labelkit.label_maps.checked_rows import DamagedRow
from labelkit.relabel.renames import likely_renames

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from labelkit.label_maps import LabelMapFile
    from labelkit.relabel.recomputing import Difference
    from labelkit.teachers import Teacher

    OnProgress = Callable[[str, int, int], None]

_STRIDE = 256


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What a check found. Keys stand in one list only.

    Attributes:
        rows: how many rows were read and checked.
        images: how many images the folder holds; None where none was given.
        damaged: rows that cannot be read, key -> reason.
        extra: rows without an image.
        missing: images without a row, and not recorded as unreadable.
        renamed: probably one image each, the row's key -> the image's key.
        still_unreadable: images recorded as unreadable that are so still, key -> reason.
        readable_now: images recorded as unreadable that can be read by now.
        sampled: how many rows' maps were made anew.
        differing: those that are not what the file holds.
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
    differing: list[Difference]

    @property
    def well(self) -> bool:
        """Whether nothing is off; images that never could be read are not."""
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
    images: Path | None = None,
    teachers: Sequence[Teacher] = (),
    sample: int = 0,
    on_progress: OnProgress | None = None,
) -> Verification:
    """Check every row, then the keys, then a sample of the maps; memory stays flat but for keys.

    Opening the file has checked its header and the digest of its class list.

    Args:
        file: what to check.
        images: the folder that it was made from; None leaves keys and maps unchecked.
        teachers: the one that made it, or those whose answers were averaged.
        sample: maps to make anew, evenly spread over the whole rows whose image is there.
        on_progress: called with ("rows" or "sample", done, in all) every now and then.

    Raises:
        ValueError: a sample without images or a teacher.
        DatasetError: the folder holds no image, or its disk fails.
        TeacherError: not the teacher that the file names, or it gives no finite scores.
        ClassListMismatch: the teacher lacks classes of the file.
        LabelMapError: the file does not say how its maps were made, or a key leaves the folder.
        OSError: the folder or an image in it may not be read.

    Source: Yun et al. 2021 (arXiv 2101.05022), section 3.1, for how a map is made.
    """
    report = on_progress or (lambda _stage, _done, _total: None)
    maker = None
    if sample:
        if images is None or not teachers:
            raise ValueError("a sample needs the folder of images and the teacher")
        from labelkit.relabel.recomputing import maker_of

        maker = maker_of(file, teachers)
    listed = list_images(images) if images else []
    rows = _Rows(listed)
    rows.check(file, report)
    still, now = _look_again(file, rows.without_row, images)
    missing = sorted(rows.without_row.difference(still, now))
    renamed = likely_renames(rows.extra, missing)
    found = set(renamed.values())
    keys = _spread(file, rows.whole, sample)
    differing: list[Difference] = []
    if maker and images:
        from labelkit.relabel.recomputing import recompute

        differing = recompute(
            file, images, keys, maker, lambda done, total: report("sample", done, total)
        )
    return Verification(
        rows=len(file),
        images=len(listed) if images else None,
        damaged=rows.damaged,
        extra=[key for key in rows.extra if key not in renamed],
        missing=[key for key in missing if key not in found],
        renamed=renamed,
        still_unreadable=still,
        readable_now=now,
        sampled=len(keys),
        differing=differing,
    )


class _Rows:
    """One pass over all rows.

    Args:
        images: the keys of all images; those that no row has stay in ``without_row``. None at all
            means that keys are not compared.
    """

    def __init__(self, images: Sequence[str]) -> None:
        self.without_row = set(images)
        self._compared = bool(images)
        self.damaged: dict[str, str] = {}
        self.extra: list[str] = []
        self.whole = array("q")  # rows that are whole and have their image

    def check(self, file: LabelMapFile, report: OnProgress) -> None:
        """Read every row; its checksum and content are checked by that."""
        rows = zip(file.keys(), file.faults(), strict=True)
        for position, (key, error) in enumerate(rows):
            known = key in self.without_row
            self.without_row.discard(key)
            if self._compared and not known:
                self.extra.append(key)
            if error is not None:
                self.damaged[key] = error.reason if isinstance(error, DamagedRow) else str(error)
            elif known:
                self.whole.append(position)
            if not position % _STRIDE:
                report("rows", position, len(file))
        report("rows", len(file), len(file))


def _look_again(
    file: LabelMapFile, without_row: set[str], images: Path | None
) -> tuple[dict[str, str], list[str]]:
    """Images recorded as unreadable: those that are so still, with the reason, and the others."""
    still: dict[str, str] = {}
    now: list[str] = []
    for key in file.unreadable if images else ():
        if images and key in without_row:
            try:
                open_image(images / key)
            except DatasetError as error:
                still[key] = str(error)
            else:
                now.append(key)
    return still, now


def _spread(file: LabelMapFile, positions: Sequence[int], sample: int) -> list[str]:
    """The keys of as many rows, evenly spread, the same each time; all if there are no more."""
    count = min(sample, len(positions))
    chosen = [positions[(2 * i + 1) * len(positions) // (2 * count)] for i in range(count)]
    return [file.key_at(position) for position in chosen]
