"""The console's process: its parts, its socket, its end."""

from __future__ import annotations

import logging
import math
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from orchard.files import WatchedFile
from orchard.loopback import is_loopback
from orchard.registry.registry import Registry
from orchard.settings import Settings
from orchard.signing import load_trusted
from serving.console.access_control import AccessControl, TrustedProxy
from serving.console.client_digests import ClientDigests, Network
from serving.console.console_app import ConsoleApp
from serving.console.correction_api import CorrectionApi
from serving.console.correction_desk import CorrectionDesk, CorrectionLimits
from serving.console.loop_state import LoopReader
from serving.console.prediction_proxy import PredictionProxy, ProxyOptions
from serving.listening import listen
from serving.log import EventLog
from serving.tokens import BearerTokens

__all__ = ["ConsoleOptions", "run_console"]

_CONNECTIONS, _KEEP_ALIVE_S = 256, 30


@dataclass(frozen=True, slots=True)
class ConsoleOptions:
    """What the console does.

    Attributes:
        proxy: where the page's requests go if they come here.
        host: the address to listen on.
        port: the port; 0: any free one.
        hosts: the names that it answers to; empty: any.
        sync_url: sync's status page; None: it is not configured.
        token_file: the file of accepted bearer tokens; None: there are none.
        trusted_proxy: the proxy that names users; None: there is none.
        proxies: the networks of proxies whose ``X-Forwarded-For`` counts.
        corrections: what bounds corrections of answers.
        access_log: log each request.
    """

    proxy: ProxyOptions = field(default_factory=lambda: ProxyOptions("http://127.0.0.1:8501"))
    host: str = "127.0.0.1"
    port: int = 8503
    hosts: tuple[str, ...] = ()
    sync_url: str | None = None
    token_file: Path | None = None
    trusted_proxy: TrustedProxy | None = None
    proxies: tuple[Network, ...] = ()
    corrections: CorrectionLimits = field(default_factory=CorrectionLimits)
    access_log: bool = True


def run_console(options: ConsoleOptions, settings: Settings, log: EventLog) -> None:
    """Serve the page and the state of the loop until SIGTERM or SIGINT; requests in flight are answered.

    Args:
        options: what it does.
        settings: the store, the model and the trusted keys.
        log: the event log.

    Raises:
        SettingsError: a setting is missing, or a file of tokens or keys cannot be used.
        ServerError: the port is taken.
    """
    settings.require("store_url", "trusted_keys_file")
    assert settings.trusted_keys_file is not None  # noqa: S101  required above
    trusted = WatchedFile(settings.trusted_keys_file, load_trusted, report=log.file_problem)
    tokens = BearerTokens(options.token_file, log.file_problem) if options.token_file else None
    access = AccessControl(tokens, options.trusted_proxy)
    registry = Registry.open(settings)
    reader = LoopReader(registry, trusted.current, options.sync_url)
    proxy = PredictionProxy(settings.model, options.proxy)
    desk = CorrectionDesk(registry.store, registry.model, options.corrections, log)
    app = ConsoleApp(
        reader,
        proxy,
        access,
        CorrectionApi(desk, proxy, reader, ClientDigests(options.proxies)),
        through_console=options.proxy.token_file is not None,
    ).build(log, hosts=options.hosts, log_requests=options.access_log)
    config = uvicorn.Config(
        app, http="h11", ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
        proxy_headers=False, limit_concurrency=_CONNECTIONS, timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(options.proxy.timeout_s),
    )  # fmt: skip
    with listen(options.host, options.port) as listener, _signals_end_it(log), _uvicorns_log(log):
        port = listener.getsockname()[1]
        place = f"[{options.host}]" if ":" in options.host else options.host
        log.write(
            "listening", host=options.host, port=port, page=f"http://{place}:{port}/", model=settings.model,
            server=options.proxy.server_url, pid=os.getpid(),
        )  # fmt: skip
        if access.is_open and not is_loopback(options.host):
            log.write("open to everybody", advice="--token-file, or --trusted-user-header with --trusted-proxy")
        uvicorn.Server(config).run(sockets=[listener])
    log.write("stopped")


@contextmanager
def _signals_end_it(log: EventLog) -> Iterator[None]:
    """Let the process end with 0 after a signal: uvicorn raises it again when it has ended."""

    def note(number: int, frame: object) -> None:
        log.write("ended by a signal", signal=signal.Signals(number).name)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _LogHandler(logging.Handler):
    """Writes what uvicorn logs as events."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self.setFormatter(logging.Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        self._log.write("server", level=record.levelname.lower(), text=self.format(record))


@contextmanager
def _uvicorns_log(log: EventLog) -> Iterator[None]:
    logger, handler = logging.getLogger("uvicorn"), _LogHandler(log)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
