"""Studies that really train, for seconds."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from labelkit.errors import StudyError
from labelkit.studies import (
    append_result,
    draw_study,
    markdown_table,
    read_results,
    read_study,
    run_study,
    study_cells,
)
from labelkit.studies.claims import claimed
from labelkit.train import read_checkpoint
from tests.command import labelkit
from tests.studies.support import STAGES, STUDY, write_study

if TYPE_CHECKING:
    from pathlib import Path

    from labelkit.studies import RunResult


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A finished study, run by two shards."""
    folder = write_study(tmp_path_factory.mktemp("studies") / "done", photos)
    for shard in ("0/2", "1/2"):
        result = labelkit("study", folder, "--shard", shard)
        assert result.code == 0, result.err
        assert "All 4 runs are done" in result.out
    return folder


def figures(results: dict[str, RunResult]) -> dict[str, dict[str, float]]:
    return {identity: result.final for identity, result in results.items()}


def test_each_run_is_a_line_with_what_its_log_says(done: Path) -> None:
    lines = [json.loads(line) for line in (done / "results.jsonl").read_text().splitlines()]
    assert len(lines) == len({line["identity"] for line in lines}) == 8
    for line in lines:
        logged = json.loads((done / "runs" / line["run"] / "log.jsonl").read_text())
        assert (line["final"], line["epochs"]) == (logged["metrics"], 1)
        assert line["seconds"] == round(logged["seconds"], 1)
        assert line["versions"].keys() == {"labelkit", "python", "torch", "timm"}
        assert line["fields"]["optimizer.lr"] == float(line["axes"]["lr"])


