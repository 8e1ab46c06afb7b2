"""Child processes that never outlive their parent and are stopped by their own handle."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from orchard import launcher

__all__ = ["ChildProcess", "stderr_held_back"]


@contextlib.contextmanager
def stderr_held_back() -> Iterator[None]:
    """Keep what native code writes to file descriptor 2, and write it there after all if an exception passes."""
    sys.stderr.flush()
    kept = os.dup(2)
    # in memory where it can be: a pod may have no folder for temporary files
    memory = os.fdopen(os.memfd_create("stderr"), "w+b") if sys.platform == "linux" else tempfile.TemporaryFile()  # noqa: SIM115
    with memory as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(kept, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


class ChildProcess:
    """A program in a session of its own: Ctrl-C in the terminal reaches it only through its parent.

    Args:
        command: the program and its arguments.
        environment: its whole environment.
        log: the file that its output is appended to; None: it writes where the parent does.
        stdout: where its standard output goes instead (a file object or `subprocess.PIPE`).
        stderr: where its standard error goes instead (likewise, or `subprocess.STDOUT`).
        cwd: the folder that it starts in.

    The thread that starts a child must live as long as the child: the kernel ends the child with it.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.log = log
        output = log.open("ab") if log else None
        try:
            self.process = subprocess.Popen(  # noqa: S603  the command comes from our own code
                [sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), *command],
                env=None if environment is None else dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=stdout if stdout is not None else output,
                stderr=stderr if stderr is not None else output,
                cwd=cwd,
                start_new_session=True,
            )
        finally:
            if output:
                output.close()

    @property
    def pid(self) -> int:
        """The process id, which is its group's id too."""
        return self.process.pid

    def running(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        if self.log is None or not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def wait(self) -> int:
        """Wait for its end; returns the exit code (negative: the signal that ended it)."""
        return self.process.wait()

    def terminate(self) -> None:
        """Ask its whole group to end, and do not wait for it."""
        self.signal(signal.SIGTERM)

    def stop(self, grace: float = 5.0) -> int:
        """Ask its whole group to end, and end it after `grace` seconds; returns the exit code."""
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(grace)
        self.signal(signal.SIGKILL)  # also what the program itself started and left behind
        return self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send its whole group a signal, if it still runs."""
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
