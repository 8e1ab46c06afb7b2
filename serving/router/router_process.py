"""The router's process: Envoy as a child, from its start to the last answer."""

from __future__ import annotations

import signal
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from orchard.channel_names import WEIGHTED
from orchard.errors import ServerError
from orchard.processes import ChildProcess
from serving.listening import listen
from serving.log import EventLog
from serving.router.envoy_admin import EnvoyAdmin
from serving.router.envoy_binary import find_envoy, validate_config
from serving.router.envoy_config import envoy_config
from serving.router.guard_files import GuardFiles
from serving.router.router_options import RouterOptions
from serving.router.weight_follower import WeightFollower
from serving.traffic_weights import read_weight

__all__ = ["DrainOptions", "render_config", "run_router"]

_START_S = 30.0
_POLL_S = 0.05
_FLUSH_MS = 500
"""How late a line of the access log may be."""

_HEADING = """\
# Envoy's bootstrap file, made by `orchard route` (serving/router/envoy_config.py). It never changes while Envoy runs:
# the weights of canary and shadow are in the folder that layered_runtime names.
"""


@dataclass(frozen=True, slots=True)
class DrainOptions:
    """How the router ends.

    Attributes:
        delay_s: how long it still accepts requests after a signal, while answers end their connections.
        timeout_s: how long it waits after that for requests in flight.
    """

    delay_s: float = 0.0
    timeout_s: float = 25.0


def render_config(options: RouterOptions) -> str:
    """Return the bootstrap file as YAML, for Envoy and for people."""
    return _HEADING + yaml.safe_dump(envoy_config(options), sort_keys=False, allow_unicode=True, width=120)


class _Signals:
    """SIGTERM and SIGINT, counted: the first one drains, the second one ends at once."""

    def __init__(self) -> None:
        self.received = threading.Event()
        self.count = 0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._catch)

    def _catch(self, number: int, frame: Any) -> None:
        self.count += 1
        self.received.set()


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder of this process alone, removed at the end. Its path is short: that of a socket may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="orchard-route-") as name:
        yield Path(name)


def run_router(
    options: RouterOptions,
    drain: DrainOptions,
    log: EventLog,
    *,
    threads: int = 2,
    follower: WeightFollower | None = None,
) -> None:
    """Route until SIGTERM or SIGINT, answer the requests in flight, and leave nothing behind.

    Args:
        options: what the router does; its `admin_socket` and the files of its guards are in a folder of its own.
        drain: how it ends.
        log: the event log.
        threads: Envoy's worker threads.
        follower: writes the weights; None: sync does, into the folder that both share.

    Raises:
        MissingExtra: Envoy is not installed.
        IntegrityError: Envoy's program is not the recorded one.
        SettingsError: a file of tokens, or the certificate and its key, is invalid.
        ServerError: the port is taken, or Envoy did not start or ended by itself.
    """
    signals = _Signals()
    with _folder() as folder:
        options = replace(options, admin_socket=folder / "admin", guards=replace(options.guards, folder=folder))
        files = GuardFiles(options.guards, log.file_problem)
        envoy = find_envoy()
        options.weights.mkdir(parents=True, exist_ok=True)  # Envoy watches it from the start
        if follower:
            follower.start()
        if options.port:
            listen(options.host, options.port).close()  # its error names the program that has the port
        config = folder / "envoy.yaml"
        config.write_text(render_config(options), encoding="utf-8")
        with ChildProcess(_command(envoy, config, drain, threads)) as child:
            admin = EnvoyAdmin(options.admin_socket)
            port = _await_start(child, admin, signals, envoy, config)
            if port:
                if options.guards.tls:
                    _check_handshake(options.host, port)
                _log_start(log, options, port, child.pid)
                _await_signal(child, files, signals)
                _drain(child, admin, drain, signals, log)
        if follower:
            follower.stop()
    log.write("stopped")


def _command(envoy: Path, config: Path, drain: DrainOptions, threads: int) -> list[str]:
    """Return the command that starts Envoy."""
    options = {
        "-c": str(config),
        "-l": "warning",
        "--concurrency": str(threads),
        "--file-flush-interval-msec": str(_FLUSH_MS),
        "--drain-time-s": str(max(round(drain.delay_s), 1)),
        "--drain-strategy": "immediate",
    }
    return [str(envoy), "--disable-hot-restart", *(word for pair in options.items() for word in pair)]


def _log_start(log: EventLog, options: RouterOptions, port: int, pid: int) -> None:
    rest, rpc = options.rest, options.grpc
    log.write(
        "routing",
        host=options.host,
        port=port,
        to=f"{rest.host}:{rest.port}",
        grpc_to=f"{rpc.host}:{rpc.port}" if rpc else "-",
        **{channel: f"{read_weight(options.weights, channel) or 0:g}%" for channel in WEIGHTED},
        pid=pid,
    )


def _await_start(child: ChildProcess, admin: EnvoyAdmin, signals: _Signals, envoy: Path, config: Path) -> int | None:
    """Wait until Envoy listens; returns its port, or None if a signal came first. Raises `ServerError`."""
    end = time.monotonic() + _START_S
    while not signals.received.wait(_POLL_S):
        port = admin.port()
        if port is not None:
            return port
        if not child.running() or time.monotonic() > end:
            problem = validate_config(envoy, config).strip() or "its messages are above"
            raise ServerError(f"Envoy did not start: {problem}", hint="`orchard route --print-config` prints its file")
    return None


def _check_handshake(host: str, port: int) -> None:
    """Raise `ServerError` unless Envoy took the certificate: it accepts fewer kinds of keys than Python does."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  the router's own address
    try:
        with socket.create_connection((address, port), _START_S) as plain, context.wrap_socket(plain):
            return
    except OSError as error:  # a failed handshake too
        raise ServerError(
            f"Envoy does not use the certificate: {error}",
            hint="its messages are above; the key must be RSA with at least 2048 bits, ECDSA on P-256, P-384 or P-521, or Ed25519",
        ) from error


def _await_signal(child: ChildProcess, files: GuardFiles, signals: _Signals) -> None:
    """Follow the user's files until a signal. Raises `ServerError`: Envoy ended by itself."""
    while not signals.received.wait(0.2):
        if not child.running():
            raise ServerError(f"Envoy ended by itself with exit code {child.wait()}", hint="its messages are above")
        files.refresh()


def _drain(child: ChildProcess, admin: EnvoyAdmin, drain: DrainOptions, signals: _Signals, log: EventLog) -> None:
    """Wait for the requests in flight."""
    try:
        log.write("draining", in_flight=admin.in_flight())
        admin.drain(graceful=drain.delay_s > 0)
        begin = time.monotonic()
        while signals.count < 2 and child.running():
            seconds = time.monotonic() - begin
            if seconds > drain.delay_s + drain.timeout_s or (seconds >= drain.delay_s and not admin.in_flight()):
                return
            time.sleep(_POLL_S)
    except OSError as error:  # it ended meanwhile
        log.write("not drained", reason=str(error))
