"""What the verb `batch` does: a day, once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchard.cli.output import Output
from orchard.runs import records
from orchard.settings import Settings
from training.batch.batch_plan import fix
from training.batch.outputs import leave, read_done
from training.release.served_model import ServedChannel, open_channel

__all__ = ["DailyBatch", "predict_day"]


@dataclass(frozen=True, slots=True)
class DailyBatch:
    """A day that is done: its mark, and whether it had been done before."""

    done: dict[str, Any]
    before: bool


def predict_day(settings: Settings, day: str, out: Output) -> DailyBatch:
    """Predict what lies in the store for a day with the version that the channel means, unless that has been done.

    Killed anywhere and called again, it goes on with the version and the photos that were fixed first.

    Args:
        settings: where the store is, which model and channel.
        day: ``YYYY-MM-DD``.
        out: says what goes on.

    Raises:
        NoVersion: the channel means no version yet; nothing was written.
        DataError: an earlier attempt fixed another model.
        IntegrityError: the version is not what was published, or does not answer as it did.
        StoreError: the store did not answer.
    """
    settings.require("store_url", "trusted_keys_file")
    channel = open_channel(settings)
    assert isinstance(channel, ServedChannel)  # noqa: S101  a store is set
    done = read_done(channel.store, day)
    if done is not None:
        return DailyBatch(done, before=True)
    plan = fix(channel, day, records.actor(settings), settings.run_id)
    from training.batch.predict_photos import PredictionSet, answer, proved_model

    found = PredictionSet()
    if plan.photos:
        with out.status(f"proving version {plan.version} of {plan.model}"):
            model = proved_model(channel, plan)
        with model as session:
            out.note(f"asking version {plan.version} of {plan.model} about {len(plan.photos):,} photos")
            found = answer(channel, plan, session, out.note)
    with out.status(f"bringing the predictions of {day} to the store"):
        return DailyBatch(leave(channel.store, plan, found), before=False)
