"""The verb of a step as a child process: its output is passed on, its last lines are kept, and SIGTERM is forwarded to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any, Self

from orchard.disk import temporary_folder
from orchard.processes import ChildProcess
from orchard.runs.records import error_text

__all__ = ["TERMINATED", "FinishedVerb", "VerbRunner"]

TERMINATED = 128 + signal.SIGTERM
"""The exit code of a step that received SIGTERM."""

KEPT_LINES = 40


@dataclass(frozen=True, slots=True)
class FinishedVerb:
    """How a verb ended.

    Attributes:
        code: its exit code; 128 and the signal's number if a signal ended it.
        lines: the last lines of its output.
        document: its result; empty if it has none.
        seconds: how long it took.
    """

    code: int
    lines: tuple[str, ...]
    document: dict[str, Any]
    seconds: float

    @property
    def error_text(self) -> str:
        """Its output from its last ``error:`` line on, or its last lines."""
        return error_text(self.lines)


class VerbRunner:
    """Runs ``orchard VERB …`` in this folder and forwards a SIGTERM to it. Between verbs a SIGTERM ends this process.

    Use it in the main thread only: signals arrive there, and a child ends with the thread that started it.
    """

    def __init__(self) -> None:
        self._child: ChildProcess | None = None
        self._previous_handler: Any = None
        self.terminated = False
        self.defers_termination = False
        """While set, a SIGTERM does not end this process: the outputs are being uploaded."""

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self.terminated = True
        if self._child is not None:
            self._child.terminate()
        elif not self.defers_termination:
            raise SystemExit(TERMINATED)

    def __enter__(self) -> Self:
        self._previous_handler = signal.signal(signal.SIGTERM, self._terminate)
        return self

    def __exit__(self, *error: object) -> None:
        signal.signal(signal.SIGTERM, self._previous_handler)

    def run(self, *arguments: str) -> FinishedVerb:
        """Run ``orchard ARGUMENTS`` to its end. Its output goes to standard error."""
        started = time.monotonic()
        with temporary_folder("orchard-step-") as temporary:
            result = temporary / "result.json"
            command = [sys.executable, "-m", "orchard", *arguments, "--json-file", str(result)]
            environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
            lines: deque[str] = deque(maxlen=KEPT_LINES)
            with ChildProcess(
                command, environment=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            ) as child:
                self._child = child
                code = self._wait(child, lines)
            document = _read_result(result)
        return FinishedVerb(code, tuple(lines), document, time.monotonic() - started)

    def _wait(self, child: ChildProcess, lines: deque[str]) -> int:
        assert child.process.stdout is not None  # noqa: S101  stdout is a pipe
        copier = threading.Thread(target=_copy_output, args=(child.process.stdout, lines), daemon=True)
        copier.start()
        try:
            code = child.wait()
        finally:
            self._child = None
            copier.join(timeout=5)  # a grandchild may hold the pipe open; its output is not waited for
        return code if code >= 0 else 128 - code


def _read_result(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # the verb was killed before, or while, it wrote
        return {}
    return document if isinstance(document, dict) else {}


def _copy_output(stream: IO[bytes], lines: deque[str]) -> None:
    for line in stream:
        text = line.decode("utf-8", "replace").rstrip("\n")
        lines.append(text)
        print(text, file=sys.stderr, flush=True)
    stream.close()
