"""TCP ports on the loopback: free ones, and the process that listens on a taken one."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable
from pathlib import Path

__all__ = ["choose", "is_free", "is_listening", "listener"]

LOOPBACK = "127.0.0.1"
GRPC_OFFSET = 10_000
"""The difference between a service's gRPC port and its HTTP port, SeaweedFS's default."""

# Both ports are below the range of outgoing connections (from 32768 on Linux), so that no connection takes a port between
# the check here and SeaweedFS's bind.
_LOW, _HIGH = 11_000, 22_000
_SERVICES = ("master", "volume", "filer", "s3", "admin")


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of the loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def is_listening(port: int) -> bool:
    """Whether a server listens on `port` of the loopback."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def choose(s3: int | None = None) -> dict[str, int]:
    """Return free ports for every service of `weed mini`, by the name of its option.

    Args:
        s3: the port of S3; None: any.
    """
    chosen: dict[str, int] = {}
    for service in _SERVICES:
        port = _free_port(chosen.values())
        chosen[f"{service}.port"], chosen[f"{service}.port.grpc"] = port, port + GRPC_OFFSET
    # The worker connects to the admin server at the HTTP port plus the offset, whatever -admin.port.grpc is. It must
    # fail: with a worker connected, `weed mini` disables its master's vacuum and never ends on SIGTERM (4.48).
    chosen["admin.port.grpc"] = _free_port(chosen.values())
    if s3 is not None:
        chosen["s3.port"] = s3
    return chosen


def _free_port(taken: Iterable[int]) -> int:
    while True:
        # SystemRandom: workers forked from one process must not draw the same ports
        port = random.SystemRandom().randrange(_LOW, _HIGH)
        if {port, port + GRPC_OFFSET}.isdisjoint(taken) and is_free(port) and is_free(port + GRPC_OFFSET):
            return port


def _listening_inode(port: int) -> str | None:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:  # 0A = LISTEN
                return fields[9]
    return None


def listener(port: int) -> str:
    """Return the process that listens on `port`, as ``name (pid 123)``; "" where /proc does not show it."""
    inode = _listening_inode(port)
    if inode is None:
        return ""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(link.readlink()) == f"socket:[{inode}]" for link in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:  # it has ended, or belongs to another user
            continue
    return ""
