"""Several worker processes on one port and their supervisor: a worker that dies is replaced, and all drain together.

The supervisor forks before anything heavy is loaded and never answers a request itself. Each worker has its own socket
on the shared port, and the kernel distributes connections among them. A worker that ends loses only its own connections.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass, replace

from orchard.errors import OrchardError, ServerError
from orchard.launcher import end_with_parent
from serving.listening import reserve
from serving.log import EventLog
from serving.server.server_process import ServerOptions, run_server

__all__ = ["run_workers"]

_EARLY_EXIT_S = 5.0
_MIN_BACKOFF_S, _MAX_BACKOFF_S = 0.1, 10.0
_POLL_S = 0.2
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class _WorkerProcess:
    """A worker's number, its process while it runs, and the earliest time at which to start the next one."""

    number: int
    pid: int = 0
    started_at: float = 0.0
    start_at: float = 0.0
    backoff_s: float = _MIN_BACKOFF_S


class _Supervisor:
    def __init__(self, options: ServerOptions, count: int, own_port: int | None, log: EventLog) -> None:
        self._options = options
        self._own_port = own_port
        self._log = log
        self._workers = [_WorkerProcess(number) for number in range(count)]
        self._signals: list[int] = []
        self._exit_code = 0

    def run(self) -> int:
        """Supervise the workers until a signal or an error ends them; returns the exit code."""
        for number in _SIGNALS:
            signal.signal(number, lambda signum, frame: self._signals.append(signum))
        forwarded = 0
        while True:
            while forwarded < len(self._signals):
                forwarded += 1
                self._signal_all(signal.SIGTERM)
            self._reap(stopping=bool(self._signals))
            if not self._signals:
                self._start_due()
            elif not any(worker.pid for worker in self._workers):
                return self._exit_code
            time.sleep(_POLL_S)

    def _signal_all(self, number: int) -> None:
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, number)  # not reaped yet, so no other process has this id

    def _reap(self, *, stopping: bool) -> None:
        for worker in self._workers:
            if not worker.pid:
                continue
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                self._handle_exit(worker, os.waitstatus_to_exitcode(status), stopping=stopping)

    def _handle_exit(self, worker: _WorkerProcess, code: int, *, stopping: bool) -> None:
        self._log.write("worker ended", worker=worker.number, pid=worker.pid, code=code)
        worker.pid = 0
        if stopping:
            return
        now = time.monotonic()
        if code > 1 and now - worker.started_at < _EARLY_EXIT_S:  # an OrchardError: it would occur again
            self._exit_code = code
            self._signals.append(signal.SIGTERM)
            return
        worker.backoff_s = (
            min(worker.backoff_s * 2, _MAX_BACKOFF_S) if now - worker.started_at < _EARLY_EXIT_S else _MIN_BACKOFF_S
        )
        worker.start_at = now + worker.backoff_s

    def _start_due(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if not worker.pid and now >= worker.start_at:
                worker.started_at, worker.pid = now, self._fork(worker.number)

    def _fork(self, number: int) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            for signum in _SIGNALS:
                signal.signal(signum, signal.SIG_DFL)
            end_with_parent(parent)
            port = None if self._own_port is None else self._own_port + number
            run_server(replace(self._options, share=True, own_port=port))
        except OrchardError as error:
            print(f"orchard: {error.message}", file=sys.stderr, flush=True)
            code = error.exit_code
        except BaseException as error:
            print(f"orchard: worker {number}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(code)


def run_workers(options: ServerOptions, count: int, own_port: int | None = None) -> None:
    """Serve with several processes until SIGTERM or SIGINT, drain all of them, then end this process.

    Args:
        options: the options of each worker; they share its port.
        count: the number of workers.
        own_port: the first of `count` further ports, one for each worker; None: none.

    Raises:
        ServerError: a port is in use.
    """
    if options.grpc_port == 0:
        raise ServerError(
            "several workers cannot share any free gRPC port",
            hint="choose a port: --grpc-port 8500, or use --workers 1",
        )
    log = EventLog(as_json=options.as_json)
    with reserve(options.host, options.port) as reserved:
        port = reserved.getsockname()[1]
        log.write("keeping", workers=count, host=options.host, shared=port, pid=os.getpid())
        code = _Supervisor(replace(options, port=port), count, own_port, log).run()
    log.write("stopped")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
