"""sync as a process: its lock, its loop, its end; and the wait of `--once`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

__all__ = ["SyncResult", "SyncSource", "follow", "sync_once"]

LOCK_NAME = ".sync.lock"
_WATCH_S = 0.05
_DRAIN_S = 30.0


@dataclass(frozen=True, slots=True)
class SyncSource:
    """Where versions come from: the store, the trusted keys, the longest mean time between two looks in seconds."""

    store: ObjectStore
    trust: TrustedKeysFile
    poll_s: float = NEAR_POLL_S


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What `--once` reached: the channel's version and generation, and whether the engine answers with it."""

    channel: str
    version: int
    generation: int
    live: bool


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Hold the folder for this process; yields False if another sync has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LOCK_NAME) as held:
        yield held


def _engine(plan: SyncOptions) -> EngineClient | None:
    return EngineClient(plan.server_url, plan.model, plan.token_file) if plan.server_url else None


def _reconciler(source: SyncSource, plan: SyncOptions, tell: Callable[..., None]) -> Reconciler:
    state = load_state(plan.serving_dir / STATE_NAME, plan.model)
    follower = ChannelWatcher(
        source.store, plan.model, source.trust, state.generations(), poll_s=source.poll_s, tell=tell
    )
    return Reconciler(plan, state, follower, _engine(plan), tell)


def follow(
    source: SyncSource, plan: SyncOptions, host: str, port: int, log: EventLog, engine: ChildProcess | None = None
) -> None:
    """Keep the engine at what the channels mean, until SIGTERM or SIGINT.

    Args:
        source: where versions come from.
        plan: where they go.
        host: the address of the status page.
        port: its port; 0: any free one.
        log: where events are written.
        engine: a model server that lives as long as this sync, which drains it at the end.

    Raises:
        ConflictError: another sync works on the same folder.
        ServerError: the port is taken, or `engine` has ended by itself.
    """
    with _lock(plan.serving_dir) as held:
        if not held:
            raise ConflictError(
                f"another `orchard sync` works on {plan.serving_dir}",
                hint="one is enough; stop it, or name another folder",
            )
        listener = listen(host, port)
        reconciler = _reconciler(source, plan, log.write)
        stopping = _catch_signals(reconciler)
        StatusServer(listener, reconciler.status, reconciler.instruments)
        log.write(
            "following", model=plan.model, store=source.store.name, port=listener.getsockname()[1], pid=os.getpid()
        )
        reconciler.follower.start(reconciler.wake.set)
        while not stopping:
            if engine and not engine.running():
                raise ServerError(f"the model server ended with exit code {engine.wait()}")
            try:
                wait = reconciler.tick()
            except OSError as error:  # a full disk, a folder that was taken away: what is served is served on
                reconciler.problems["disk"] = f"{type(error).__name__}: {error}"
                reconciler.instruments.failures.add("disk")
                log.write("disk", reason=reconciler.problems["disk"])
                wait = 1.0
            else:
                reconciler.problems.pop("disk", None)
            reconciler.wake.wait(wait)
            reconciler.wake.clear()
        reconciler.follower.stop()
        if engine:
            engine.stop(grace=_DRAIN_S)
        log.write("stopped")
    sys.stdout.flush()
    os._exit(0)  # a request to a store that hangs is not waited for


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
    plan: SyncOptions,
    channel: str,
    timeout_s: float,
    tell: Callable[..., None] = lambda event, **fields: None,
) -> SyncResult:
    """Bring a channel's version to the engine and return when it answers; where another sync is at it, wait for that.

    Args:
        source: where the version comes from.
        plan: where it goes.
        channel: the channel.
        timeout_s: how long it may take.
        tell: called with every event.

    Raises:
        DataError: nothing was ever promoted to the channel.
        IntegrityError: the channel is not believed, or its version was refused.
        ServerError: the engine does not answer, or not with the version, in time.
        StoreError: the store does not answer.
    """
    deadline = time.monotonic() + timeout_s
    with _lock(plan.serving_dir) as held:
        if not held:
            return _watch(source, plan, channel, deadline)
        reconciler = _reconciler(source, plan, tell)
        reconciler.follower.look()
        pointer = _pointer(reconciler.follower, channel, reconciler.state)
        while True:
            wait = reconciler.tick()
            version, status = pointer.version, reconciler.status()
            if status.is_live(channel) and status.state.labels[channel] == version:
                return SyncResult(channel, version, pointer.generation, live=True)
            if plan.server_url is None and version in status.observed.downloaded:
                return SyncResult(channel, version, pointer.generation, live=False)
            _raise_refusal(status.state, pointer)
            if time.monotonic() > deadline:
                raise _late(status.problems.get("sync", ""), plan, pointer, timeout_s)
            reconciler.wake.wait(wait)
            reconciler.wake.clear()


def _pointer(follower: ChannelWatcher, channel: str, state: SyncState) -> ChannelPointer:
    if channel in follower.problems:
        raise IntegrityError(f"channel {channel!r} of {follower.model!r}: {follower.problems[channel]}")
    pointer = follower.pointers.get(channel)
    if pointer is None:
        raise DataError(
            f"nothing was ever promoted to the channel {channel!r} of {follower.model!r}",
            hint="`orchard promote latest --why …` does it",
        )
    return pointer


def _raise_refusal(state: SyncState, pointer: ChannelPointer) -> None:
    refusal = state.refused.get(pointer.manifest_sha256)
    if refusal and refusal.final:
        serving = state.labels.get(pointer.channel)
        raise IntegrityError(
            f"version {pointer.version} was refused: {refusal.reason}",
            hint=f"version {serving} serves on" if serving else "publish another version",
        )


def _late(problem: str, plan: SyncOptions, pointer: ChannelPointer, timeout_s: float) -> OrchardError:
    text = f"version {pointer.version} is not live after {timeout_s:g} s"
    return ServerError(
        f"{text}: {problem}" if problem else text,
        hint=f"is the engine at {plan.server_url} running and reading {plan.serving_dir}, and does it want "
        "`--engine-token-file`? `--no-engine` only fetches",
    )


def _watch(source: SyncSource, plan: SyncOptions, channel: str, deadline: float) -> SyncResult:
    """Wait for the sync that has the folder."""
    follower = ChannelWatcher(source.store, plan.model, source.trust, {})
    follower.look()
    pointer = _pointer(follower, channel, SyncState(1, plan.model))
    begin = time.monotonic()
    engine = _engine(plan)
    while True:
        state = load_state(plan.serving_dir / STATE_NAME, plan.model)
        if engine and state.labels.get(channel) == pointer.version == engine.label(channel):
            return SyncResult(channel, pointer.version, pointer.generation, live=True)
        if engine is None and (plan.serving_dir / plan.model / str(pointer.version)).exists():
            return SyncResult(channel, pointer.version, pointer.generation, live=False)
        if state.channels.get(channel) and state.channels[channel].generation >= pointer.generation:
            _raise_refusal(state, pointer)
        if time.monotonic() > deadline:
            raise _late("the sync that works on it has not brought it there", plan, pointer, time.monotonic() - begin)
        time.sleep(_WATCH_S)
