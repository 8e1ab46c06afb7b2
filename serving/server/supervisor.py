"""Several server processes on one port, and the process that keeps them: one that dies is replaced, all drain together.

The keeper forks before anything heavy is loaded and never answers a request itself. The kernel spreads connections over
the workers, each of which has a socket of its own on the shared port; a worker that ends takes nobody else's.
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

_YOUNG_S = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0
_TURN_S = 0.2
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class _WorkerProcess:
    """A place among the workers: who has it, since when, and when it may be given to another."""

    number: int
    pid: int = 0
    begun: float = 0.0
    due: float = 0.0
    pause: float = _FIRST_PAUSE_S


class _Supervisor:
    def __init__(self, options: ServerOptions, count: int, own_port: int | None, log: EventLog) -> None:
        self._options = options
        self._own_port = own_port
        self._log = log
        self._workers = [_WorkerProcess(number) for number in range(count)]
        self._signals: list[int] = []
        self._code = 0

    def keep(self) -> int:
        """Keep the workers until a signal or an error ends them; returns the exit code."""
        for number in _SIGNALS:
            signal.signal(number, lambda caught, frame: self._signals.append(caught))
        passed = 0
        while True:
            while passed < len(self._signals):
                passed += 1
                self._tell(signal.SIGTERM)
            self._bury(stopping=bool(self._signals))
            if not self._signals:
                self._fill()
            elif not any(worker.pid for worker in self._workers):
                return self._code
            time.sleep(_TURN_S)

    def _tell(self, number: int) -> None:
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, number)  # not reaped yet, so the number is still its own

    def _bury(self, *, stopping: bool) -> None:
        for worker in self._workers:
            if not worker.pid:
                continue
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                self._ended(worker, os.waitstatus_to_exitcode(status), stopping=stopping)

    def _ended(self, worker: _WorkerProcess, code: int, *, stopping: bool) -> None:
        self._log.note("worker ended", worker=worker.number, pid=worker.pid, code=code)
        worker.pid = 0
        if stopping:
            return
        now = time.monotonic()
        if code > 1 and now - worker.begun < _YOUNG_S:  # an error with a name: it would come again
            self._code = code
            self._signals.append(signal.SIGTERM)
            return
        worker.pause = min(worker.pause * 2, _LONGEST_PAUSE_S) if now - worker.begun < _YOUNG_S else _FIRST_PAUSE_S
        worker.due = now + worker.pause

    def _fill(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if not worker.pid and now >= worker.due:
                worker.begun, worker.pid = now, self._fork(worker.number)

    def _fork(self, number: int) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            for caught in _SIGNALS:
                signal.signal(caught, signal.SIG_DFL)
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
    """Serve with several processes until SIGTERM or SIGINT, which all of them drain after; ends this process.

    Args:
        options: of each worker; its port is the one that they share.
        count: how many.
        own_port: the first of `count` ports on which each worker alone answers too; None: none.

    Raises:
        ServerError: a port is taken.
    """
    if options.grpc_port == 0:
        raise ServerError("workers need a gRPC port with a number", hint="--grpc-port 8500, or --workers 1")
    log = EventLog(as_json=options.as_json)
    with reserve(options.host, options.port) as held:
        port = held.getsockname()[1]
        log.note("keeping", workers=count, host=options.host, shared=port, pid=os.getpid())
        code = _Supervisor(replace(options, port=port), count, own_port, log).keep()
    log.note("stopped")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
