"""``study.toml``: what a study asks, and which recipes answer it. Loads no tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from labelkit.errors import StudyError
from labelkit.files import decode_toml, read_utf8

if TYPE_CHECKING:
    from pathlib import Path

NAME = "study.toml"
SKIP = "skip"

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=4000)]
_Seed = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Values = dict[_Text, tuple[_Text, ...] | Literal["skip"]]
_Combination = dict[_Text, _Text | tuple[_Text, ...]]


class StudyTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One table of ``study.toml``."""


class StudyStage(StudyTable, frozen=True):
    """One of several trainings in a row; each starts from the student of the one before.

    Attributes:
        name: of the stage, such as ``pretrain``.
        recipe: path of its recipe, from the study's folder.
        axes: the axes that set fields of this recipe.
    """

    name: _Text
    recipe: _Text
    axes: tuple[_Text, ...] = ()


class StudyPlot(StudyTable, frozen=True):
    """Which axis of the study is which of the plot.

    Attributes:
        x: the axis along the horizontal; numeric if all its values are numbers.
        lines: the axis with a line for each value.
        panels: the axis with a panel for each value.
    """

    x: _Text
    lines: _Text | None = None
    panels: _Text | None = None


class StudyFile(StudyTable, frozen=True):
    """A whole ``study.toml``.

    Attributes:
        title: of the study.
        claim: what it tests, in a sentence.
        paper: where the claim is from: arXiv number and section.
        found: what the paper found.
        recipe: path of the recipe, from the study's folder; or else ``stages``.
        stages: several recipes in a row, the first one first.
        axes: of each axis, by the name of a value, the fields of the recipe that it sets, as
            ``labelkit train --set`` takes them; ``"skip"`` leaves out the stage of this axis.
        seeds: of every combination.
        metric: of the evaluation after the last epoch.
        skip: combinations that are left out, as the values of some axes.
        only: if given, the combinations that are not left out.
        plot: which axis is which.
    """

    title: _Text
    claim: _Text
    axes: dict[_Text, _Values]
    paper: str = ""
    found: str = ""
    recipe: _Text | None = None
    stages: tuple[StudyStage, ...] = ()
    seeds: Annotated[tuple[_Seed, ...], msgspec.Meta(min_length=1)] = (0, 1, 2)
    metric: _Text = "top1"
    skip: tuple[_Combination, ...] = ()
    only: tuple[_Combination, ...] = ()
    plot: StudyPlot | None = None

    def __post_init__(self) -> None:
        if (self.recipe is None) == (not self.stages):
            raise ValueError("set one of recipe and stages")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds are {list(self.seeds)}: each may be there once")
        self._check_stages()
        for name, values in self.axes.items():
            if name in {"seed", "stage"} or not values:
                raise ValueError(f"axes.{name}: give it values, and not the name seed or stage")
            self._check_skipped_stages(name)
        for table, combinations in (("skip", self.skip), ("only", self.only)):
            for combination in combinations:
                self._check_values(table, combination)
        if self.plot is not None:
            for axis in (self.plot.x, self.plot.lines, self.plot.panels):
                self._check_axis("plot", axis)

    @property
    def chain(self) -> tuple[StudyStage, ...]:
        """The stages; a study with a single recipe has one, of all axes."""
        if self.recipe is None:
            return self.stages
        return (StudyStage(name="train", recipe=self.recipe, axes=tuple(self.axes)),)

    def _check_stages(self) -> None:
        names = [stage.name for stage in self.chain]
        if len(set(names)) < len(names):
            raise ValueError(f"stages are named {', '.join(names)}: each name may be there once")
        for stage in self.chain:
            for axis in stage.axes:
                self._check_axis(f"stages.{stage.name}.axes", axis)
        used = {axis for stage in self.chain for axis in stage.axes}
        if unused := [axis for axis in self.axes if axis not in used]:
            raise ValueError(f"axes.{unused[0]} is in no stage: name it in the axes of one")

    def _check_skipped_stages(self, axis: str) -> None:
        stages = [stage for stage in self.chain if axis in stage.axes]
        if SKIP in self.axes[axis].values() and (len(stages) > 1 or stages[0] == self.chain[-1]):
            raise ValueError(
                f'axes.{axis}: "skip" leaves out a stage, so the axis must be of one stage that is '
                "not the last"
            )

    def _check_axis(self, place: str, axis: str | None) -> None:
        if axis is not None and axis not in self.axes:
            raise ValueError(f"{place} names the axis {axis!r}, only {', '.join(self.axes)} exist")

    def _check_values(self, place: str, combination: _Combination) -> None:
        for axis, wanted in combination.items():
            self._check_axis(place, axis)
            for value in (wanted,) if isinstance(wanted, str) else wanted:
                if value not in self.axes[axis]:
                    known = ", ".join(self.axes[axis])
                    raise ValueError(f"{place}.{axis} is {value!r}, expected one of {known}")


def read_study_file(folder: Path) -> StudyFile:
    """Read and check the ``study.toml`` of a folder.

    Raises:
        StudyError: it is not TOML, or a field is missing, unknown or invalid; the message names it.
        FileNotFoundError: there is none.
    """
    path = folder / NAME
    if not path.exists():
        raise FileNotFoundError(f"no {NAME} in {folder}: labelkit study --init prints one")
    hint = "docs/studies.md describes the fields"
    return decode_toml(read_utf8(path, StudyError), StudyFile, path, StudyError, hint)


def study_template() -> str:
    """A commented ``study.toml`` to start from.

    >>> print(study_template()[:38])
    # A study for labelkit study: a folder
    """
    return _TEMPLATE


_TEMPLATE = """\
# A study for labelkit study: a folder with this file, study.toml, and the recipe that it names.
title = "Label smoothing and the learning rate"
claim = "Smoothing helps most at high learning rates."
paper = ""                 # arXiv number and section, if the claim is from a paper
found = ""                 # what the paper found
recipe = "recipe.toml"     # from this folder; paths in the recipe start at the current directory
seeds = [0, 1, 2]          # of every combination
metric = "top1"            # of the evaluation after the last epoch
# skip = [{ lr = "0.01", smoothing = "0.1" }]    # combinations to leave out
# only = [{ lr = ["0.001", "0.003"] }]           # if given, the only ones to run

# Each axis has values, and each value the fields that it sets, as labelkit train --set takes them.
[axes.lr]
"0.001" = ["optimizer.lr=1e-3"]
"0.003" = ["optimizer.lr=3e-3"]
"0.01" = ["optimizer.lr=1e-2"]

[axes.smoothing]
none = []
"0.1" = ["labels.label_smoothing=0.1"]

[plot]
x = "lr"
lines = "smoothing"
# panels = "..."           # another axis, with a panel for each of its values

# Several trainings in a row, in place of recipe: each starts from the student of the one before.
# The value "skip" of an axis leaves its stage out: the next one then starts as its recipe says.
# [[stages]]
# name = "pretrain"
# recipe = "pretrain.toml"
# axes = ["lr"]
# [[stages]]
# name = "fine-tune"
# recipe = "fine-tune.toml"
# axes = ["smoothing"]
"""
