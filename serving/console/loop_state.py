"""The state of the loop: channels, versions, runs and what sync refuses, read from the store and from sync's status page.

A part that cannot be read is a problem of its own, a sentence, and hides no other part. A snapshot is kept for a moment, so
that many readers cost the store no more than one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from orchard.channel_names import channel_name_problem
from orchard.cli.version_argument import find_version
from orchard.documents import encode
from orchard.errors import DataError, OrchardError, ServerError
from orchard.registry.cards import MAX_CARD, read_card
from orchard.registry.channels import Channel
from orchard.registry.comparison import VersionDiff, compare_versions
from orchard.registry.known_channels import known_channels
from orchard.registry.pointers import ChannelPointer
from orchard.registry.registry import Registry
from orchard.registry.version_overview import VersionDetails, VersionSummary, read_version, summarize_versions
from orchard.registry.version_report import read_report
from orchard.runs.summary import RunSummary, read_entries
from orchard.signing import TrustedKeys
from serving.console.sync_status import read_sync_status

__all__ = ["ChannelOverview", "LoopReader", "LoopSnapshot"]

KEPT_S = 2.0
MOST_VERSIONS, MOST_RUNS = 50, 20
_THREADS = 3


@dataclass(frozen=True, slots=True)
class ChannelOverview:
    """A channel.

    Attributes:
        name: its name.
        history: its pointers, the newest first; empty: nothing was ever promoted to it, or it cannot be read.
        problem: why it cannot be read; empty: it can.
    """

    name: str
    history: tuple[ChannelPointer, ...]
    problem: str = ""

    @property
    def pointer(self) -> ChannelPointer | None:
        """What the channel points to."""
        return self.history[0] if self.history else None


@dataclass(frozen=True, slots=True)
class LoopSnapshot:
    """The state of the loop at one moment.

    Attributes:
        model: the model's name.
        store: the store's name.
        at: the time (RFC 3339, UTC).
        channels: every channel.
        versions: the newest ones and those that channels point to, the newest first.
        total: how many versions there are.
        runs: the newest runs, the newest first.
        sync: the document of sync's status page; None: it is not configured, or did not answer.
        problems: what could not be read, by part: `versions`, `runs`, `sync`.
        cropping: those of the channels' versions that see only the square in the middle of a photo.
    """

    model: str
    store: str
    at: str
    channels: tuple[ChannelOverview, ...] = ()
    versions: tuple[VersionSummary, ...] = ()
    total: int = 0
    runs: tuple[RunSummary, ...] = ()
    sync: dict[str, Any] | None = None
    problems: dict[str, str] = field(default_factory=dict)
    cropping: frozenset[int] = frozenset()

    @property
    def document(self) -> dict[str, Any]:
        """The state for programs."""
        return {
            "model": self.model,
            "store": self.store,
            "at": self.at,
            "channels": {
                one.name: {
                    "pointer": encode(one.pointer) if one.pointer else None,
                    "history": [encode(item) for item in one.history],
                    "problem": one.problem,
                }
                for one in self.channels
            },
            "versions": [one.document for one in self.versions],
            "total_versions": self.total,
            "runs": [_run_document(run) for run in self.runs],
            "sync": self.sync,
            "problems": self.problems,
        }

    @property
    def champion(self) -> int:
        """What the newest version is compared with: the version of the first channel that has another, else the one before."""
        newest, *others = [one.version for one in self.versions]
        served = [one.pointer.version for one in self.channels if one.pointer]
        return next((version for version in served if version != newest), others[0] if others else newest)

    @property
    def example_version(self) -> int | None:
        """The version whose golden photos are examples: that of the first channel that points to one."""
        return next((one.pointer.version for one in self.channels if one.pointer), None)

    @property
    def model_document(self) -> dict[str, Any]:
        """What the page needs to know of each version before its first request."""
        return {
            "model": self.model,
            "versions": {
                str(one.version): {
                    "channels": list(one.channels),
                    "classes": len(one.manifest.classes),
                    "explain": "explain" in one.manifest.signatures,
                    "crop": one.version in self.cropping,
                }
                for one in self.versions
                if one.manifest
            },
        }


def _run_document(run: RunSummary) -> dict[str, Any]:
    derived = {name: getattr(run, name) for name in ("state", "reason", "verdict", "version", "seconds")}
    return {**encode(run.run), **derived}


class LoopReader:
    """Reads the state of the loop; any thread may call it.

    Args:
        registry: the model's registry, without a signing key.
        trusted: returns the keys that are trusted now.
        sync_url: sync's status page, for example ``http://127.0.0.1:8502``; None: it is not configured.
    """

    def __init__(self, registry: Registry, trusted: Callable[[], TrustedKeys], sync_url: str | None = None) -> None:
        self._registry = registry
        self._trusted = trusted
        self._sync_url = sync_url
        self._lock = threading.Lock()
        self._kept: LoopSnapshot | None = None
        self._kept_until = 0.0

    @property
    def model(self) -> str:
        """The model's name."""
        return self._registry.model

    @property
    def registry(self) -> Registry:
        """The registry with the keys that are trusted now."""
        return replace(self._registry, trusted=self._trusted())

    def snapshot(self) -> LoopSnapshot:
        """Return the state, at most `KEPT_S` old. It raises no error: see `LoopSnapshot.problems`."""
        with self._lock:
            if self._kept is None or time.monotonic() > self._kept_until:
                self._kept = self._read()
                self._kept_until = time.monotonic() + KEPT_S
            return self._kept

    def _read(self) -> LoopSnapshot:
        registry, problems = self.registry, dict[str, str]()
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        empty = LoopSnapshot(registry.model, registry.store.name, at)
        known = {one.name: one for one in self._kept.channels} if self._kept else {}

        def attempt(part: str, read: Callable[[], Any], otherwise: Any) -> Any:
            try:
                return read()
            except OrchardError as error:
                problems[part] = _sentence(error)
                return otherwise

        with ThreadPoolExecutor(_THREADS) as pool:
            runs = pool.submit(attempt, "runs", lambda: read_entries(registry.store, MOST_RUNS), ())
            sync = pool.submit(attempt, "sync", lambda: read_sync_status(self._sync_url), None)
            channels = tuple(_read_channel(registry, name, known.get(name)) for name in _channel_names(registry))
            pointers = [one.pointer for one in channels if one.pointer]
            versions, total = attempt("versions", lambda: _read_versions(registry, pointers), ((), 0))
            cropping = attempt("versions", lambda: _read_cropping(registry, versions), frozenset())
        return replace(
            empty, channels=channels, versions=versions, total=total, runs=tuple(runs.result()), sync=sync.result(),
            problems=problems, cropping=cropping,
        )  # fmt: skip

    def find(self, name: str) -> int:
        """Return the number of a version: a number, `latest`, or a channel. Raises `DataError`."""
        if name.isascii() and name.isdecimal() and 0 < len(name) <= 12 and int(name) > 0:
            return int(name)
        if name == "latest" or not channel_name_problem(name):
            return find_version(self.registry, name)
        raise DataError(f"{name[:40]!r} is not a version", hint="expected a number, `latest`, or a channel")

    def version(self, name: str) -> VersionDetails:
        """Return a version in full; see `orchard.registry.version_overview.read_version` for the errors."""
        return read_version(self.registry, self.find(name))

    def compare(self, before: str, after: str) -> VersionDiff:
        """Compare two versions; see `orchard.registry.comparison.compare_versions` for the errors."""
        return compare_versions(self.registry, self.find(before), self.find(after))

    def card(self, name: str) -> bytes:
        """Return the model card of a version, as HTML. It is not signed, so nothing in it may be trusted.

        Raises:
            DataError: the version has none, or it is too large.
        """
        number = self.find(name)
        found = read_card(self._registry.store, self.model, number)
        if found is None:
            raise DataError(f"version {number} of {self.model} has no model card")
        if len(found.html) > MAX_CARD:
            raise DataError(
                f"the model card of version {number} has {len(found.html)} bytes; at most {MAX_CARD} are shown"
            )
        return found.html


