"""The server process: sockets, signals and shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from serving.http.connection import HttpServer
from serving.http.cross_origin import CrossOriginPolicy
from serving.http.http_messages import HttpLimits
from serving.listening import BACKLOG, listen
from serving.log import EventLog
from serving.server.access_log import AccessLog
from serving.server.application import Application
from serving.server.batching import RunThreadPool, usable_cpus
from serving.server.capture.photo_capture import CaptureOptions, PhotoCapture
from serving.server.model_repository import ModelRepository
from serving.server.predictions import PredictionOptions
from serving.server.rest.request_body import RECURSION_LIMIT
from serving.server.row_proof import BatchingMode
from serving.server.server_metrics import ServerMetrics
from serving.server.warm_up import load_warm
from serving.tls_certificate import TlsCertificate
from serving.tokens import BearerTokens

if TYPE_CHECKING:
    from serving.server.rpc.server import GrpcServer

__all__ = ["ServerOptions", "run_server"]

_TICK_S = 0.2
_HANDSHAKE_S, _SHUTDOWN_S = 10.0, 1.0


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The server's options.

    Attributes:
        config: the models.config to follow.
        host: the address to listen on.
        port: the port to listen on; 0: any free one.
        limits: the limits of a connection.
        requests: the limits of predictions.
        max_queue: the maximum number of requests that wait for a thread.
        token_file: the file of accepted bearer tokens; None: every client is accepted.
        tls: certificate and key files; None: plain HTTP.
        grpc_port: the port of the gRPC API; 0: any free one; None: no gRPC.
        drain_delay_s: seconds after SIGTERM in which new requests are still accepted.
        drain_s: seconds that requests in flight may take after that.
        cors_origins: the origins whose pages may call from a browser; none: no page of another origin.
        as_json: log as JSON.
        access_log: log requests.
        share: other workers listen on the same port.
        batching: which requests may run together, see `RowProof`.
        own_port: another port, on which only this worker listens; None: none.
        capture: what is captured; None: nothing.
    """

    config: Path
    host: str = "127.0.0.1"
    port: int = 8501
    limits: HttpLimits = field(default_factory=HttpLimits)
    requests: PredictionOptions = field(default_factory=PredictionOptions)
    max_queue: int = 512
    token_file: Path | None = None
    tls: tuple[Path, Path] | None = None
    grpc_port: int | None = None
    drain_delay_s: float = 0.0
    drain_s: float = 25.0
    cors_origins: tuple[str, ...] = ()
    as_json: bool = False
    access_log: bool = True
    share: bool = False
    batching: BatchingMode = "proved"
    own_port: int | None = None
    capture: CaptureOptions | None = None


