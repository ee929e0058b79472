"""The runs of a study: every combination of its axes and seeds. Loads no tensors."""

from __future__ import annotations

import hashlib
import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from labelkit.errors import StudyError
from labelkit.studies.study_file import SKIP, read_study_file
from labelkit.train import read_recipe, recipe_fields

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from labelkit.studies.study_file import StudyFile, StudyStage
    from labelkit.train import Recipe

# Fields that say where things are on this machine; an axis that sets one has a name for each.
PLACES = frozenset(
    {
        *("data.train", "data.val", "data.coarsening", "data.unlabelled"),
        *("labels.tree", "labels.maps", "labels.names", "labels.unlabelled_maps"),
        *("model.init", "run.seed"),  # these are the parent and the seed
    }
)
_TAKEN = {
    "run.seed": "Use seeds in study.toml, or --only seed=N",
    "run.output": "Use -o",
    "run": "Set its fields, one by one",
}


@dataclass(frozen=True)
class StudyRun:
    """One training of a study.

    Attributes:
        stage: the name of its stage.
        axes: the name of each axis' value, for the axes of this stage and those before.
        seed: of the run.
        recipe: what it trains.
        fields: the recipe's fields that differ from their defaults, without those that say where
            things are or how to compute.
        identity: a digest of stage, axes and what they set, seed, fields and parent.
        parent: the run from whose student it starts, or None.
    """

    stage: str
    axes: Mapping[str, str]
    seed: int
    recipe: Recipe
    fields: Mapping[str, object]
    identity: str
    parent: StudyRun | None = None

    @property
    def name(self) -> str:
        """A file name; readable, and unique by its end."""
        words = "-".join([self.stage, *self.axes.values()])
        plain = re.sub(r"[^\w.]+", "-", words, flags=re.ASCII).strip("-.")[:80]
        return f"{plain}-seed{self.seed}-{self.identity[:8]}"

    @property
    def output(self) -> Path:
        """The folder of the run."""
        return Path(self.recipe.run.output)

    @property
    def root(self) -> StudyRun:
        """The first run of the chain that leads to this one."""
        return self if self.parent is None else self.parent.root


@dataclass(frozen=True)
class Study:
    """A study and its runs.

    Attributes:
        folder: that has ``study.toml``.
        output: where results and runs go.
        file: the content of ``study.toml``.
        runs: all runs, those of the first seed first, each after the one that it starts from.
        unchosen: the identities of those that ``only`` leaves out.
    """

    folder: Path
    output: Path
    file: StudyFile
    runs: tuple[StudyRun, ...]
    unchosen: frozenset[str] = frozenset()

    @property
    def results(self) -> Path:
        """The file with one JSON line per finished run."""
        return self.output / "results.jsonl"

    def shard(self, number: int, count: int) -> tuple[StudyRun, ...]:
        """The runs of one of ``count`` jobs; a run is in the same one as the run it starts from.

        Raises:
            ValueError: the number is not from 0 to ``count - 1``.
        """
        if not 0 <= number < count:
            raise ValueError(
                f"shard is {number}/{count}, expected 0/{count} to {count - 1}/{count}"
            )
        roots = list(dict.fromkeys(run.root.identity for run in self.runs))
        chosen = set(roots[number::count])
        return tuple(run for run in self.runs if run.root.identity in chosen)


def read_study(
    folder: str | os.PathLike[str],
    changes: Iterable[str] = (),
    *,
    output: str | os.PathLike[str] | None = None,
    only: Mapping[str, Sequence[str]] | None = None,
) -> Study:
    """Read a study, and plan its runs.

    Args:
        folder: that has ``study.toml``.
        changes: ``table.field=value`` each, of all recipes; what an axis sets comes after them.
            Fields that say where things are, or how to compute, do not change a run's identity.
        output: where results and runs go; the study's folder by default.
        only: of some axes, the names of the values to keep; ``seed`` is one of them.

    Raises:
        StudyError: ``study.toml`` or ``only`` is invalid, or nothing is left to run.
        RecipeError: a recipe is invalid; the message names the field.
        FileNotFoundError: no such file.
    """
    source = Path(folder)
    file = read_study_file(source)
    target = Path(output) if output is not None else source
    _check_only(file, only or {})
    planner = _Planner(source, target, file, tuple(changes))
    for axes, seed in _combinations(file, only or {}):
        planner.add(axes, seed)
    if not planner.runs:
        raise StudyError(f"{source}: skip and only leave no run: keep some combination")
    chosen = tuple(planner.runs.values())
    for axes, seed in _combinations(file, {}):
        planner.add(axes, seed)
    unchosen = planner.runs.keys() - {run.identity for run in chosen}
    return Study(source, target, file, chosen, frozenset(unchosen))


