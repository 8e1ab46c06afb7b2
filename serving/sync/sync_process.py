"""The sync process: its lock, its loop and its end; and the wait of `--once`."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchard.disk import explain, writing_to
from orchard.errors import ConflictError, DataError, IntegrityError, OrchardError, ServerError
from orchard.files import locked
from orchard.processes import ChildProcess
from orchard.registry.pointers import ChannelPointer
from orchard.store import ObjectStore
from serving.listening import listen
from serving.log import EventLog
from serving.sync.channel_watcher import NEAR_POLL_S, ChannelWatcher, TrustedKeysFile
from serving.sync.engine import EngineClient
from serving.sync.reconciler import STATE_NAME, Reconciler, SyncOptions
from serving.sync.status_server import StatusServer
from serving.sync.sync_state import SyncState, load_state

__all__ = ["SyncResult", "SyncSource", "run_sync", "sync_once"]

LOCK_NAME = ".sync.lock"
_OTHER_SYNC_POLL_S = 0.05
_DRAIN_S = 30.0


@dataclass(frozen=True, slots=True)
class SyncSource:
    """The source of versions: the store, the trusted keys, and the longest mean time between two polls in seconds."""

    store: ObjectStore
    trust: TrustedKeysFile
    poll_s: float = NEAR_POLL_S


@dataclass(frozen=True, slots=True)
class SyncResult:
    """The result of `--once`: the channel's version and generation, and whether the engine serves it."""

    channel: str
    version: int
    generation: int
    live: bool


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Lock the folder for this process; yields False if another sync holds the lock."""
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LOCK_NAME) as acquired:
        yield acquired


def _engine(options: SyncOptions, report: Callable[[str], None] = lambda reason: None) -> EngineClient | None:
    return EngineClient(options.server_url, options.model, options.token_file, report) if options.server_url else None


def _reconciler(source: SyncSource, options: SyncOptions, log_event: Callable[..., None]) -> Reconciler:
    def report(reason: str) -> None:
        log_event("file", reason=reason)

    source.trust.report = report
    before = load_state(options.serving_dir / STATE_NAME, options.model)
    state = before.follow(options.channels)
    for name in before.labels.keys() - state.labels.keys():
        log_event("not followed", channel=name, version=before.labels[name], channels=",".join(options.channels))
    watcher = ChannelWatcher(
        source.store, options.model, source.trust, state.generations(),
        channels=options.channels, poll_s=source.poll_s, log_event=log_event,
    )  # fmt: skip
    return Reconciler(options, state, watcher, _engine(options, report), log_event)


def run_sync(
    source: SyncSource, options: SyncOptions, host: str, port: int, log: EventLog, engine: ChildProcess | None = None
) -> None:
    """Keep the engine at the versions that the channels point to, until SIGTERM or SIGINT.

    Args:
        source: the source of versions.
        options: the options.
        host: the address of the status page.
        port: its port; 0: any free one.
        log: the event log.
        engine: a model server that this sync drains at its end.

    Raises:
        ConflictError: another sync uses the same folder.
        ServerError: the port is taken, or `engine` ended by itself.
    """
    with _lock(options.serving_dir) as acquired:
        if not acquired:
            raise ConflictError(
                f"another `orchard sync` works on {options.serving_dir}",
                hint="stop it, or set another ORCHARD_SERVING_DIR",
            )
        listener = listen(host, port)
        reconciler = _reconciler(source, options, log.write)
        stopping = _catch_signals(reconciler)
        StatusServer(listener, reconciler.status, reconciler.metrics)
        log.write(
            "following", model=options.model, store=source.store.name, port=listener.getsockname()[1], pid=os.getpid()
        )
        reconciler.watcher.start(reconciler.wake.set)
        while not stopping:
            if engine and not engine.running():
                raise ServerError(f"the model server ended with exit code {engine.wait()}")
            try:
                wait = reconciler.tick()
            except OSError as error:  # a full disk or a removed folder: serving continues
                problem = explain(error, options.serving_dir)
                reconciler.problems["disk"] = problem.message if problem else f"{type(error).__name__}: {error}"
                reconciler.metrics.failures.add("disk")
                log.write("disk", reason=reconciler.problems["disk"])
                wait = 1.0
            else:
                reconciler.problems.pop("disk", None)
            reconciler.wake.wait(wait)
            reconciler.wake.clear()
        reconciler.watcher.stop()
        if engine:
            engine.stop(grace=_DRAIN_S)
        log.write("stopped")


def _catch_signals(reconciler: Reconciler) -> list[int]:
    caught: list[int] = []

    def stop(number: int, frame: Any) -> None:
        caught.append(number)
        reconciler.wake.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return caught


def sync_once(
    source: SyncSource,
    options: SyncOptions,
    channel: str,
    timeout_s: float,
    log_event: Callable[..., None],
) -> SyncResult:
    """Bring a channel's version to the engine and return when it is served; if another sync holds the folder, wait for it.

    Args:
        source: the source of the version.
        options: the options.
        channel: the channel.
        timeout_s: the longest wait.
        log_event: called with each event's name and fields.

    Raises:
        DataError: nothing was ever promoted to the channel.
        DiskError: its version does not fit into the folder.
        IntegrityError: the channel is not trusted, or its version was refused.
        ServerError: the engine does not serve the version in time.
        StoreError: the store does not answer.
    """
    deadline = time.monotonic() + timeout_s
    with _lock(options.serving_dir) as acquired:
        if not acquired:
            return _await_other_sync(source, options, channel, deadline)
        reconciler = _reconciler(source, options, log_event)
        reconciler.watcher.read_channels()
        pointer = _pointer(reconciler.watcher, channel)
        while True:
            with writing_to(options.serving_dir):
                wait = reconciler.tick()
                reconciler.require_room()
            version, status = pointer.version, reconciler.status()
            if status.is_live(channel) and status.state.labels[channel] == version:
                return SyncResult(channel, version, pointer.generation, live=True)
            if options.server_url is None and version in status.observed.downloaded:
                return SyncResult(channel, version, pointer.generation, live=False)
            _raise_refusal(status.state, pointer)
            if time.monotonic() > deadline:
                raise _timeout_error(status.problems.get("sync", ""), options, pointer, timeout_s)
            reconciler.wake.wait(wait)
            reconciler.wake.clear()


def _pointer(watcher: ChannelWatcher, channel: str) -> ChannelPointer:
    if channel in watcher.problems:
        raise IntegrityError(f"channel {channel!r} of {watcher.model!r}: {watcher.problems[channel]}")
    pointer = watcher.pointers.get(channel)
    if pointer is None:
        raise DataError(
            f"nothing was ever promoted to the channel {channel!r} of {watcher.model!r}",
            hint="`orchard promote latest --why …` does it",
        )
    return pointer


def _raise_refusal(state: SyncState, pointer: ChannelPointer) -> None:
    refusal = state.refused.get(pointer.manifest_sha256)
    if refusal and refusal.holds:
        served = state.labels.get(pointer.channel)
        raise IntegrityError(
            f"version {pointer.version} was refused: {refusal.reason}",
            hint=(f"version {served} is still served; " if served else "")
            + "sync judges it again when the cause is gone; `orchard promote --again` has it judged at once",
        )


def _timeout_error(problem: str, options: SyncOptions, pointer: ChannelPointer, timeout_s: float) -> OrchardError:
    text = f"version {pointer.version} is not live after {timeout_s:g} s"
    return ServerError(
        f"{text}: {problem}" if problem else text,
        hint=f"is the engine at {options.server_url} running and reading {options.serving_dir}, and does it need "
        "`--engine-token-file`? `--no-engine` only downloads",
    )


def _await_other_sync(source: SyncSource, options: SyncOptions, channel: str, deadline: float) -> SyncResult:
    """Wait for the sync that holds the folder."""
    watcher = ChannelWatcher(source.store, options.model, source.trust, {}, channels=options.channels)
    watcher.read_channels()
    pointer = _pointer(watcher, channel)
    begin = time.monotonic()
    engine = _engine(options)
    while True:
        state = load_state(options.serving_dir / STATE_NAME, options.model)
        if engine and state.labels.get(channel) == pointer.version == engine.label(channel):
            return SyncResult(channel, pointer.version, pointer.generation, live=True)
        if engine is None and (options.serving_dir / options.model / str(pointer.version)).exists():
            return SyncResult(channel, pointer.version, pointer.generation, live=False)
        if state.channels.get(channel) and state.channels[channel].generation >= pointer.generation:
            _raise_refusal(state, pointer)
        if time.monotonic() > deadline:
            raise _timeout_error(
                "the sync that works on it has not finished", options, pointer, time.monotonic() - begin
            )
        time.sleep(_OTHER_SYNC_POLL_S)
