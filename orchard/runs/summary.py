"""Summaries of the runs in the store: inputs, progress, gate verdict and result."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from orchard import layout
from orchard.documents import parse
from orchard.errors import DataError
from orchard.runs import records
from orchard.runs.records import Run, StepRecord
from orchard.runs.steps import steps_of
from orchard.store.objects import ObjectStat, ObjectStore

__all__ = ["RunSummary", "objects_by_run", "read_entries", "read_entry", "read_runs"]

THREADS = 8


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run.

    Attributes:
        run: its inputs.
        steps: the records of its steps, in their order.
        failures: the last failure of steps that have not ended: ``exit_code``, ``message``, ``when``.
    """

    run: Run
    steps: dict[str, StepRecord]
    failures: dict[str, dict[str, Any]]

    @property
    def state(self) -> str:
        """Its progress, in a few words."""
        for name, ended in self.steps.items():
            if ended.outcome != "done":
                return ended.outcome if name == self.run.kind else f"{ended.outcome} at {name}"
        missing = [name for name in steps_of(self.run.kind) if name not in self.steps]
        if not missing:
            return "done"
        if missing[0] in self.failures:
            return f"failed at {missing[0]}"
        return f"at {missing[0]}"

    @property
    def reason(self) -> str:
        """Why it is not done, if that is known; else empty."""
        reasons = [ended.reason for ended in self.steps.values() if ended.reason]
        messages = [str(item.get("message", "")) for item in self.failures.values()]
        return (reasons or messages or [""])[0]

    @property
    def verdict(self) -> str:
        """The gate's verdict, or empty."""
        gate = self.steps.get("gate")
        return str(gate.result.get("verdict", "")) if gate else ""

    @property
    def version(self) -> int | None:
        """The model version that it published or predicted with, or the dataset version that it made."""
        for name in ("publish", "batch", "ingest"):
            ended = self.steps.get(name)
            if ended is not None and isinstance(ended.result.get("version"), int):
                return int(ended.result["version"])
        return None

    @property
    def seconds(self) -> float:
        """The total duration of its verbs."""
        return round(sum(ended.seconds for ended in self.steps.values()), 1)


def objects_by_run(store: ObjectStore) -> dict[str, list[ObjectStat]]:
    """Return all objects of runs in the store, by run id."""
    objects: dict[str, list[ObjectStat]] = defaultdict(list)
    for stat in store.list(layout.runs()):
        parts = layout.parts_of_run_key(stat.key)
        if parts is not None:
            objects[parts[0]].append(stat)
    return objects


def read_runs(store: ObjectStore, names: Iterable[str]) -> list[Run]:
    """Return the records of runs, the newest first; runs without a record are left out."""
    with ThreadPoolExecutor(THREADS) as pool:
        runs = [run for run in pool.map(partial(records.read, store), names) if run is not None]
    return sorted(runs, key=lambda run: run.started, reverse=True)


def read_entry(store: ObjectStore, run: Run) -> RunSummary:
    """Return the summary of one run. Raises `IntegrityError` if one of its documents is invalid."""
    steps: dict[str, StepRecord] = {}
    failures: dict[str, dict[str, Any]] = {}
    for name in steps_of(run.kind):
        ended = records.ended_step(store, run.run_id, name)
        if ended is not None:
            steps[name] = ended
            continue
        failure = records.failure(store, run.run_id, name)
        if failure is not None:
            failures[name] = parse(failure, layout.run_failure(run.run_id, name))
        break  # the steps after one that has not ended have not begun
    return RunSummary(run, steps, failures)


def read_entries(
    store: ObjectStore, limit: int, run_id: str | None = None, kind: str | None = None
) -> list[RunSummary]:
    """Return the summaries of the newest `limit` runs (of one kind), or of the run `run_id` alone.

    Raises:
        DataError: there is no such run.
        IntegrityError: a document is invalid.
    """
    if run_id is not None:
        run = records.read(store, run_id)
        if run is None:
            raise DataError(f"{store.name} has no run {run_id}", hint="`orchard runs` lists all runs")
        return [read_entry(store, run)]
    runs = [run for run in read_runs(store, objects_by_run(store)) if kind in (None, run.kind)]
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(partial(read_entry, store), runs[:limit]))