def _sentence(error: OrchardError) -> str:
    """An error for a page: what happened, and what to do."""
    hint = f" ({error.hint})" if error.hint and not isinstance(error, ServerError) else ""
    return f"{error.message}{hint}"


def _channel_names(registry: Registry) -> tuple[str, ...]:
    """The channels; while the store cannot be read those of the settings, each of which says so."""
    try:
        return known_channels(registry)
    except OrchardError:
        return registry.channels


def _read_channel(registry: Registry, name: str, known: ChannelOverview | None) -> ChannelOverview:
    """Read a channel; its history only if the channel is not at the pointer that is known already."""
    try:
        pointer = Channel(registry, name).read()
        if known is not None and not known.problem and known.pointer == pointer:
            return known
        return ChannelOverview(name, tuple(reversed(Channel(registry, name).history())))
    except OrchardError as error:
        return ChannelOverview(name, (), _sentence(error))


def _read_versions(registry: Registry, pointers: list[ChannelPointer]) -> tuple[tuple[VersionSummary, ...], int]:
    numbers = registry.versions()
    shown = {*numbers[-MOST_VERSIONS:], *(one.version for one in pointers if one.version in numbers)}
    return tuple(summarize_versions(registry, sorted(shown, reverse=True), pointers)), len(numbers)


def _read_cropping(registry: Registry, versions: tuple[VersionSummary, ...]) -> frozenset[int]:
    """Which of the channels' versions cut photos, by the parameters in their reports."""
    found = set()
    for one in versions:
        report = read_report(registry, one.manifest) if one.channels and one.manifest else None
        model = report.params.get("model") if report else None
        if isinstance(model, dict) and model.get("resize") == "crop":
            found.add(one.version)
    return frozenset(found)
