"""The executor: it observes the channels, the disk and the engine, and carries out the actions of `planning.plan`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from orchard.channel_names import DEFAULT_CHANNELS
from orchard.client import VersionStatus
from orchard.errors import DiskError, IntegrityError, OrchardError, ServerError, StoreError
from orchard.registry.manifest import Manifest
from orchard.registry.pointers import ChannelPointer
from serving.models_config import ModelConfig, Specific
from serving.sync.background_task import run_in_background
from serving.sync.canary_route import CanaryRoute
from serving.sync.channel_watcher import ChannelWatcher
from serving.sync.download import DiskQuota, PermanentError, download_version
from serving.sync.engine import CONFIG_NAME, EngineClient, EngineConfig, EngineUnavailable
from serving.sync.planning import (
    BUSY_S,
    CALM_S,
    AcceptPointer,
    Action,
    Download,
    JudgeAgain,
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
from serving.sync.version_cache import DiskStamp, VersionCache

__all__ = ["STATE_NAME", "Reconciler", "SyncOptions", "SyncStatus"]

STATE_NAME = "sync.json"


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """The options of sync.

    Attributes:
        serving_dir: the folder that sync and the engine share.
        model: the model's name.
        server_url: the engine's REST address; None: versions are only downloaded.
        keep: how many earlier versions of labels stay on disk, for a rollback without a download.
        quota: how much of the disk versions may take.
        token_file: the file of the engine's bearer token; None: no token.
        channels: the channels that are followed; each is a label of the model.
        router_dir: the folder by which the router gets the weights; None: there is no router.
    """

    serving_dir: Path
    model: str
    server_url: str | None
    keep: int = 2
    quota: DiskQuota = field(default_factory=DiskQuota)
    token_file: Path | None = None
    router_dir: Path | None = None
    channels: tuple[str, ...] = DEFAULT_CHANNELS


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """What sync knows at one moment.

    Attributes:
        state: what it remembers.
        observed: what it knows beside that.
        problems: what is wrong now, by "store", channel, or "sync".
        advice: for some of the problems the cause's `code` and the `fix`.
        engine_url: the engine's address, or None.
        store: the store's name.
        last_success: when the store last answered, in seconds since 1970; 0: never.
        requests: how many requests watching the channels has cost.
        silent_s: seconds since the last tick.
        now: the time of the monotonic clock, as in the observation's timers.
        awaits_canary: whether this process has yet to serve the canary before it is ready for the first time.
    """

    state: SyncState
    observed: Observation
    problems: Mapping[str, str]
    advice: Mapping[str, Mapping[str, str]]
    engine_url: str | None
    store: str
    last_success: float
    requests: int
    silent_s: float
    now: float
    awaits_canary: bool

    def is_live(self, channel: str) -> bool:
        """Whether the engine confirms the version of a channel's label."""
        version = self.state.labels.get(channel)
        return version is not None and self.observed.confirmed.get(channel) == version

    def is_served(self, channel: str) -> bool:
        """Whether the engine serves the version of a channel's label."""
        return self.is_live(channel) and self.observed.is_available(self.state.labels[channel])

    @property
    def ready(self) -> bool:
        """Whether the engine serves what requests are routed to."""
        return self.is_served("stable") and not self.awaits_canary


class _ObsoleteDownload(Exception):
    """No channel points to the version that is being downloaded."""