@dataclass
class _Planner:
    """Adds the runs of a combination, each once."""

    folder: Path
    output: Path
    file: StudyFile
    changes: tuple[str, ...]
    runs: dict[str, StudyRun] = field(default_factory=dict[str, StudyRun])
    _known: dict[tuple[object, ...], StudyRun] = field(
        default_factory=dict[tuple[object, ...], StudyRun]
    )

    def add(self, axes: Mapping[str, str], seed: int) -> None:
        parent: StudyRun | None = None
        seen: dict[str, str] = {}
        for stage in self.file.chain:
            seen |= {axis: axes[axis] for axis in stage.axes}
            if any(self.file.axes[axis][axes[axis]] == SKIP for axis in stage.axes):
                continue
            key = (stage.name, *seen.items(), seed)
            if key not in self._known:
                self._known[key] = self.run(stage, dict(seen), seed, parent)
            parent = self._known[key]
            self.runs.setdefault(parent.identity, parent)

    def run(
        self, stage: StudyStage, axes: dict[str, str], seed: int, parent: StudyRun | None
    ) -> StudyRun:
        settings = [each for axis in stage.axes for each in self.file.axes[axis][axes[axis]]]
        _require_free([*self.changes, *settings])
        changes = [*self.changes, *settings, f"run.seed={seed}"]
        recipe = read_recipe(self.folder / stage.recipe, changes)
        fields = _own_fields(recipe)
        facts = [stage.name, axes, settings, seed, fields, parent and parent.identity]
        identity = hashlib.sha256(msgspec.json.encode(facts, order="sorted")).hexdigest()
        found = StudyRun(stage.name, axes, seed, recipe, fields, identity, parent)
        run = msgspec.structs.replace(recipe.run, output=str(self.output / "runs" / found.name))
        model = recipe.model
        if parent is not None:
            model = msgspec.structs.replace(model, init=str(parent.output), pretrained=False)
        recipe = msgspec.structs.replace(recipe, run=run, model=model)
        return StudyRun(stage.name, axes, seed, recipe, fields, identity, parent)


def _require_free(changes: Iterable[str]) -> None:
    """Refuse what a study sets in each run.

    Raises:
        StudyError: the message names what to use instead.
    """
    for change in changes:
        name = change.partition("=")[0].strip()
        if remedy := _TAKEN.get(name):
            raise StudyError(f"cannot set {name}: a study sets it in each run. {remedy}")


def _combinations(
    file: StudyFile, only: Mapping[str, Sequence[str]]
) -> Iterator[tuple[dict[str, str], int]]:
    """The values of all axes, and a seed."""
    for seed in file.seeds:
        for values in itertools.product(*file.axes.values()):
            axes = dict(zip(file.axes, values, strict=True))
            wanted = not file.only or any(_matches(axes, each) for each in file.only)
            skipped = any(_matches(axes, each) for each in file.skip)
            chosen = _matches({**axes, "seed": str(seed)}, only)
            if wanted and chosen and not skipped:
                yield axes, seed


def _matches(axes: Mapping[str, str], wanted: Mapping[str, str | Sequence[str]]) -> bool:
    """Whether each named axis has one of its values."""
    return all(
        axes[axis] == values if isinstance(values, str) else axes[axis] in values
        for axis, values in wanted.items()
    )


def _check_only(file: StudyFile, only: Mapping[str, Sequence[str]]) -> None:
    known = {
        **{axis: tuple(values) for axis, values in file.axes.items()},
        "seed": tuple(map(str, file.seeds)),
    }
    for axis, values in only.items():
        if axis not in known:
            raise StudyError(f"no axis {axis!r}, only {', '.join(known)}")
        for value in values:
            if value not in known[axis]:
                raise StudyError(f"{axis} has no value {value!r}, only {', '.join(known[axis])}")


def _own_fields(recipe: Recipe) -> dict[str, object]:
    """The fields that make a run what it is and differ from their defaults, by dotted name.

    Fields at their defaults are left out, so that a field that a later labelkit adds changes
    nothing.
    """
    found: dict[str, object] = {}
    for table in msgspec.structs.fields(type(recipe)):
        content: Any = getattr(recipe, table.name)
        if table.name == "labels":
            found["labels.kind"] = content.__struct_config__.tag
        for each in msgspec.structs.fields(type(content)):
            value = msgspec.to_builtins(getattr(content, each.name))
            if value != msgspec.to_builtins(_default(each)):
                found[f"{table.name}.{each.name}"] = value
    kept = recipe_fields(recipe).keys() - PLACES
    return {name: value for name, value in found.items() if name in kept}


def _default(each: msgspec.structs.FieldInfo) -> Any:  # noqa: ANN401 -- of any field
    if each.default_factory is not msgspec.NODEFAULT:
        return each.default_factory()
    return None if each.default is msgspec.NODEFAULT else each.default
