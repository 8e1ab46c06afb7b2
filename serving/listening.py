"""A listening socket, or a sentence that says why there is none."""

from __future__ import annotations

import errno
import socket

from orchard.errors import ServerError

__all__ = ["listen"]

BACKLOG = 1024


def listen(host: str, port: int) -> socket.socket:
    """Listen on an address.

    Args:
        host: an IPv4 or IPv6 address of this machine; 0.0.0.0: all of them.
        port: the port; 0: any free one.

    Raises:
        ServerError: the port is taken, or the address is not this machine's.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise _taken(host, port) from error
        raise ServerError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return listener


def _taken(host: str, port: int) -> ServerError:
    from orchard.store.ports import listener

    who = listener(port)
    return ServerError(
        f"port {port} on {host} is taken" + (f" by {who}" if who else " by another program"),
        hint="stop that program, or choose another port with --port",
    )
