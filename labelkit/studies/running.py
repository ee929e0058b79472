"""Run what is missing of a study."""

from __future__ import annotations

import platform
import statistics
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from labelkit import __version__
from labelkit.errors import first_line
from labelkit.studies.claims import claimed
from labelkit.studies.results import RunResult, append_result, read_results
from labelkit.studies.status import StudyStatus, study_status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labelkit.studies.plan import Study, StudyRun
    from labelkit.train import Event, TrainingResult


@dataclass(frozen=True)
class RunFinished:
    """A run ended, well or not; its line is in ``results.jsonl``.

    Attributes:
        run: the run.
        result: its line.
        status: of the runs, with this one.
    """

    run: StudyRun
    result: RunResult
    status: StudyStatus


@dataclass
class StudyOutcome:
    """What became of the runs that were to do.

    Attributes:
        finished: their results.
        failed: the results of those that failed.
        taken: runs that another process trains now.
        waiting: runs whose parent is not finished.
    """

    finished: list[RunResult] = field(default_factory=list[RunResult])
    failed: list[RunResult] = field(default_factory=list[RunResult])
    taken: list[StudyRun] = field(default_factory=list["StudyRun"])
    waiting: list[StudyRun] = field(default_factory=list["StudyRun"])


def run_study(
    study: Study,
    runs: Sequence[StudyRun] | None = None,
    *,
    fail_fast: bool = False,
    on_event: Callable[[StudyRun, Event | RunFinished], object] = lambda *_: None,
) -> StudyOutcome:
    """Train the runs that have no result yet, one after the other, and append each one's line.

    Run it again after any interruption: a run that was cut off goes on after its last epoch, and
    failed runs are tried again. Any number of processes may run the same study.

    Args:
        study: what to run.
        runs: some of its runs, such as ``study.shard(0, 4)``; all by default.
        fail_fast: stop after the first run that fails, instead of going on with the others.
        on_event: called with each run and its events: those of ``labelkit.train.train``, and at the
            end a ``RunFinished``.

    Raises:
        StudyError: ``results.jsonl`` is damaged.
        OSError: a result cannot be written.
    """
    outcome = StudyOutcome()
    study.output.mkdir(parents=True, exist_ok=True)
    for run in study.runs if runs is None else runs:
        status = study_status(study, read_results(study.results), runs)
        if run.identity in status.done:
            continue
        if run.parent is not None and not _is_finished(study, run.parent):
            outcome.waiting.append(run)
            continue
        with claimed(study.output / "claims" / run.name) as mine:
            if not mine:
                outcome.taken.append(run)
                continue
            if _is_finished(study, run):  # another process did it meanwhile
                continue
            result = _trained(run, partial(on_event, run))
            append_result(study.results, result)
        (outcome.failed if result.error else outcome.finished).append(result)
        status = study_status(study, read_results(study.results), runs)
        on_event(run, RunFinished(run, result, status))
        if result.error and fail_fast:
            break
    return outcome


def _is_finished(study: Study, run: StudyRun) -> bool:
    return run.identity in study_status(study, read_results(study.results)).done


def _trained(run: StudyRun, on_event: Callable[[Event], object]) -> RunResult:
    """Train, and describe what came of it."""
    from labelkit.train import train

    try:
        result = train(run.recipe, on_event=on_event)
    except Exception as error:  # noqa: BLE001 -- the other runs go on, whatever happened to this one
        return RunResult(**_facts(run), error=first_line(error))
    return RunResult(**_facts(run), **_figures(result))


def _figures(result: TrainingResult) -> dict[str, Any]:
    records = result.records
    return {
        "final": records[-1].metrics,
        "best": result.best.metrics,
        "best_epoch": result.best.epoch,
        "epochs": len(records),
        "seconds": round(sum(record.seconds for record in records), 1),
        "images_per_second": statistics.median(record.images_per_second for record in records),
    }


def _facts(run: StudyRun) -> dict[str, Any]:
    import timm
    import torch

    return {
        "run": run.name,
        "identity": run.identity,
        "stage": run.stage,
        "axes": dict(run.axes),
        "seed": run.seed,
        "fields": dict(run.fields),
        "versions": {
            "labelkit": __version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "timm": str(getattr(timm, "__version__", "")),
        },
        "finished": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
