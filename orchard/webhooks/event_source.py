"""Where events come from: entries of the channels' history, refused steps and failures of runs.

A position says up to where a receiver was served: a generation of each channel, and the time of the newest step or failure,
by the store's clock. Generations are exact. Times are not, so what is up to `OVERLAP` older than the position is derived
again: the same events have the same ids, and the records of deliveries know them. A clock that is further off than that
is refused by S3 itself (RequestTimeTooSkewed, from 15 minutes).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from orchard import layout
from orchard.documents import parse, strict_dataclass
from orchard.errors import IntegrityError, OrchardError
from orchard.registry.known_channels import known_channels
from orchard.registry.registry import Registry
from orchard.runs import records
from orchard.runs.records import Run
from orchard.runs.summary import objects_by_run
from orchard.store.objects import ObjectStat, ObjectStore
from orchard.webhooks.webhook_events import WebhookEvent, change_event, failure_event, refusal_event

__all__ = ["EventSource", "FoundEvents", "LocatedEvent", "SourcePosition"]

OVERLAP = timedelta(hours=1)
_EPOCH = datetime.fromtimestamp(0, UTC)
_REFUSING = ("gate", "publish")
"""The steps that run the gate."""


@strict_dataclass
class SourcePosition:
    """Up to where events were derived.

    Attributes:
        channels: the generation of each channel.
        runs: the time of the newest step or failure (RFC 3339, UTC).
    """

    channels: dict[str, int]
    runs: str

    @property
    def runs_time(self) -> datetime:
        """The time of the newest step or failure."""
        return datetime.fromisoformat(self.runs)


@dataclass(frozen=True, slots=True)
class LocatedEvent:
    """An event, and where it was found: at a generation of a channel, or in an object of a run of that time."""

    event: WebhookEvent
    channel: str = ""
    generation: int = 0
    modified: datetime | None = None

    def is_after(self, position: SourcePosition) -> bool:
        """Whether it may be later than a position: of runs also what is a little older."""
        if self.modified is not None:
            return self.modified >= position.runs_time - OVERLAP
        return self.generation > position.channels.get(self.channel, 0)

    def is_before(self, since: datetime) -> bool:
        """Whether it happened before a time."""
        return (self.modified or datetime.fromisoformat(self.event.time)) < since


@dataclass(frozen=True, slots=True)
class FoundEvents:
    """What was derived.

    Attributes:
        events: in the order in which they happened.
        position: up to where.
        problems: why some parts could not be read, by a channel's or a run's name; they come in a later pass.
    """

    events: tuple[LocatedEvent, ...]
    position: SourcePosition
    problems: dict[str, OrchardError]


@dataclass(slots=True)
class EventSource:
    """Derives events. It remembers which objects of runs it has read, for the passes of one process."""

    _kept: dict[tuple[str, str], WebhookEvent | None] = field(default_factory=dict)

    def read(self, registry: Registry, start: SourcePosition | None) -> FoundEvents:
        """Return the events of a model's channels and runs that are later than a position.

        Args:
            registry: the model, with the keys that are trusted.
            start: the position; None: only where the sources are now, and what runs did within `OVERLAP`.

        Raises:
            StoreError: the store failed.
        """
        events: list[LocatedEvent] = []
        problems: dict[str, OrchardError] = {}
        generations: dict[str, int] = {}
        for name in known_channels(registry):
            after = None if start is None else start.channels.get(name, 0)
            try:
                changes, generations[name] = _changes(registry, name, after)
            except IntegrityError as error:
                problems[name] = error
                generations.pop(name, None)
                continue
            events += changes
        found, newest = self._of_runs(registry, None if start is None else start.runs_time, problems)
        position = SourcePosition(generations, newest.isoformat())
        return FoundEvents(tuple(_in_order([*events, *found])), position, problems)

    def _of_runs(
        self, registry: Registry, start: datetime | None, problems: dict[str, OrchardError]
    ) -> tuple[list[LocatedEvent], datetime]:
        """The events of runs, and the time of the newest object that may be one."""
        candidates = list(_candidates(objects_by_run(registry.store)))
        newest = max([start or _EPOCH, *(stat.modified for stat, *_ in candidates)]).astimezone(UTC)
        found = []
        for stat, run_id, verb in candidates:
            if stat.modified < (start or newest) - OVERLAP:
                continue
            try:
                event = self._read_once(registry.store, stat, run_id, verb)
            except IntegrityError as error:
                problems[f"run {run_id}"] = error
                continue
            if event is not None and event.data["model"] == registry.model:
                found.append(LocatedEvent(event, modified=stat.modified))
        return found, newest

    def _read_once(self, store: ObjectStore, stat: ObjectStat, run_id: str, verb: str) -> WebhookEvent | None:
        key = stat.key, stat.etag
        if key not in self._kept:
            self._kept[key] = _event_of_run(store, run_id, verb, stat.key)
        return self._kept[key]


def _changes(registry: Registry, name: str, after: int | None) -> tuple[list[LocatedEvent], int]:
    """The events of a channel after a generation, and its generation now; None: only the generation."""
    channel = registry.channel(name)
    if after is None:
        now = channel.snapshot().pointer
        return [], now.generation if now else 0
    entries = channel.history(after=max(after - 1, 0))  # with the one before, for its weight
    pairs = zip([None, *entries], entries, strict=False)
    changes = [LocatedEvent(change_event(now, before), name, now.generation) for before, now in pairs]
    generation = entries[-1].generation if entries else after
    return [one for one in changes if one.generation > after], max(generation, after)


def _candidates(runs: Mapping[str, list[ObjectStat]]) -> Iterator[tuple[ObjectStat, str, str]]:
    """Yield the objects of runs that may be an event, with the run and the step."""
    for run_id, stats in runs.items():
        named = {stat.key.removeprefix(f"{layout.runs()}/{run_id}/"): stat for stat in stats}
        for rest, stat in named.items():
            folder, _, name = rest.partition("/")
            verb, dot, kind = name.partition(".")
            refused = folder == "steps" and verb in _REFUSING
            failed = folder == "failures" and f"steps/{name}" not in named
            if (refused or failed) and f"{dot}{kind}" == ".json":
                yield stat, run_id, verb


def _event_of_run(store: ObjectStore, run_id: str, verb: str, key: str) -> WebhookEvent | None:
    """Read a step's record or failure; None: it is not an event."""
    run = records.read(store, run_id)
    if run is None:
        return None
    if key == layout.run_step(run_id, verb):
        ended = records.ended_step(store, run_id, verb)
        return refusal_event(run, verb, ended) if ended is not None and ended.outcome == "refused" else None
    return _failure(store, run, verb, key)


def _failure(store: ObjectStore, run: Run, verb: str, key: str) -> WebhookEvent | None:
    body = records.failure(store, run.run_id, verb)
    if body is None:
        return None
    document = parse(body, key)
    when, code, message = (document.get(name) for name in ("when", "exit_code", "message"))
    if not (isinstance(when, str) and isinstance(code, int) and isinstance(message, str)):
        raise IntegrityError(f"{key} is not the record of a failure: it needs when, exit_code and message")
    return failure_event(run, verb, when, code, message)


def _in_order(events: list[LocatedEvent]) -> list[LocatedEvent]:
    """Sort by time; entries of one channel stay in the order of their generations, whatever their clocks said."""
    latest: dict[str, datetime] = {}
    timed = []
    for one in events:
        time = datetime.fromisoformat(one.event.time)
        if one.channel:
            time = latest[one.channel] = max(time, latest.get(one.channel, time))
        timed.append((time, one))
    return [one for _, one in sorted(timed, key=lambda pair: pair[0])]
