"""The verb of a step as a child process: its words are passed on and the last ones kept, and it is asked to end when we are."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any, Self

from orchard.processes import ChildProcess

__all__ = ["TERMINATED", "FinishedVerb", "VerbRunner"]

TERMINATED = 128 + signal.SIGTERM
"""The exit code of a step that was asked to end."""

KEPT_LINES = 40


@dataclass(frozen=True, slots=True)
class FinishedVerb:
    """How a verb ended.

    Attributes:
        code: its exit code; 128 and the signal's number if a signal ended it.
        words: its last lines.
        document: what it gave as its result; empty if it gave none.
        seconds: how long it took.
    """

    code: int
    words: tuple[str, ...]
    document: dict[str, Any]
    seconds: float

    @property
    def complaint(self) -> str:
        """What it said of its failure: from its error on, or its last lines."""
        for place in range(len(self.words) - 1, -1, -1):
            if self.words[place].startswith("error: "):
                return "\n".join(self.words[place:])
        return "\n".join(self.words[-10:])


class VerbRunner:
    """Runs ``orchard VERB …`` here, and hands a SIGTERM on to it. Between verbs a SIGTERM ends this process.

    Made and used in the main thread: signals come there, and a child ends with the thread that started it.
    """

    def __init__(self) -> None:
        self._child: ChildProcess | None = None
        self._former: Any = None
        self.asked = False
        self.patient = False
        """While set, a SIGTERM waits: what is done is being brought to safety."""

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if self._child is not None:
            self._child.terminate()
        elif not self.patient:
            raise SystemExit(TERMINATED)

    def __enter__(self) -> Self:
        self._former = signal.signal(signal.SIGTERM, self._end)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGTERM, self._former)

    def run(self, *arguments: str) -> FinishedVerb:
        """Run ``orchard ARGUMENTS`` to its end; what it prints goes to standard error."""
        begin = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="orchard-step-") as temporary:
            result = Path(temporary) / "result.json"
            command = [sys.executable, "-m", "orchard", *arguments, "--json-file", str(result)]
            environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
            kept: deque[str] = deque(maxlen=KEPT_LINES)
            with ChildProcess(
                command, environment=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            ) as child:
                self._child = child
                code = self._wait(child, kept)
            document = _read(result)
        return FinishedVerb(code, tuple(kept), document, time.monotonic() - begin)

    def _wait(self, child: ChildProcess, kept: deque[str]) -> int:
        assert child.process.stdout is not None  # noqa: S101  a pipe was asked for
        words = threading.Thread(target=_pass_on, args=(child.process.stdout, kept), daemon=True)
        words.start()
        try:
            code = child.wait()
        finally:
            self._child = None
            words.join(timeout=5)  # a grandchild may hold the pipe open; its words are not waited for
        return code if code >= 0 else 128 - code


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # it was ended before, or while, it wrote
        return {}
    return found if isinstance(found, dict) else {}


def _pass_on(stream: IO[bytes], kept: deque[str]) -> None:
    for line in stream:
        text = line.decode("utf-8", "replace").rstrip("\n")
        kept.append(text)
        print(text, file=sys.stderr, flush=True)
    stream.close()
