"""A process that ends with its parent.

`orchard.processes.ChildProcess` runs this file as a program, in an interpreter without packages. It replaces itself by the
command that its arguments name. It imports little, because every child waits for it.
"""

from __future__ import annotations

import os
import signal
import sys

__all__ = ["end_with_parent"]


def end_with_parent(parent: int) -> None:
    """Have the kernel end this process when its parent thread ends (Linux only).

    Args:
        parent: the parent's process id. If the parent has ended, this process ends at once.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    # A shell starts its background jobs with SIGINT ignored, and children inherit that: a child in its own session
    # needs the default again.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent(int(sys.argv[1]))
    os.execvpe(sys.argv[2], sys.argv[2:], os.environ)  # noqa: S606  the command comes from our own code