class Reconciler:
    """Brings one model's versions from the store to the engine.

    Args:
        options: the options.
        state: what an earlier run remembered.
        watcher: watches the channels.
        engine: the model server; None: versions are only downloaded.
        log_event: called with each event's name and fields.
        run_task: runs downloads and validations, see `run_in_background`.
        clock: the monotonic clock.
    """

    def __init__(
        self,
        options: SyncOptions,
        state: SyncState,
        watcher: ChannelWatcher,
        engine: EngineClient | None,
        log_event: Callable[..., None],
        *,
        run_task: Callable[[str, Callable[[], Any], Callable[[], None]], Future[Any]] = run_in_background,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.options = options
        self.state = state
        self.watcher = watcher
        self.wake = threading.Event()
        self.metrics = SyncMetrics()
        self.problems: dict[str, str] = {}
        self._fetch_advice: dict[str, str] = {}
        self._full: list[BaseException] = []
        self._engine = engine
        self._log_event = log_event
        self._run_task = run_task
        self._clock = clock
        self._canary = CanaryRoute(options.router_dir, log_event, clock)
        self._last_tick = clock()
        self._cache = VersionCache(options.serving_dir, options.model)
        self._config = EngineConfig(options.serving_dir / CONFIG_NAME, options.model)
        self._observed = Observation(str(self._cache.base), engine is not None, options.keep)
        self._download: Future[Manifest] = Future()  # of `_observed.downloading`
        self._validation: Future[int] = Future()  # of `_observed.validating`
        self._statuses_before: Mapping[int, VersionStatus] = {}
        self._stamps: dict[int, DiskStamp] = {}  # of `_observed.downloaded`, when they were verified
        self._disk_due = 0.0
        self._restore()

    def _restore(self) -> None:
        """Verify the versions that an earlier run left, without the store: only complete ones are served."""
        for name in self._cache.sweep():
            self._log_event("swept", leftover=name)
        downloaded: dict[int, str] = {}
        for version in self._cache.versions():
            try:
                stamp = self._cache.stamp(version)
                downloaded[version] = self._cache.verify(version, self.watcher.trust.current()).document_sha256
                self._stamps[version] = stamp
            except IntegrityError as error:
                aside = self._cache.set_aside(version)
                self.metrics.failures.add("disk")
                self._log_event("set aside", version=version, to=aside.name, reason=error.message)
        config = self._config.read()
        self._observe(downloaded=downloaded)
        # The state was lost. The configuration was written after validation. The engine may serve from its memory what is
        # damaged on disk: a configuration without that version would make it unload that version.
        if config and not self.state.labels:
            labels = {label: at for label, at in config.labels.items() if label in self.options.channels}
            self.state = replace(self.state, labels=labels)
        if not self._config.path.exists():
            self._config.write(ModelConfig(self.options.model, self._observed.base, Specific(())))

    def status(self) -> SyncStatus:
        """What sync knows now; any thread may call this."""
        problems, now = "; ".join(list(self.problems.values())), self._clock()
        return SyncStatus(
            self.state,
            self._observed,
            {**self.watcher.problems, **({"sync": problems} if problems else {})},
            {**self.watcher.advice, **({"sync": self._fetch_advice} if "fetch" in self.problems else {})},
            self.options.server_url,
            self.watcher.store.name,
            self.watcher.last_success,
            self.watcher.requests,
            now - self._last_tick,
            now,
            self._canary.awaited,
        )

    def require_room(self) -> None:
        """Raise why the disk has no room for a version, once versions that nothing needs were deleted in vain."""
        if len(self._full) > 1:
            raise self._full[-1]

    def tick(self) -> float:
        """Do what can be done now, without waiting; returns the seconds until the next tick."""
        self._last_tick = self._clock()
        self._finish_download()
        self._finish_validation()
        self._check_disk()
        for _ in range(2):  # before and after the engine's answer
            pointers, trusted = dict(self.watcher.pointers), " ".join(sorted(self.watcher.trust.current().keys))
            self._observe(pointers=pointers, trusted=trusted, config=self._config.read())
            for action in plan(self.state, self._observed, self._clock()):
                self._perform(action)
        self._canary.update(self.state, self._observed, stable_is_live=self.status().is_served("stable"))
        wait = self._observed.timers.engine_due - self._clock() if self._engine else CALM_S
        return min(max(wait, BUSY_S), CALM_S)

    def _check_disk(self) -> None:
        """Forget versions whose files somebody else has changed or removed: they are verified or downloaded again."""
        now = self._clock()
        if now < self._disk_due:
            return
        self._disk_due = now + CALM_S
        downloaded = self._observed.downloaded
        changed = [version for version in downloaded if self._cache.stamp(version) != self._stamps.get(version)]
        for version in changed:
            self.metrics.failures.add("disk")
            self._log_event("changed on disk", version=version)
        if changed:
            self._observe(downloaded={number: at for number, at in downloaded.items() if number not in changed})

    def _observe(self, **changes: Any) -> None:
        self._observed = replace(self._observed, **changes)

    def _perform(self, action: Action) -> None:
        """Carry out an action. The disk changes before the state and the observation do."""
        state = self.state
        match action:
            case WriteConfig(config):
                self._config.write(config)
            case RemoveVersion(version):
                self._cache.remove(version)
                self._stamps.pop(version, None)
            case QueryEngine() if self._engine:
                self._query_engine(self._engine)
        self.state, self._observed = apply(action, self.state, self._observed, self._clock(), time.time())
        if self.state is not state:
            self._save_state()
        match action:
            case Download(pointer):
                work = partial(self._download_version, pointer)
                self._download = self._run_task(f"download {pointer.version}", work, self.wake.set)
            case Validate(version) if self._engine:
                predict = partial(self._engine.predict_golden, version, self._cache.folder(version))
                self._validation = self._run_task(f"validate {version}", predict, self.wake.set)
        self._report(action, state)

    def _save_state(self) -> None:
        save_state(self.options.serving_dir / STATE_NAME, self.state)

    def _report(self, action: Action, before: SyncState) -> None:
        match action:
            case AcceptPointer(pointer):
                channel, generation = pointer.channel, pointer.generation
                self._log_event("channel", channel=channel, version=pointer.version, generation=generation)
            case WriteConfig(config):
                self._log_event("configured", versions=sorted(self._observed.configured()), labels=dict(config.labels))
            case RefuseVersion(version, manifest_sha256, reason, kind):
                self.metrics.failures.add(kind)
                refusal = self.state.refused[manifest_sha256]
                self._log_event("refused", version=version, reason=reason, tries=refusal.tries, final=refusal.final)
            case JudgeAgain(version, _, why):
                self._log_event("judged again", version=version, because=why)
            case MoveLabel(channel, version):
                self.metrics.moves.add(channel)
                self._log_event("label moved", channel=channel, version=version, before=before.labels.get(channel))
            case RemoveVersion(version):
                self._log_event("removed", version=version)

    # downloads

    def _download_version(self, pointer: ChannelPointer) -> Manifest:
        def count(size: int) -> None:
            self.metrics.bytes.add(amount=size)
            current = list(self.watcher.pointers.values())
            if all(other.manifest_sha256 != pointer.manifest_sha256 for other in current):
                raise _ObsoleteDownload

        watcher = self.watcher
        return download_version(watcher.store, pointer, self._cache, watcher.trust.current(), self.options.quota, count)

    def _finish_download(self) -> None:
        download = self._observed.downloading
        if download is None or not self._download.done():
            return
        self._observe(downloading=None)
        error = self._download.exception()
        if error is not None:
            self._download_failed(download.pointer, error)
            return
        version, manifest = download.pointer.version, self._download.result()
        timers = replace(self._observed.timers, retries=0)
        self._stamps[version] = self._cache.stamp(version)
        self._observe(downloaded={**self._observed.downloaded, version: manifest.document_sha256}, timers=timers)
        self.problems.pop("fetch", None)
        self._full.clear()
        self._log_event("fetched", version=version, bytes=manifest.size)

    def _download_failed(self, pointer: ChannelPointer, error: BaseException) -> None:
        if isinstance(error, _ObsoleteDownload):
            return
        text = _text(error)
        if isinstance(error, StoreError | DiskError | OSError):  # the version is not at fault
            reason = "store" if isinstance(error, StoreError) else "room"
            self._observe(out_of_space=reason == "room", timers=self._observed.timers.download_failed(self._clock()))
            self.problems["fetch"] = text
            self._fetch_advice = {}
            if reason == "room":
                self._full.append(error)
            if isinstance(error, OrchardError):
                self._fetch_advice = {"code": error.code or error.kind, "fix": error.hint}
            self.metrics.failures.add(reason)
            self._log_event("not fetched", version=pointer.version, reason=text, **self._fetch_advice)
            return
        kind = "rule" if isinstance(error, PermanentError) else "integrity"
        self._perform(RefuseVersion(pointer.version, pointer.manifest_sha256, text, kind))
        if not self.state.is_refused(
            pointer.manifest_sha256
        ):  # else the other channels need not wait for its next attempt
            self._observe(timers=self._observed.timers.download_failed(self._clock()))

    # the engine

    def _query_engine(self, engine: EngineClient) -> None:
        try:
            statuses = engine.versions()
        except EngineUnavailable as error:
            self._observe(statuses=None, confirmed={})
            self.problems["engine"] = error.message
            return
        self.problems.pop("engine", None)
        process = self._observed.engine_process + _is_new_process(self._statuses_before, statuses)
        self._statuses_before = statuses
        self._observe(statuses=statuses, engine_process=process)
        now, timers = self._clock(), self._observed.timers
        if now >= timers.labels_due or not is_loading(self.state, self._observed):
            confirmed = {channel: engine.label(channel) for channel in self.state.labels}
            self._observe(confirmed=confirmed, timers=replace(timers, labels_due=now + CALM_S))

    def _finish_validation(self) -> None:
        validation = self._observed.validating
        if validation is None or not self._validation.done():
            return
        self._observe(validating=None)
        error = self._validation.exception()
        if error is not None:
            self._validation_failed(validation, error)
            return
        self.state = self.state.validate(validation.manifest_sha256)
        self._save_state()
        self._log_event("proved", version=validation.version, photos=self._validation.result())

    def _validation_failed(self, validation: Validate, error: BaseException) -> None:
        timers = self._observed.timers.validation_failed(self._clock())
        self._observe(timers=timers)
        if isinstance(error, ServerError) and self._engine:
            try:
                self._engine.versions()
            except EngineUnavailable:  # the engine stopped: the version is not at fault
                self._observe(timers=replace(timers, engine_due=self._clock()))
                return
        kind = "golden" if isinstance(error, IntegrityError) else "answer"
        self._perform(RefuseVersion(validation.version, validation.manifest_sha256, _text(error), kind))


def _is_new_process(before: Mapping[int, VersionStatus], now: Mapping[int, VersionStatus]) -> bool:
    """Whether another process of the engine answers: it has not loaded, or does not know, what the other one had tried."""
    served = [version for version, status in before.items() if status.state == "AVAILABLE"]
    return not before.keys() <= now.keys() or any(now[version].state in ("START", "LOADING") for version in served)


def _text(error: BaseException) -> str:
    return getattr(error, "message", None) or f"{type(error).__name__}: {error}"
