"""What is deleted by itself, day after day: bytes of old versions, files of old runs, old captures and logs; never what is served.

Deleting is safe to repeat and to kill: what is gone is gone, and what is left goes the next time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from orchard import layout
from orchard.errors import ObjectNotFound
from orchard.registry.pruning import PruneOptions, PruneResult
from orchard.registry.registry import Registry
from orchard.runs.summary import objects_by_run, read_runs
from orchard.store.objects import ObjectStat, ObjectStore

__all__ = ["ExpiredObjects", "RetentionPolicy", "SweepResult", "sweep"]

STALE = timedelta(hours=1)
"""The mark of a prune that is so old was left by one that was killed: a living one changes it after every few thousand blobs."""

MOST_LOGS = 50_000
"""Logs of tasks that go at one time: their number grows with tasks and attempts, not with runs. The rest goes the next time."""


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """For how long things are kept.

    Attributes:
        versions: how many of the newest versions, and steps back on each channel.
        files: days for what steps of a run leave for each other.
        pages: days for the pages of runs.
        captures: days for captured requests.
        logs: days for the logs of Airflow's tasks.
        served: versions that are served somewhere.
    """

    versions: int = 10
    files: int = 30
    pages: int = 180
    captures: int = 30
    logs: int = 90
    served: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class ExpiredObjects:
    """How many objects are gone, or would go, and their bytes."""

    objects: int
    bytes: int


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What housekeeping did, or would do: bytes of versions, runs' files, runs' pages, captures, logs of tasks."""

    pruned: PruneResult
    files: ExpiredObjects
    pages: ExpiredObjects
    captures: ExpiredObjects
    logs: ExpiredObjects


def sweep(registry: Registry, kept: RetentionPolicy, now: datetime, *, delete: bool) -> SweepResult:
    """Delete what nobody needs any more, or report how much that is. Records of runs, manifests and histories stay.

    Args:
        registry: whose versions and captures are looked at; runs and logs are those of all models in its store.
        kept: for how long things are kept.
        now: the time, UTC.
        delete: False: only look.

    Raises:
        ConflictError: another prune is at work.
        IntegrityError: a manifest, a channel, a history or a run is invalid: nothing more is deleted.
        StoreError: the store did not answer or refused.
    """
    store, model = registry.store, registry.model
    wish = PruneOptions(kept.versions, kept.served, delete, resume=_is_stale(store, model, now))
    pruned = registry.prune(wish)
    objects = objects_by_run(store)
    started = {run.run_id: datetime.fromisoformat(run.started) for run in read_runs(store, objects)}

    def old(folder: str, days: int) -> list[ObjectStat]:
        edge = now - timedelta(days=days)
        return [
            stat
            for name, stats in objects.items()
            if name in started and started[name] < edge
            for stat in stats
            if stat.modified < edge and stat.key.startswith(f"{layout.runs()}/{name}/{folder}/")
        ]

    files = _expire(store, old("files", kept.files), delete)
    pages = _expire(store, old("pages", kept.pages), delete)
    captures = _expire(store, _old_captures(store, model, now, kept.captures), delete)
    return SweepResult(pruned, files, pages, captures, _expire(store, _old_logs(store, now, kept.logs), delete))


def _old_captures(store: ObjectStore, model: str, now: datetime, days: int) -> list[ObjectStat]:
    edge = (now - timedelta(days=days)).date().isoformat()
    found = ((layout.day_of_capture_key(stat.key), stat) for stat in store.list(layout.captures(model)))
    return [stat for day, stat in found if day is not None and day < edge]


def _old_logs(store: ObjectStore, now: datetime, days: int) -> list[ObjectStat]:
    edge = now - timedelta(days=days)
    found = store.list(layout.task_logs())
    return list(islice((stat for stat in found if stat.modified < edge and layout.is_task_log(stat.key)), MOST_LOGS))


def _expire(store: ObjectStore, stats: Iterable[ObjectStat], delete: bool) -> ExpiredObjects:
    count = size = 0
    for stat in stats:
        if delete:
            store.delete(stat.key)
        count += 1
        size += stat.size
    return ExpiredObjects(count, size)


def _is_stale(store: ObjectStore, model: str, now: datetime) -> bool:
    try:
        return now - store.head(layout.pruning(model)).modified.astimezone(UTC) > STALE
    except ObjectNotFound:
        return False
