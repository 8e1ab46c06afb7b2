"""The loop: it observes the channels, the disk and the engine, and carries out what `planning.plan` derives from them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from orchard.errors import IntegrityError, ServerError, StoreError
from orchard.registry.manifest import Manifest
from orchard.registry.pointers import CHANNELS, ChannelPointer
from serving.models_config import ModelConfig, Specific
from serving.sync.background_task import BackgroundTask, TaskOutcome
from serving.sync.channel_watcher import ChannelWatcher
from serving.sync.download import DiskQuota, InsufficientSpace, PermanentError, fetch
from serving.sync.engine import CONFIG_NAME, EngineClient, EngineUnavailable, read_config, write_config
from serving.sync.planning import (
    BUSY_S,
    CALM_S,
    AcceptPointer,
    Action,
    Download,
    MoveLabel,
    Observation,
    QueryEngine,
    RefuseVersion,
    RemoveVersion,
    Validate,
    WriteConfig,
    apply,
    is_loading,
    plan,
)
from serving.sync.sync_metrics import SyncMetrics
from serving.sync.sync_state import SyncState, save_state
from serving.sync.version_cache import VersionCache

__all__ = ["STATE_NAME", "Reconciler", "SyncOptions", "SyncStatus"]

STATE_NAME = "sync.json"


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


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """What sync knows at one moment.

    Attributes:
        state: what it remembers.
        observed: what it knows of everything else.
        problems: what is wrong now: of the store, of each channel, and of sync itself as "sync".
        engine_url: the engine's address, or None.
        store: the store's name.
        last_success: when the store last answered, in seconds since 1970; 0: never.
        requests: how many requests following the channels has cost.
        silent_s: seconds since the loop's last turn.
    """

    state: SyncState
    observed: Observation
    problems: Mapping[str, str]
    engine_url: str | None
    store: str
    last_success: float
    requests: int
    silent_s: float

    def is_live(self, channel: str) -> bool:
        """Whether the engine confirms what a channel's label points to."""
        version = self.state.labels.get(channel)
        return version is not None and self.observed.confirmed.get(channel) == version

    @property
    def ready(self) -> bool:
        """Whether the stable version is available at the engine, validated, and what its label points to."""
        return self.is_live("stable") and self.observed.is_available(self.state.labels["stable"])


class _ObsoleteFetch(Exception):
    """No channel points to the version that is being downloaded."""


