"""All runs, as the store knows them: what each was about, how far it got, what the gate said, what came of it."""

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

AT_A_TIME = 8


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run.

    Attributes:
        run: what it is about.
        steps: how its steps ended, in their order.
        failures: why steps that have not ended failed the last time: ``exit_code``, ``message``, ``when``.
    """

    run: Run
    steps: dict[str, StepRecord]
    failures: dict[str, dict[str, Any]]

    @property
    def state(self) -> str:
        """How far it got, in a few words."""
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
        told = [ended.reason for ended in self.steps.values() if ended.reason]
        failed = [str(item.get("message", "")) for item in self.failures.values()]
        return (told or failed or [""])[0]

    @property
    def verdict(self) -> str:
        """What the gate said, or empty."""
        gate = self.steps.get("gate")
        return str(gate.result.get("verdict", "")) if gate else ""

    @property
    def version(self) -> int | None:
        """The version of the model that it published, or with which it predicted; of the dataset that it made."""
        for name in ("publish", "batch", "ingest"):
            ended = self.steps.get(name)
            if ended is not None and isinstance(ended.result.get("version"), int):
                return int(ended.result["version"])
        return None

    @property
    def seconds(self) -> float:
        """How long its verbs took together."""
        return round(sum(ended.seconds for ended in self.steps.values()), 1)


def objects_by_run(store: ObjectStore) -> dict[str, list[ObjectStat]]:
    """Everything that lies in the store for runs, by run."""
    found: dict[str, list[ObjectStat]] = defaultdict(list)
    for stat in store.list(layout.runs()):
        parts = layout.parts_of_run_key(stat.key)
        if parts is not None:
            found[parts[0]].append(stat)
    return found


def read_runs(store: ObjectStore, names: Iterable[str]) -> list[Run]:
    """What runs are about, the newest first; those that no step has begun are left out."""
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        found = [run for run in pool.map(partial(records.read, store), names) if run is not None]
    return sorted(found, key=lambda run: run.started, reverse=True)


def read_entry(store: ObjectStore, run: Run) -> RunSummary:
    """Everything about one run. Raises `IntegrityError` if a document of it is not what it must be."""
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
    """Read the newest runs.

    Args:
        store: where.
        limit: how many.
        run_id: only this one.
        kind: only runs of this kind.

    Raises:
        DataError: there is no such run.
        IntegrityError: a document is not what it must be.
    """
    if run_id is not None:
        run = records.read(store, run_id)
        if run is None:
            raise DataError(f"{store.name} knows no run {run_id}", hint="`orchard runs` lists those that it knows")
        return [read_entry(store, run)]
    known = read_runs(store, objects_by_run(store))
    chosen = [run for run in known if kind in (None, run.kind)][:limit]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return list(pool.map(partial(read_entry, store), chosen))
