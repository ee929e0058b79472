"""The answers of several teachers, stored as label maps, as those of their average.

Legend: B images of a batch, C classes, K entries per cell, H W grid.
"""

from __future__ import annotations

import hashlib
import heapq
import shutil
from itertools import groupby
from operator import itemgetter, ne
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
import torch

from labelkit import __version__
from labelkit.errors import LabelMapError
from labelkit.label_maps import LabelMapFile, LabelMaps, LabelMapWriter
from labelkit.relabel.selection import select_log_probabilities
from labelkit.teachers import resize_grid

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from labelkit.label_maps import LabelMap, MapForm

Method = Literal["logit", "probability"]
_BATCH_BYTES = 1 << 26


def average(  # noqa: PLR0913 -- each is a separate choice
    files: Sequence[LabelMapFile],
    output: str | os.PathLike[str],
    *,
    method: Method = "logit",
    common: bool = False,
    shard_rows: int = 1024,
    on_progress: Callable[[int, int], None] | None = None,
) -> LabelMapFile:
    """Average the maps of several teachers over one class list, image by image.

    Every map is made dense and brought to the finest of the grids bilinearly; the mean is selected
    from as a teacher's own answer is, into the form of the first file. Files of several maps an
    image are averaged map by map. Apart from that form, the order of ``files`` changes nothing.
    Interrupted, the same call goes on after the last finished shard.

    Args:
        files: two or more, of the same images.
        output: the file to make.
        method: ``logit`` takes the mean of the logits; ``probability`` the logarithm of the mean of
            each cell's softmax.
        common: keep the images that all files have a row of, rather than refuse to leave any out.
        shard_rows: images per shard: what an interruption can cost at most.
        on_progress: called with (images done, images in all) after every batch.

    Raises:
        ValueError: fewer than two files.
        LabelMapError: the same maps twice, other class lists or nouns for them, other numbers of
            maps or zooms, an image that not all have a row of, a damaged row, or shards of another
            plan.
        FileExistsError: ``output`` exists and is something else.
        OSError: the disk is full or refuses; finished shards are kept.
    """
    if len(files) < 2:
        raise ValueError(f"an average of {len(files)} files")
    _require_distinct(files)
    _require_one_meaning(files)
    forms = _forms(files)
    ordered = sorted(files, key=_place)
    keys, unreadable = _keys(ordered, common=common)
    output = Path(output).absolute()
    source = {"average": method, "of": [file.attrs for file in ordered]}
    facts: dict[str, Any] = {"classes": files[0].classes, "forms": forms, "source": source}
    made_from = hashlib.sha256("".join(file.digest for file in ordered).encode()).hexdigest()
    done = _finished(output, keys, facts, made_from)
    if done is not None:
        return done
    writer = LabelMapWriter(
        output,
        keys=[*keys, *unreadable],
        made_with={"average_of": made_from, "labelkit": __version__},
        shard_rows=shard_rows,
        made_from=made_from,
        **facts,
    )
    _make(writer, _Average(ordered, forms, method), unreadable, on_progress)
    return writer.finalize()


def _make(
    writer: LabelMapWriter,
    averaged: _Average,
    unreadable: dict[str, str],
    on_progress: Callable[[int, int], None] | None,
) -> None:
    """Commit every shard that is missing."""
    report = on_progress or (lambda _done, _total: None)
    pending = writer.pending()
    total = len(writer.keys)
    done = total - sum(shard.stop - shard.start for shard in pending)
    for shard in pending:
        keys = writer.keys[shard.start : shard.stop]
        torn = {key: unreadable[key] for key in keys if key in unreadable}
        whole = [key for key in keys if key not in torn]
        batches: list[list[LabelMaps]] = []
        for start in range(0, len(whole), averaged.batch):
            batches.append(averaged(whole[start : start + averaged.batch]))
            report(done + start + len(batches[-1][0]), total)
        batches = batches or [[LabelMaps.none(form) for form in averaged.forms]]
        writer.commit(
            shard, [LabelMaps.concatenate(parts) for parts in zip(*batches, strict=True)], torn
        )
        done += len(keys)
        report(done, total)


