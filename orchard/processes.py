"""Child processes that end with their parent at the latest."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Self

from orchard import launcher

__all__ = ["ChildProcess", "stderr_held_back"]


@contextlib.contextmanager
def stderr_held_back() -> Iterator[None]:
    """Collect what native code writes to file descriptor 2, and write it there only if an exception is raised."""
    sys.stderr.flush()
    original = os.dup(2)
    # in memory if possible: a pod may have no folder for temporary files
    buffer = os.fdopen(os.memfd_create("stderr"), "w+b") if sys.platform == "linux" else tempfile.TemporaryFile()  # noqa: SIM115
    with buffer as collected:
        os.dup2(collected.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(original, 2)
            collected.seek(0)
            os.write(2, collected.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)


class ChildProcess:
    """A program in its own session: Ctrl-C in the terminal reaches it only through its parent.

    Args:
        command: the program and its arguments.
        environment: its whole environment; None: the parent's.
        log: the file to which its output is appended; None: the parent's output.
        stdout: the target of its standard output instead (a file object or `subprocess.PIPE`).
        stderr: the target of its standard error instead (likewise, or `subprocess.STDOUT`).
        cwd: its working directory.

    The thread that starts a child must live as long as the child: the kernel ends the child with the thread.
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
        """The process id, which is also the id of its process group."""
        return self.process.pid

    def running(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def tail(self, lines: int = 15) -> str:
        """Return the last lines of its log."""
        if self.log is None or not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def wait(self) -> int:
        """Wait for its end; return the exit code (negative: the signal that ended it)."""
        return self.process.wait()

    def terminate(self) -> None:
        """Send SIGTERM to its process group; do not wait."""
        self.signal(signal.SIGTERM)

    def stop(self, grace: float = 5.0) -> int:
        """Send SIGTERM to its process group, and SIGKILL after at most `grace` seconds; return the exit code."""
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(grace)
        self.signal(signal.SIGKILL)  # also children that the program has left
        return self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its process group, if there is one."""
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
