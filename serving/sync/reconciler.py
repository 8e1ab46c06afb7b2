"""The loop: what the channels mean, what is on disk, what the engine serves, and the next step from one to the other.

Every step is derived from what is there, never from what was planned, so that a process killed at any instant goes on
where it was. In order: a version is fetched and checked; the engine is told to load it beside what it serves; it is
asked about its golden photos; only then does the channel's label move, and what nobody needs is removed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from orchard.client import VersionStatus
from orchard.errors import IntegrityError, ServerError, StoreError
from orchard.registry.manifest import Manifest
from orchard.registry.pointers import CHANNELS, ChannelPointer
from serving.configuration import Specific
from serving.sync.background_task import BackgroundTask, TaskOutcome
from serving.sync.channel_watcher import ChannelWatcher, TrustedKeysFile
from serving.sync.download import DiskQuota, InsufficientSpace, PermanentError, fetch
from serving.sync.engine import CONFIG_NAME, EngineClient, EngineUnavailable, read_config, write_config
from serving.sync.sync_metrics import SyncMetrics
from serving.sync.sync_state import ChannelState, SyncState, load_state, save_state
from serving.sync.version_cache import VersionCache

__all__ = ["STATE_NAME", "Reconciler", "SyncOptions"]

STATE_NAME = "sync.json"
_BUSY_S, _CALM_S, _SLOWER = 0.02, 1.0, 1.06
_RETRY_S, _LONGEST_RETRY_S = 0.5, 30.0


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """How sync works.

    Attributes:
        serving_dir: the folder that sync and the engine share.
        model: the model's name.
        server_url: the engine's REST address, or None: nothing is known of an engine, versions are only fetched.
        keep: how many versions that labels pointed to before stay on disk, for a rollback that moves no bytes.
        allowance: how much of the disk versions may take.
        token_file: holds the bearer token that the engine wants, or None: it wants none.
    """

    serving_dir: Path
    model: str
    server_url: str | None
    keep: int = 2
    allowance: DiskQuota = field(default_factory=DiskQuota)
    token_file: Path | None = None


class _ObsoleteFetch(Exception):
    """What was being fetched is not wanted any more."""


class Reconciler:
    """One model's way from the store to the engine.

    Args:
        plan: how.
        follower: what the channels say.
        trust: the keys that are believed.
        instruments: what is measured.
        tell: called with every event, as a name and its fields.
        send: how work that takes long is done; beside the loop.
    """

    def __init__(
        self,
        plan: SyncOptions,
        follower: Callable[[SyncState], ChannelWatcher],
        trust: TrustedKeysFile,
        instruments: SyncMetrics,
        tell: Callable[..., None],
        send: type[BackgroundTask[Any]] = BackgroundTask,
    ) -> None:
        self.plan = plan
        self.wake = threading.Event()
        self.instruments = instruments
        self.shelf = VersionCache(plan.serving_dir, plan.model)
        self.engine = EngineClient(plan.server_url, plan.model, plan.token_file) if plan.server_url else None
        self.state = load_state(plan.serving_dir / STATE_NAME, plan.model)
        self.statuses: dict[int, VersionStatus] | None = None
        self.live: dict[str, int | None] = {}
        self.held: dict[int, str] = {}
        self.problems: dict[str, str] = {}
        self.ticked = time.monotonic()
        self._trust = trust
        self._send = send
        self._tell = tell
        self._config = plan.serving_dir / CONFIG_NAME
        self._engine_due = 0.0
        self._labels_due = 0.0
        self._pace = _BUSY_S
        self._retry_at = 0.0
        self._retries = 0
        self._fetching: BackgroundTask[Manifest] | None = None
        self._proving: BackgroundTask[int] | None = None
        self._pointer: ChannelPointer | None = None
        self._proved: tuple[int, str] = (0, "")
        self._configured: set[int] = set()
        self._restore()
        self.follower = follower(self.state)

    # start

    def _restore(self) -> None:
        """Prove what a former run left, with no store: only what is still whole is served on."""
        for name in self.shelf.sweep():
            self._tell("swept", leftover=name)
        for version in self.shelf.versions():
            try:
                self.held[version] = self.shelf.verify(version, self._trust.keys()).document_sha256
            except IntegrityError as error:
                aside = self.shelf.set_aside(version)
                self.instruments.failures.add("disk")
                self._tell("set aside", version=version, to=aside.name, reason=error.message)
        config = read_config(self._config, self.plan.model)
        # The state was lost. What the engine was told was written after proof, and the engine may have in its memory what
        # is rotten on disk: to leave that out would tell it to let go of what it serves.
        if config and not self.state.labels:
            self.state.labels = {label: at for label, at in config.labels.items() if label in CHANNELS}
        if config and isinstance(config.policy, Specific):
            self._configured = set(config.policy.versions)
        if not self._config.exists():
            write_config(self._config, self.plan.model, self.shelf.base, set(), {})

    # one step

    def tick(self) -> float:
        """Do what can be done now, without waiting; returns the seconds after which there may be more to do."""
        self.ticked = time.monotonic()
        self._take_pointers()
        self._finish_fetch()
        self._finish_proof()
        self._start_fetch()
        self._write_config()  # what can be loaded is being loaded while the engine is asked
        self._ask_engine()
        self._start_proof()
        self._move_labels()
        self._write_config()
        self._clean()
        return max(self._engine_due - time.monotonic(), _BUSY_S)

    def _save(self) -> None:
        save_state(self.plan.serving_dir / STATE_NAME, self.state)

    def _take_pointers(self) -> None:
        for channel, pointer in list(self.follower.pointers.items()):
            seen = self.state.channels.get(channel)
            if seen and seen.generation >= pointer.generation:
                continue
            self.state.channels[channel] = ChannelState(
                pointer.generation, pointer.version, pointer.manifest_sha256, pointer.why, pointer.who
            )
            self.state.refused.pop(pointer.manifest_sha256, None)  # somebody set the channel anew: tried anew
            self._retries, self._retry_at = 0, 0.0
            self._ask_soon()
            self._save()
            self._tell("channel", channel=channel, version=pointer.version, generation=pointer.generation)

    def wanted(self) -> dict[str, ChannelState]:
        """What each channel means, without what is refused for good; stable first."""
        return {
            channel: seen
            for channel in CHANNELS
            if (seen := self.state.channels.get(channel)) and not self.state.is_refused(seen.manifest_sha256)
        }

    def pending(self) -> bool:
        """Whether something is on its way that will not wait for the next look at the channels."""
        if self._fetching or self._proving:
            return True
        moving = any(self.state.labels.get(channel) != seen.version for channel, seen in self.wanted().items())
        unconfirmed = any(self.live.get(channel) != at for channel, at in self.state.labels.items())
        return self.statuses is not None and (unconfirmed or (moving and time.monotonic() >= self._retry_at))

    def _is_held(self, seen: ChannelState) -> bool:
        return self.held.get(seen.version) == seen.manifest_sha256

    def _is_proved(self, seen: ChannelState) -> bool:
        return seen.manifest_sha256 in self.state.proved

    # fetching

    def _start_fetch(self) -> None:
        if self._fetching or time.monotonic() < self._retry_at:
            return
        for channel, seen in self.wanted().items():
            pointer = self.follower.pointers.get(channel)
            if pointer and not self._is_held(seen) and pointer.manifest_sha256 == seen.manifest_sha256:
                self._pointer = pointer
                self._fetching = self._send(f"fetch {pointer.version}", partial(self._fetch, pointer), self.wake.set)
                return

    def _fetch(self, pointer: ChannelPointer) -> Manifest:
        return fetch(
            self.follower.store,
            pointer,
            self.shelf,
            self._trust.keys(),
            self.plan.allowance,
            partial(self._count, pointer.manifest_sha256),
        )

    def _count(self, manifest_sha256: str, size: int) -> None:
        """Count bytes that came, and end a download that no channel wants any more."""
        self.instruments.bytes.add(amount=size)
        if all(pointer.manifest_sha256 != manifest_sha256 for pointer in list(self.follower.pointers.values())):
            raise _ObsoleteFetch("no channel wants this version any more")

    def _finish_fetch(self) -> None:
        outcome = self._fetching.outcome() if self._fetching else None
        if outcome is None or self._pointer is None:
            return
        pointer, self._fetching = self._pointer, None
        if outcome.result is not None:
            self.held[pointer.version] = outcome.result.document_sha256
            self._retries = 0
            self.problems.pop("fetch", None)
            self._tell("fetched", version=pointer.version, bytes=outcome.result.size)
            return
        self._fetch_failed(pointer, outcome)

    def _fetch_failed(self, pointer: ChannelPointer, outcome: TaskOutcome[Manifest]) -> None:
        error = outcome.error
        if isinstance(error, _ObsoleteFetch):
            return
        text = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
        self._retries += 1
        self._retry_at = time.monotonic() + min(_RETRY_S * 2 ** (self._retries - 1), _LONGEST_RETRY_S)
        if isinstance(error, StoreError | InsufficientSpace | OSError):  # no fault of the version
            reason = "store" if isinstance(error, StoreError) else "room"
            self.problems["fetch"] = text
            self.instruments.failures.add(reason)
            self._tell("not fetched", version=pointer.version, reason=text)
            if reason == "room":
                self._remove_surplus(keep=0)
            return
        self._refuse(
            pointer.manifest_sha256, pointer.version, text, "rule" if isinstance(error, PermanentError) else "integrity"
        )

    def _refuse(self, manifest_sha256: str, version: int, text: str, reason: str) -> None:
        final = reason in ("rule", "golden", "load")
        refusal = self.state.refuse(manifest_sha256, version, text, final=final)
        self.instruments.failures.add(reason)
        self._save()
        self._tell("refused", version=version, reason=text, tries=refusal.tries, final=refusal.final)

    # the engine

    def _ask_engine(self) -> None:
        if time.monotonic() < self._engine_due:
            return
        if self.engine is None:
            self._engine_due = time.monotonic() + _CALM_S
            return
        try:
            self.statuses = self.engine.versions()
        except EngineUnavailable as error:
            self.statuses, self.live = None, {}
            self.problems["engine"] = error.message
        else:
            self.problems.pop("engine", None)
            self._ask_labels(self.engine)
        self._pace = min(self._pace * _SLOWER, _CALM_S / 2) if self.pending() else _BUSY_S
        self._engine_due = time.monotonic() + (self._pace if self.pending() else _CALM_S)

    def _ask_labels(self, engine: EngineClient) -> None:
        """Ask what the labels mean; while a version is being loaded, which moves none, only once in a while."""
        loading = any(
            self._is_held(seen) and self._state_of(seen.version) in ("", "START", "LOADING")
            for seen in self.wanted().values()
        )
        if not loading or time.monotonic() >= self._labels_due:
            self.live = {channel: engine.label(channel) for channel in self.state.labels}
            self._labels_due = time.monotonic() + _CALM_S

    def _ask_soon(self) -> None:
        """Something was changed that the engine will show in a moment."""
        self._pace, self._engine_due = _BUSY_S, 0.0

    def _state_of(self, version: int) -> str:
        status = (self.statuses or {}).get(version)
        return status.state if status else ""

    def is_available(self, version: int) -> bool:
        """Whether the engine answers for a version."""
        return self._state_of(version) == "AVAILABLE"

    def _start_proof(self) -> None:
        if self.engine is None or self._proving or time.monotonic() < self._retry_at:
            return
        for seen in self.wanted().values():
            status = (self.statuses or {}).get(seen.version)
            if status is None or not self._is_held(seen) or self._is_proved(seen):
                continue
            if status.state == "END" and status.error:
                self._refuse(seen.manifest_sha256, seen.version, f"the engine cannot load it: {status.error}", "load")
            elif status.state == "AVAILABLE":
                self._prove(self.engine, seen)
                return

    def _prove(self, engine: EngineClient, seen: ChannelState) -> None:
        version, folder = seen.version, self.shelf.folder(seen.version)
        self._proved = (version, seen.manifest_sha256)
        self._proving = self._send(f"prove {version}", lambda: engine.ask_golden(version, folder), self.wake.set)

    def _finish_proof(self) -> None:
        outcome = self._proving.outcome() if self._proving else None
        if outcome is None:
            return
        self._proving = None
        version, manifest_sha256 = self._proved
        if outcome.error is None:
            self.state.proved = [*self.state.proved[-63:], manifest_sha256]
            self.state.refused.pop(manifest_sha256, None)
            self._save()
            self._tell("proved", version=version, photos=outcome.result)
            return
        self._proof_failed(version, manifest_sha256, outcome.error)

    def _proof_failed(self, version: int, manifest_sha256: str, error: Exception) -> None:
        text = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
        self._retry_at = time.monotonic() + _RETRY_S
        if isinstance(error, ServerError) and self.engine:
            try:
                self.engine.versions()
            except EngineUnavailable:  # the engine is gone: that says nothing of the version
                self._engine_due = 0.0
                return
        self._refuse(manifest_sha256, version, text, "golden" if isinstance(error, IntegrityError) else "answer")

    # what is served

    def _move_labels(self) -> None:
        for channel, seen in self.wanted().items():
            before = self.state.labels.get(channel)
            ready = self._is_held(seen) and self._is_proved(seen) and self.is_available(seen.version)
            if not ready or before == seen.version:
                continue
            self.state.labels[channel] = seen.version
            self.state.since[channel] = time.time()
            if before is not None:
                self.state.recent = [before, *(other for other in self.state.recent if other != before)][:64]
            self._save()
            self.instruments.moves.add(channel)
            self._tell("label moved", channel=channel, version=seen.version, before=before)

    def desired(self) -> set[int]:
        """The versions that the engine shall have: those with a label, and those on their way to one."""
        coming = {seen.version for seen in self.wanted().values() if self._is_held(seen)}
        return coming | set(self.state.labels.values())

    def _write_config(self) -> None:
        versions = self.desired()
        if not versions:  # what nobody wants stays, so that there is never nothing; what was refused does not
            refused = {refusal.version for refusal in self.state.refused.values() if refusal.final}
            if not self._configured or not self._configured <= refused:
                return
        labels = self._labels_that_hold()
        if write_config(self._config, self.plan.model, self.shelf.base, versions, labels):
            self._ask_soon()
            self._tell("configured", versions=sorted(versions), labels=labels)
        self._configured = versions

    def _labels_that_hold(self) -> dict[str, int]:
        """The labels, without those on versions of which an engine that is up knows nothing: it would refuse the file."""
        if self.statuses is None:
            return dict(self.state.labels)
        gone = {version for version in self.state.labels.values() if self._state_of(version) in ("", "END")}
        return {channel: version for channel, version in self.state.labels.items() if version not in gone}

    def _clean(self) -> None:
        if self.statuses is not None and len(self.held) > len(self.desired()):
            self._remove_surplus(self.plan.keep)

    def _remove_surplus(self, keep: int) -> None:
        """Remove versions that no label, channel or quick rollback needs and that the engine has let go of."""
        kept = [version for version in self.state.recent if version in self.held][:keep]
        needed = self.desired() | self._configured | set(kept) | {seen.version for seen in self.wanted().values()}
        for version in sorted(set(self.held) - needed):
            if self.engine and (self.statuses is None or self._state_of(version) not in ("", "END", "START")):
                continue
            self.shelf.remove(version)
            del self.held[version]
            self._tell("removed", version=version)

    def is_ready(self) -> bool:
        """Whether the stable version is available at the engine, proved, and what its label means."""
        version = self.state.labels.get("stable")
        return version is not None and self.is_available(version) and self.live.get("stable") == version
