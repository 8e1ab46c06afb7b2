"""TCP ports that tests give to programs. It needs the standard library alone: Airflow's environment has no more of ours."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

__all__ = ["free_ports"]

LOOPBACK = "127.0.0.1"
_CLAIMS: list[socket.socket] = []


def free_ports(count: int = 1) -> int:
    """The first of `count` neighbouring free TCP ports, which nobody else is given while this process lives.

    Much time may pass before a program listens on them: they are below the ports of outgoing connections and of embedded
    stores (orchard/store/ports.py), and claimed from the other test processes by the UDP ports of the same numbers.
    """
    while True:
        first = random.SystemRandom().randrange(2_000, 5_000)
        with ExitStack() as stack:
            try:
                claims = [_claim(stack, first + number) for number in range(count)]
            except OSError:
                continue
            stack.pop_all()
            _CLAIMS.extend(claims)
            return first


def _claim(stack: ExitStack, port: int) -> socket.socket:
    """Claim a port that is free. Raises OSError."""
    claim = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    claim.bind((LOOPBACK, port))
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((LOOPBACK, port))
    return claim
