"""Listening sockets, with errors that name the program that has the port."""

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
        share: other processes of this user may listen there too; the kernel distributes connections among them.

    Raises:
        ServerError: the port is in use, or the address does not belong to this machine.
    """
    listener = _bind(host, port, share=share)
    listener.listen(BACKLOG)
    return listener


def reserve(host: str, port: int) -> socket.socket:
    """Reserve a port for processes that will share it, without listening. Raises `ServerError` as `listen` does."""
    with _bind(host, port, share=False) as exclusive:  # fails if any process has the port, even one that shares it
        number = exclusive.getsockname()[1]
    return _bind(host, number, share=True)


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
            raise _port_taken(host, port) from error
        raise ServerError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return listener


def _port_taken(host: str, port: int) -> ServerError:
    from orchard.store.ports import listener

    owner = listener(port)
    return ServerError(
        f"port {port} on {host} is taken" + (f" by {owner}" if owner else " by another program"),
        hint="stop that program, or choose another port with --port",
    )