class _ServerProcess:
    def __init__(self, options: ServerOptions, log: EventLog, certificate: TlsCertificate | None) -> None:
        self.options = options
        self.log = log
        self.certificate = certificate
        self.metrics = ServerMetrics(log)
        self.repository = ModelRepository(options.config, self.metrics, partial(load_warm, batching=options.batching))
        self.pool = RunThreadPool(
            usable_cpus(),
            options.max_queue,
            observe=self.metrics.observe_run,
            after=lambda: self.application.predictions.deliver(),
        )
        tokens = BearerTokens(options.token_file, log.file_problem) if options.token_file else None
        self.capture = PhotoCapture.start(options.capture, self.metrics, log) if options.capture else None
        self.application = Application(self.repository, self.pool, self.metrics, tokens, options.requests, self.capture)
        handle = self.application.handle
        policy = CrossOriginPolicy(options.cors_origins) if options.cors_origins else None
        self.server = HttpServer(policy.answering_preflights(handle) if policy else handle, options.limits)
        self.server.more_headers = policy.headers if policy else None
        self.server.refused = lambda status: self.metrics.refused.add(str(status))
        self.server.refuse_early = self.application.refuse_early
        self.access_log = AccessLog(log) if options.access_log else None
        if self.access_log:
            self.server.log = self.access_log.http
        self.application.predictions.connections = lambda: len(self.server.connections)
        self.stopped = asyncio.Event()
        self.stopping: asyncio.Task[None] | None = None
        self.rpc: GrpcServer | None = None

    async def run(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self.application.predictions.attach(loop)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._handle_signal, number)
        listener.setblocking(False)
        main_server = await loop.create_server(
            self.server.connect,
            sock=listener,
            ssl=self.certificate.context() if self.certificate else None,
            backlog=BACKLOG,
            ssl_handshake_timeout=_HANDSHAKE_S if self.certificate else None,
            ssl_shutdown_timeout=_SHUTDOWN_S if self.certificate else None,
        )
        self.repository.start()
        self.log.write("listening", host=self.options.host, port=listener.getsockname()[1], pid=os.getpid())
        own = await self._listen_own_port(loop)
        await self._start_rpc()
        self._tick(loop)
        await self.stopped.wait()
        for server in (main_server, *own):
            server.close()

    async def _listen_own_port(self, loop: asyncio.AbstractEventLoop) -> list[asyncio.Server]:
        """Listen, without TLS, on this worker's own port."""
        if self.options.own_port is None:
            return []
        listener = listen(self.options.host, self.options.own_port)
        listener.setblocking(False)
        self.log.write("listening alone", own_port=self.options.own_port, pid=os.getpid())
        return [await loop.create_server(self.server.connect, sock=listener, backlog=BACKLOG)]

    async def _start_rpc(self) -> None:
        options = self.options
        if options.grpc_port is None:
            return
        from serving.server.rpc.server import GrpcServer  # a slow import that only gRPC needs

        limit = options.limits.body_bytes
        self.rpc = GrpcServer(
            self.application,
            options.host,
            options.grpc_port,
            limit,
            self.certificate,
            access_log=self.access_log,
            share=options.share,
        )
        self.log.write("grpc", grpc_port=await self.rpc.start())

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self.application.predictions.expire()
        self.server.sweep()
        self.log.flush()
        loop.call_later(_TICK_S, self._tick, loop)

    def _handle_signal(self, number: int) -> None:
        if self.stopping is not None:
            self.stopped.set()  # the second signal
            return
        self.log.write("draining", signal=signal.Signals(number).name, in_flight=self.application.predictions.in_flight)
        self.stopping = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        """Become not ready, wait for `drain_delay_s`, then answer the requests in flight and write what is captured."""
        self.application.draining = True
        await asyncio.sleep(self.options.drain_delay_s)
        self.server.drain()
        rpc = asyncio.create_task(self.rpc.stop(self.options.drain_s)) if self.rpc else None
        end = time.monotonic() + self.options.drain_s
        while (self.application.predictions.in_flight or self.server.connections) and time.monotonic() < end:
            self.server.drain()
            await asyncio.sleep(0.02)
        if rpc:
            await rpc
        if self.capture:
            await asyncio.to_thread(self.capture.close, max(end - time.monotonic(), 0.0))
        self.stopped.set()


def run_server(options: ServerOptions) -> None:
    """Serve until SIGTERM or SIGINT, then answer the requests in flight and end the process with exit code 0.

    Raises:
        ServerError: the port is in use.
        SettingsError: the token file or the certificate is invalid.
        MissingExtra: TensorFlow is not installed.
    """
    from serving.server.runtime.capi import open_library

    sys.setrecursionlimit(RECURSION_LIMIT)
    log = EventLog(as_json=options.as_json)
    certificate = TlsCertificate(*options.tls, log.file_problem) if options.tls else None
    listener = listen(options.host, options.port, share=options.share)
    open_library()

    async def main() -> None:
        await _ServerProcess(options, log, certificate).run(listener)

    uvloop.run(main())
    log.write("stopped")
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    # TensorFlow's threads may still run a model; unloading its library under them would crash
    os._exit(0)
