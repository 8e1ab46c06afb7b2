"""The verb `batch`: predict a day's photos once."""

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
    """The document of a day that is done, and whether an earlier call did it."""

    done: dict[str, Any]
    before: bool


def predict_day(settings: Settings, day: str, reporter: Reporter) -> DailyBatch:
    """Predict a day's photos in the store with the version that the channel points to, unless that has been done.

    A killed call can be repeated: it resumes with the version and the photos of the first attempt's plan.

    Args:
        settings: of store, model and channel.
        day: ``YYYY-MM-DD``.
        reporter: reports progress.

    Raises:
        NoVersion: the channel has no version yet; nothing was written.
        DataError: an earlier attempt used another model.
        IntegrityError: the version is not what was published, or predicts its golden photos differently.
        StoreError: the store did not answer.
    """
    registry = Registry.open(settings)
    done = read_done(registry.store, day)
    if done is not None:
        return DailyBatch(done, before=True)
    plan = create_or_read_plan(registry.channel(settings.channel), day, records.actor(settings), settings.run_id)
    from training.batch.predict_photos import PredictionSet, open_verified_model, predict_plan

    predictions = PredictionSet()
    if plan.photos:
        with reporter.status(f"verifying version {plan.version} of {plan.model}"):
            model = open_verified_model(registry, plan)
        with model as session:
            reporter.note(f"predicting {len(plan.photos):,} photos with version {plan.version} of {plan.model}")
            predictions = predict_plan(registry.store, plan, session, reporter)
    with reporter.status(f"writing the predictions of {day} to the store"):
        return DailyBatch(write_outputs(registry.store, plan, predictions), before=False)
