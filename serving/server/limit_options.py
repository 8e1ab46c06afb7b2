"""The limits of `orchard serve`, each an option; docs/operating.md has the same list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from serving.http.http_messages import HttpLimits

__all__ = ["limit_options", "read_limits"]

_SECONDS = click.FloatRange(0, min_open=True)
_COUNT = click.IntRange(1)
_DEFAULT = HttpLimits()
_OPTIONS: tuple[tuple[str, Any, Any, str], ...] = (
    ("--max-body", _COUNT, _DEFAULT.body_bytes >> 20, "Largest body, and largest message of gRPC, in MiB."),
    ("--max-values", _COUNT, 2_000_000, "Most values of a JSON body."),
    ("--max-headers", _COUNT, _DEFAULT.header_bytes >> 10, "Longest URL, and longest headers together, in KiB."),
    ("--max-queue", _COUNT, 512, "Waiting requests, at most."),
    ("--max-in-flight", _COUNT, 1024, "Requests in flight, at most."),
    ("--max-connections", _COUNT, _DEFAULT.connections, "Open HTTP connections, at most."),
    ("--max-pipelined", _COUNT, _DEFAULT.pipelined, "Requests of one connection that wait for the one before."),
    ("--timeout", click.FloatRange(0.01), 30.0, "Seconds for a request, once it has arrived."),
    ("--header-timeout", _SECONDS, _DEFAULT.header_s, "Seconds for headers that arrive slower than --min-rate."),
    ("--body-timeout", _SECONDS, _DEFAULT.body_s, "Seconds for a body that arrives slower than --min-rate."),
    ("--send-timeout", _SECONDS, _DEFAULT.send_s, "Seconds for an answer that is read slower than --min-rate."),
    ("--min-rate", _COUNT, _DEFAULT.min_rate, "Bytes a second; a client above it may take any time."),
    ("--idle-timeout", _SECONDS, _DEFAULT.idle_s, "Seconds that a connection stays open after its last answer."),
    ("--drain-timeout", click.FloatRange(0), 25.0, "Seconds after --drain-delay for requests in flight to end."),
)


def limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of all limits to a command."""
    for name, kind, default, text in reversed(_OPTIONS):
        command = click.option(name, type=kind, default=default, show_default=True, help=text)(command)
    return command


def read_limits(options: Mapping[str, Any]) -> HttpLimits:
    """Return the limits of connections that the options set."""
    return HttpLimits(
        body_bytes=options["max_body"] << 20,
        header_bytes=options["max_headers"] << 10,
        header_s=options["header_timeout"],
        body_s=options["body_timeout"],
        send_s=options["send_timeout"],
        min_rate=options["min_rate"],
        idle_s=options["idle_timeout"],
        connections=options["max_connections"],
        pipelined=options["max_pipelined"],
    )
