"""Child processes that never outlive their parent and are stopped by their own handle."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

__all__ = ["ChildProcess"]

# Runs in the child before the program does: asks the kernel for SIGKILL when the parent thread is gone (Linux only),
# then becomes the program. A parent that died in between shows as another parent id. A shell starts its background jobs
# with SIGINT ignored, which children inherit: a child in a session of its own listens to it again.
_BECOME = (
    "import ctypes,os,signal,sys\n"
    "signal.signal(signal.SIGINT,signal.SIG_DFL)\n"
    "parent=int(sys.argv[1])\n"
    "if sys.platform=='linux': ctypes.CDLL(None).prctl(1,9,0,0,0)\n"
    "if os.getppid()!=parent: sys.exit(1)\n"
    "os.execvpe(sys.argv[2],sys.argv[2:],os.environ)\n"
)


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
                [sys.executable, "-I", "-S", "-c", _BECOME, str(os.getpid()), *command],
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
