"""Signals of `orchard store run`: the store is stopped in order, whatever ends the wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from orchard.errors import OrchardError

__all__ = ["run_command", "wait_for_signal"]

CHECK_SECONDS = 0.5
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def wait_for_signal(check: Callable[[], None]) -> Iterator[None]:
    """Run the body, then wait for SIGINT, SIGTERM or SIGHUP; call `check`, which may raise, twice a second."""
    stopped = threading.Event()
    with _handled(lambda number, frame: stopped.set()):
        yield
        while not stopped.wait(CHECK_SECONDS):
            check()


def run_command(command: Sequence[str], environment: Mapping[str, str], check: Callable[[], None]) -> int:
    """Run a command in the foreground, with the terminal, and forward signals to it.

    Args:
        command: the program and its arguments.
        environment: variables that are added to this process's environment.
        check: called twice a second; if it raises, the command is ended.

    Returns:
        Its exit code; 128 + the number of the signal that ended it, as in a shell.

    Raises:
        OrchardError: there is no such program, or `check` raised it.
    """
    process: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        # A Ctrl-C in the terminal has reached the command already; many programs abort after a second one.
        if number == signal.SIGINT and sys.stdin.isatty():
            return
        if process is None:
            early.append(number)
        else:
            process.send_signal(number)

    with _handled(forward):  # before the command starts: a signal may come while it does
        try:
            process = subprocess.Popen(command, env={**os.environ, **environment})  # noqa: S603  the user's command
        except OSError as error:
            raise OrchardError(f"{command[0]} cannot be run: {error.strerror}") from error
        for number in early:
            process.send_signal(number)
        return _wait(process, check)


def _wait(process: subprocess.Popen[bytes], check: Callable[[], None]) -> int:
    try:
        while True:
            try:
                code = process.wait(CHECK_SECONDS)
                return code if code >= 0 else 128 - code
            except subprocess.TimeoutExpired:
                check()
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
