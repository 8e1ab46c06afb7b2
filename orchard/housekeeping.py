"""Housekeeping: delete blobs of old versions, files of old runs, old captures, corrections and logs; never what is served.

A sweep may be killed and repeated: the next one deletes what is left.
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
from orchard.review.waiting_corrections import expired_corrections
from orchard.runs.summary import objects_by_run, read_runs
from orchard.store.objects import ObjectStat, ObjectStore

__all__ = ["ExpiredObjects", "RetentionPolicy", "SweepResult", "sweep"]

STALE = timedelta(hours=1)
"""The age from which a prune marker belongs to a prune that was killed: a running one writes it after every few thousand blobs."""

MAX_LOGS = 50_000
"""The largest number of task logs that one sweep deletes: it grows with tasks and attempts, not with runs."""


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How long each kind of object is kept.

    Attributes:
        versions: how many of the newest versions, and steps back on each channel.
        files: days for the artifacts of runs.
        pages: days for the pages of runs.
        captures: days for captured requests.
        logs: days for the logs of Airflow's tasks.
        served: versions that are served somewhere.
        corrections: days for corrections that nobody has removed.
    """

    versions: int = 10
    files: int = 30
    pages: int = 180
    captures: int = 30
    logs: int = 90
    served: frozenset[int] = frozenset()
    corrections: int = 180


@dataclass(frozen=True, slots=True)
class ExpiredObjects:
    """How many objects were deleted, or would be, and their bytes."""

    objects: int
    bytes: int


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a sweep deleted, or would delete: blobs of versions, runs' files, runs' pages, captures, task logs, corrections."""

    pruned: PruneResult
    files: ExpiredObjects
    pages: ExpiredObjects
    captures: ExpiredObjects
    logs: ExpiredObjects
    corrections: ExpiredObjects


def sweep(registry: Registry, policy: RetentionPolicy, now: datetime, *, delete: bool) -> SweepResult:
    """Delete expired objects, or report how many there are. Records of runs, manifests and histories stay.

    Args:
        registry: the registry; runs and logs are those of all models in its store.
        policy: how long each kind of object is kept.
        now: the time, UTC.
        delete: False: only report.

    Raises:
        ConflictError: another prune is running.
        IntegrityError: a manifest, a channel, a history or a run is invalid: nothing more is deleted.
        StoreError: the store did not answer or refused.
    """
    store, model = registry.store, registry.model
    pruned = registry.prune(
        PruneOptions(policy.versions, policy.served, delete, resume=_has_stale_marker(store, model, now))
    )
    objects = objects_by_run(store)
    started = {run.run_id: datetime.fromisoformat(run.started) for run in read_runs(store, objects)}

    def expired(folder: str, days: int) -> list[ObjectStat]:
        limit = now - timedelta(days=days)
        return [
            stat
            for name, stats in objects.items()
            if name in started and started[name] < limit
            for stat in stats
            if stat.modified < limit and stat.key.startswith(f"{layout.runs()}/{name}/{folder}/")
        ]

    files = _expire(store, expired("files", policy.files), delete)
    pages = _expire(store, expired("pages", policy.pages), delete)
    captures = _expire(store, _expired_captures(store, model, now, policy.captures), delete)
    logs = _expire(store, _expired_logs(store, now, policy.logs), delete)
    old = expired_corrections(store, model, now - timedelta(days=policy.corrections))
    return SweepResult(pruned, files, pages, captures, logs, _expire(store, old, delete))


def _expired_captures(store: ObjectStore, model: str, now: datetime, days: int) -> list[ObjectStat]:
    limit = (now - timedelta(days=days)).date().isoformat()
    captures = ((layout.day_of_capture_key(stat.key), stat) for stat in store.list(layout.captures(model)))
    return [stat for day, stat in captures if day is not None and day < limit]


def _expired_logs(store: ObjectStore, now: datetime, days: int) -> list[ObjectStat]:
    limit = now - timedelta(days=days)
    logs = store.list(layout.task_logs())
    return list(islice((stat for stat in logs if stat.modified < limit and layout.is_task_log(stat.key)), MAX_LOGS))


def _expire(store: ObjectStore, stats: Iterable[ObjectStat], delete: bool) -> ExpiredObjects:
    count = size = 0
    for stat in stats:
        if delete:
            store.delete(stat.key)
        count += 1
        size += stat.size
    return ExpiredObjects(count, size)


def _has_stale_marker(store: ObjectStore, model: str, now: datetime) -> bool:
    try:
        return now - store.head(layout.prune_marker(model)).modified.astimezone(UTC) > STALE
    except ObjectNotFound:
        return False
