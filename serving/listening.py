"""A listening socket, or a sentence that says why there is none."""

from __future__ import annotations

import errno
import socket

from orchard.errors import ServerError

__all__ = ["BACKLOG", "listen", "reserve"]

BACKLOG = 1024


def listen(host: str, port: int, *, share: bool = False) -> socket.socket:
    """Listen on an address.

    Args:
        host: an IPv4 or IPv6 address of this machine; 0.0.0.0: all of them.
        port: the port; 0: any free one.
        share: other processes of this user may listen there too; the kernel spreads connections over them.

    Raises:
        ServerError: the port is taken, or the address is not this machine's.
    """
    listener = _bind(host, port, share=share)
    listener.listen(BACKLOG)
    return listener


def reserve(host: str, port: int) -> socket.socket:
    """Have a port for processes that will share it, without listening there. Raises `ServerError` as `listen` does."""
    with _bind(host, port, share=False) as alone:  # nobody else has it, not even somebody who would share
        free = alone.getsockname()[1]
    return _bind(host, free, share=True)


def _bind(host: str, port: int, *, share: bool) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
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
