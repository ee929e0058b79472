"""Which runs of a study are done, and how long the others take. Loads no tensors."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labelkit.train import has_student

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labelkit.studies.plan import Study, StudyRun
    from labelkit.studies.results import RunResult


@dataclass(frozen=True)
class StudyStatus:
    """What is done of some runs of a study.

    Attributes:
        runs: these runs.
        done: the results of those that are finished, by identity. A run whose student was removed
            is to do again if another run has yet to start from it.
        failed: the results of those that failed last time, and are not finished.
        other: how many results are of runs that the study no longer has: of an earlier recipe, of
            values that were removed, or of other changes on the command line.
    """

    runs: tuple[StudyRun, ...]
    done: Mapping[str, RunResult]
    failed: Mapping[str, RunResult]
    other: int

    @property
    def left(self) -> tuple[StudyRun, ...]:
        """The runs to do."""
        return tuple(run for run in self.runs if run.identity not in self.done)

    def seconds(self, run: StudyRun) -> float | None:
        """How long a run takes, by the finished ones of the same axes, or else of the same stage.

        None if there is neither.
        """
        stage = [result for result in self.done.values() if result.stage == run.stage]
        same = [result.seconds for result in stage if result.axes == run.axes]
        found = same or [result.seconds for result in stage]
        return statistics.mean(found) if found else None

    @property
    def seconds_left(self) -> float | None:
        """How long all runs to do take, one after the other; None if one of them is not known."""
        each = [self.seconds(run) for run in self.left]
        known = [seconds for seconds in each if seconds is not None]
        return sum(known) if len(known) == len(each) else None


def study_status(
    study: Study,
    results: Mapping[str, RunResult],
    runs: Sequence[StudyRun] | None = None,
) -> StudyStatus:
    """Compare the runs of a study, or some of them, with its results.

    Args:
        study: the study.
        results: what ``read_results`` found.
        runs: such as ``study.shard(0, 4)``; all by default.
    """
    known = {run.identity for run in study.runs} | study.unchosen
    mine = [run for run in (study.runs if runs is None else runs) if run.identity in results]
    found = {run.identity: results[run.identity] for run in mine}
    done = _done(study, results)
    return StudyStatus(
        tuple(study.runs if runs is None else runs),
        {identity: result for identity, result in found.items() if identity in done},
        {identity: result for identity, result in found.items() if result.error},
        sum(identity not in known for identity in results),
    )


def _done(study: Study, results: Mapping[str, RunResult]) -> set[str]:
    """The identities of runs that are finished, and have their students where others need them."""
    done = {identity for identity, result in results.items() if not result.error}
    for run in reversed(study.runs):  # each comes after the one that it starts from
        if run.parent and run.identity not in done and not has_student(run.parent.output):
            done.discard(run.parent.identity)
    return done
