from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchard.processes import ChildProcess
from tests.process_facts import is_alive


def wait_for(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)


def test_child_that_ignores_sigterm_is_ended_with_all_it_started(tmp_path):
    pids = tmp_path / "pids"
    script = f"trap '' TERM; sleep 60 & echo $! $$ > {pids}; wait; wait"
    child = ChildProcess(["bash", "-c", script])
    wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)

    child.stop(grace=0.3)

    # killed at once; an orphan disappears when process 1 has reaped it
    wait_for(lambda: not any(is_alive(int(pid)) for pid in pids.read_text().split()))


def test_child_dies_with_a_parent_that_is_killed(tmp_path):
    code = (
        "import sys,time\nfrom orchard.processes import ChildProcess\n"
        "print(ChildProcess(['sleep', '60']).pid, flush=True)\ntime.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=Path.cwd())
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    wait_for(lambda: is_alive(pid))

    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()

    wait_for(lambda: not is_alive(pid))


def test_output_goes_to_the_log_and_the_exit_code_comes_back(tmp_path):
    child = ChildProcess(["bash", "-c", "echo out; echo err >&2; exit 7"], log=tmp_path / "log")

    assert child.wait() == 7
    assert sorted(child.tail().split()) == ["err", "out"]


def test_missing_program_fails_with_its_name(tmp_path):
    child = ChildProcess(["no-such-program"], log=tmp_path / "log")

    assert child.wait() != 0
    assert "no-such-program" in child.tail() or "FileNotFoundError" in child.tail()


@pytest.mark.parametrize("grace", [0.0, 5.0])
def test_stopping_twice_is_harmless(grace):
    child = ChildProcess(["sleep", "60"])

    assert child.stop(grace) in {-signal.SIGTERM, -signal.SIGKILL}
    assert child.stop(grace) in {-signal.SIGTERM, -signal.SIGKILL}


def test_child_listens_to_sigint_though_its_parent_does_not():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = ChildProcess(["sleep", "60"])
        wait_for(lambda: b"sleep" in Path(f"/proc/{child.pid}/cmdline").read_bytes().split(b"\0")[0])
        os.kill(child.pid, signal.SIGINT)

        assert child.wait() == -signal.SIGINT
    finally:
        signal.signal(signal.SIGINT, before)