class Reconciler:
    """One model's way from the store to the engine: it carries out the plan.

    Args:
        settings: how.
        state: what a former run remembered.
        follower: follows the channels.
        engine: the model server; None: versions are only downloaded.
        tell: called with every event, as a name and its fields.
        send: runs what takes long; beside the loop.
        clock: the monotonic clock.
    """

    def __init__(
        self,
        settings: SyncOptions,
        state: SyncState,
        follower: ChannelWatcher,
        engine: EngineClient | None,
        tell: Callable[..., None],
        *,
        send: type[BackgroundTask[Any]] = BackgroundTask,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.state = state
        self.follower = follower
        self.wake = threading.Event()
        self.instruments = SyncMetrics()
        self.problems: dict[str, str] = {}
        self._engine = engine
        self._tell = tell
        self._send = send
        self._clock = clock
        self._ticked = clock()
        self._shelf = VersionCache(settings.serving_dir, settings.model)
        self._config = settings.serving_dir / CONFIG_NAME
        self._observed = Observation(str(self._shelf.base), engine is not None, settings.keep)
        self._download: BackgroundTask[Manifest] | None = None
        self._validation: BackgroundTask[int] | None = None
        self._restore()

    def _restore(self) -> None:
        """Check what a former run left, without a store: only what is still whole is served."""
        for name in self._shelf.sweep():
            self._tell("swept", leftover=name)
        found: dict[int, str] = {}
        for version in self._shelf.versions():
            try:
                found[version] = self._shelf.verify(version, self.follower.trust.keys()).document_sha256
            except IntegrityError as error:
                aside = self._shelf.set_aside(version)
                self.instruments.failures.add("disk")
                self._tell("set aside", version=version, to=aside.name, reason=error.message)
        config = read_config(self._config, self.settings.model)
        self._observe(downloaded=found)
        # The state was lost. The configuration was written after validation, and the engine may have in its memory what
        # is damaged on disk: a configuration without that version would make it unload what it serves.
        if config and not self.state.labels:
            labels = {label: at for label, at in config.labels.items() if label in CHANNELS}
            self.state = replace(self.state, labels=labels)
        if not self._config.exists():
            write_config(self._config, ModelConfig(self.settings.model, self._observed.base, Specific(())))

    def status(self) -> SyncStatus:
        """What sync knows now; for any thread."""
        problems = "; ".join(list(self.problems.values()))
        return SyncStatus(
            self.state,
            self._observed,
            {**self.follower.problems, **({"sync": problems} if problems else {})},
            self.settings.server_url,
            self.follower.store.name,
            self.follower.last_success,
            self.follower.requests,
            self._clock() - self._ticked,
        )

    def tick(self) -> float:
        """Do what can be done now, without waiting; returns the seconds after which there may be more to do."""
        self._ticked = self._clock()
        self._finish_download()
        self._finish_validation()
        for _ in range(2):  # before and after the engine's answer
            pointers = dict(self.follower.pointers)
            self._observe(pointers=pointers, config=read_config(self._config, self.settings.model))
            for action in plan(self.state, self._observed, self._clock()):
                self._perform(action)
        wait = self._observed.timers.engine_due - self._clock() if self._engine else CALM_S
        return min(max(wait, BUSY_S), CALM_S)

    def _observe(self, **changes: Any) -> None:
        self._observed = replace(self._observed, **changes)

    def _perform(self, action: Action) -> None:
        """Carry out an action; what it changes on the disk comes before what sync then takes for granted."""
        state = self.state
        match action:
            case WriteConfig(config):
                write_config(self._config, config)
            case RemoveVersion(version):
                self._shelf.remove(version)
            case QueryEngine() if self._engine:
                self._query_engine(self._engine)
        self.state, self._observed = apply(action, self.state, self._observed, self._clock(), time.time())
        if self.state is not state:
            save_state(self.settings.serving_dir / STATE_NAME, self.state)
        match action:
            case Download(pointer):
                self._download = self._send(f"fetch {pointer.version}", partial(self._fetch, pointer), self.wake.set)
            case Validate(version) if self._engine:
                work = partial(self._engine.ask_golden, version, self._shelf.folder(version))
                self._validation = self._send(f"prove {version}", work, self.wake.set)
        self._report(action, state)

    def _report(self, action: Action, before: SyncState) -> None:
        match action:
            case AcceptPointer(pointer):
                channel, generation = pointer.channel, pointer.generation
                self._tell("channel", channel=channel, version=pointer.version, generation=generation)
            case WriteConfig(config):
                versions = sorted(self._observed.configured())
                self._tell("configured", versions=versions, labels=dict(config.labels))
            case RefuseVersion(version, manifest_sha256, reason, kind):
                self.instruments.failures.add(kind)
                refusal = self.state.refused[manifest_sha256]
                self._tell("refused", version=version, reason=reason, tries=refusal.tries, final=refusal.final)
            case MoveLabel(channel, version):
                self.instruments.moves.add(channel)
                self._tell("label moved", channel=channel, version=version, before=before.labels.get(channel))
            case RemoveVersion(version):
                self._tell("removed", version=version)

    # downloads

    def _fetch(self, pointer: ChannelPointer) -> Manifest:
        count = partial(self._count, pointer.manifest_sha256)
        follower = self.follower
        return fetch(follower.store, pointer, self._shelf, follower.trust.keys(), self.settings.allowance, count)

    def _count(self, manifest_sha256: str, size: int) -> None:
        """Count bytes that came, and end a download that no channel wants any more."""
        self.instruments.bytes.add(amount=size)
        if all(pointer.manifest_sha256 != manifest_sha256 for pointer in list(self.follower.pointers.values())):
            raise _ObsoleteFetch("no channel wants this version any more")

    def _finish_download(self) -> None:
        outcome, download = self._download.outcome() if self._download else None, self._observed.downloading
        if outcome is None or download is None:
            return
        self._download = None
        self._observe(downloading=None)
        version, manifest = download.pointer.version, outcome.result
        if manifest is None:
            self._download_failed(download.pointer, outcome)
            return
        timers = replace(self._observed.timers, retries=0)
        self._observe(downloaded={**self._observed.downloaded, version: manifest.document_sha256}, timers=timers)
        self.problems.pop("fetch", None)
        self._tell("fetched", version=version, bytes=manifest.size)

    def _download_failed(self, pointer: ChannelPointer, outcome: TaskOutcome[Manifest]) -> None:
        error, text = outcome.error, _text(outcome.error)
        if isinstance(error, _ObsoleteFetch):
            return
        self._observe(timers=self._observed.timers.download_failed(self._clock()))
        if isinstance(error, StoreError | InsufficientSpace | OSError):  # no fault of the version
            reason = "store" if isinstance(error, StoreError) else "room"
            self._observe(out_of_space=reason == "room")
            self.problems["fetch"] = text
            self.instruments.failures.add(reason)
            self._tell("not fetched", version=pointer.version, reason=text)
            return
        kind = "rule" if isinstance(error, PermanentError) else "integrity"
        self._perform(RefuseVersion(pointer.version, pointer.manifest_sha256, text, kind))

    # the engine

    def _query_engine(self, engine: EngineClient) -> None:
        try:
            self._observe(statuses=engine.versions())
        except EngineUnavailable as error:
            self._observe(statuses=None, confirmed={})
            self.problems["engine"] = error.message
            return
        self.problems.pop("engine", None)
        now, timers = self._clock(), self._observed.timers
        if now >= timers.labels_due or not is_loading(self.state, self._observed):
            confirmed = {channel: engine.label(channel) for channel in self.state.labels}
            self._observe(confirmed=confirmed, timers=replace(timers, labels_due=now + CALM_S))

    def _finish_validation(self) -> None:
        outcome, validated = self._validation.outcome() if self._validation else None, self._observed.validating
        if outcome is None or validated is None:
            return
        self._validation = None
        self._observe(validating=None)
        if outcome.error is not None:
            self._validation_failed(validated, outcome.error)
            return
        self.state = self.state.validate(validated.manifest_sha256)
        save_state(self.settings.serving_dir / STATE_NAME, self.state)
        self._tell("proved", version=validated.version, photos=outcome.result)

    def _validation_failed(self, validated: Validate, error: Exception) -> None:
        timers = self._observed.timers.validation_failed(self._clock())
        self._observe(timers=timers)
        if isinstance(error, ServerError) and self._engine:
            try:
                self._engine.versions()
            except EngineUnavailable:  # the engine is gone: that says nothing of the version
                self._observe(timers=replace(timers, engine_due=self._clock()))
                return
        kind = "golden" if isinstance(error, IntegrityError) else "answer"
        self._perform(RefuseVersion(validated.version, validated.manifest_sha256, _text(error), kind))


def _text(error: Exception | None) -> str:
    return getattr(error, "message", None) or f"{type(error).__name__}: {error}"
