"""`orchard store`: run, env and status, as a shell uses them."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from orchard.cli import main
from orchard.store import foreground, ports

ORCHARD = [sys.executable, "-m", "orchard"]


@pytest.fixture
def port() -> str:
    return str(ports.choose()["s3.port"])


def test_store_lives_as_long_as_the_command(workspace, port):
    script = f"{shlex.join(ORCHARD)} store status --json; env | grep ^ORCHARD_; exit 7"

    done = subprocess.run(
        [*ORCHARD, "store", "run", "--port", port, "--", "bash", "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 7, done.stderr
    status, *environment = done.stdout.splitlines()
    assert json.loads(status)["conditional_writes"] == "honoured"
    found = dict(line.split("=", 1) for line in environment)
    assert found["ORCHARD_STORE_ENDPOINT"] == f"http://127.0.0.1:{port}"
    assert {"ORCHARD_SIGNING_KEY_FILE", "ORCHARD_TRUSTED_KEYS_FILE"} <= set(found)
    assert not (workspace / ".orchard/store/running.json").exists()
    assert not ports.is_listening(int(port))


def test_store_in_the_foreground_is_known_to_other_shells_and_stops_at_a_signal(workspace, port, capsys):
    directory = workspace / "with a space"
    command = [*ORCHARD, "store", "run", "--port", port, "--dir", str(directory), "--json"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    started = json.loads(running.stdout.readline())

    assert main(["store", "env", "--dir", str(directory)]) == 0
    exports = capsys.readouterr().out
    shell = subprocess.run(
        ["bash", "-c", f"{exports}\nenv"], capture_output=True, text=True, check=True, env={"PATH": os.defpath}
    )
    found = dict(line.split("=", 1) for line in shell.stdout.splitlines() if line.startswith("ORCHARD_"))
    assert found == started["settings"]
    assert str(directory) in found["ORCHARD_STORE_CREDENTIALS_FILE"]

    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=15) == 0
    running.stdout.close()
    assert main(["store", "env", "--dir", str(directory)]) == 6
    assert "no embedded store runs" in capsys.readouterr().err


def test_signal_reaches_the_command(workspace, port):
    script = "trap 'echo asked; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    command = [*ORCHARD, "store", "run", "--port", port, "--", "bash", "-c", script]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"

    running.send_signal(signal.SIGTERM)

    assert running.stdout.read() == "asked\n"
    assert running.wait(timeout=15) == 3
    running.stdout.close()


def test_signal_that_comes_while_the_command_is_started_reaches_it(monkeypatch):
    start = foreground.subprocess.Popen

    def asked_meanwhile(command, **options):
        started = start(command, stdout=subprocess.PIPE, text=True, **options)
        with started.stdout as output:
            assert output.readline() == "ready\n"
        os.kill(os.getpid(), signal.SIGTERM)
        return started

    monkeypatch.setattr(foreground.subprocess, "Popen", asked_meanwhile)

    script = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    assert foreground.run_command(["bash", "-c", script], {}, lambda: None) == 3


def test_command_ends_with_a_store_that_dies(workspace, port, capsys):
    script = 'kill -9 $(python3 -c \'import json; print(json.load(open(".orchard/store/running.json"))["server_pid"])\'); sleep 60'
    begin = time.monotonic()

    code = main(["store", "run", "--port", port, "--", "bash", "-c", script])

    assert code == 6
    assert "ended with exit code -9" in capsys.readouterr().err
    assert time.monotonic() - begin < 20


def test_missing_command_is_named(workspace, port, capsys):
    assert main(["store", "run", "--port", port, "--", "no-such-program"]) == 1
    assert "no-such-program cannot be run" in capsys.readouterr().err


def test_status_without_a_store_says_what_to_do(capsys):
    assert main(["store", "status"]) == 3
    assert "orchard store env" in capsys.readouterr().err
