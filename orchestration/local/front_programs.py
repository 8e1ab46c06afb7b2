"""What is in front of a model server on one machine: the console and the router, on one address.

`python -m orchestration.local.front_programs` serves what the store's channels point to, with both, until Ctrl-C; it is
what `make serve` runs.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import click

from orchard.errors import OrchardError
from orchard.processes import ChildProcess
from orchard.store.ports import is_free, is_listening
from orchestration.local.commands import exit_on_signals

__all__ = ["await_listening", "preferred_port", "start_console_and_router"]

READY_SECONDS = 60.0
_DRAIN_SECONDS = 35.0
_POLL_SECONDS = 0.05
_ORCHARD = (sys.executable, "-m", "orchard")


def preferred_port(port: int) -> int:
    """Return the port if it is free, else any free port."""
    if is_free(port):
        return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_listening(program: ChildProcess, port: int, what: str) -> None:
    """Wait until a program listens on a port.

    Raises:
        OrchardError: it ended, or does not listen after a minute.
    """
    deadline = time.monotonic() + READY_SECONDS
    while True:
        if not program.running() or time.monotonic() > deadline:  # first: another program may listen there
            hint = f"its log: {program.log}" if program.log else "its messages are above"
            raise OrchardError(f"{what} did not start:\n{program.tail()}", hint=hint)
        if is_listening(port):
            return
        time.sleep(_POLL_SECONDS)


def start_console_and_router(
    stack: ExitStack,
    environment: Mapping[str, str],
    sync_port: int,
    *,
    folder: Path | None = None,
    logs: Path | None = None,
) -> str:
    """Start both; return the address of the page, behind which the model server's REST API is as well.

    Args:
        stack: ends them.
        environment: their environment, with the store, the server's URL and the serving folder.
        sync_port: the port of sync's status page.
        folder: their working directory.
        logs: the folder of their logs; None: the parent's output.

    Raises:
        OrchardError: one of them does not start.
    """

    def start(verb: str, *options: str) -> ChildProcess:
        log = logs / f"{verb}.log" if logs else None
        child = ChildProcess([*_ORCHARD, verb, *options], environment=environment, cwd=folder, log=log)
        return stack.enter_context(child)

    console_port, port = preferred_port(8503), preferred_port(8080)
    console = start("console", "--port", str(console_port), "--sync", f"http://127.0.0.1:{sync_port}")
    await_listening(console, console_port, "the console")
    router = start("route", "--port", str(port), "--console", f"127.0.0.1:{console_port}", "--no-access-log")
    await_listening(router, port, "the router")
    return f"http://127.0.0.1:{port}"


def main() -> int:
    """Serve until SIGINT or SIGTERM, or until sync ends; returns the exit code."""
    server_port = urlsplit(os.environ.get("ORCHARD_SERVER_URL", "http://127.0.0.1:8501")).port or 8501
    sync_port = preferred_port(8502)
    with ExitStack() as stack:
        stack.enter_context(exit_on_signals())
        sync = ChildProcess([*_ORCHARD, "sync", "--serve", "--port", str(sync_port)])
        stack.callback(sync.stop, _DRAIN_SECONDS)
        await_listening(sync, server_port, "the model server")
        page = start_console_and_router(stack, os.environ, sync_port)
        click.echo(f"the page: {page}/", err=True)
        with contextlib.suppress(KeyboardInterrupt):
            return sync.wait()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OrchardError as error:
        sys.exit(f"error: {error.message}\n  fix: {error.hint}")
