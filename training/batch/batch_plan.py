"""The plan of a day's batch prediction, fixed before the first photo: every attempt uses the same version and photos."""

from __future__ import annotations

from datetime import UTC, datetime

from orchard import layout
from orchard.documents import FORMAT, canonical_json, decode, encode, parse, strict_dataclass
from orchard.errors import DataError, IntegrityError
from orchard.registry.channels import Channel
from orchard.store.conditional import create_once, get_or_none
from training.data.photo_objects import list_names

__all__ = ["BatchPlan", "NoVersion", "create_or_read_plan"]

MAX_BYTES = 64 << 20
"""Of a plan: enough for half a million photos."""


class NoVersion(DataError):
    """The channel has no version yet: nothing can be predicted, and nothing was written."""


@strict_dataclass
class BatchPlan:
    """The version and the photos of a day's prediction.

    Attributes:
        format: of the document, 1.
        day: ``YYYY-MM-DD``.
        model: the model's name.
        channel: the channel that the version was on.
        version: the version that predicts.
        manifest_sha256: of that version's manifest.
        override_reason: why it was promoted without the gate's acceptance, else None.
        created: RFC 3339, UTC.
        by: the actor.
        run_id: of the run that made the plan, None outside a run.
        photos: their names, sorted; photos that arrive later are not predicted.
    """

    format: int
    day: str
    model: str
    channel: str
    version: int
    manifest_sha256: str
    override_reason: str | None
    created: str
    by: str
    run_id: str | None
    photos: tuple[str, ...]


def create_or_read_plan(channel: Channel, day: str, by: str, run_id: str | None) -> BatchPlan:
    """Write the plan of a day's prediction, unless an earlier attempt has; returns the plan in the store.

    Args:
        channel: the channel whose version predicts.
        day: ``YYYY-MM-DD``.
        by: the actor.
        run_id: None outside a run.

    Raises:
        NoVersion: the channel has no version.
        DataError: an earlier attempt used another model.
        IntegrityError: the channel or the plan is invalid.
        StoreError: the store did not answer.
    """
    key, store, model = layout.batch_output(day, "plan.json"), channel.registry.store, channel.registry.model
    existing = get_or_none(store, key)
    body = existing.body if existing else create_once(store, key, _new_plan(channel, day, by, run_id)).body
    plan = decode(BatchPlan, parse(body, key, limit=MAX_BYTES), key)
    if plan.day != day:
        raise IntegrityError(f"{key} is the plan of {plan.day}")
    if plan.model != model:
        raise DataError(
            f"{day} was started with the model {plan.model!r}, not {model!r}",
            hint=f"set ORCHARD_MODEL={plan.model} to finish it",
        )
    return plan


def _new_plan(channel: Channel, day: str, by: str, run_id: str | None) -> bytes:
    registry, pointer = channel.registry, channel.read()
    if pointer is None:
        raise NoVersion(
            f"no version of {registry.model} is on {channel.name} yet",
            hint="run `orchard promote`, then this command again; the day is not marked done",
        )
    created = datetime.now(UTC).isoformat(timespec="milliseconds")
    plan = BatchPlan(
        FORMAT,
        day,
        registry.model,
        channel.name,
        pointer.version,
        pointer.manifest_sha256,
        pointer.override_reason,
        created,
        by,
        run_id,
        tuple(list_names(registry.store, layout.batch_input(day))),
    )
    return canonical_json(encode(plan))
