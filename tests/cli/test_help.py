"""Help is quick: it loads nothing heavy."""

from __future__ import annotations

import json
import os
import resource
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


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS)], ids=str)
def test_help_takes_under_a_fifth_of_a_second_of_cpu(arguments, tmp_path):
    """CPU time of the whole process, the least of five, with compiled modules as users have."""
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    least = float("inf")
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "labelkit", *arguments, "--help"]
        subprocess.run(command, env=environment, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        least = min(least, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert least < 0.2


def test_a_wrong_command_is_a_usage_error():
    run = labelkit("relable")
    assert run.code == 2
    assert "No such command" in run.text
    assert "Traceback" not in run.text


def test_an_interruption_says_what_to_do_next(monkeypatch, capsys):
    from labelkit import cli

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.group, "main", interrupt)
    assert cli.run([]) == 130
    assert "finished, if anything, is kept: run the command again" in capsys.readouterr().err
