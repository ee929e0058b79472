"""``labelkit study``: run a grid of recipes, and show what it found."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labelkit.cli.options import (
    FOLDER,
    is_quiet,
    json_option,
    output_option,
    quiet_option,
    shard_option,
)
from labelkit.wording import counted, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from labelkit.studies import Cell, RunFinished, Study, StudyRun, StudyStatus
    from labelkit.train import Event

EPILOG = """\b
Examples:
  labelkit study --init > my-study/study.toml
  labelkit study my-study --dry-run
  labelkit study my-study --set data.train=photos/train --set data.val=photos/val
  labelkit study my-study --shard 0/8
  labelkit study my-study --table --plot plot.png
"""
_REPORT_SECONDS = 60


@click.command(epilog=EPILOG)
@click.argument("folder", type=FOLDER, required=False)
@click.option("--init", is_flag=True, help="Print a commented study.toml, and do nothing else.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="TABLE.FIELD=VALUE",
    help="Change a field of all recipes, such as data.train; repeatable.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="AXIS=VALUE",
    help="Only runs with this value of an axis, or this seed; repeatable.",
)
@shard_option("Only the runs of job I of N, from 0.")
@output_option(
    "Folder for results.jsonl and the runs. [default: FOLDER]", required=False, folder=True
)
@click.option("--fail-fast", is_flag=True, help="Stop after a run that fails.")
@click.option(
    "--dry-run", "dry", is_flag=True, help="List the runs, which are done, and the time. Run none."
)
@click.option("--table", is_flag=True, help="Print a Markdown table of the results. Run nothing.")
@click.option(
    "--plot",
    metavar="FILE.png",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the results. Run nothing.",
)
@json_option
@quiet_option
def command(  # noqa: PLR0913 -- one per option
    folder: Path | None,
    *,
    init: bool,
    changes: tuple[str, ...],
    only: tuple[str, ...],
    shard: tuple[int, int] | None,
    output: Path | None,
    plot: Path | None,
    **options: Any,  # noqa: ANN401 -- flags
) -> None:
    """Run the study in FOLDER: every combination of its axes, each with several seeds.

    FOLDER has study.toml, which names a recipe and what each value of each axis changes in it.
    What is missing is trained, one run after the other, and each finished run is a line of
    results.jsonl. After any interruption, the same command goes on. A run that fails is recorded
    with its message, and the others go on; the next call tries it again. Several processes, also on
    several machines with a shared disk, may work on the same study: none trains what another
    trains.
    """
    from labelkit.studies import study_template

    if init:
        click.echo(study_template(), nl=False)
        return
    if folder is None:
        raise click.UsageError("name a study's folder, or start one: labelkit study --init")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise click.UsageError("not under torchrun: each run has one process; see --shard")
    study = _read(folder, changes, only, output)
    runs = study.shard(*shard) if shard else study.runs
    if options["table"] or plot:
        _show(study, plot, table=options["table"], as_json=options["as_json"])
    elif options["as_json"]:
        _print_json(study, runs)
    elif options["dry"]:
        _print_runs(study, runs)
    else:
        again = ["labelkit", "study", str(folder)]
        again += [word for change in changes for word in ("--set", change)]
        again += ["-o", str(output)] if output else []
        see = f"See them: {shlex.join(map(printable, [*again, '--table']))}"
        _run(study, runs, fail_fast=options["fail_fast"], see=see)


def _read(
    folder: Path, changes: tuple[str, ...], only: tuple[str, ...], output: Path | None
) -> Study:
    from labelkit.studies import read_study

    wanted: dict[str, list[str]] = {}
    for each in only:
        axis, equals, value = each.partition("=")
        if not equals:
            raise click.BadParameter(f"expected AXIS=VALUE, got {each!r}", param_hint="--only")
        wanted.setdefault(axis, []).append(value)
    try:
        return read_study(folder, changes, output=output, only=wanted)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--set") from error


def _status(study: Study, runs: tuple[StudyRun, ...]) -> StudyStatus:
    from labelkit.studies import read_results, study_status

    return study_status(study, read_results(study.results), runs)


def _show(study: Study, plot: Path | None, *, table: bool, as_json: bool) -> None:
    from labelkit.studies import draw_study, markdown_table, read_results, study_cells

    cells = study_cells(study, read_results(study.results))
    for notice in () if is_quiet() else _notices(study, _status(study, study.runs)):
        click.echo(notice, err=True)
    if plot:
        draw_study(study, cells, plot)
    if as_json:
        _print_json(study, study.runs)
    elif table and not is_quiet():
        click.echo(markdown_table(study, cells), nl=False)


def _print_json(study: Study, runs: tuple[StudyRun, ...]) -> None:
    from labelkit.cli.output import print_json
    from labelkit.studies import read_results, study_cells

    status = _status(study, runs)
    cells = study_cells(study, read_results(study.results))
    print_json(
        {
            "title": study.file.title,
            "metric": study.file.metric,
            "runs": [
                {
                    "run": run.name,
                    "stage": run.stage,
                    "axes": dict(run.axes),
                    "seed": run.seed,
                    "state": _state(status, run),
                }
                for run in runs
            ],
            "cells": [_cell(cell) for cell in cells],
            "seconds_left": status.seconds_left,
        }
    )


def _cell(cell: Cell) -> dict[str, object]:
    return {
        "axes": dict(cell.axes),
        "values": list(cell.values),
        "mean": cell.mean,
        "std": cell.std,
    }


def _state(status: StudyStatus, run: StudyRun) -> str:
    """In one word: done, failed, begun or missing."""
    if run.identity in status.done:
        return "done"
    if run.identity in status.failed:
        return "failed"
    return "begun" if (run.output / "last.pt").exists() else "missing"


def _print_runs(study: Study, runs: tuple[StudyRun, ...]) -> None:
    from labelkit.cli.output import console, plain_table, print_lines, print_table

    status = _status(study, runs)
    table = plain_table("run", "state", numbers=("time",))
    for run in runs:
        result = status.done.get(run.identity)
        seconds = status.seconds(run) if result is None else result.seconds
        table.add_row(printable(run.name), _state(status, run), _time(seconds))
    screen = console()
    print_table(screen, table)
    print_lines(screen, [_summary(status)])
    for result in status.failed.values():
        print_lines(screen, [f"Failed: {result.run}: {printable(result.error)}"])
    print_lines(screen, _notices(study, status))


def _summary(status: StudyStatus) -> str:
    left = len(status.left)
    done = f"{len(status.done)} of {len(status.runs)} runs are done"
    if not left:
        return f"All {len(status.runs)} runs are done"
    seconds = status.seconds_left
    return f"{done}; the other {left} take {_time(seconds)}" if seconds else f"{done}, {left} left"


def _notices(study: Study, status: StudyStatus) -> Iterator[str]:
    """What results.jsonl has that is not counted."""
    from labelkit.studies import torn_lines

    if status.other:
        yield (
            f"results.jsonl has {status.other} more runs, which this study and command do not "
            "have: of an earlier recipe, or with other values. They are kept, and not counted"
        )
    if torn := torn_lines(study.results):
        yield (
            f"results.jsonl has {counted(len(torn), 'damaged line', 'damaged lines')}, the first "
            f"is line {torn[0]}: a process was killed there, or somebody edited it. Not counted"
        )


def _time(seconds: float | None) -> str:
    """A duration as people say it.

    >>> _time(59), _time(3720), _time(None)
    ('59 s', '1 h 2 min', '?')
    """
    if seconds is None:
        return "?"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _run(study: Study, runs: tuple[StudyRun, ...], *, fail_fast: bool, see: str) -> None:
    from labelkit.cli.output import console, print_lines
    from labelkit.errors import StudyError
    from labelkit.studies import run_study

    screen = console()
    status = _status(study, runs)
    print_lines(screen, [_summary(status), *_notices(study, status)])
    if not status.left:
        print_lines(screen, [see])
        return

    outcome = run_study(
        study, runs, fail_fast=fail_fast, on_event=_StudyDisplay(study, screen).show
    )
    for run in outcome.taken:
        print_lines(screen, [f"Left to another process, which trains it now: {run.name}"])
    for run in outcome.waiting:
        print_lines(screen, [f"Waits for the run that it starts from: {run.name}"])
    print_lines(screen, [_summary(_status(study, runs)), see])
    if count := len(outcome.failed):
        raise StudyError(
            f"{counted(count, 'run', 'runs')} failed, with the messages above; results.jsonl has "
            "them too. The same command tries them again"
        )


class _StudyDisplay:
    """A line when a run starts and ends, and for long ones one a minute."""

    def __init__(self, study: Study, screen: Console) -> None:
        self.study = study
        self.screen = screen
        self.shown = 0.0
        self.epochs = 0

    def show(self, run: StudyRun, event: Event | RunFinished) -> None:
        """Show one event of a run."""
        from labelkit.cli.output import print_lines
        from labelkit.cli.train import step_line
        from labelkit.studies import RunFinished
        from labelkit.train import EpochRecord, RunStarted

        now = time.monotonic()
        if isinstance(event, RunStarted):
            done = f", {event.done} of them done before" if event.done else ""
            line, self.epochs = f"{run.name}: {event.epochs} epochs{done}", event.epochs
        elif isinstance(event, RunFinished):
            line = _line(self.study, event)
        elif now - self.shown < _REPORT_SECONDS:
            return
        elif isinstance(event, EpochRecord):
            line = f"  epoch {event.epoch}/{self.epochs}, loss {event.train_loss:.3f}"
        else:
            line = f"  {step_line(event, self.epochs)}"
        self.shown = now
        print_lines(self.screen, [printable(line)])


def _line(study: Study, event: RunFinished) -> str:
    result, status = event.result, event.status
    progress = f"[{len(status.done)}/{len(status.runs)}, {_time(status.seconds_left)} left]"
    if result.error:
        return f"{progress} failed: {result.error}"
    value = result.final.get(study.file.metric)
    shown = "" if value is None else f"{study.file.metric} {value:.4g}, "
    return f"{progress} {shown}{_time(result.seconds)}"
