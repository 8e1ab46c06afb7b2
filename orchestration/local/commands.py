"""The commands of a loop: each is a child process with a time, a result, and its output when it fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

import click

from orchard.disk import writing_to
from orchard.errors import OrchardError
from orchard.processes import ChildProcess
from orchard.reporter import repeated, wants_colour

__all__ = ["CommandFailed", "CommandRunner", "display_path", "exit_on_signals", "narrated", "verb_environment"]


@contextmanager
def narrated(name: str, state: Callable[[], str]) -> Iterator[None]:
    """Print a line every ten seconds while the context runs: the step, its time, and what it is doing."""

    def narrate(seconds: float) -> None:
        try:
            doing = state()
        except OrchardError as error:
            doing = error.message
        click.echo(f"{name:<10} {seconds:6.0f} s  … {doing[-150:]}".rstrip(), err=True)

    with repeated(narrate):
        yield


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the program as Ctrl-C does, so that its children are stopped."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def verb_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for verbs: DVC's stages find `orchard` on its path, and TensorFlow logs errors alone."""
    path = str(Path(sys.executable).parent) + os.pathsep + environment.get("PATH", "")
    return {**environment, "PATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}


def display_path(path: Path) -> str:
    """Return the path as the user would type it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


class CommandFailed(OrchardError):
    """A command ended with an error; its output has been shown.

    Attributes:
        output: the end of its output; empty if it went to the terminal.
    """

    output = ""


class CommandRunner:
    """Runs commands one after the other, reports each result and keeps its time.

    Args:
        folder: the workspace that they run in.
        environment: their environment.
        logs: the folder for their output.
        resume_command: the command that resumes after a failed step.
    """

    def __init__(
        self, folder: Path, environment: Mapping[str, str], logs: Path, resume_command: str = "make demo"
    ) -> None:
        self.folder = folder
        self.resume_command = resume_command
        self.environment = environment
        self.logs = logs
        self.started = time.monotonic()
        self.seconds: dict[str, float] = {}
        with writing_to(logs):
            logs.mkdir(parents=True, exist_ok=True)

    def report(self, name: str, text: str, seconds: float) -> None:
        """Print a line with the step's name, time and result, and keep the time in seconds."""
        self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 1)
        bold = click.style(f"{name:<10}", bold=True)
        click.echo(f"{bold} {seconds:6.1f} s  {text}", err=True, color=wants_colour(sys.stderr))

    @contextmanager
    def timed(self, name: str, state: Callable[[], str] | None = None) -> Iterator[list[str]]:
        """Time the context; then report it with the results that it appended to the list.

        Args:
            name: the step's.
            state: returns what the step is doing, for a line every ten seconds; None: the step reports itself.
        """
        begin, results = time.monotonic(), list[str]()
        with narrated(name, state) if state else nullcontext():
            yield results
        self.report(name, ", ".join(results), time.monotonic() - begin)

    @contextmanager
    def using(self, variables: Mapping[str, str]) -> Iterator[None]:
        """Run the commands of the context with more variables."""
        before = self.environment
        self.environment = {**before, **variables}
        try:
            yield
        finally:
            self.environment = before

    def verb(self, name: str, *options: str) -> None:
        """Run ``orchard NAME OPTIONS`` and report the last line of its result, after what it advises or did not find."""
        output, seconds = self.run(name, *options)
        for line in output.splitlines():
            if line.startswith(("advice: ", "not found: ")):
                click.echo(line, err=True)
        self.report(name, (output.splitlines() or [""])[-1], seconds)

    def run(self, name: str, *options: str, also: Container[int] = ()) -> tuple[str, float]:
        """Run ``orchard NAME OPTIONS``; returns its result and its time in seconds. `also`: as in `command`."""
        output, seconds = self.command(name, [sys.executable, "-m", "orchard", name, *options], also)
        return output.decode(), seconds

    def command(self, name: str, command: Sequence[str], also: Container[int] = ()) -> tuple[bytes, float]:
        """Run a command; returns its stdout and its time. Its stderr goes to the terminal, or else to a log.

        Args:
            name: the step's name.
            command: the program and its arguments.
            also: the exit codes besides 0 that are a result and not a failure.

        Raises:
            CommandFailed: any other exit code.
        """
        begin = time.monotonic()
        log = None if sys.stderr.isatty() else self.logs / f"{name}.log"
        if log is not None:
            log.unlink(missing_ok=True)
        with ChildProcess(
            command, environment=self.environment, log=log, stdout=subprocess.PIPE, cwd=self.folder
        ) as child:
            with narrated(name, lambda: child.tail(1)) if log is not None else nullcontext():
                output, _ = child.process.communicate()
            code = child.wait()
        if code != 0 and code not in also:
            shown = "\n".join(
                part for part in (child.tail(25), output.decode(errors="replace")[-4000:]) if part.strip()
            )
            click.echo(shown, err=True)
            failed = CommandFailed(
                f"the step {name!r} ended with exit code {code}; its output is above, with paths in {display_path(self.folder)}",
                hint=f"correct that and run `{self.resume_command}` again: it resumes after the finished steps",
                exit_code=code if code > 0 else 1,
            )
            failed.output = shown
            raise failed
        return output, time.monotonic() - begin
