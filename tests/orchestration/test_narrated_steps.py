"""No step of a deployment is silent for longer than its interval: what runs, for how long, and its last step."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from orchard import reporter
from orchard.errors import OrchardError
from orchestration.local import commands

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = 'log() { echo "$1" >&2; }; . scripts/narrated.bash; narrated "building a" "$@" && echo built'


@pytest.fixture
def run(tmp_path):
    """Start a command that writes lines and then waits for the test; return it and the pipe that lets it end."""

    def start(lines: str, code: int = 0):
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        child = ["bash", "-c", f'printf "{lines}"; read -r _ <"{pipe}"; exit {code}']
        return subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", SCRIPT, "narrated", *child],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PROGRESS_SECONDS": "0.2"},
        ), pipe

    return start


@pytest.mark.parametrize(
    ("lines", "step"),
    [
        ("#5 [build 2/9] RUN pip install\\n#5 1.2 Collecting numpy\\n", "[build 2/9] RUN pip install"),
        ("aaaaaaaaaaaa: Preparing\\nbbbbbbbbbbbb: Preparing\\naaaaaaaaaaaa: Pushed\\n", "1 of 2 layers are there"),
        ("", ""),
    ],
)
def test_a_silent_command_is_narrated_until_it_ends(run, lines, step):
    child, pipe = run(lines)
    said = [child.stderr.readline() for _ in range(3)]
    pipe.write_text("\n")
    output, errors = child.communicate(timeout=60)

    assert all(line.startswith("building a for ") for line in said)
    assert said[-1].rstrip("\n").endswith(f" s: {step}")
    assert output == "built\n"
    assert "Collecting" not in errors


def test_the_output_of_a_failed_command_is_shown(run):
    child, pipe = run("the reason\\n", code=3)
    pipe.write_text("\n")
    output, errors = child.communicate(timeout=60)

    assert (output, child.returncode != 0) == ("", True)
    assert "the reason" in errors


def test_a_step_in_python_is_narrated_too_also_if_its_state_is_unknown(capsys, monkeypatch):
    monkeypatch.setattr(reporter, "PROGRESS_SECONDS", 0.01)
    asked = threading.Semaphore(0)

    def state() -> str:
        asked.release()
        raise OrchardError("the cluster does not answer")

    with commands.narrated("chart", state):
        for _ in range(3):
            assert asked.acquire(timeout=60)

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2
    assert all(line.startswith("chart") and "the cluster does not answer" in line for line in lines)
