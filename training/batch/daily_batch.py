"""What the verb `batch` does: a day, once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchard.registry.registry import Registry
from orchard.reporter import Reporter
from orchard.runs import records
from orchard.settings import Settings
from training.batch.batch_plan import create_or_read_plan
from training.batch.outputs import read_done, write_outputs

__all__ = ["DailyBatch", "predict_day"]


@dataclass(frozen=True, slots=True)
class DailyBatch:
    """A day that is done: its mark, and whether it had been done before."""

    done: dict[str, Any]
    before: bool


def predict_day(settings: Settings, day: str, reporter: Reporter) -> DailyBatch:
    """Predict what lies in the store for a day with the version that the channel means, unless that has been done.

    Killed anywhere and called again, it goes on with the version and the photos that were fixed first.

    Args:
        settings: where the store is, which model and channel.
        day: ``YYYY-MM-DD``.
        reporter: reports progress.

    Raises:
        NoVersion: the channel means no version yet; nothing was written.
        DataError: an earlier attempt fixed another model.
        IntegrityError: the version is not what was published, or does not answer as it did.
        StoreError: the store did not answer.
    """
    registry = Registry.open(settings)
    done = read_done(registry.store, day)
    if done is not None:
        return DailyBatch(done, before=True)
    plan = create_or_read_plan(registry.channel(settings.channel), day, records.actor(settings), settings.run_id)
    from training.batch.predict_photos import PredictionSet, open_verified_model, predict_plan

    found = PredictionSet()
    if plan.photos:
        with reporter.status(f"proving version {plan.version} of {plan.model}"):
            model = open_verified_model(registry, plan)
        with model as session:
            reporter.note(f"asking version {plan.version} of {plan.model} about {len(plan.photos):,} photos")
            found = predict_plan(registry.store, plan, session, reporter)
    with reporter.status(f"bringing the predictions of {day} to the store"):
        return DailyBatch(write_outputs(registry.store, plan, found), before=False)
