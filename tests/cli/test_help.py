"""Help is quick: it loads nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from labelkit.cli import COMMANDS
from tests.command import labelkit

HEAVY = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "h5py",
    "rich",
    "PIL",
    "jinja2",
    "nltk",
    "networkx",
)
REPORT = """
import json, sys
from labelkit.cli import run
code = run(sys.argv[1:])
print(json.dumps([code, sorted({name.split(".")[0] for name in sys.modules})]))
"""


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS)], ids=str)
def test_help_has_an_example_and_loads_nothing_heavy(arguments):
    run = subprocess.run(
        [sys.executable, "-c", REPORT, *arguments, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    *text, last = run.stdout.splitlines()
    code, modules = json.loads(last)
    assert code == 0
    assert not set(HEAVY) & set(modules)
    assert any(line.strip().startswith(("Example", "Start with", "labelkit ")) for line in text)


COUNT = """
import sys, click
before = {*sys.modules}
from labelkit.cli import run
run(sys.argv[1:])
print(len({*sys.modules} - before))
"""


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS)], ids=str)
def test_help_loads_few_modules_besides_click(arguments):
    """A deterministic measure of its start-up time."""
    run = subprocess.run(
        [sys.executable, "-c", COUNT, *arguments, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(run.stdout.splitlines()[-1]) < (100 if arguments else 30)


def test_a_mistyped_command_is_a_usage_error_with_a_suggestion():
    run = labelkit("relable")
    assert run.code == 2
    assert "No such command 'relable'. Did you mean relabel" in run.text
    assert "Traceback" not in run.text


def test_an_interruption_says_what_to_do_next(monkeypatch, capsys):
    from labelkit import cli

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.group, "main", interrupt)
    assert cli.run([]) == 130
    assert "Finished work, if any, is kept: run the same command again." in capsys.readouterr().err