class _Average:
    """Makes the maps of some images from those of several files."""

    def __init__(
        self, files: Sequence[LabelMapFile], forms: Sequence[MapForm], method: Method
    ) -> None:
        self.forms = forms
        self._files = files
        self._method = method
        self._classes = len(files[0].classes)
        self._grids = [
            _finest(forms) for forms in zip(*(file.forms for file in files), strict=True)
        ]
        cells = max(height * width for height, width in self._grids)
        self.batch = max(1, _BATCH_BYTES // (4 * self._classes * cells))

    def __call__(self, keys: Sequence[str]) -> list[LabelMaps]:
        """The averaged maps of each form."""
        maps = [[file.maps(key) for key in keys] for file in self._files]
        return [
            self._select([[each[number] for each in of_file] for of_file in maps], number)
            for number in range(len(self.forms))
        ]

    def _select(self, maps: Sequence[Sequence[LabelMap]], number: int) -> LabelMaps:
        form = self.forms[number]
        mean = self._mean(maps, self._grids[number])
        return select_log_probabilities(resize_grid(mean, form.grid), form)

    def _mean(self, maps: Sequence[Sequence[LabelMap]], grid: tuple[int, int]) -> torch.Tensor:
        """The mean of every file's answers to B images: (B, C, H, W)."""
        total = torch.zeros(())
        for of_file in maps:
            dense = torch.from_numpy(np.stack([each.dense(self._classes) for each in of_file]))
            logits = resize_grid(dense, grid)
            total = total + (logits if self._method == "logit" else logits.softmax(dim=1))
        mean = total / len(maps)
        return mean if self._method == "logit" else mean.clamp(min=1e-30).log()


def _require_distinct(files: Sequence[LabelMapFile]) -> None:
    """Raise if two files hold the same maps, which would count twice against the others."""
    seen: dict[str, LabelMapFile] = {}
    for file in files:
        before = seen.get(file.digest)
        if before is not None:
            raise LabelMapError(
                f"{before.path} and {file.path} hold the same maps: name each teacher's file once"
            )
        seen[file.digest] = file


def _require_one_meaning(files: Sequence[LabelMapFile]) -> None:
    """Raise if a class with a plain name is one noun in a file and another noun in the next."""
    seen: dict[str, tuple[str, LabelMapFile]] = {}
    for file in files:
        nouns = file.attrs.get("nouns")
        for name, noun in nouns.items() if isinstance(nouns, dict) else ():
            before, first = seen.setdefault(name, (noun, file))
            if before != noun:
                raise LabelMapError(
                    f"{first.path} and {file.path} were made with other nouns (nouns.{name}: "
                    f"{before} and {noun}): make both with one file, labelkit relabel --names"
                )


def _forms(files: Sequence[LabelMapFile]) -> list[MapForm]:
    """The forms of the average: the first file's, with a zoom that all share or none."""
    first = files[0]
    for file in files[1:]:
        if file.classes != first.classes:
            raise LabelMapError(
                f"{first.path} and {file.path} are of different class lists: {first.classes} and "
                f"{file.classes}. Make both over one list: labelkit relabel --classes"
            )
        zooms = [[form.zoom for form in each.forms] for each in (first, file)]
        if len(zooms[0]) != len(zooms[1]) or (len(zooms[0]) > 1 and zooms[0] != zooms[1]):
            raise LabelMapError(
                f"{first.path} and {file.path} hold maps of different zooms: {zooms[0]} and "
                f"{zooms[1]}. Several maps an image are averaged one by one, at equal zooms only"
            )
    columns = zip(*(file.forms for file in files), strict=True)
    return [
        msgspec.structs.replace(
            column[0], zoom=column[0].zoom if len({form.zoom for form in column}) == 1 else 0.0
        )
        for column in columns
    ]


def _finest(forms: Sequence[MapForm]) -> tuple[int, int]:
    return max(form.grid[0] for form in forms), max(form.grid[1] for form in forms)


def _place(file: LabelMapFile) -> tuple[bytes, str]:
    """Where a file stands among others, whatever the order that they are given in."""
    return msgspec.json.encode(file.attrs, order="deterministic"), file.digest


def _keys(files: Sequence[LabelMapFile], *, common: bool) -> tuple[list[str], dict[str, str]]:
    """Keys that all files have a row of, and images that none could read."""
    keys: list[str] = []
    lacking: dict[int, tuple[str, int]] = {}
    streams = [_numbered(file, number) for number, file in enumerate(files)]
    for encoded, group in groupby(heapq.merge(*streams), itemgetter(0)):
        there = {number for _, number in group}
        if len(there) == len(files):
            keys.append(encoded.decode())
        for number in set(range(len(files))) - there:
            first, count = lacking.get(number, (encoded.decode(), 0))
            lacking[number] = first, count + 1
    for number, (missing, count) in () if common else sorted(lacking.items()):
        raise LabelMapError(
            f"{files[number].path} lacks {count:,} of the others' images, the first is "
            f"{missing!r}: make its maps too, or leave such images out with --common"
        )
    first, *others = files
    none = {
        key: min(reason, *(other.unreadable[key] for other in others))
        for key, reason in first.unreadable.items()
        if all(key in other.unreadable for other in others)
    }
    return keys, none


def _numbered(file: LabelMapFile, number: int) -> Iterator[tuple[bytes, int]]:
    return ((key.encode(), number) for key in file.keys())  # noqa: SIM118 -- not a dict


def _finished(
    output: Path, keys: Sequence[str], facts: dict[str, Any], made_from: str
) -> LabelMapFile | None:
    """The file that an earlier run of the same command finished; None if there is none."""
    try:
        file = LabelMapFile.open(output)
    except (FileNotFoundError, LabelMapError):
        return None
    found = {"classes": file.classes, "forms": list(file.forms), "source": file.attrs}
    same = found == facts and file.made_with.get("average_of") == made_from
    if not same or len(file) != len(keys) or any(map(ne, keys, file)):
        file.close()
        return None
    shutil.rmtree(output.with_name(f"{output.name}.parts"), ignore_errors=True)
    return file