def test_a_finished_study_says_so_without_torch(done: Path) -> None:
    code = (
        "import sys; from labelkit.cli import run\n"
        f"assert run(['study', {str(done)!r}]) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "All 8 runs are done" in found.stdout


def test_the_last_line_shows_what_was_run(done: Path) -> None:
    run = labelkit("study", done, "--set", "data.workers=1")
    assert f"See them: labelkit study {done} --set data.workers=1 --table" in run.text


def test_the_table_has_mean_spread_and_seeds(done: Path) -> None:
    lines = [json.loads(line) for line in (done / "results.jsonl").read_text().splitlines()]
    values = [
        line["final"]["top1"]
        for line in lines
        if line["axes"] == {"lr": "0.003", "smoothing": "10 %"}
    ]
    spread = abs(values[0] - values[1]) / 2**0.5
    rows = labelkit("study", done, "--table").out.splitlines()
    assert rows[0] == "| smoothing | lr: 0.001 | lr: 0.003 |"
    assert rows[3].endswith(f"| {statistics.mean(values):.2f} ± {spread:.2f} (2) |")
    cells = json.loads(labelkit("study", done, "--json").out)["cells"]
    assert cells[-1]["values"] == values


def test_the_plot_is_a_picture(done: Path, tmp_path: Path) -> None:
    from PIL import Image

    assert labelkit("study", done, "--plot", tmp_path / "plot.png").code == 0
    with Image.open(tmp_path / "plot.png") as picture:
        assert (picture.format, picture.width > 500) == ("PNG", True)
    study = read_study(done)
    with pytest.raises(StudyError, match="no finished run to draw"):
        draw_study(study, study_cells(study, {}), tmp_path / "no.png")
    (done / "bare").mkdir(exist_ok=True)
    (done / "bare" / "study.toml").write_text(STUDY[: STUDY.index("[plot]")])
    (done / "bare" / "recipe.toml").write_text((done / "recipe.toml").read_text())
    with pytest.raises(StudyError, match=r"no \[plot\]"):
        draw_study(read_study(done / "bare"), study_cells(study, {}), tmp_path / "no.png")


def test_one_axis_is_a_table_of_one_column(tmp_path: Path, photos: Path) -> None:
    smoothing = STUDY[STUDY.index("[axes.smoothing]") : STUDY.index("[plot]")]
    text = STUDY.replace(smoothing, "").replace('lines = "smoothing"\n', "")
    study = read_study(write_study(tmp_path / "study", photos, text))
    assert markdown_table(study, study_cells(study, {})).splitlines() == [
        "| lr | top1 |",
        "| --- | --- |",
        "| 0.001 | not run |",
        "| 0.003 | not run |",
    ]


def test_a_lost_result_is_found_again_in_its_run(done: Path) -> None:
    """A killed process may leave the last line torn, or lose it."""
    study, path = read_study(done), done / "results.jsonl"
    whole = path.read_bytes()
    before = figures(read_results(path))
    try:
        path.write_bytes(whole[:-20])
        assert len(read_results(path)) == 7
        assert len(run_study(study).finished) == 1
        assert figures(read_results(path)) == before
        assert path.read_bytes().count(b"\n") == 9  # the torn line is still there, by itself
    finally:
        path.write_bytes(whole)


def test_results_of_an_earlier_recipe_are_kept_and_not_counted(done: Path) -> None:
    found = labelkit("study", done, "--dry-run", "--set", "optimizer.weight_decay=0.1")
    assert "0 of 8 runs are done" in found.text
    assert "results.jsonl has 8 more runs" in found.text


def test_kill_minus_nine_inside_a_run_changes_nothing(tmp_path: Path, photos: Path) -> None:
    text = STUDY.replace("[0, 1]", "[0]").replace('"0.001" = ["optimizer.lr=1e-3"]\n', "")
    whole = read_study(write_study(tmp_path / "whole", photos, text, epochs=3))
    run_study(whole)
    folder = write_study(tmp_path / "killed", photos, text, epochs=3)
    code = (
        "import os, signal, sys\n"
        "from labelkit.studies import read_study, run_study\n"
        "from labelkit.train import EpochRecord\n"
        "import torch; torch.set_num_threads(1)\n"
        "left = [int(sys.argv[2])]\n"
        "def die(run, event):\n"
        "    left[0] -= isinstance(event, EpochRecord)\n"
        "    if not left[0]: os.kill(os.getpid(), signal.SIGKILL)\n"
        "run_study(read_study(sys.argv[1]), on_event=die)\n"
    )
    command = [sys.executable, "-c", code, str(folder), "5"]  # in the middle of the second run
    assert subprocess.run(command, check=False).returncode == -9
    study = read_study(folder)
    epochs = [read_checkpoint(run.output / "last.pt").epoch for run in study.runs]
    assert (epochs, len(read_results(study.results))) == ([3, 2], 1)
    with (study.results).open("a") as file:
        file.write('{"run": "to')  # killed while it appends
    assert [result.run for result in run_study(study).finished] == [study.runs[1].name]
    assert figures(read_results(study.results)) == figures(read_results(whole.results))
    assert {run.identity for run in whole.runs} == {run.identity for run in study.runs}


def test_a_failed_run_is_recorded_and_the_others_go_on(tmp_path: Path, photos: Path) -> None:
    text = STUDY.replace("[0, 1]", "[0]").replace("none = []", 'none = ["data.train=nowhere"]')
    folder = write_study(tmp_path / "study", photos, text)
    first = labelkit("study", folder, "--fail-fast")
    assert (first.code, len(read_results(folder / "results.jsonl"))) == (1, 1)
    found = labelkit("study", folder)
    assert found.code == 1
    results = read_results(folder / "results.jsonl").values()
    assert [result.axes["smoothing"] for result in results if result.error] == ["none"] * 2
    assert all("nowhere" in result.error for result in results if result.error)
    assert "2 of 4 runs are done" in found.text
    assert "failed: data.train" in found.text
    listed = labelkit("study", folder, "--dry-run").text
    assert "Failed: train-0.001-none-seed0" in listed
    assert "not run" in labelkit("study", folder, "--table").out
    # Put right, only what failed is run.
    (folder / "study.toml").write_text(STUDY.replace("[0, 1]", "[0]"))
    assert len(run_study(read_study(folder)).finished) == 2


def test_stages_wait_for_what_they_start_from(tmp_path: Path, photos: Path) -> None:
    folder = write_study(tmp_path / "study", photos, STAGES)
    broken = STAGES.replace('smooth = ["', 'smooth = ["data.train=nowhere", "')
    (folder / "study.toml").write_text(broken)
    outcome = run_study(read_study(folder))
    assert (len(outcome.finished), len(outcome.failed)) == (2, 1)
    assert [run.axes["start"] for run in outcome.waiting] == ["smooth"] * 2
    (folder / "study.toml").write_text(STAGES)
    study = read_study(folder)
    outcome = run_study(study)
    assert [result.stage for result in outcome.finished] == ["pretrain", "tune", "tune"]
    saved = read_checkpoint(study.runs[3].output / "last.pt")
    assert saved.start
    before = read_results(study.results)
    shutil.rmtree(study.output / "runs")  # as in a clone that has results.jsonl only
    assert not run_study(study).finished
    more = STAGES + '"0.005" = ["optimizer.lr=5e-3"]\n'
    (folder / "study.toml").write_text(more)
    study = read_study(folder)
    outcome = run_study(study)
    assert [(run.stage, run.axes["start"]) for run in outcome.finished] == [
        ("tune", "scratch"),
        ("pretrain", "smooth"),
        ("tune", "smooth"),
    ]
    again = read_results(study.results)
    assert all(again[identity].final == result.final for identity, result in before.items())
    table = markdown_table(study, study_cells(study, again))
    assert table.splitlines()[0] == "| start | lr: 0.001 | lr: 0.003 | lr: 0.005 |"
    assert table.count("(1)") == 6


def test_a_run_that_another_process_trains_is_left_to_it(tmp_path: Path, photos: Path) -> None:
    text = STUDY.replace("[0, 1]", "[0]")
    study = read_study(write_study(tmp_path / "study", photos, text), only={"lr": ["0.001"]})
    with claimed(study.output / "claims" / study.runs[0].name) as mine:
        assert mine
        outcome = run_study(study)
    assert [run.name for run in outcome.taken] == [study.runs[0].name]
    assert [result.run for result in outcome.finished] == [study.runs[1].name]


def test_damaged_lines_are_not_counted_and_said(done: Path) -> None:
    lines = (done / "results.jsonl").read_text().splitlines(keepends=True)
    (done / "results.jsonl").write_text("".join([lines[0], '{"run": NaN}\n', *lines[1:]]))
    shown = labelkit("study", done, "--table")
    assert "has 1 damaged line, the first is line 2" in shown.err
    assert "damaged" not in shown.out
    assert "1 damaged line" in labelkit("study", done).text
    (done / "results.jsonl").write_text("".join(lines))


def test_foreign_lines_are_refused_and_whole_ones_survive(tmp_path: Path, done: Path) -> None:
    path = tmp_path / "results.jsonl"
    (result, *_) = read_results(done / "results.jsonl").values()
    path.write_bytes(b'{"run": "torn')
    append_result(path, result)
    assert list(read_results(path).values()) == [result]
    path.write_bytes(b'{"run": 3}\n')
    with pytest.raises(StudyError, match=r"results\.jsonl, line 1: .*Remove the line"):
        read_results(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "labelkit study --init"),
        (("FOLDER", "--shard", "2/2"), "i from 0 to n - 1"),
        (("FOLDER", "--shard", "half"), "expected i/n"),
        (("FOLDER", "--only", "lr"), "expected AXIS=VALUE"),
        (("FOLDER", "--set", "lr"), "expected table.field=value"),
    ],
)
def test_wrong_usage_says_what_to_do(arguments: tuple[str, ...], message: str, done: Path) -> None:
    found = labelkit("study", *(done if each == "FOLDER" else each for each in arguments))
    assert found.code == 2
    assert message in found.text
